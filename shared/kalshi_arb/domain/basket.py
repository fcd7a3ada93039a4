"""One opportunity being executed. The basket row is the truth; the state machine in the cloud only drives it.

PROPOSED --> RESERVED --> EXECUTING --> LOCK ------> SETTLED
    |            |          |    \\---> HELD ------> SETTLED
    |            |          |     \\--> FLAT
    |            |          v
    |            |      UNWINDING ----> FLAT | HELD | LOCK (an early sale that sold nothing)
    |            |          ^
    |            |          \\-- LOCK | HELD (an early sale, :class:`Releasing`)
    \\----> REFUSED <-----/ (nothing was sent)
"""

from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Leg
from kalshi_arb.domain.portfolio import OrderRequest


@unique
class BasketState(Enum):
    """Where a basket stands."""

    PROPOSED = "proposed"
    RESERVED = "reserved"
    EXECUTING = "executing"
    UNWINDING = "unwinding"
    LOCK = "lock"  # every leg complete, held to settlement
    FLAT = "flat"  # nothing held any more
    HELD = "held"  # something less than the whole is held, with a known worst case
    REFUSED = "refused"  # nothing was ever sent
    SETTLED = "settled"


_EDGES: dict[BasketState, frozenset[BasketState]] = {
    BasketState.PROPOSED: frozenset({BasketState.RESERVED, BasketState.REFUSED}),
    BasketState.RESERVED: frozenset({BasketState.EXECUTING, BasketState.REFUSED}),
    BasketState.EXECUTING: frozenset(
        {BasketState.EXECUTING, BasketState.UNWINDING, BasketState.LOCK, BasketState.FLAT, BasketState.HELD}
    ),
    BasketState.UNWINDING: frozenset({BasketState.UNWINDING, BasketState.FLAT, BasketState.HELD, BasketState.LOCK}),
    BasketState.LOCK: frozenset({BasketState.SETTLED, BasketState.UNWINDING}),
    BasketState.HELD: frozenset({BasketState.SETTLED, BasketState.UNWINDING}),
    BasketState.FLAT: frozenset(),
    BasketState.REFUSED: frozenset(),
    BasketState.SETTLED: frozenset(),
}

LIVE_STATES = frozenset({BasketState.PROPOSED, BasketState.RESERVED, BasketState.EXECUTING, BasketState.UNWINDING})
"""States that somebody must still drive: the sweeper looks for them."""
ENDED_STATES = frozenset(BasketState) - LIVE_STATES


def check_move(old: BasketState, new: BasketState) -> None:
    """:raises TransitionError: a basket may not go from ``old`` to ``new``."""
    if new not in _EDGES[old]:
        raise TransitionError(f"a basket cannot go from {old.value} to {new.value}")


@unique
class Purpose(Enum):
    """Why an order exists."""

    ENTER = "enter"
    COMPLETE = "complete"
    UNWIND = "unwind"


@unique
class OrderState(Enum):
    """Life of one order. PLANNED is written before it is sent; UNKNOWN until the exchange has been asked."""

    PLANNED = "planned"
    SENT = "sent"
    UNKNOWN = "unknown"
    DONE = "done"  # final, filled in part, whole or not at all
    REJECTED = "rejected"  # definitely refused
    ABSENT = "absent"  # it never reached the exchange: withdrawn, provably not sent, or not there once reads caught up


_ORDER_EDGES: dict[OrderState, frozenset[OrderState]] = {
    OrderState.PLANNED: frozenset({OrderState.SENT, OrderState.ABSENT}),
    OrderState.SENT: frozenset({OrderState.UNKNOWN, OrderState.DONE, OrderState.REJECTED, OrderState.ABSENT}),
    OrderState.UNKNOWN: frozenset({OrderState.DONE, OrderState.REJECTED, OrderState.ABSENT}),
    OrderState.DONE: frozenset(),
    OrderState.REJECTED: frozenset(),
    OrderState.ABSENT: frozenset(),
}

