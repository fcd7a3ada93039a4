"""A week of baskets with every kind of end, as rows and as the journal that they leave behind."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count as numbers

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, LegTerms, OrderState, Purpose
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    OrderRequest,
    Settlement,
    TimeInForce,
    cash_entry,
    decision_entry,
    fill_entry,
    result_entry,
    settlement_entry,
)
from kalshi_arb.execution.exposure import basket_worst_cash
from tests.cloud_samples import basket as sample_basket

YES, NO = Outcome.YES, Outcome.NO
MONDAY = 1_800_018_000_000
"""2027-01-15T13:00:00Z, 08:00 in New York."""
HOUR = 3_600_000
DAY = 24 * HOUR
TERMS = LegTerms(CENT_GRID, FeeSchedule(FeeType.QUADRATIC), 0)
PARTITION = ((ONE_DOLLAR, Price(0)), (Price(0), ONE_DOLLAR))

Trade = tuple[int, Purpose, int, int]
"""Leg, purpose, contracts (1e-2), price (1e-4 dollars)."""


class Week:
    """Rows and journal that grow by one basket at a time."""

    def __init__(self) -> None:
        self.rows: list[Basket] = []
        self.entries: list[LedgerEntry] = [
            cash_entry(EntryKind.OPENING, "opening-cash-0", 0, Cash(10**9), MONDAY - HOUR, "cash when it began")
        ]
        self._trades = numbers()

    def journal(self) -> list[LedgerEntry]:
        """By time."""
        return sorted(self.entries, key=lambda entry: entry.created_ms)

    def basket(
        self, name: str, ms: int, limits: tuple[int, int], trades: list[Trade], end: BasketState, count: int = 2_000
    ) -> Basket:
        """A pair of markets of which exactly one pays, traded at a moment and ended a minute later."""
        legs = tuple(
            Leg(f"{name}-{side}", YES, Count(count), Price(limit)) for side, limit in zip("AB", limits, strict=True)
        )
        row = sample_basket(name, f"pair-{name}")
        row = replace(
            row, event_ticker=f"KX{name.upper()}", legs=legs, terms=(replace(TERMS, paid_by_ms=ms + 3 * DAY),) * 2,
            payouts=PARTITION, orders=(),
            certificate=replace(row.certificate, precision=int(Precision.DIRECT), smallest_fill=Count(100)),
            expected_profit=self._expected(legs), exposure_bound=Cash(20_000_000), locked_profit=None,
            settled_profit=None, state=end, reason="complete" if end is BasketState.LOCK else "legs are short",
            created_ms=ms, updated_ms=ms + 60_000, mode="simulated",
        )  # fmt: skip
        row = replace(row, orders=tuple(self._orders(row, trades, ms)))
        row = replace(row, locked_profit=basket_worst_cash(row))
        proof = row.certificate.seal
        self.entries += [
            decision_entry("accepted", name, proof, "accepted", ms),
            decision_entry("end", name, proof, f"{end.value}: {row.reason}", row.updated_ms),
        ]
        self.rows.append(row)
        return row

    def refuse(self, name: str, ms: int, reason: str) -> None:
        """A basket of which nothing was sent."""
        row = replace(sample_basket(name, f"pair-{name}"), state=BasketState.REFUSED, reason=reason, updated_ms=ms)
        self.rows.append(row)
        note = f"{reason}: as it was at that moment"
        self.entries.append(decision_entry("refused", name, row.certificate.seal, note, ms))

    def determine(self, name: str, payout: Price, ms: int, number: int = 0, status: str = "determined") -> None:
        """The first market is said to pay this, the second the rest of a dollar."""
        for ticker, paid in ((f"{name}-A", payout), (f"{name}-B", Price(ONE_DOLLAR - payout))):
            self.entries.append(result_entry(ticker, number, status, paid, ms))

    def pay(self, name: str, payout: Price, ms: int) -> None:
        """Both markets pay, and the basket settles."""
        place = next(place for place, row in enumerate(self.rows) if row.basket_id == name)
        row = self.rows[place]
        profit = -int(row.spent())
        for leg, (ticker, paid) in enumerate(((f"{name}-A", payout), (f"{name}-B", Price(ONE_DOLLAR - payout)))):
            bought = [order for order in row.orders if order.leg == leg]
            held = row.leg_position(leg)
            cash = Cash(paid * held)
            profit += cash + ONE_DOLLAR * sum(order.filled for order in bought if order.purpose is Purpose.UNWIND)
            if held:
                self.entries.append(settlement_entry(Settlement(ticker, paid, cash, ms)))
        self.entries.append(decision_entry("settled", name, row.certificate.seal, "settled", ms + 1_000))
        self.rows[place] = replace(row, state=BasketState.SETTLED, settled_profit=Cash(profit), updated_ms=ms + 1_000)

    def _expected(self, legs: tuple[Leg, ...]) -> Cash:
        fees = sum(order_fee(TERMS.fees, [(leg.limit, leg.count)], Precision.DIRECT) for leg in legs)
        return Cash(sum((ONE_DOLLAR // 2 - leg.limit) * leg.count for leg in legs) - fees)

    def _orders(self, row: Basket, trades: list[Trade], ms: int) -> Iterator[BasketOrder]:
        for wave, (leg, purpose, count, price) in enumerate(trades):
            number = next(self._trades)
            outcome, ticker = NO if purpose is Purpose.UNWIND else YES, row.legs[leg].ticker
            fee = order_fee(TERMS.fees, [(Price(price), Count(count))], Precision.DIRECT)
            fill = Fill(f"t{number}", f"x{number}", ticker, outcome, Count(count), Price(price), fee, ms + wave * 1_000)
            self.entries.append(fill_entry(fill, row.basket_id))
            request = OrderRequest(
                f"{row.basket_id}-{leg}-{wave}", ticker, outcome, Count(count), Price(price),
                TimeInForce.IMMEDIATE_OR_CANCEL, 0,
            )  # fmt: skip
            yield BasketOrder(
                request, leg, wave, purpose, OrderState.DONE, ms, fill.order_id, Count(count), Cash(count * price), fee,
                True,
            )  # fmt: skip


ENTER, UNWIND = Purpose.ENTER, Purpose.UNWIND


def week() -> Week:
    """Five days, from 2027-01-15: locks that settle, are provisional or open, a flat one, one held, and refusals."""
    made = Week()
    for number in range(14):
        name, day = f"b{number:02d}", number % 5
        ms = MONDAY + day * DAY + number * 600_000
        low, high = 3_400 + 100 * (number % 7), 5_000 + 100 * (number % 6)
        both: list[Trade] = [(0, ENTER, 2_000, low - 100 * (number % 2)), (1, ENTER, 2_000, high)]
        if number in (5, 11):
            trades = [(0, ENTER, 2_000, low), (0, UNWIND, 2_000, 10_000 - low + 200)]
            made.basket(name, ms, (low, high), trades, BasketState.FLAT)
        elif number == 8:
            trades = [(0, ENTER, 2_000, low), (1, ENTER, 1_300, high), (0, UNWIND, 400, 10_000 - low + 300)]
            made.basket(name, ms, (low, high), trades, BasketState.HELD)
            made.pay(name, ONE_DOLLAR, ms + DAY)
        else:
            made.basket(name, ms, (low, high), both, BasketState.LOCK)
            if number < 8:
                made.pay(name, ONE_DOLLAR if number % 3 else Price(0), ms + DAY + HOUR)
    made.determine("b09", ONE_DOLLAR, MONDAY + 4 * DAY + 2 * HOUR)
    for number, reason in enumerate(("max_book_age_ms", "max_book_age_ms", "min_profit", "depth", "stopped")):
        made.refuse(f"r{number}", MONDAY + number * DAY, reason)
    made.entries.append(cash_entry(EntryKind.CASH, "cash-0-1", 0, Cash(25_000_000), MONDAY + 2 * DAY, "paid in"))
    return made
