"""Where our books and the exchange's account differ, each difference by its cause. Sans-I/O.

Single orders, fills and payments are compared first. Cash and positions are compared after what that would repair, so
that a missing fill is one difference and not four. Every difference says what has to be recorded so that our books say
what the exchange says; one without that needs a person.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, unique

from kalshi_arb.domain.collateral import EventCollateral, no_tickers, returned_by_shard
from kalshi_arb.domain.fees import FeeSchedule, Precision, fill_fees
from kalshi_arb.domain.market import CollateralReturn
from kalshi_arb.domain.money import Cash, Count, Price, count_to_wire, dollars, price_to_wire
from kalshi_arb.domain.portfolio import (
    AccountOrder,
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_entry,
    effective,
    fee_entry,
    fill_entry,
    home_shards,
    is_bought,
    net_positions,
    position_entries,
    settlement_entry,
    void_entry,
)

FEE_UNIT = Cash(100)
"""1e-4 dollars: a fee that differs by this much from the published rule is a finding."""


@unique
class DifferenceKind(Enum):
    """What kind of difference it is."""

    FOREIGN_ORDER = "foreign order"  # nobody here placed it
    MISSING_FILL = "missing fill"  # the exchange has it, we do not
    UNKNOWN_FILL = "unknown fill"  # we have it, the exchange does not
    CHANGED_FILL = "changed fill"  # same trade, other contracts or price
    FEE = "fee"  # charged otherwise than booked
    FEE_RULE = "fee rule"  # charged otherwise than the published rule says
    SETTLEMENT = "settlement"
    CASH = "cash"
    POSITION = "position"


@dataclass(frozen=True, slots=True)
class Difference:
    """``subject`` is the order, fill, market or shard; ``repair`` what to record, empty when a person must look;
    ``fill`` the one that is missing or unknown."""

    kind: DifferenceKind
    subject: str
    text: str
    repair: tuple[LedgerEntry, ...] = ()
    fill: LedgerEntry | None = None

    def __str__(self) -> str:
        return f"{self.kind.value} {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class Told:
    """What the exchange says at one quiet moment: orders, fills and settlements from ``since_ms`` on, cash and
    positions as they are (UTC milliseconds, 1e-6 dollars by shard, signed 1e-2 contracts). ``collateral`` says by
    market what the events of everything held give back; None where nothing ever comes back."""

    since_ms: int
    orders: Sequence[AccountOrder]
    fills: Sequence[Fill]
    settlements: Sequence[Settlement]
    cash: Mapping[int, Cash]
    positions: Mapping[str, Count]
    collateral: Mapping[str, EventCollateral] | None = None


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An order of ours: its basket and the fees of its market when it was planned."""

    basket_id: str
    fees: FeeSchedule
    precision: Precision


def differences(
    entries: Iterable[LedgerEntry], told: Told, ours: Mapping[str, KnownOrder], now_ms: int
) -> list[Difference]:
    """Every difference, those with single causes first.

    :param entries: the whole journal
    :param ours: our orders among those told, by client order id
    :param now_ms: the time of what has to be recorded (UTC milliseconds)
    """
    rows = list(entries)
    fills = list(_fills(rows, told, ours, now_ms))
    found = [
        *_foreign_orders(rows, told, ours, now_ms),
        *fills,
        # A payment of what is only known from a missing fill is missing too.
        *_settlements(rows + [entry for difference in fills for entry in difference.repair], told),
        *_fee_rules(rows, told, ours, now_ms),
    ]
    repaired = rows + [entry for difference in found for entry in difference.repair]
    positions = list(_positions(repaired, told, now_ms))
    # Collateral comes back for what is really held.
    held = repaired + [entry for difference in positions for entry in difference.repair]
    return [*found, *_cash(held, told, now_ms), *positions]


def noted(entry_id: str, ticker: str, now_ms: int, note: str, basket_id: str = "") -> LedgerEntry:
    """What was decided or done about the books, for good: to live with something, so that it is not found again."""
    return LedgerEntry(
        entry_id, EntryKind.DECISION, basket_id, ticker, None, Count(0), Price(0), Cash(0), Cash(0), now_ms, note=note
    )  # fmt: skip


