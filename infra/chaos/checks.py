"""What must hold after every run, whatever happened in it."""

from collections import defaultdict
from collections.abc import Iterator

from infra.chaos.wiring import Stage
from infra.exchange.living import MEMBER
from infra.exchange.testkit import collateral_of
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState, OrderState
from kalshi_arb.domain.collateral import returned_by_shard
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_by_shard, cash_change, net_positions, refusal_code
from kalshi_arb.execution.reconcile import is_unbooked

_OPEN = (OrderState.PLANNED, OrderState.SENT, OrderState.UNKNOWN)
_HOLDING = (BasketState.LOCK, BasketState.HELD)
_ENDS = (*_HOLDING, BasketState.FLAT, BasketState.REFUSED)


def problems_after(stage: Stage) -> list[str]:
    """What is wrong once everything came to rest."""
    return list(_after(stage))


def problems_after_settlement(stage: Stage, *, cash_was_moved: bool) -> list[str]:
    """What is wrong once every market was paid.

    :param cash_was_moved: somebody may have moved cash from one shard to another; the books must show just that
    """
    return list(_settled(stage, cash_was_moved=cash_was_moved))


def _after(stage: Stage) -> Iterator[str]:
    yield from stage.baskets.overlaps
    yield from _account(stage)
    yield from _orders(stage)
    entries = _by_basket(stage.ledger.all())
    for row in stage.rows():
        for problem in _row(stage, row, entries.get(row.basket_id, [])):
            yield f"basket {row.basket_id}: {problem}"
    live = {row.basket_id for row in stage.rows() if row.state in LIVE_STATES}
    for group_id, basket_id in stage.baskets.owners.items():
        if basket_id not in live:
            yield f"the lease of {group_id} is left with {basket_id}"
    for basket_id in stage.reservations.held:
        if basket_id not in stage.baskets.created:
            yield f"{basket_id} has reservations and no row"


def _account(stage: Stage) -> Iterator[str]:
    """Cash and positions, to 1e-6 dollars."""
    account, entries = stage.world.core.accounts[MEMBER], stage.ledger.all()
    returned = sum(returned_by_shard(entries, collateral_of(stage.world.core)).values())
    cash, ours = sum(account.cash.values()), stage.world.opening + cash_change(entries) + returned
    if cash != ours:
        yield f"the exchange has {cash} x 1e-6 dollars, the ledger makes {ours}"
    if any(account.reserved.values()):
        yield "something rests at the exchange"
    held = {ticker: own.count for ticker, own in account.positions.items() if own.count}
    if held != {ticker: count for ticker, count in net_positions(entries).items() if count}:
        yield f"the exchange holds {held}, the ledger {dict(net_positions(entries))}"


def _orders(stage: Stage) -> Iterator[str]:
    """Each order once, and each as its row knows it."""
    account = stage.world.core.accounts[MEMBER]
    again = account.duplicate_attempts - stage.wire.repeated
    if again:
        yield f"{again} orders were sent again"
    twice = [name for name, count in account.orders_by_client_id.items() if count > 1]
    if twice:
        yield f"there twice: {', '.join(twice)}"
    there = {own.client_order_id: own for own in (history.values[-1] for history in account.orders.values())}
    known = {order.request.client_order_id: order for row in stage.rows() for order in row.orders}
    for name, view in there.items():
        order = known.get(name)
        if order is None:
            yield f"order {name} is in no row"
        elif order.filled != view.filled:
            yield f"order {name} filled {view.filled}, its row says {order.filled}"
        elif view.filled and (order.cost, order.fee) != (view.taker_cost, view.taker_fees):
            yield f"order {name} cost {view.taker_cost} + {view.taker_fees}, its row says {order.cost} + {order.fee}"
    for name, order in known.items():
        if order.filled and name not in there:
            yield f"order {name} is in a row as filled and not at the exchange"


def _row(stage: Stage, row: Basket, entries: list[LedgerEntry]) -> Iterator[str]:
    if row.state not in _ENDS:
        yield f"ended as {row.state.value}"
        return
    for order in row.orders:
        withdrawn = row.state is BasketState.REFUSED and order.state is OrderState.PLANNED
        if (order.state in _OPEN and not withdrawn) or is_unbooked(order):
            yield f"order {order.request.client_order_id} is {order.state.value}, booked {order.booked}"
    if sum(entry.cash for entry in entries) != -row.spent():
        yield f"spent {row.spent()}, the ledger says {-sum(entry.cash for entry in entries)}"
    whole = all(row.leg_position(leg) == own.count for leg, own in enumerate(row.legs))
    nothing = not any(row.leg_position(leg) for leg in range(len(row.legs)))
    if row.locked_profit is not None and row.locked_profit < -row.exposure_bound:
        yield f"its worst state loses {-row.locked_profit}, bound {row.exposure_bound}"
    match row.state:
        case BasketState.LOCK if not whole:
            yield "a lock that is not complete"
        case BasketState.FLAT if not nothing:
            yield "flat, and something is held"
        case BasketState.FLAT if row.settled_profit != _round_trip(entries):
            yield f"flat at {row.settled_profit}, the ledger says {_round_trip(entries)}"
        case BasketState.REFUSED if row.orders and any(order.sent_ms is not None for order in row.orders):
            yield "refused, and orders were sent"
        case BasketState.HELD if row.locked_profit is None:
            yield "held without a known worst case"
    if row.state is not BasketState.REFUSED and not any(
        alert.alert_id.startswith(f"{row.basket_id}-") for alert in stage.notifier.published
    ):
        yield f"{row.state.value}, and nobody was told"
    yield from _reserved(stage, row)
    yield from _decisions(row, entries)