OPEN_ORDER_STATES = frozenset({OrderState.SENT, OrderState.UNKNOWN})
"""Orders whose outcome is not known: no new order for the basket while one is there."""


def check_order_move(old: OrderState, new: OrderState) -> None:
    """:raises TransitionError: an order may not go from ``old`` to ``new``."""
    if new not in _ORDER_EDGES[old]:
        raise TransitionError(f"an order cannot go from {old.value} to {new.value}")


@dataclass(frozen=True, slots=True)
class BasketOrder:
    """One order of a basket. ``leg`` is the position of its leg; an unwind buys the opposite outcome of its leg.

    ``cost`` and ``fee`` (1e-6 dollars) are exact once ``booked``, that is, once the exchange's own fills were read;
    until then they are the worst case (limit price, highest fee). ``planned_ms`` is when it was decided: a plan that is
    not sent soon after is withdrawn. ``rejection`` says why an order was refused or did not reach the exchange.
    ``filled_ms`` is when the last of its fills happened, by the exchange's clock; known once booked.
    """

    request: OrderRequest
    leg: int
    wave: int
    purpose: Purpose
    state: OrderState = OrderState.PLANNED
    sent_ms: int | None = None
    order_id: str | None = None
    filled: Count = Count(0)
    cost: Cash = Cash(0)
    fee: Cash = Cash(0)
    booked: bool = False
    rejection: str | None = None
    planned_ms: int = 0
    filled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LegTerms:
    """What trading a leg's market costs and needs, as it was when the basket was accepted.

    ``paid_by_ms`` is when it should have been paid (UTC milliseconds), None where its listing does not say.
    """

    grid: PriceGrid
    fees: FeeSchedule
    shard: int
    paid_by_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a basket may not trade: ``code`` is a counter's name, ``text`` says it with its figures."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class PreSendBound:
    """The worst that the planned orders can do, as it was before the first of them was sent. Amounts in 1e-6 dollars.

    ``loss`` (>= 0) is over every fill vector, every wave cut short and every state, with nothing unwound;
    ``loss_unwound`` (>= 0, never above ``loss``) the same when what an incomplete basket holds is sold into the books
    of that moment. ``cash`` is what lies on each shard at the peak of the entry, ``unwind_cash`` what unwinding may
    need there on top, both as pairs of shard and amount.
    """

    loss: Cash
    loss_unwound: Cash
    cash: tuple[tuple[int, Cash], ...]
    unwind_cash: tuple[tuple[int, Cash], ...]


@dataclass(frozen=True, slots=True)
class Releasing:
    """The early sale of a basket that had ended; of several the last. All that pricing it again takes is in it, so
    that nothing that changes elsewhere can strand it.

    :param number: counts the basket's early sales from 1
    :param counts: what to sell of each leg (1e-2 contracts)
    :param wave: the first wave that is part of it
    :param started_ms: when it was decided (UTC milliseconds)
    :param cash: what its purchases of the other outcomes cost at most, as pairs of shard and amount (1e-6 dollars)
    :param least: how much better than holding it has to be when it is sent (1e-6 dollars)
    :param yearly: the cost of capital in millionths a year
    :param paid_ms: when the last market should have paid (UTC milliseconds), None where that is not known
    """

    number: int
    counts: tuple[Count, ...]
    wave: int
    started_ms: int
    cash: tuple[tuple[int, Cash], ...]
    least: Cash
    yearly: int
    paid_ms: int | None


