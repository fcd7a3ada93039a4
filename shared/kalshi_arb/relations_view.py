"""What a person may see of the groups, and the one thing a person may say of them: that an assumption is true.

Plain JSON, for the HTTP API and the command line alike. Times are UTC milliseconds.
"""

from collections.abc import Iterable, Sequence

import msgspec

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, approve
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.state_space import Basis
from kalshi_arb.ports import GroupStore
from kalshi_arb.relations.approvals import judged
from kalshi_arb.relations.fingerprints import print_number

Json = dict[str, object]

HISTORY_SHOWN = 100
STATES_SHOWN = 200
LONGEST_BODY = 4_000
_LONGEST_REASON = 1_000


class UnknownGroupError(ProofError):
    """No group of this id is kept."""


class ApprovalOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's word for what a group rests on. ``fingerprint`` is the one that the person saw."""

    group_id: str
    fingerprint: str
    reason: str


def standing(record: GroupRecord) -> str:
    """Whether it may be used, in one word."""
    if record.suspension is not None:
        return "suspended"
    return "needs_approval" if record.needs_approval else "active"


def summary(record: GroupRecord) -> Json:
    """One line of a list."""
    return {
        "id": record.group_id,
        "family": record.group.family.value,
        "standing": standing(record),
        "markets": len(record.group.markets),
        "states": len(record.group.states),
        "edge_states": len(record.group.edge_states),
        "version": record.number,
        "since_ms": record.since_ms,
        "closes_ms": min(market.close_ms for market in record.group.markets),
    }


def group_view(record: GroupRecord, history: Iterable[HistoryEntry]) -> Json:
    """Everything about a group: markets, states, certificate, edge states, standing, approval, history, and what was
    refused nearby."""
    group = judged(record)
    view: Json = {
        **summary(record),
        "fingerprint": group.fingerprint,
        "read_ms": record.read_ms,
        "events": list(group.event_tickers),
        "markets": [_market(market) for market in group.markets],
        "states": len(group.states),
        "states_shown": [
            {
                "name": state.name,
                "basis": state.basis.value,
                "pays": [ticker for ticker, payout in zip(group.tickers, state.yes_payouts, strict=True) if payout > 0],
                "at_a_price": state.highest is not None,
            }
            for state in group.states[:STATES_SHOWN]
        ],
        "edge_states": [state.name for state in group.states if state.basis is Basis.POSSIBLE],
        "relations": [
            {"kind": one.kind.value, "members": list(one.tickers), "reason": one.reason} for one in group.relations
        ],
        "certificate": list(group.certificate),
        "assumptions": list(group.assumptions),
        "absent": list(group.absent),
        "suspension": None,
        "approval": None,
        "nearby": list(record.nearby),
        "history": [history_view(entry) for entry in history],
    }
    if record.suspension is not None:
        view["suspension"] = {
            "reason": record.suspension.reason.value,
            "words": record.suspension.words,
            "since_ms": record.suspension.since_ms,
        }
    if record.approval is not None:
        view["approval"] = {
            "fingerprint": record.approval.fingerprint,
            "reason": record.approval.reason,
            "approved_ms": record.approval.approved_ms,
        }
    return view


def _market(market: Market) -> Json:
    return {
        "ticker": market.ticker,
        "title": market.title,
        "strike_type": market.strike_type.value,
        "floor": print_number(market.floor),
        "cap": print_number(market.cap),
        "close_ms": market.close_ms,
    }


def history_view(entry: HistoryEntry) -> Json:
    """One line of history."""
    return {
        "at_ms": entry.at_ms,
        "what": entry.kind.value,
        "version": entry.number,
        "fingerprint": entry.fingerprint,
        "words": list(entry.words),
    }


class RelationsDesk:
    """Shows groups, and takes approvals."""

    def __init__(self, *, groups: GroupStore, clock: Clock, mode: str) -> None:
        self._groups = groups
        self._clock = clock
        self._mode = mode

    def list(self) -> Json:
        """Every group in a line, those that cannot be used first."""
        records: Sequence[GroupRecord] = self._groups.all()
        rows = [summary(record) for record in records]
        rows.sort(key=lambda row: (row["standing"] == "active", str(row["id"])))
        return {"mode": self._mode, "version": self._groups.version(), "groups": rows}

    def show(self, group_id: str) -> Json:
        """One group. :raises UnknownGroupError: it is not kept."""
        record = self._groups.get(group_id)
        if record is None:
            raise UnknownGroupError(f"no group {group_id} is accepted; its history may say why")
        return {"mode": self._mode, **group_view(record, self._groups.history(group_id, HISTORY_SHOWN))}

    def history(self, group_id: str) -> Json:
        """What became of a group, newest first. :raises UnknownGroupError: there never was one, as far as is kept."""
        entries = self._groups.history(group_id, HISTORY_SHOWN)
        if not entries and self._groups.get(group_id) is None:
            raise UnknownGroupError(f"nothing is known of a group {group_id}")
        return {"mode": self._mode, "id": group_id, "history": [history_view(entry) for entry in entries]}

    def approve(self, order: ApprovalOrder) -> Json:
        """Bind a person's word to a fingerprint.

        :raises UnknownGroupError: no such group.
        :raises ProofError: it needs no approval, is suspended, or is not what the person saw.
        """
        reason = " ".join(order.reason.split())
        if not reason or len(reason) > _LONGEST_REASON:
            raise ProofError(f"an approval needs a reason of at most {_LONGEST_REASON} characters")
        record = self._groups.get(order.group_id)
        if record is None:
            raise UnknownGroupError(f"no group {order.group_id} is accepted")
        if record.group.fingerprint != order.fingerprint:
            raise ProofError(
                f"{order.group_id} has changed: its fingerprint is {record.group.fingerprint[:12]}, the approval is "
                f"for {order.fingerprint[:12]}; look at it again"
            )
        if not self._groups.write([approve(record, reason, now_ms=self._clock.now_ms())]):
            raise ProofError(f"{order.group_id} changed at this moment: look at it again")
        return self.show(order.group_id)


def read_approval(body: str | None) -> ApprovalOrder:
    """The body of an approval. :raises ProofError: it is something else."""
    try:
        if not body or len(body) > LONGEST_BODY:
            raise ProofError(_APPROVAL_BODY)
        return msgspec.json.decode(body, type=ApprovalOrder)
    except msgspec.DecodeError:
        raise ProofError(_APPROVAL_BODY) from None


_APPROVAL_BODY = 'the body must be {"group_id": "...", "fingerprint": "...", "reason": "..."}'
