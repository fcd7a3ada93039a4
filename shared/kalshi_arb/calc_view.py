"""The manual calculator's JSON: what is asked, as a file or a request's body, and the answer.

.. code-block:: json

    {"relations": [{"kind": "exclusive", "members": ["A", "B", "C"]}],
     "legs": [{"market": "A", "side": "no", "price": "0.64", "count": "10", "role": "taker"}],
     "states": [{"name": "draw", "pays": {"A": "0.5", "B": "0.5"}, "possible": true}],
     "strikes": {"A": "> 93"},
     "books": {"A": {"yes_dollars": [["0.36", "100"]], "no_dollars": []}},
     "fee_type": "quadratic", "multiplier": "1", "tick": "0.01", "precision": "0.0001", "smallest_fill": "1"}

Everything may be left out that is not needed. A book holds the resting bids of both outcomes, as the exchange shows it.
Dollars, contracts and multipliers are decimal strings. Unknown fields are refused.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from kalshi_arb.detection.calc_space import CalcError, CalcRelation, CalcState
from kalshi_arb.detection.calc_types import Best, CalcLeg, CalcRequest, CalcResult, Size
from kalshi_arb.detection.calculator import calculate
from kalshi_arb.detection.verify import MAX_AGE_MS
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import DomainError, SolverError
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, Role, precision_from_wire, schedule_from_wire
from kalshi_arb.domain.grid import Band, PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_to_wire,
    complement,
    count_from_wire,
    count_to_wire,
    price_from_wire,
    price_to_wire,
    print_decimal,
)
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis
from kalshi_arb.events import REFUSED

Json = dict[str, Any]

_VERSION = BookVersion(0, 0, 0)
ALIASES = {"implies": RelationKind.SUBSET}
"""Other words for kinds of relations."""


class LegOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A leg as it is asked for."""

    market: str
    side: Literal["yes", "no"]
    count: str
    price: str | None = None
    role: Literal["taker", "maker"] = "taker"
    fee_type: str | None = None
    multiplier: str | None = None


class RelationOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A relation as it is asked for."""

    kind: str
    members: tuple[str, ...]


class StateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to settle as it is asked for."""

    name: str
    pays: dict[str, str] = {}
    possible: bool = False


class BookOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pasted book. ``captured_at`` is when it was read, now if it does not say."""

    yes_dollars: tuple[tuple[str, str], ...] | None = None
    no_dollars: tuple[tuple[str, str], ...] | None = None
    captured_at: str | None = None


class CalcOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole request."""

    legs: tuple[LegOrder, ...] = ()
    relations: tuple[RelationOrder, ...] = ()
    states: tuple[StateOrder, ...] = ()
    strikes: dict[str, str] = {}
    books: dict[str, BookOrder] = {}
    fee_type: str = "quadratic"
    multiplier: str = "1"
    tick: str = "0.01"
    precision: str = "0.0001"
    smallest_fill: str = "1"
    max_age_ms: int = MAX_AGE_MS


def answer(text: str, now_ms: int) -> Json:
    """A whole calculation, from its text to its answer; ``refused`` says why where there is none.

    :param now_ms: what the ages of the books count from, UTC milliseconds
    """
    try:
        return calc_view(calculate(to_request(decode_order(text), now_ms)))
    except (DomainError, SolverError) as error:
        return {REFUSED: str(error)}


def decode_order(text: str | bytes) -> CalcOrder:
    """Read a request. :raises CalcError: it is no JSON, or not of the form above; the message says where."""
    try:
        return msgspec.json.decode(text, type=CalcOrder)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CalcError(f"the calculation cannot be read: {error}") from error


def to_request(order: CalcOrder, now_ms: int) -> CalcRequest:
    """The request in domain terms.

    :param now_ms: what the ages of the books count from, UTC milliseconds
    :raises DomainError: an amount, a kind of relation or a fee type that is none
    """
    fees = _fees(order.fee_type, order.multiplier)
    return CalcRequest(
        legs=tuple(_leg(one, fees) for one in order.legs),
        relations=tuple(CalcRelation(read_kind(one.kind), one.members) for one in order.relations),
        states=tuple(
            CalcState(
                one.name,
                {market: price_from_wire(amount) for market, amount in one.pays.items()},
                Basis.POSSIBLE if one.possible else Basis.CERTAIN,
            )
            for one in order.states
        ),
        strikes=order.strikes,
        books={name: _book(name, one, now_ms) for name, one in order.books.items()},
        fees=fees,
        grid=_grid(order.tick),
        precision=precision_from_wire(order.precision),
        smallest_fill=_above_nothing("smallest_fill", order.smallest_fill),
        now_ms=now_ms,
        max_age_ms=order.max_age_ms,
    )


def read_kind(text: str) -> RelationKind:
    """A kind of relation by its word. :raises CalcError: it is none."""
    known = {**{kind.value: kind for kind in RelationKind}, **ALIASES}
    if text not in known:
        raise CalcError(f"{text!r} is no relation: one of {', '.join(known)}")
    return known[text]


