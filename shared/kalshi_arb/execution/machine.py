"""What to do next with a basket whose orders are all accounted for. Sans-I/O: a row and books in, a decision out.

The basket goes on while every wave fills whole. Otherwise the best worst-state cash decides between completing what is
missing (once per leg, at the first limit), unwinding what is in excess, and holding. Every step that is taken keeps
the loss inside the exposure bound however it fills, so the bound holds for the whole basket by induction. Unwinding
goes down a ladder of prices, with bounded rounds and a bounded time (:class:`ExecutionPolicy`).

An early sale starts from an even basket. It is priced again first, and sells only what beats holding by as much as was
asked and cannot, however it fills, go below the exposure bound; otherwise the basket ends as what it was. What its
first wave leaves uneven is unwound like every other excess.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, OrderState, Purpose, Releasing
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.portfolio import TimeInForce
from kalshi_arb.execution.plan import BATCH_ORDERS, NOT_SENT, WITHDRAWN, entry_orders, planned_order
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import is_unbooked
from kalshi_arb.execution.release import Terms, priced
from kalshi_arb.execution.unwind import Step, WayOut, completion, hold, outlay, safest, sales, unwinds

BUYING = frozenset({Purpose.ENTER, Purpose.COMPLETE})
"""Orders that a stop forbids. An unwind always may run, unless it would only begin an early sale."""
UNWINDING = frozenset({Purpose.UNWIND})
RELEASE_WITHIN_MS = 60_000
"""An early sale of which nothing was sent within this time is given up: what it was decided on is gone."""
UNSAFE = "not released: no sale of it stays within its bound if only a part fills"


@dataclass(frozen=True, slots=True)
class Send:
    """Plan these orders as the basket's next wave, in this state."""

    orders: tuple[BasketOrder, ...]
    state: BasketState


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after some seconds."""

    seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """The basket is over: LOCK, FLAT or HELD."""

    state: BasketState
    reason: str


Decision = Send | Wait | End


def is_complete(basket: Basket) -> bool:
    """Whether every leg is held at its planned count."""
    return all(basket.leg_position(index) == leg.count for index, leg in enumerate(basket.legs))


def decide_without_books(basket: Basket, *, stopped: bool, now_ms: int) -> Decision | None:
    """The decisions that need no look at the market; None when one is needed.

    :raises TransitionError: some order is still planned, open or not booked.
    """
    _check_settled_orders(basket)
    if awaits_release(basket):
        return _release_given_up(basket, stopped=stopped, now_ms=now_ms)
    if is_complete(basket):
        return End(BasketState.LOCK, "every leg complete")
    if not any(basket.leg_position(leg) for leg in range(len(basket.legs))):
        return End(BasketState.FLAT, _what_failed(basket))
    if stopped or basket.state is not BasketState.EXECUTING:
        return None
    untouched = [leg for leg in range(len(basket.legs)) if _is_untouched(basket, leg)]
    entered_whole = all(
        basket.leg_position(leg) == basket.legs[leg].count for leg in range(len(basket.legs)) if leg not in untouched
    )
    if not entered_whole:
        return None
    wave = next((wave for wave in basket.waves if all(leg in untouched for leg in wave)), None)
    # Legs of a wave that was split by a withdrawal are completions, and those look at the books first.
    return None if wave is None else Send(entry_orders(basket, wave, now_ms), BasketState.EXECUTING)


def decide(
    basket: Basket, books: Mapping[str, BookSnapshot], *, stopped: bool, now_ms: int, policy: ExecutionPolicy
) -> Decision:
    """The best of holding, completing and unwinding by worst-state cash; of equals the first named. Where unwinding is
    best, it is the best that the ladder has reached.

    :param books: the exchange's books as just read; a market without one offers nothing
    :param now_ms: UTC milliseconds
    :raises TransitionError: some order is still planned, open or not booked.
    """
    early = decide_without_books(basket, stopped=stopped, now_ms=now_ms)
    if early is not None:
        return early
    resting = hold(basket)
    waves = basket.next_wave() - (0 if basket.release is None else basket.release.wave)
    if waves >= policy.most_waves:
        return End(as_it_is(basket), f"{waves} waves did not bring it to an end")
    ways: list[WayOut] = [resting]
    if basket.state is BasketState.EXECUTING and not stopped:
        way = completion(basket, books, _buyable(basket))
        if way is not None:
            ways.append(way)
    waited = max(0, now_ms - _last_sent(basket.orders))
    if _never_left(basket) and waited < policy.step_ms:
        return Wait(1, "the last wave could not be sent")
    if basket.release is not None and awaits_release(basket):
        return _first_sale(basket, basket.release, books, now_ms)
    if _came_to_nothing(basket) and waited < policy.step_ms:
        return Wait(1, "the last sale found nobody")
    rounds = _unwind_rounds(basket)
    may_unwind = rounds < policy.unwind_rounds
    ladder = [unwinds(basket, books, step) for step in policy.unwind_steps] if may_unwind else []
    best = max((*ways, *chain.from_iterable(ladder)), key=lambda way: way.worst)
    if best.completions:
        return Send(_orders(basket, best.completions, now_ms), BasketState.EXECUTING)
    if best.unwinds:
        reached = chain.from_iterable(ladder[: 1 + rounds + waited // policy.step_ms])
        sale = max((resting, *reached), key=lambda way: way.worst)
        if sale.unwinds:
            return Send(_orders(basket, sale.unwinds, now_ms), BasketState.UNWINDING)
        return Wait(1, "a sale is worth it only further down the ladder")
    hopeful = may_unwind and resting.worst < 0 and not _is_even(basket)
    # What an early sale leaves uneven has as much time as what an entry leaves so.
    entered = (order for order in basket.release_orders() or basket.orders if _made_uneven(basket, order))
    if hopeful and now_ms - _last_sent(entered) < policy.patience_ms:
        return Wait(1, "no book offers a way to a smaller loss yet")
    return End(BasketState.HELD, _what_failed(basket))


def awaits_release(basket: Basket) -> bool:
    """Whether its early sale is decided and nothing of it has left for the exchange."""
    return basket.release is not None and all(
        order.rejection in (NOT_SENT, WITHDRAWN) for order in basket.release_orders()
    )


def starts_release(basket: Basket, wave: int) -> bool:
    """Whether this wave would be the first of an early sale to leave: what nobody needs, a stop keeps back."""
    return basket.release is not None and all(
        order.wave == wave or order.rejection in (NOT_SENT, WITHDRAWN) for order in basket.release_orders()
    )


def as_it_is(basket: Basket) -> BasketState:
    """What a basket ends as that keeps what it holds."""
    return BasketState.LOCK if is_complete(basket) else BasketState.HELD


def _release_given_up(basket: Basket, *, stopped: bool, now_ms: int) -> End | None:
    if stopped:
        return End(as_it_is(basket), "not released: a stop came first")
    if basket.release is not None and now_ms - basket.release.started_ms > RELEASE_WITHIN_MS:
        return End(as_it_is(basket), f"not released: nothing could be sent within {RELEASE_WITHIN_MS // 1000} s")
    return None


def _first_sale(basket: Basket, release: Releasing, books: Mapping[str, BookSnapshot], now_ms: int) -> Send | End:
    """The first wave of an early sale, if it is still worth it, paid for and safe."""
    terms = Terms(now_ms, release.yearly, release.paid_ms)
    found = priced(basket, None, books, Netting.OFF, terms, release.counts)
    wave = sales(basket, books, release.counts)
    if found is None or found.advantage < release.least or not wave:
        return End(as_it_is(basket), "not released: selling does not beat holding any more")
    held = dict(release.cash)
    if any(amount > held.get(shard, 0) for shard, amount in outlay(basket, wave).items()):
        return End(as_it_is(basket), "not released: it takes more cash than was held for it")
    chosen = safest(basket, wave)
    if not chosen:
        return End(as_it_is(basket), UNSAFE)
    return Send(_orders(basket, chosen, now_ms), BasketState.UNWINDING)


def _made_uneven(basket: Basket, order: BasketOrder) -> bool:
    return order.purpose in BUYING or (basket.release is not None and order.wave == basket.release.wave)


def _check_settled_orders(basket: Basket) -> None:
    for order in basket.orders:
        if order.state in (OrderState.PLANNED, OrderState.SENT, OrderState.UNKNOWN) or is_unbooked(order):
            raise TransitionError(f"order {order.request.client_order_id} is not accounted for yet")


def _is_untouched(basket: Basket, leg: int) -> bool:
    """Whether no order of this leg was ever sent or dropped: it simply has not been its turn."""
    return not any(order.leg == leg for order in basket.orders)


def _buyable(basket: Basket) -> frozenset[int]:
    """Legs that may still be bought: each has one completion, and one that was never sent does not count."""
    used = {
        order.leg
        for order in basket.orders
        if order.purpose is Purpose.COMPLETE and order.rejection not in (NOT_SENT, WITHDRAWN)
    }
    return frozenset(range(len(basket.legs))) - used


def _is_even(basket: Basket) -> bool:
    """Whether the basket holds the same share of every leg: a smaller copy of the proved bundle, with no excess."""
    first = basket.leg_position(0)
    return all(
        basket.leg_position(index) * basket.legs[0].count == first * leg.count for index, leg in enumerate(basket.legs)
    )


def _unwind_rounds(basket: Basket) -> int:
    """Of an early sale its own alone: it begins anew."""
    orders = basket.orders if basket.release is None else basket.release_orders()
    sold = (order for order in orders if order.purpose is Purpose.UNWIND and order.rejection != NOT_SENT)
    return len({order.wave for order in sold})


def _never_left(basket: Basket) -> bool:
    """Whether nothing of the last wave reached the exchange: it costs neither a completion nor a round of sales."""
    last = basket.next_wave() - 1
    return all(order.rejection == NOT_SENT for order in basket.orders if order.wave == last)


def _came_to_nothing(basket: Basket) -> bool:
    """Whether the last wave was a sale of which nothing filled."""
    last = [order for order in basket.orders if order.wave == basket.next_wave() - 1]
    return all(order.purpose is Purpose.UNWIND and not order.filled for order in last)


def _orders(basket: Basket, steps: Iterable[Step], now_ms: int) -> tuple[BasketOrder, ...]:
    """One batch of orders; what does not fit into it is decided again afterwards."""
    orders = []
    for step in list(steps)[:BATCH_ORDERS]:
        leg = step.purchase.leg
        if step.purchase.opposite:
            purpose = Purpose.UNWIND
        else:
            purpose = Purpose.ENTER if _is_untouched(basket, leg) else Purpose.COMPLETE
        orders.append(
            planned_order(
                basket,
                leg,
                step.purchase.count,
                step.purchase.limit,
                purpose,
                TimeInForce.IMMEDIATE_OR_CANCEL,
                now_ms,
            )
        )
    return tuple(orders)


def _last_sent(orders: Iterable[BasketOrder]) -> int:
    return max((order.sent_ms for order in orders if order.sent_ms is not None), default=0)


def _what_failed(basket: Basket) -> str:
    """In words, the first order that did not do what it was for; of an early sale, of its own."""
    for order in basket.orders if basket.release is None else basket.release_orders():
        if order.filled < order.request.count:
            why = order.rejection or (
                "never reached the exchange" if order.state is OrderState.ABSENT else "book faded"
            )
            return f"{order.request.ticker} {order.request.outcome.value}: {why}"
    return "unwound" if basket.release is None else "released"
