"""What a new reading of the listing means for the groups that are kept: pure decisions, no I/O.

A group whose fingerprint changed is suspended, told about, and replaced by what its markets form now. A group that was
suspended on a message goes on when a later reading shows it unchanged: later by more than a copy on the way can be old.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from kalshi_arb.domain.group_record import (
    GroupRecord,
    RecordChange,
    SuspensionReason,
    accept,
    end,
    resume,
    succeed,
    suspend,
)
from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.state_space import Group
from kalshi_arb.ports import Alert, AlertKind
from kalshi_arb.relations.assembly import Reason, unfit
from kalshi_arb.relations.fingerprints import difference

COPY_AGE_MS = 20_000
"""A reading may be a copy of up to 15 seconds (Kalshi API documentation, caching). One that shows no change proves that
there is none only when it was asked for this long after the message."""
_SHOWN_SENTENCES = 12
_MOST_ALERTS = 10
_SHOWN_GROUPS = 40
_NOT_TRADING = frozenset({Reason.ALREADY_CLOSED, Reason.NOT_ACTIVE})


@dataclass(frozen=True, slots=True)
class Difference:
    """A group that is not what it was. ``after`` is None when its markets do not form it any more; ``ordinary`` when
    nothing happened but that markets ended or stopped trading, which no person needs to be told."""

    before: GroupRecord
    after: Group | None
    words: tuple[str, ...]
    ordinary: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: suspend, tell, write (a suspended group's step starts from its suspended record)."""

    differences: tuple[Difference, ...]
    accepted: tuple[Group, ...]
    resumed: tuple[GroupRecord, ...]


def plan(
    records: Mapping[str, GroupRecord],
    built: Mapping[str, Group],
    listed: Mapping[str, ListedMarket],
    refused: Callable[[Group], tuple[str, ...]],
    *,
    read_ms: int,
    now_ms: int,
) -> Plan:
    """Compare what is kept with what was built from a reading.

    :param records: kept groups that the reading says everything about, by id
    :param built: the groups it forms, by id
    :param listed: its markets by ticker
    :param refused: why a group's markets do not form it as they were read, in words
    :param read_ms: when the first of it was asked for, UTC milliseconds
    """
    differences: list[Difference] = []
    resumed: list[GroupRecord] = []
    for group_id, record in records.items():
        if record.read_ms > read_ms:
            continue
        group = built.get(group_id)
        if group is not None and group.fingerprint == record.group.fingerprint:
            if _may_resume(record, read_ms):
                resumed.append(record)
            continue
        words = difference(record.group, group)
        if group is None:
            words = (*words, *_market_changes(record.group, listed), *refused(record.group))
        ordinary = _is_ordinary(record.group, group, listed, now_ms)
        differences.append(Difference(record, group, words, ordinary))
    accepted = tuple(group for group_id, group in built.items() if group_id not in records)
    return Plan(tuple(differences), accepted, tuple(resumed))


def _market_changes(old: Group, listed: Mapping[str, ListedMarket]) -> tuple[str, ...]:
    """What is different about the markets of a group that is no more."""
    now = tuple(listed[one.ticker].market if one.ticker in listed else one for one in old.markets)
    missing = tuple(f"{one.ticker} is not listed any more." for one in old.markets if one.ticker not in listed)
    if now == old.markets:
        return missing
    return (*missing, *difference(old, replace(old, markets=now, fingerprint="")))


def _may_resume(record: GroupRecord, read_ms: int) -> bool:
    suspension = record.suspension
    if suspension is None:
        return False
    patience = COPY_AGE_MS if suspension.reason is SuspensionReason.ANNOUNCED else 0
    return read_ms >= suspension.since_ms + patience


def _is_ordinary(old: Group, new: Group | None, listed: Mapping[str, ListedMarket], now_ms: int) -> bool:
    """Whether all that happened is that some of its markets do not trade (any more)."""
    kept = {} if new is None else {market.ticker: market for market in new.markets}
    if kept.keys() - set(old.tickers) or (new is not None and new.grounds != old.grounds):
        return False
    ended = 0
    for market in old.markets:
        now = kept.get(market.ticker)
        if now is not None:
            if now != market:
                return False
            continue
        listing = listed.get(market.ticker)
        if market.close_ms <= now_ms or (listing is not None and unfit(listing, now_ms) in _NOT_TRADING):
            ended += 1
        elif new is not None or listing is None or listing.market != market:
            return False
    return ended > 0