def _foreign_orders(
    rows: Sequence[LedgerEntry], told: Told, ours: Mapping[str, KnownOrder], now_ms: int
) -> Iterable[Difference]:
    known = {entry.entry_id for entry in rows}
    for order in told.orders:
        entry_id = f"foreign-{order.order_id}"
        if order.client_order_id in ours or entry_id in known:
            continue
        state = "rests" if order.is_resting else "is done"
        text = (
            f"on {order.ticker}, client order id {order.client_order_id or 'none'}, filled "
            f"{count_to_wire(order.filled)} and {state}; nobody here placed it"
        )
        yield Difference(
            DifferenceKind.FOREIGN_ORDER, order.order_id, text, (noted(entry_id, order.ticker, now_ms, text),)
        )


def _fills(
    rows: Sequence[LedgerEntry], told: Told, ours: Mapping[str, KnownOrder], now_ms: int
) -> Iterable[Difference]:
    counting = effective(rows)
    booked = {entry.entry_id: entry for entry in counting if entry.kind is EntryKind.FILL}
    # A fill that was voided and recorded again carries a number behind its id.
    by_trade = {entry_id.partition("#")[0]: entry for entry_id, entry in booked.items()}
    corrected: dict[str, int] = defaultdict(int)
    for entry in counting:
        if entry.kind is EntryKind.FEE:
            corrected[entry.reference] += entry.fee
    taken = {entry.entry_id for entry in rows}
    client_ids = {order.order_id: order.client_order_id for order in told.orders}
    seen: set[str] = set()
    for fill in told.fills:
        owner = ours.get(client_ids.get(fill.order_id, ""))
        fresh = fill_entry(fill, owner.basket_id if owner else "", "recorded as the exchange tells it")
        if fresh.entry_id in seen:
            continue
        seen.add(fresh.entry_id)
        known = by_trade.get(fresh.entry_id)
        what = f"{count_to_wire(fill.count)} {fill.ticker} {fill.outcome.value} at {price_to_wire(fill.price)}"
        whose = f"basket {owner.basket_id}" if owner else "no basket"
        if known is None:
            text = f"{what}, fee {dollars(fill.fee)}, of {whose} is at the exchange and not in the journal"
            yield Difference(DifferenceKind.MISSING_FILL, fresh.entry_id, text, (_unused(fresh, taken),), fresh)
        elif (known.ticker, known.outcome, known.count, known.price) != (
            fill.ticker, fill.outcome, fill.count, fill.price
        ):  # fmt: skip
            text = (
                f"{what} at the exchange, {count_to_wire(known.count)} at {price_to_wire(known.price)} in the journal"
            )
            again = _unused(replace(fresh, basket_id=known.basket_id), taken)
            yield Difference(
                DifferenceKind.CHANGED_FILL, fresh.entry_id, text, (void_entry(known, now_ms, text), again)
            )
        else:
            fee = Cash(known.fee + corrected[known.entry_id])
            if fee != fill.fee:
                text = f"{dollars(fill.fee)} charged by the exchange, {dollars(fee)} in the journal, for {what}"
                yield Difference(
                    DifferenceKind.FEE, fresh.entry_id, text, (fee_entry(known, fee, fill.fee, now_ms, text),)
                )
    for trade, entry in by_trade.items():
        if trade not in seen and entry.created_ms >= told.since_ms:
            text = (
                f"{count_to_wire(entry.count)} {entry.ticker} at {price_to_wire(entry.price)} of "
                f"{f'basket {entry.basket_id}' if entry.basket_id else 'no basket'} is in the journal and not at the "
                "exchange"
            )
            yield Difference(DifferenceKind.UNKNOWN_FILL, trade, text, (void_entry(entry, now_ms, text),), entry)


def _unused(entry: LedgerEntry, taken: set[str]) -> LedgerEntry:
    """The entry under an id that the journal does not hold yet."""
    number, entry_id = 1, entry.entry_id
    while entry_id in taken:
        number += 1
        entry_id = f"{entry.entry_id}#{number}"
    return replace(entry, entry_id=entry_id)


def _settlements(rows: Sequence[LedgerEntry], told: Told) -> Iterable[Difference]:
    """A payment of a market that nothing is booked of; what a booked one paid is in the cash."""
    counting = effective(rows)
    booked = {entry.ticker: entry for entry in counting if entry.kind is EntryKind.SETTLEMENT}
    held = {entry.ticker for entry in counting if is_bought(entry)}
    taken = {entry.entry_id for entry in rows}
    for payment in told.settlements:
        if payment.ticker in booked or payment.ticker not in held or payment.settled_ms < told.since_ms:
            continue
        text = f"{dollars(payment.revenue)} paid at {price_to_wire(payment.yes_payout)} a YES is not in the journal"
        entry = _unused(settlement_entry(payment, note="recorded as the exchange tells it"), taken)
        yield Difference(DifferenceKind.SETTLEMENT, payment.ticker, text, (entry,))