def calc_view(result: CalcResult) -> Json:
    """The answer for machines: dollars and contracts as decimal strings."""
    return {
        "answer": result.answer.name.lower(),
        "text": result.answer.value,
        "note": result.note,
        "legs": [
            {
                "market": leg.market,
                "side": leg.outcome.value,
                "price": price_to_wire(leg.limit),
                "count": count_to_wire(leg.count),
                "role": leg.role.value,
                "cost": cash_to_wire(leg.cost),
                "fee": cash_to_wire(leg.fee),
                "fee_at_least": cash_to_wire(leg.fee_at_least),
                "fee_at_most": cash_to_wire(leg.fee_at_most),
                "break_even": None if leg.break_even is None else price_to_wire(leg.break_even),
            }
            for leg in result.legs
        ],
        "states": [
            {
                "name": state.name,
                "basis": state.basis.value,
                "payout": cash_to_wire(state.payout),
                "profit": cash_to_wire(state.profit),
                "worst_profit": cash_to_wire(state.worst_profit),
            }
            for state in result.states
        ],
        "cost": cash_to_wire(result.cost),
        "fee": cash_to_wire(result.fee),
        "fee_at_least": cash_to_wire(result.fee_at_least),
        "fee_at_most": cash_to_wire(result.fee_at_most),
        "worst_profit": cash_to_wire(result.worst_profit),
        "worst_state": result.worst_state,
        "breaking_states": list(result.breaking_states),
        "rests_on": [
            {"text": one.text, "carries": one.carries, "without_it": _amount(one.without_it)} for one in result.rests_on
        ],
        "grounds": list(result.grounds),
        "largest": _size(result.size),
        "best": _best(result.best),
    }


def _size(size: Size | None) -> Json | None:
    if size is None:
        return None
    return {
        "count": count_to_wire(size.count),
        "worst_profit": cash_to_wire(size.worst_profit),
        "limited_by": size.limited_by,
    }


def _best(best: Best | None) -> Json | None:
    if best is None:
        return None
    legs = [
        {
            "market": leg.ticker,
            "side": leg.outcome.value,
            "price": price_to_wire(leg.limit),
            "count": count_to_wire(leg.count),
        }
        for leg in best.legs
    ]
    return {"legs": legs, "worst_profit": cash_to_wire(best.worst_profit)}


def _amount(cash: Cash | None) -> str | None:
    return None if cash is None else cash_to_wire(cash)


def _leg(order: LegOrder, fees: FeeSchedule) -> CalcLeg:
    own: FeeSchedule | None = None
    if order.fee_type is not None or order.multiplier is not None:
        multiplier = order.multiplier or print_decimal(fees.multiplier, MULTIPLIER_DECIMALS)
        own = _fees(order.fee_type or fees.fee_type.value, multiplier)
    return CalcLeg(
        order.market,
        Outcome(order.side),
        _above_nothing(f"{order.market}: its size", order.count),
        None if order.price is None else _named(f"{order.market}: its price", price_from_wire, order.price),
        Role(order.role),
        own,
    )


def _fees(fee_type: str, multiplier: object) -> FeeSchedule:
    schedule = schedule_from_wire(fee_type, multiplier)
    if not schedule.is_tradable():
        raise CalcError(f"the fee type {fee_type!r} has no exact fee")
    return schedule


def _named(what: str, read: Any, text: str) -> Any:
    try:
        return read(text)
    except DomainError as error:
        raise CalcError(f"{what}: {error}") from error


def _above_nothing(what: str, text: str) -> Count:
    count: Count = _named(what, count_from_wire, text)
    if count <= 0:
        raise CalcError(f"{what} is {text}, and must be at least 0.01 contracts")
    return count


def _grid(tick: str) -> PriceGrid:
    return PriceGrid((Band(Price(0), ONE_DOLLAR, price_from_wire(tick)),))


def _book(name: str, order: BookOrder, now_ms: int) -> BookSnapshot:
    read_ms = now_ms if order.captured_at is None else _moment_ms(name, order.captured_at)
    sides = (_side(name, side) for side in (order.yes_dollars, order.no_dollars))
    return BookSnapshot(name, _VERSION, read_ms, read_ms, *sides)


def _side(name: str, levels: Sequence[tuple[str, str]] | None) -> tuple[Level, ...]:
    totals: dict[Price, int] = {}
    for price, count in levels or ():
        at: Price = _named(f"the book of {name}", price_from_wire, price)
        if not 0 < at < ONE_DOLLAR:
            raise CalcError(f"the book of {name}: nothing can rest at {price}")
        totals[at] = totals.get(at, 0) + _above_nothing(f"the book of {name}: a level", count)
    return tuple(sorted((Level(price, Count(count)) for price, count in totals.items()), reverse=True))


def _moment_ms(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CalcError(f"the book of {name}: captured_at is {text!r}, which is no time") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def inline_level(text: str) -> tuple[str, str, tuple[str, str]]:
    """One level of a book typed in: ``NAME:bid:0.36:100`` or ``NAME:ask:0.64:100``, in YES prices.

    :returns: the market, the field of its book, and the level as a resting bid
    :raises CalcError: it cannot be read
    """
    parts = text.rsplit(":", 3)
    if len(parts) != 4 or parts[1] not in ("bid", "ask"):
        raise CalcError(f"the level {text!r} is not NAME:bid:PRICE:COUNT or NAME:ask:PRICE:COUNT")
    name, kind, price, count = parts
    if kind == "bid":
        return name, "yes_dollars", (price, count)
    seen: Price = _named(f"the book of {name}", price_from_wire, price)
    return name, "no_dollars", (price_to_wire(complement(seen)), count)


def with_levels(books: Mapping[str, BookOrder], levels: Sequence[str]) -> dict[str, BookOrder]:
    """Books with levels that were typed in. :raises CalcError: a level cannot be read."""
    found = dict(books)
    for text in levels:
        name, side, level = inline_level(text)
        known = found.get(name, BookOrder())
        found[name] = msgspec.structs.replace(known, **{side: (*(getattr(known, side) or ()), level)})
    return found