def suspensions(differences: Iterable[Difference], *, now_ms: int) -> list[RecordChange]:
    """Stop the use of what changed, unless a message has stopped it already."""
    return [
        suspend(one.before, SuspensionReason.CHANGED, _shortened(one.words), now_ms=now_ms)
        for one in differences
        if one.before.suspension is None and not one.ordinary
    ]


def steps(
    plan: Plan,
    records: Mapping[str, GroupRecord],
    near: Callable[[Group], tuple[str, ...]],
    *,
    read_ms: int,
    now_ms: int,
) -> list[RecordChange]:
    """What to write in the end.

    :param records: the kept groups as they are after :func:`suspensions`
    :param near: what was refused near a group, in words
    """
    found: list[RecordChange] = []
    for one in plan.differences:
        record = records.get(one.before.group_id)
        if record is None:
            continue
        if one.after is None:
            found.append(end(record, one.words, now_ms=now_ms))
        else:
            found.append(
                succeed(record, one.after, one.words, read_ms=read_ms, now_ms=now_ms, nearby=near(one.after))
            )  # fmt: skip
    found += [accept(group, read_ms=read_ms, now_ms=now_ms, nearby=near(group)) for group in plan.accepted]
    found += [resume(record, read_ms=read_ms, now_ms=now_ms) for record in plan.resumed]
    return found


def alerts_of(differences: Iterable[Difference], mode: str, now_ms: int) -> list[Alert]:
    """One alert for each change that is not ordinary; of very many at once, as when a series' fees change, those beyond
    the first are told together."""
    told = [one for one in differences if not one.ordinary]
    alerts = [_alert(one, mode, now_ms) for one in told[:_MOST_ALERTS]]
    rest = told[_MOST_ALERTS:]
    if rest:
        ids = ", ".join(one.before.group_id for one in rest[:_SHOWN_GROUPS])
        more = f" and {len(rest) - _SHOWN_GROUPS} more" if len(rest) > _SHOWN_GROUPS else ""
        alerts.append(
            Alert(
                alert_id=_alert_id("\n".join(map(_mark, rest))),
                kind=AlertKind.RELATION,
                mode=mode,
                title=f"{len(rest)} more groups suspended at once",
                text=f"{ids}{more}. What changed is in the history of each: kalshi-arb relations history GROUP.",
                created_ms=now_ms,
            )
        )
    return alerts


def _alert(one: Difference, mode: str, now_ms: int) -> Alert:
    """The one alert of a change. Its id follows from the two versions, so telling it twice tells it once."""
    record = one.before
    if one.after is None:
        outcome = "It stays out of use."
    elif one.after.assumptions:
        outcome = (
            f"As it is now it is version {record.number + 1} and needs a person's approval: "
            f"kalshi-arb relations approve '{record.group_id}' --reason ..."
        )
    else:
        outcome = f"As it is now it is active as version {record.number + 1}."
    ended = " Its approval has ended." if record.approval is not None else ""
    return Alert(
        alert_id=_alert_id(_mark(one)),
        kind=AlertKind.RELATION,
        mode=mode,
        title=f"Group {record.group_id} suspended",
        text=f"{_shortened(one.words)} {outcome}{ended}",
        created_ms=now_ms,
    )


def _mark(one: Difference) -> str:
    after = "gone" if one.after is None else one.after.fingerprint
    return f"{one.before.group_id} {one.before.since_ms} {one.before.group.fingerprint} {after}"


def _alert_id(mark: str) -> str:
    return f"relation-{hashlib.sha256(mark.encode()).hexdigest()[:20]}"


def problem_alert(problem: str, mode: str, now_ms: int) -> Alert:
    """The user's relations cannot be used. One alert for each problem and day."""
    day = now_ms // 86_400_000
    return Alert(
        alert_id=f"user-relations-{hashlib.sha256(f'{problem} {day}'.encode()).hexdigest()[:20]}",
        kind=AlertKind.ERROR,
        mode=mode,
        title="The user's relations are not used",
        text=f"{problem}. None of them counts until this is put right.",
        created_ms=now_ms,
    )


def _shortened(words: tuple[str, ...]) -> str:
    rest = len(words) - _SHOWN_SENTENCES
    return " ".join(words[:_SHOWN_SENTENCES]) + (f" And {rest} more changes." if rest > 0 else "")