def _fee_rules(
    rows: Sequence[LedgerEntry], told: Told, ours: Mapping[str, KnownOrder], now_ms: int
) -> Iterable[Difference]:
    """Orders that were charged otherwise than the fee rule says of their fills."""
    known = {entry.entry_id for entry in rows}
    fills: dict[str, dict[str, Fill]] = defaultdict(dict)
    for fill in told.fills:
        fills[fill.order_id][fill.trade_id] = fill
    for order in told.orders:
        own = list(fills[order.order_id].values())
        rule = ours.get(order.client_order_id)
        entry_id = f"fee-rule-{order.order_id}"
        # Fills of one order rest on each other's rounding: it is judged only when all of them are there.
        if rule is None or sum(fill.count for fill in own) != order.filled or entry_id in known:
            continue
        charged = sum(fill.fee for fill in own)
        due = sum(one.fee for one in fill_fees(rule.fees, ((fill.price, fill.count) for fill in own), rule.precision))
        if abs(charged - due) >= FEE_UNIT:
            text = (
                f"{dollars(Cash(charged))} charged for {count_to_wire(order.filled)} {order.ticker} of basket "
                f"{rule.basket_id}, {dollars(Cash(due))} by the rule that it was planned with"
            )
            kept = noted(entry_id, order.ticker, now_ms, text, rule.basket_id)
            yield Difference(DifferenceKind.FEE_RULE, order.order_id, text, (kept,))


def _cash(rows: Sequence[LedgerEntry], told: Told, now_ms: int) -> Iterable[Difference]:
    own, back = cash_by_shard(rows), returned_by_shard(rows, told.collateral or {})
    for shard in sorted(own.keys() | back.keys() | told.cash.keys()):
        returned = back.get(shard, Cash(0))
        ours, theirs = Cash(own.get(shard, 0) + returned), told.cash.get(shard, Cash(0))
        if ours != theirs:
            moved = Cash(theirs - ours)
            among = f" with {dollars(returned)} of returned collateral" if returned else ""
            text = (
                f"{dollars(theirs)} at the exchange, {dollars(ours)} in the journal{among}: {dollars(moved)} have no "
                f"cause{_perhaps(rows, told, moved)}"
            )
            entry = cash_entry(EntryKind.CASH, f"cash-{shard}-{now_ms}", shard, moved, now_ms, text)
            yield Difference(DifferenceKind.CASH, f"shard {shard}", text, (entry,))


def _perhaps(rows: Sequence[LedgerEntry], told: Told, moved: Cash) -> str:
    """What a difference of cash may come from where NO is held: collateral that came back otherwise than is known."""
    held = no_tickers(net_positions(rows))
    if told.collateral is None:
        netted = moved > 0 and len(held) > 1
        return "; NO of several markets is held, so netting may be switched on at the exchange alone" if netted else ""
    kinds: dict[CollateralReturn, set[str]] = defaultdict(set)
    for ticker in held:
        if ticker in told.collateral:
            kinds[told.collateral[ticker].collateral_return].add(told.collateral[ticker].event_ticker)
    exclusive, ordered = (", ".join(sorted(kinds[one])) for one in (CollateralReturn.MECNET, CollateralReturn.DIRECNET))
    return (
        (f"; netting may have been switched while {exclusive} was held" if exclusive else "")
        + (f"; what comes back for {ordered} follows no published rule" if ordered else "")
    )  # fmt: skip


def _positions(rows: Sequence[LedgerEntry], told: Told, now_ms: int) -> Iterable[Difference]:
    own, home = net_positions(rows), home_shards(rows)
    settled = {entry.ticker for entry in effective(rows) if entry.kind is EntryKind.SETTLEMENT}
    for ticker in sorted(own.keys() | told.positions.keys()):
        ours, theirs = own.get(ticker, Count(0)), told.positions.get(ticker, Count(0))
        if ours != theirs:
            text = (
                f"{count_to_wire(theirs)} at the exchange, {count_to_wire(ours)} in the journal, and no fill says why"
            )
            # What is held of a market that has paid contradicts the payment: no entry of a position makes that good.
            entries = (
                () if ticker in settled else position_entries(ticker, ours, theirs, home.get(ticker, 0), now_ms, text)
            )
            yield Difference(DifferenceKind.POSITION, ticker, text, entries)