def _decisions(row: Basket, entries: list[LedgerEntry]) -> Iterator[str]:
    """What the journal says was decided: of a refused basket that alone and why, of any other that it was accepted and
    how it ended."""
    decisions = {entry.entry_id: entry for entry in entries if entry.kind is EntryKind.DECISION}
    if row.state is BasketState.REFUSED:
        wanted = {"refused"}
        if len(entries) != 1:
            yield f"refused, and the journal has {len(entries)} entries of it"
    else:
        wanted = {"accepted", "end"}
        if row.release is not None:
            wanted |= {f"{what}-{row.release.number}" for what in ("release", "end")}
    for what in sorted(wanted):
        told = decisions.get(f"{what}-{row.basket_id}")
        if told is None:
            yield f"{row.state.value}, and the journal does not say {what}"
        elif told.reference != row.certificate.seal:
            yield f"{what} on certificate {told.reference}, its row has {row.certificate.seal}"
        elif what == "refused" and refusal_code(told) != row.reason:
            yield f"refused for {row.reason}, the journal says {told.note}"
    if row.state is not BasketState.REFUSED and any(refusal_code(entry) is not None for entry in decisions.values()):
        yield f"{row.state.value}, and the journal says that it was refused"


def _reserved(stage: Stage, row: Basket) -> Iterator[str]:
    """What a basket still keeps of limits: what it holds counts until it settles, cash and tokens never do."""
    kept = stage.reservations.held.get(row.basket_id, {})
    if row.state not in _HOLDING and kept:
        yield f"{row.state.value}, and still reserves {kept}"
    leaked = [key for key in kept if key.startswith(("cash#", "open#", "outlay#", "tokens#"))]
    if leaked:
        yield f"still reserves {', '.join(leaked)}"


def _settled(stage: Stage, *, cash_was_moved: bool) -> Iterator[str]:
    account = stage.world.core.accounts[MEMBER]
    rows = stage.rows()
    profits = 0
    for row in rows:
        if row.state in _HOLDING:
            yield f"basket {row.basket_id} is {row.state.value} after every market was paid"
            continue
        profit = row.settled_profit or Cash(0)
        profits += profit
        if row.locked_profit is not None and profit < row.locked_profit:
            yield f"basket {row.basket_id} made {profit}, its worst state was {row.locked_profit}"
        if profit < -row.exposure_bound:
            yield f"basket {row.basket_id} lost {-profit}, its bound was {row.exposure_bound}"
    gained = sum(account.cash.values()) - stage.world.opening
    if gained != profits:
        yield f"the account gained {gained}, its baskets {profits}"
    if stage.reservations.used():
        yield f"reservations are left: {stage.reservations.used()}"
    if stage.baskets.owners:
        yield f"leases are left: {stage.baskets.owners}"
    settled = stage.status.get("account") or {}
    if rows and settled.get("matches") is False and not (cash_was_moved and _is_move(stage)):
        yield f"the settlement function finds a difference: {settled.get('suspicion')}"


def _is_move(stage: Stage) -> bool:
    """Whether cash that went from one shard to another is all that the last comparison found."""
    theirs, ours = stage.world.core.accounts[MEMBER].cash, cash_by_shard(stage.ledger.all())
    moved = {shard: theirs.get(shard, 0) - ours.get(shard, 0) for shard in theirs.keys() | ours.keys()}
    found = str((stage.status.get("account") or {}).get("suspicion")).split("; ")
    return (
        sum(moved.values()) == 0
        and len([amount for amount in moved.values() if amount]) == len(found)
        and all(text.startswith("cash shard ") for text in found)
    )


def _by_basket(entries: list[LedgerEntry]) -> dict[str, list[LedgerEntry]]:
    found: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        if entry.basket_id:
            found[entry.basket_id].append(entry)
    return found


def _round_trip(entries: list[LedgerEntry]) -> Cash:
    """What buying and giving up again left: each YES and NO of one market held together free a dollar."""
    return cash_change(entries)
