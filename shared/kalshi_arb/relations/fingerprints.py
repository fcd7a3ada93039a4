"""Names that survive restarts: group ids, the fingerprint of everything a proof rests on, and what changed in it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import PriceGrid, grid_to_wire
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.state_space import Family, Ground, Group, State

# Raise it when the rules that turn markets into states change meaning: stored groups then stop matching.
RULES_VERSION = 3


def digest(parts: Iterable[object]) -> str:
    """SHA-256 in hex of a canonical JSON text of ``parts``."""
    text = json.dumps(list(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def group_id(event_ticker: str, family: Family, subject: str) -> str:
    """The id of the only group that an event can have of this family and subject.

    An event without subjects has the short form ``EVENT:family``.
    """
    base = f"{event_ticker}:{family.value}"
    return f"{base}:{digest([subject])[:8]}" if subject else base


def fingerprint(
    family: Family,
    markets: Sequence[Market],
    states: Sequence[State],
    grounds: Sequence[Ground] = (),
    state_marks: Sequence[object] | None = None,
) -> str:
    """A hash that changes whenever something a proof rests on does: identity, strikes, subject, rules, a combo's legs,
    closing time, tick grid, fees, the grounds and the states themselves. Titles are left out because nothing rests on
    them, shards because an order reads its own.

    :param state_marks: one JSON value per state that tells it from every other, instead of its payouts: large groups
        have a shorter form than their table
    """
    marks = (
        [[state.name, state.basis.value, state.yes_payouts, state.highest] for state in states]
        if state_marks is None
        else list(state_marks)
    )
    return digest(
        [
            RULES_VERSION,
            family.value,
            [
                [
                    market.ticker,
                    market.event_ticker,
                    market.series_ticker,
                    market.strike_type.value,
                    print_number(market.floor),
                    print_number(market.cap),
                    market.subject,
                    market.rules_fingerprint,
                    [[leg.event_ticker, leg.ticker, leg.outcome.value] for leg in market.legs],
                    market.close_ms,
                    _grid(market.grid),
                    market.fees.fee_type.value,
                    market.fees.multiplier,
                ]
                for market in markets
            ],
            [[ground.what, ground.value] for ground in grounds],
            marks,
        ]
    )


@lru_cache(maxsize=256)
def _grid(grid: PriceGrid) -> str:
    return " ".join(f"{band['start']}-{band['end']}/{band['step']}" for band in grid_to_wire(grid))


@lru_cache(maxsize=65_536)
def print_number(strike: Decimal | None) -> str | None:
    """The same text for 93, 93.0 and 9.3E+1, so that a different spelling is not a different contract."""
    return None if strike is None else f"{strike.normalize():f}"


def utc(ms: int) -> str:
    """A moment for a person."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _fees(fees: FeeSchedule) -> str:
    return f"{fees.fee_type.value} x{Decimal(fees.multiplier) / 10_000:f}"


# What a person is told of a market that changed, field by field. The rules text is known by its hash alone.
_FIELDS: tuple[tuple[str, Callable[[Market], object]], ...] = (
    ("event", lambda market: market.event_ticker),
    ("series", lambda market: market.series_ticker),
    ("strike type", lambda market: market.strike_type.value),
    ("floor strike", lambda market: print_number(market.floor)),
    ("cap strike", lambda market: print_number(market.cap)),
    ("subject", lambda market: market.subject or "none"),
    ("rules text", lambda market: f"the one with hash {market.rules_fingerprint[:12]}"),
    ("legs", lambda market: ", ".join(f"{leg.outcome.value} of {leg.ticker}" for leg in market.legs) or "none"),
    ("closing time", lambda market: utc(market.close_ms)),
    ("price grid", lambda market: _grid(market.grid)),
    ("fees", lambda market: _fees(market.fees)),
)


def difference(old: Group, new: Group | None) -> tuple[str, ...]:
    """What changed between two versions of a group, one sentence each, for an alert. Empty when nothing that its proof
    rests on did.

    :param new: the group as it is now; None when its markets do not form it any more
    """
    if new is None:
        return (f"{old.group_id} is not a group any more: its markets do not form it as they are listed now.",)
    if old.fingerprint == new.fingerprint:
        return ()
    found: list[str] = []
    before = {market.ticker: market for market in old.markets}
    after = {market.ticker: market for market in new.markets}
    found += [f"{ticker} left the group." for ticker in before if ticker not in after]
    found += [f"{ticker} joined the group." for ticker in after if ticker not in before]
    for ticker, market in before.items():
        changed = after.get(ticker)
        if changed is not None and changed != market:
            for name, read in _FIELDS:
                was, now = read(market), read(changed)
                if was != now:
                    found.append(f"{name} of {ticker} changed from {was} to {now}.")
    found += _mapping_changes(
        {one.what: one.value for one in old.grounds}, {one.what: one.value for one in new.grounds}
    )
    found += [f"it rests on a new assumption: {one}" for one in new.assumptions if one not in old.assumptions]
    if not found:
        names_before, names_after = {state.name for state in old.states}, {state.name for state in new.states}
        found += [f"it can settle in one more way: {name}." for name in sorted(names_after - names_before)]
        found += [f"a way to settle is gone: {name}." for name in sorted(names_before - names_after)]
    return tuple(_sentence(text) for text in found) or (
        "The rules that turn its markets into states changed with the program.",
    )


def _mapping_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    found = [f"{what}, {value}, is gone." for what, value in before.items() if what not in after]
    found += [f"{what} is new: {value}." for what, value in after.items() if what not in before]
    found += [
        f"{what} changed from {value} to {after[what]}."
        for what, value in before.items()
        if what in after and after[what] != value
    ]
    return found


def _sentence(text: str) -> str:
    """Begin with a capital, unless the first word is a ticker or such."""
    return text[:1].upper() + text[1:]