@dataclass(frozen=True, slots=True)
class Basket:
    """The row. ``revision`` is the optimistic lock, ``attempt`` the fence: an older attempt may write nothing.

    ``family`` is the kind of its group, kept because the basket outlives the group.

    ``waves`` lists, wave by wave, the legs that are sent together. ``expected_profit`` is the worst state at limit
    prices and highest fees before anything was sent; ``exposure_bound`` the largest loss over every way the orders
    can fill; ``locked_profit`` the worst state from the exchange's own fills and fees; ``settled_profit`` the cash
    that settlement left (for a flat basket, the cash that trading left). Times are UTC milliseconds.

    From RESERVED on, the row carries all that its execution needs, so that nothing that changes elsewhere can strand
    it: ``terms`` per leg, and in ``payouts`` for every distinct way the group can settle the payout of one contract
    of each leg (1e-4 dollars). ``ending`` is an end that is decided but not yet carried out: whoever finds it only
    finishes it.

    ``bound`` is what was computed before anything was sent, and ``exposure_bound`` its ``loss``: limits and assertions
    compare with that one. ``findings`` are all reasons of a refusal; ``reason`` is the first one's code. ``turns``
    counts the assessments of this attempt, and starts again with the next one: it bounds the state machine's loop.
    ``release`` is set from an early sale on, also after it.
    """

    basket_id: str
    opportunity_id: str
    group_id: str
    event_ticker: str
    family: str
    mode: str
    state: BasketState
    attempt: int
    revision: int
    legs: tuple[Leg, ...]
    waves: tuple[tuple[int, ...], ...]
    orders: tuple[BasketOrder, ...]
    certificate: Certificate
    expected_profit: Cash
    exposure_bound: Cash
    locked_profit: Cash | None
    settled_profit: Cash | None
    reserved: Cash
    reason: str
    candidate_ms: int
    created_ms: int
    updated_ms: int
    first_order_ms: int | None = None
    terms: tuple[LegTerms, ...] = ()
    payouts: tuple[tuple[Price, ...], ...] = ()
    ending: BasketState | None = None
    bound: PreSendBound | None = None
    findings: tuple[Finding, ...] = ()
    turns: int = 0
    release: Releasing | None = None

    def planned_orders(self) -> tuple[BasketOrder, ...]:
        """Orders that are decided but not sent."""
        return tuple(order for order in self.orders if order.state is OrderState.PLANNED)

    def next_wave(self) -> int:
        """The first wave number that no order carries."""
        return max((order.wave for order in self.orders), default=-1) + 1

    def next_number(self, leg: int) -> int:
        """The number of the leg's next order, for :func:`client_order_id`."""
        return sum(order.leg == leg for order in self.orders)

    def has_open_orders(self) -> bool:
        """Whether some order's outcome is not known."""
        return any(order.state in OPEN_ORDER_STATES for order in self.orders)

    def leg_position(self, leg: int) -> Count:
        """Contracts of a leg still held: bought minus unwound."""
        total = 0
        for order in self.orders:
            if order.leg == leg:
                total += -order.filled if order.purpose is Purpose.UNWIND else order.filled
        return Count(total)

    def release_orders(self) -> tuple[BasketOrder, ...]:
        """The orders since its early sale began; none before there was one."""
        if self.release is None:
            return ()
        return tuple(order for order in self.orders if order.wave >= self.release.wave)

    def last_fill_ms(self) -> int | None:
        """When the last of its booked fills happened, by the exchange's clock (UTC milliseconds)."""
        return max((order.filled_ms for order in self.orders if order.filled_ms is not None), default=None)

    def spent(self) -> Cash:
        """Cash paid for all fills, fees included, before any pair is netted."""
        return Cash(sum(order.cost + order.fee for order in self.orders))


def client_order_id(basket_id: str, leg: int, number: int) -> str:
    """The id of a leg's n-th order: the same order sent again carries the same id and the exchange refuses it."""
    return f"{basket_id}-{leg}-{number}"


FEED_MARGIN_MS = 1_000
"""How far a book may trail what it is said to be known up to: the way of a frame, and the clocks of two processes."""


def lease_mark_ms(basket: Basket) -> int:
    """Up to which moment the books of an ended basket's markets may be from before its own orders (UTC milliseconds);
    0 when it sent none. What became of every order was known when it ended, so none traded after that."""
    return 0 if basket.first_order_ms is None else basket.updated_ms + FEED_MARGIN_MS
