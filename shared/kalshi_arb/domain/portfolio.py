"""What the exchange says about our orders, fills, positions and payments, in domain units."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional


@unique
class TimeInForce(Enum):
    """The two kinds of order we send. Nothing of ours ever rests."""

    FILL_OR_KILL = "fill_or_kill"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """Buy ``count`` of ``outcome`` at ``limit`` (that outcome's price) or better."""

    client_order_id: str
    ticker: str
    outcome: Outcome
    count: Count
    limit: Price
    time_in_force: TimeInForce
    shard: int


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The exchange's answer on one order: final for FOK and IOC.

    ``rejection`` is the exchange's code when the order was definitely refused (a killed FOK is one), else None.
    """

    client_order_id: str
    order_id: str | None
    filled: Count
    rejection: str | None


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of one of our orders. ``price`` is the price of ``outcome``, ``fee`` what was really charged."""

    trade_id: str
    order_id: str
    ticker: str
    outcome: Outcome
    count: Count
    price: Price
    fee: Cash
    created_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The payment of one market's net position. ``yes_payout`` is what one YES paid (1e-4 dollars)."""

    ticker: str
    yes_payout: Price
    revenue: Cash
    settled_ms: int


@unique
class EntryKind(Enum):
    """Cash movements the ledger knows."""

    FILL = "fill"
    SETTLEMENT = "settlement"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One cash movement, appended once under an id that the movement itself gives (trade id, market ticker).

    For a fill: ``count`` of ``outcome`` bought at ``price`` plus ``fee``. For a settlement: ``price`` is the payout of
    one YES and ``cash`` what was paid. ``cash`` is the signed change of the balance without the dollar that the
    exchange frees for every YES and NO held together; :func:`cash_change` adds those.
    """

    entry_id: str
    kind: EntryKind
    basket_id: str
    ticker: str
    outcome: Outcome | None
    count: Count
    price: Price
    fee: Cash
    cash: Cash
    created_ms: int


def fill_entry(fill: Fill, basket_id: str) -> LedgerEntry:
    """The ledger entry of one fill."""
    cash = Cash(-notional(fill.price, fill.count) - fill.fee)
    return LedgerEntry(
        f"fill-{fill.trade_id}-{fill.order_id}", EntryKind.FILL, basket_id, fill.ticker, fill.outcome,
        fill.count, fill.price, fill.fee, cash, fill.created_ms,
    )  # fmt: skip


def settlement_entry(settlement: Settlement) -> LedgerEntry:
    """The ledger entry of one market's settlement; it belongs to the account, not to one basket."""
    return LedgerEntry(
        f"settlement-{settlement.ticker}", EntryKind.SETTLEMENT, "", settlement.ticker, None,
        Count(0), settlement.yes_payout, Cash(0), settlement.revenue, settlement.settled_ms,
    )  # fmt: skip


def held(entries: Iterable[LedgerEntry]) -> dict[str, tuple[Count, Count]]:
    """YES and NO contracts ever bought per ticker, before netting."""
    bought: dict[str, tuple[Count, Count]] = {}
    for entry in entries:
        if entry.kind is not EntryKind.FILL:
            continue
        yes, no = bought.get(entry.ticker, (Count(0), Count(0)))
        if entry.outcome is Outcome.YES:
            yes = Count(yes + entry.count)
        else:
            no = Count(no + entry.count)
        bought[entry.ticker] = (yes, no)
    return bought


def cash_change(entries: Iterable[LedgerEntry]) -> Cash:
    """What all entries together changed the balance by: purchases, fees, settlements, and a dollar for each pair of
    YES and NO of one market, which the exchange nets and frees unconditionally."""
    rows = list(entries)
    seen: set[str] = set()
    for entry in rows:
        if entry.entry_id in seen:
            raise DomainError(f"ledger entry {entry.entry_id} appears twice")
        seen.add(entry.entry_id)
    pairs = sum(min(yes, no) for yes, no in held(rows).values())
    return Cash(sum(entry.cash for entry in rows) + notional(ONE_DOLLAR, Count(pairs)))


def net_positions(entries: Iterable[LedgerEntry]) -> dict[str, Count]:
    """Signed net position per unsettled ticker, + YES and - NO, zeros left out."""
    rows = list(entries)
    settled = {entry.ticker for entry in rows if entry.kind is EntryKind.SETTLEMENT}
    return {ticker: Count(yes - no) for ticker, (yes, no) in held(rows).items() if ticker not in settled and yes != no}
