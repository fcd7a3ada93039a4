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
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """The payment of one market's net position. ``yes_payout`` is what one YES paid (1e-4 dollars)."""

    ticker: str
    yes_payout: Price
    revenue: Cash
    settled_ms: int
    shard: int = 0


@dataclass(frozen=True, slots=True)
class AccountOrder:
    """An order of the account, whoever placed it. ``is_resting`` says that it can still trade."""

    order_id: str
    client_order_id: str
    ticker: str
    filled: Count
    is_resting: bool
    created_ms: int


@unique
class EntryKind(Enum):
    """What the journal knows."""

    OPENING = "opening"  # what the account held when the journal began: cash of a shard, or a position
    FILL = "fill"
    SETTLEMENT = "settlement"
    FEE = "fee"  # the exchange charged another fee than was booked
    CASH = "cash"  # cash that came or went without a trade
    POSITION = "position"  # contracts that came or went without a trade
    VOID = "void"  # an entry that the exchange knows nothing of does not count
    DECISION = "decision"
    RESULT = "result"  # what a market is said to pay, before it pays
    ANCHOR = "anchor"  # a day's entries under one hash


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the journal, appended once under an id that the thing itself gives (trade id, market ticker).

    For a fill: ``count`` of ``outcome`` bought at ``price`` plus ``fee``. For a settlement: ``price`` is the payout of
    one YES, ``cash`` what was paid, and ``fee`` what the exchange kept of a payout finer than the account's balance
    grid. ``cash`` is the signed change of the balance of ``shard`` without the dollar that the exchange frees for every
    YES and NO held together; :func:`cash_change` adds those. ``reference`` names what the entry is about: the order
    of a fill, the voided or corrected entry, a decision's certificate, an anchor's hash. ``note`` is for people.
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
    shard: int = 0
    reference: str = ""
    note: str = ""


def fill_entry(fill: Fill, basket_id: str, note: str = "") -> LedgerEntry:
    """The ledger entry of one fill; without a basket it is one that we did not order."""
    cash = Cash(-notional(fill.price, fill.count) - fill.fee)
    return LedgerEntry(
        f"fill-{fill.trade_id}-{fill.order_id}", EntryKind.FILL, basket_id, fill.ticker, fill.outcome,
        fill.count, fill.price, fill.fee, cash, fill.created_ms, fill.shard, fill.order_id, note,
    )  # fmt: skip


def settlement_entry(settlement: Settlement, *, rounding: Cash = Cash(0), note: str = "") -> LedgerEntry:
    """The ledger entry of one market's settlement; it belongs to the account, not to one basket.

    :param rounding: what the exchange kept of the payout, 1e-6 dollars
    """
    return LedgerEntry(
        f"settlement-{settlement.ticker}", EntryKind.SETTLEMENT, "", settlement.ticker, None,
        Count(0), settlement.yes_payout, rounding, settlement.revenue, settlement.settled_ms, settlement.shard,
        note=note,
    )  # fmt: skip


def cash_entry(kind: EntryKind, entry_id: str, shard: int, cash: Cash, now_ms: int, note: str) -> LedgerEntry:
    """Cash of one shard that no trade explains: what it held at the beginning, or what came or went."""
    return LedgerEntry(
        entry_id, kind, "", "", None, Count(0), Price(0), Cash(0), cash, now_ms, shard, note=note
    )  # fmt: skip


def opening_position(ticker: str, position: Count, now_ms: int) -> LedgerEntry:
    """A position that was there before the journal: its cost is unknown and counts as nothing."""
    outcome = Outcome.YES if position > 0 else Outcome.NO
    return LedgerEntry(
        f"opening-{ticker}", EntryKind.OPENING, "", ticker, outcome, Count(abs(position)), Price(0), Cash(0),
        Cash(0), now_ms, note="held before the journal began",
    )  # fmt: skip


def position_entries(
    ticker: str, ours: Count, theirs: Count, shard: int, now_ms: int, note: str
) -> tuple[LedgerEntry, ...]:
    """Brings a net position (signed, + YES) from ours to theirs without moving cash; it belongs to no basket.

    Contracts that came cost nothing. Contracts that went are closed by their opposites at a dollar, which is the dollar
    that the pair frees: what they had cost is lost.

    :param shard: where the market's pairs free their dollars
    """
    moved = theirs - ours
    outcome = Outcome.YES if moved > 0 else Outcome.NO
    closing = min(abs(moved), abs(ours)) if ours * moved < 0 else 0
    return tuple(
        LedgerEntry(
            f"position-{ticker}-{now_ms}-{number}", EntryKind.POSITION, "", ticker, outcome, Count(count), price,
            Cash(0), Cash(-notional(price, Count(count))), now_ms, shard, note=note,
        )
        for number, (count, price) in enumerate(((closing, ONE_DOLLAR), (abs(moved) - closing, Price(0))))
        if count
    )  # fmt: skip


def void_entry(entry: LedgerEntry, now_ms: int, note: str) -> LedgerEntry:
    """Takes an entry out of every sum; it stays readable."""
    return LedgerEntry(
        f"void-{entry.entry_id}", EntryKind.VOID, entry.basket_id, entry.ticker, None, Count(0), Price(0), Cash(0),
        Cash(0), now_ms, entry.shard, entry.entry_id, note,
    )  # fmt: skip


