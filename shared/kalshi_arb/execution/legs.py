"""Where each leg of a basket stands, in one word for a person. Derived from its orders, never stored."""

from enum import StrEnum, unique

from kalshi_arb.domain.basket import Basket, OrderState, Purpose
from kalshi_arb.kalshi.answers import is_kill


@unique
class LegState(StrEnum):
    """How far buying a leg has come, whatever was sold again: :meth:`Basket.leg_position` says what is held."""

    NEW = "new"  # nothing was sent for it
    SENT = "sent"  # an order of it is on its way
    UNKNOWN = "unknown"  # an order of it may or may not have traded: the exchange is asked
    PARTIAL = "partial"
    FILLED = "filled"
    KILLED = "killed"  # the exchange found nothing to trade with at its limit
    REJECTED = "rejected"  # the exchange refused it


def leg_state(basket: Basket, leg: int) -> LegState:
    """The state of a leg. An order whose outcome is open, a sale's too, comes before what has been bought, and that
    before how the last purchase came to nothing."""
    own = [order for order in basket.orders if order.leg == leg]
    states = {order.state for order in own}
    if OrderState.UNKNOWN in states:
        return LegState.UNKNOWN
    if OrderState.SENT in states:
        return LegState.SENT
    purchases = [order for order in own if order.purpose is not Purpose.UNWIND]
    bought = sum(order.filled for order in purchases)
    if bought:
        return LegState.FILLED if bought == basket.legs[leg].count else LegState.PARTIAL
    arrived = [order for order in purchases if order.state in (OrderState.DONE, OrderState.REJECTED)]
    if not arrived:
        return LegState.NEW
    last = arrived[-1]
    refused = last.state is OrderState.REJECTED and not is_kill(last.rejection or "")
    return LegState.REJECTED if refused else LegState.KILLED
