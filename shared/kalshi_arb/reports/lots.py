"""Closed lots for a tax office: what was bought when, how it was closed when, and what it gained. Pure.

The account's contracts, not the baskets': the exchange knows one position a market. First in, first out. A lot closes
when the other outcome is bought, which the exchange nets to a dollar a pair (so the sale's proceeds are a dollar less
that price), or when its market pays. A purchase's fee follows its contracts, what is left of a division stays with
those still open. A fee that was corrected afterwards and a payment to which no lot is known are rows without contracts.

While part of a market is open these gains differ from results at average cost; over markets that are closed both are
the same. Cash that was moved without a trade is no gain and has no row. Amounts are 1e-6 dollars.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price, complement, notional
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, effective, is_bought


@unique
class How(StrEnum):
    """How a lot was closed, or what else a row is about."""

    SALE = "sale"
    PAYMENT = "payment"
    FEE_CORRECTION = "fee_correction"


@dataclass(frozen=True, slots=True)
class TaxRow:
    """One closed lot. ``acquired_ms`` is None where the journal does not know: the lot was there before it began, and
    its cost counts as nothing. ``opened_by`` and ``closed_by`` are ids of baskets, empty for nobody."""

    how: How
    acquired_ms: int | None
    closed_ms: int
    ticker: str
    side: Outcome | None
    contracts: Count
    cost: Cash
    proceeds: Cash
    fees: Cash
    opened_by: str
    closed_by: str
    entry_id: str

    @property
    def gain(self) -> Cash:
        """Proceeds less cost and fees."""
        return Cash(self.proceeds - self.cost - self.fees)


@dataclass(slots=True)
class _Lot:
    """Open contracts of one purchase."""

    entry: LedgerEntry
    side: Outcome
    count: int
    fee: int

    @property
    def acquired_ms(self) -> int | None:
        return self.entry.created_ms if self.entry.kind is EntryKind.FILL else None

    def split(self, count: int) -> Cash:
        """Take contracts out; returns the fee that goes with them."""
        fee = self.fee if count == self.count else self.fee * count // self.count
        self.count -= count
        self.fee -= fee
        return Cash(fee)


def tax_rows(entries: Iterable[LedgerEntry]) -> list[TaxRow]:
    """Every row up to the last of these entries, by the time of closing.

    :param entries: the journal by time; payments come after everything that was bought
    """
    return _run(effective(entries))[0]


def open_lots_cash(entries: Iterable[LedgerEntry]) -> Cash:
    """What open lots cost, with their fees: what the rows' gains still lack of the change of cash."""
    return Cash(
        sum(
            notional(lot.entry.price, Count(lot.count)) + lot.fee
            for lots in _run(effective(entries))[1].values()
            for lot in lots
        )
    )


def _run(rows: Sequence[LedgerEntry]) -> tuple[list[TaxRow], dict[str, deque[_Lot]]]:
    lots: dict[str, deque[_Lot]] = defaultdict(deque)
    made: list[TaxRow] = []
    for entry in rows:
        if is_bought(entry) and entry.outcome is not None:
            made += _buy(entry, entry.outcome, lots[entry.ticker])
        elif entry.kind is EntryKind.FEE:
            made.append(_without_contracts(How.FEE_CORRECTION, entry, Cash(0), entry.fee))
    for entry in rows:
        if entry.kind is EntryKind.SETTLEMENT:
            made += _pay(entry, lots[entry.ticker])
    made.sort(key=lambda row: row.closed_ms)
    return made, lots


def _buy(entry: LedgerEntry, side: Outcome, lots: deque[_Lot]) -> Iterable[TaxRow]:
    bought = _Lot(entry, side, entry.count, entry.fee)
    while bought.count and lots and lots[0].side is not side:
        old = lots[0]
        size = min(old.count, bought.count)
        fees = Cash(old.split(size) + bought.split(size))
        if not old.count:
            lots.popleft()
        yield TaxRow(
            How.SALE, old.acquired_ms, entry.created_ms, entry.ticker, old.side, Count(size),
            notional(old.entry.price, Count(size)), notional(complement(entry.price), Count(size)), fees,
            old.entry.basket_id, entry.basket_id, entry.entry_id,
        )  # fmt: skip
    if bought.count:
        lots.append(bought)


def _pay(entry: LedgerEntry, lots: deque[_Lot]) -> Iterable[TaxRow]:
    """The payment over the open lots; what it is more or less than their worth is the last one's, and so is what the
    exchange kept of it."""
    left = Cash(entry.cash + entry.fee)
    if not lots:
        if left or entry.fee:
            yield _without_contracts(How.PAYMENT, entry, left, entry.fee)
        return
    while lots:
        lot = lots.popleft()
        count = Count(lot.count)
        worth = notional(_payout(entry.price, lot.side), count) if lots else left
        left = Cash(left - worth)
        kept = Cash(0) if lots else entry.fee
        yield TaxRow(
            How.PAYMENT, lot.acquired_ms, entry.created_ms, entry.ticker, lot.side, count,
            notional(lot.entry.price, count), worth, Cash(lot.fee + kept), lot.entry.basket_id, "", entry.entry_id,
        )  # fmt: skip


def _payout(yes_payout: Price, side: Outcome) -> Price:
    return yes_payout if side is Outcome.YES else complement(yes_payout)


def _without_contracts(how: How, entry: LedgerEntry, proceeds: Cash, fees: Cash) -> TaxRow:
    return TaxRow(
        how, None, entry.created_ms, entry.ticker, entry.outcome, Count(0), Cash(0), proceeds, fees, entry.basket_id,
        "", entry.entry_id,
    )  # fmt: skip
