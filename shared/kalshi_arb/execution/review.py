"""Looks at everything that is held once a cycle, and proposes to sell early what gains by it. Only where the operator's
limits say so (``auto_release``) it has it sold."""

from collections.abc import Callable, Mapping, Sequence

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import cash_to_wire, count_to_wire
from kalshi_arb.execution.early_sale import EarlySale
from kalshi_arb.execution.release import Release, Terms, best_release, told
from kalshi_arb.ports import Alert, AlertKind, BasketStore, GroupStore, MarketTerms, Notifier, StatusStore
from kalshi_arb.risk.limits import Limits

RELEASE = "release"
"""Status component: ``{"checked_ms", "proposals": [...]}``, the proposals as of that moment."""
_ROWS = 1_000
_HELD_STATES = (BasketState.LOCK, BasketState.HELD)


class HeldReview:
    """Runs on the settlement schedule.

    :param limits: ``min_profit`` is what a release must gain at least, ``cost_of_capital`` what waiting costs, and
        ``auto_release`` whether what is proposed is done
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        groups: GroupStore,
        market_data: MarketTerms,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        netting: Netting,
        limits: Callable[[], Limits],
        early_sale: EarlySale,
    ) -> None:
        self._baskets = baskets
        self._groups = groups
        self._market_data = market_data
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._netting = netting
        self._limits = limits
        self._early_sale = early_sale

    def run(self) -> int:
        """Price everything held; returns how many proposals there are. A basket is told of once, however long its
        proposal stands.

        :raises ExchangeError: the books could not be read; the last proposals stay, with their time.
        :raises SettingsError: the limits are malformed.
        """
        held = self._baskets.in_states(_HELD_STATES, _ROWS)
        before = self._status.get(RELEASE) or {}
        if not held and not before.get("proposals"):
            return 0
        limits = self._limits()
        already = _told(before)
        found = []
        for row, one, record in self._proposals(held, limits):
            if one.advantage < limits.min_profit:
                continue
            kept = self._kept(row, record, limits)
            if kept == "" or row.basket_id not in already:
                self._publish(row, one, limits, kept)
            found.append((row, one, kept))
        open_ids = {row.basket_id for row in held}
        self._status.put(
            RELEASE,
            {
                "checked_ms": self._clock.now_ms(),
                "proposals": [_shown(row, one, limits.cost_of_capital, kept) for row, one, kept in found],
                "told": sorted((already & open_ids) | {row.basket_id for row, _, _ in found}),
            },
        )
        return len(found)

    def _kept(self, row: Basket, record: GroupRecord | None, limits: Limits) -> str | None:
        """Why a proposal is not carried out: nothing when it is, None where nobody asked for it."""
        if not limits.auto_release:
            return None
        return self._early_sale.start(row, None if record is None else record.group, _paid_ms(row, record), limits)

    def _proposals(self, held: Sequence[Basket], limits: Limits) -> list[tuple[Basket, Release, GroupRecord | None]]:
        if not held:
            return []
        records = {row.group.group_id: row for row in self._groups.get_many(sorted({row.group_id for row in held}))}
        books = self._market_data.orderbooks(sorted({leg.ticker for row in held for leg in row.legs}))
        now = self._clock.now_ms()
        made = []
        for row in held:
            record = _same(records, row)
            terms = Terms(now, limits.cost_of_capital, _paid_ms(row, record))
            group = None if record is None else record.group
            one = best_release(row, group, books, self._netting, terms)
            if one is not None:
                made.append((row, one, record))
        return made

    def _publish(self, row: Basket, one: Release, limits: Limits, kept: str | None) -> None:
        """A proposal once, and every early sale."""
        number = 1 if row.release is None else row.release.number + 1
        starts = kept == ""
        self._notifier.publish(
            Alert(
                alert_id=f"{row.basket_id}-release-{number}" if starts else f"{row.basket_id}-release",
                kind=AlertKind.BASKET,
                mode=row.mode,
                title=f"Basket {row.basket_id} is sold early"
                if starts
                else f"Selling basket {row.basket_id} now would beat holding it",
                text=f"{row.basket_id} on {row.event_ticker}: {told(one, row, limits.cost_of_capital)}. "
                + ("Nothing is sold unless you sell it." if kept is None else _outcome(kept)),
                created_ms=self._clock.now_ms(),
            )
        )


def _same(records: Mapping[str, GroupRecord], row: Basket) -> GroupRecord | None:
    """The group that the basket was proved on; None when it is gone or another."""
    record = records.get(row.group_id)
    return record if record is not None and record.group.fingerprint == row.certificate.fingerprint else None


def _paid_ms(row: Basket, record: GroupRecord | None) -> int | None:
    """When the last leg should have been paid; None when a listing does not say."""
    if record is None:
        return None
    moments = [record.group.markets[record.group.index(leg.ticker)].paid_by_ms for leg in row.legs]
    known = [moment for moment in moments if moment is not None]
    return max(known) if len(known) == len(moments) else None


def proposals_of(status: Mapping[str, object] | None) -> list[str]:
    """The sentences of a ``RELEASE`` status."""
    rows = (status or {}).get("proposals")
    return [str(row["text"]) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _told(before: Mapping[str, object]) -> set[str]:
    ids = before.get("told")
    return {str(one) for one in ids} if isinstance(ids, list) else set()


def _outcome(kept: str) -> str:
    """What becomes of a proposal that is to be carried out."""
    return "It is being sold, priced again before anything is sent." if not kept else f"It is not sold: {kept}."


def _shown(row: Basket, one: Release, yearly: int, kept: str | None) -> dict[str, object]:
    outcome = "" if kept is None else f". {_outcome(kept).removesuffix('.')}"
    return {
        "basket_id": row.basket_id,
        "event_ticker": row.event_ticker,
        "counts": [count_to_wire(count) for count in one.counts],
        "proceeds": cash_to_wire(one.proceeds),
        "fees": cash_to_wire(one.fees),
        "payout": cash_to_wire(one.payout),
        "present": cash_to_wire(one.present),
        "advantage": cash_to_wire(one.advantage),
        "paid_ms": one.paid_ms,
        "text": f"{row.basket_id} on {row.event_ticker}: {told(one, row, yearly)}{outcome}",
    }