def result_entry(ticker: str, number: int, status: str, payout: Price, now_ms: int) -> LedgerEntry:
    """The ``number``-th thing that a market is said to pay: provisional until it has paid."""
    return LedgerEntry(
        f"result-{ticker}-{number}", EntryKind.RESULT, "", ticker, None, Count(0), payout, Cash(0), Cash(0), now_ms,
        note=status,
    )  # fmt: skip


def fee_entry(entry: LedgerEntry, booked: Cash, charged: Cash, now_ms: int, note: str) -> LedgerEntry:
    """Brings a fill's fee from what is booked (all corrections included) to what the exchange says it charged."""
    return LedgerEntry(
        f"fee-{entry.entry_id}-{booked}-{charged}", EntryKind.FEE, entry.basket_id, entry.ticker, entry.outcome,
        Count(0), entry.price, Cash(charged - booked), Cash(booked - charged), now_ms, entry.shard, entry.entry_id,
        note,
    )  # fmt: skip


def decision_entry(what: str, basket_id: str, certificate: str, note: str, now_ms: int) -> LedgerEntry:
    """Something that was decided about a basket, once.

    :param what: accepted, refused, end or settled
    :param certificate: seal of the certificate that the basket rests on
    """
    return LedgerEntry(
        f"{what}-{basket_id}", EntryKind.DECISION, basket_id, "", None, Count(0), Price(0), Cash(0), Cash(0), now_ms,
        reference=certificate, note=note,
    )  # fmt: skip


def refusal_code(entry: LedgerEntry) -> str | None:
    """The code of the first reason why a basket was refused, where that is what an entry tells."""
    if entry.kind is not EntryKind.DECISION or not entry.entry_id.startswith("refused-"):
        return None
    return entry.note.partition(":")[0]


def effective(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The entries that count, in their order: those that another one voids are gone with their corrected fees, and so
    are those that void.

    :raises DomainError: an entry appears twice.
    """
    rows = list(entries)
    seen: set[str] = set()
    for entry in rows:
        if entry.entry_id in seen:
            raise DomainError(f"ledger entry {entry.entry_id} appears twice")
        seen.add(entry.entry_id)
    voided = {entry.reference for entry in rows if entry.kind is EntryKind.VOID}
    return [
        entry
        for entry in rows
        if entry.kind is not EntryKind.VOID
        and entry.entry_id not in voided
        and not (entry.kind is EntryKind.FEE and entry.reference in voided)
    ]


def is_bought(entry: LedgerEntry) -> bool:
    """Whether an entry brought contracts: a fill, or a position that was there before or came without one."""
    return entry.outcome is not None and entry.kind in (EntryKind.FILL, EntryKind.OPENING, EntryKind.POSITION)


def held(entries: Iterable[LedgerEntry]) -> dict[str, tuple[Count, Count]]:
    """YES and NO contracts ever bought per ticker, before netting."""
    bought: dict[str, tuple[Count, Count]] = {}
    for entry in effective(entries):
        if not is_bought(entry):
            continue
        yes, no = bought.get(entry.ticker, (Count(0), Count(0)))
        if entry.outcome is Outcome.YES:
            yes = Count(yes + entry.count)
        else:
            no = Count(no + entry.count)
        bought[entry.ticker] = (yes, no)
    return bought


def home_shards(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Where the pairs of each market that was ever traded free their dollars; the others' on shard 0."""
    return {entry.ticker: entry.shard for entry in entries if entry.kind is EntryKind.FILL}


def cash_by_shard(entries: Iterable[LedgerEntry], *, opening: bool = True) -> dict[int, Cash]:
    """What the entries left on every shard: opening cash (unless left out), purchases, fees, settlements, movements,
    and a dollar for each pair of YES and NO of one market, which the exchange nets and frees unconditionally.

    :raises DomainError: an entry appears twice.
    """
    rows = effective(entries)
    cash: dict[int, Cash] = {}
    home = home_shards(rows)
    for entry in rows:
        if entry.kind is not EntryKind.OPENING or opening:
            cash[entry.shard] = Cash(cash.get(entry.shard, 0) + entry.cash)
    for ticker, (yes, no) in held(rows).items():
        shard = home.get(ticker, 0)
        cash[shard] = Cash(cash.get(shard, 0) + notional(ONE_DOLLAR, Count(min(yes, no))))
    return cash


def cash_change(entries: Iterable[LedgerEntry]) -> Cash:
    """What all entries together changed the balance by since the opening.

    :raises DomainError: an entry appears twice.
    """
    return Cash(sum(cash_by_shard(entries, opening=False).values()))


def net_positions(entries: Iterable[LedgerEntry]) -> dict[str, Count]:
    """Signed net position per unsettled ticker, + YES and - NO, zeros left out."""
    rows = effective(entries)
    settled = {entry.ticker for entry in rows if entry.kind is EntryKind.SETTLEMENT}
    return {ticker: Count(yes - no) for ticker, (yes, no) in held(rows).items() if ticker not in settled and yes != no}
