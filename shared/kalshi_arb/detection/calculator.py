"""The manual calculator: any legs under any relation, judged by what judges the system's own finds.

The ways to settle come from the relations' own enumeration or from the strikes' own builder, a bundle that is looked
for from the search, fees from the fee model, the worst case of orders that take from the verifier. Two prices are told
apart:

- as filled: each leg at the levels its book shows, one fill a level, or at its price where no book is given
- worst case: each contract at the leg's limit with the highest fee that fills of the declared smallest size can cause

Amounts in 1e-6 dollars. What cannot be judged is refused with the reason: never a figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from math import gcd

from kalshi_arb.detection.calc_space import (
    CalcError,
    Terms,
    claims,
    from_relations,
    from_states,
    from_strikes,
    held_of,
    least_payout,
)
from kalshi_arb.detection.calc_types import (
    Answer,
    Best,
    CalcLeg,
    CalcRequest,
    CalcResult,
    ClaimResult,
    LegResult,
    Size,
    StateResult,
)
from kalshi_arb.detection.effective import is_crossed
from kalshi_arb.detection.judge import judge
from kalshi_arb.detection.scan import SOLVER_PACKAGES
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import DepthError, GridError
from kalshi_arb.domain.fees import Role, order_fee, order_fee_bound, order_fee_least
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    complement,
    count_to_wire,
    notional,
    price_to_wire,
)
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Group

_NO_VERSION = BookVersion(0, 0, 0)
_COMPUTED = "[computed]."
_NO_SOLVER = "looking for a bundle under these relations needs the solver, which is not installed here"
# How far below the end of a level the largest size is looked for: roundings move it by a few steps at most.
_STEPS_BELOW = 24


def calculate(request: CalcRequest) -> CalcResult:
    """Judge a bundle, or look for one.

    :raises CalcError: legs, relations, states or strikes that contradict themselves or are not there, or a leg whose
        side of the book is empty
    :raises UnfitBookError: a book that is crossed, too old or from the future
    :raises DepthError: a leg whose count is not on its book at its price or better
    :raises GridError: a price off the grid
    :raises ProofError: anything else that the verifier refuses
    :raises SolverError: the search ended without an optimum
    """
    return _Calculation(request).result()


@dataclass(frozen=True, slots=True)
class _Filled:
    """A leg with its market, the book it is judged on and the levels it takes."""

    asked: CalcLeg
    leg: Leg
    market: Market
    book: BookSnapshot
    fills: tuple[Level, ...]


class _Calculation:
    def __init__(self, request: CalcRequest) -> None:
        self._request = request
        self._group = _space(request)
        for name, book in request.books.items():
            if name not in self._group.tickers:
                raise CalcError(f"there is a book of {name}, which no leg, relation, state or strike names")
            _check_book(name, book, request)

    def result(self) -> CalcResult:
        request = self._request
        if not request.legs:
            found, note = self._searched()
            if not found:
                return CalcResult(Answer.NOTHING, note, grounds=self._grounds)
        else:
            found, note = request.legs, ""
        filled = [self._filled(one) for one in found]
        pairs = [(one.leg.ticker, one.leg.outcome) for one in filled]
        if len(set(pairs)) < len(pairs):
            raise CalcError("two legs buy the same contract: make one of them")
        fees = [self._fee_at_most(one) for one in filled]
        outlay = sum(notional(one.leg.limit, one.leg.count) for one in filled) + sum(fees)
        exact = [self._fee(one) for one in filled]
        cost = sum(_cost(one.fills) for one in filled)
        held = _held(filled)
        states = tuple(
            StateResult(
                state.name, state.basis, Cash(payout), Cash(payout - cost - sum(exact)), Cash(payout - outlay)
            )
            for state in self._group.states
            for payout in [_payout(self._group, state.yes_payouts, state.highest, held)]
        )  # fmt: skip
        worst = min(states, key=lambda one: one.worst_profit)
        breaking = tuple(one.name for one in states if one.worst_profit <= 0)
        sound = all(one.worst_profit > 0 for one in states if one.basis is Basis.CERTAIN)
        # Where a possible state breaks it anyhow, prices can only decide what the certain ones bring.
        judged = [one for one in states if one.basis is Basis.CERTAIN] if sound and breaking else states
        room = min(one.worst_profit for one in judged)
        answer = Answer.LOCK if not breaking else Answer.CONDITIONAL if sound else Answer.LOSS
        return CalcResult(
            answer=answer,
            note=note,
            legs=tuple(
                LegResult(
                    market=one.leg.ticker,
                    outcome=one.leg.outcome,
                    limit=one.leg.limit,
                    count=one.leg.count,
                    role=one.asked.role,
                    cost=Cash(_cost(one.fills)),
                    fee=fee,
                    fee_at_least=order_fee_least(one.market.fees, one.fills, request.precision, one.asked.role),
                    fee_at_most=most,
                    break_even=self._break_even(one, room + notional(one.leg.limit, one.leg.count) + most),
                )
                for one, fee, most in zip(filled, exact, fees, strict=True)
            ),
            states=states,
            cost=Cash(cost),
            fee=Cash(sum(exact)),
            fee_at_least=Cash(
                sum(order_fee_least(one.market.fees, one.fills, request.precision, one.asked.role) for one in filled)
            ),
            fee_at_most=Cash(sum(fees)),
            worst_profit=worst.worst_profit,
            worst_state=worst.name,
            breaking_states=breaking,
            rests_on=self._rests_on(filled, outlay, gains=answer is Answer.LOCK),
            grounds=self._grounds,
            size=self._largest(filled),
            best=self._best(filled),
        )

    @property
    def _grounds(self) -> tuple[str, ...]:
        """Why the ways to settle are complete; of strikes typed in only what was computed, for they have no listing."""
        said = self._group.certificate
        return said if self._request.group else tuple(one for one in said if one.endswith(_COMPUTED))

    # Legs

    def _searched(self) -> tuple[tuple[CalcLeg, ...], str]:
        """The best bundle on the books, and what the search says of it."""
        request = self._request
        if not request.books:
            raise CalcError("there is nothing to calculate: give legs, or books to look for a bundle on")
        try:
            found = judge(
                self._group,
                request.books,
                precision=request.precision,
                smallest_fill=request.smallest_fill,
                now_ms=request.now_ms,
                max_age_ms=request.max_age_ms,
            )
        except ModuleNotFoundError as error:
            if error.name not in SOLVER_PACKAGES:
                raise
            raise CalcError(f"{_NO_SOLVER}: give the legs, or calculate where it is installed") from error
        return tuple(CalcLeg(leg.ticker, leg.outcome, leg.count, leg.limit) for leg in found.legs), found.text

    def _filled(self, asked: CalcLeg) -> _Filled:
        request = self._request
        name = f"{asked.market} {asked.outcome.value.upper()}"
        market = self._group.markets[self._group.index(asked.market)]
        if asked.fees is not None:
            market = replace(market, fees=asked.fees)
        if not market.fees.is_tradable():
            raise CalcError(f"{name}: the fee type {market.fees.fee_type.value} has no exact fee")
        if asked.count <= 0:
            raise CalcError(f"{name}: a size of {count_to_wire(asked.count)} is below the smallest, 0.01 contracts")
        if asked.price is not None:
            _check_price(name, market, asked.outcome, asked.price)
        book = request.books.get(asked.market)
        if asked.role is Role.MAKER or book is None:
            if asked.price is None:
                raise CalcError(f"{name}: give its price" + ("" if book else ", or a book to take it from"))
            book = _single(asked.market, asked.outcome, Level(asked.price, asked.count), request.now_ms)
        levels = book.asks(asked.outcome)
        if not levels:
            raise CalcError(f"{name}: that side of its book is empty, nothing can be bought")
        fills = _taken(levels, asked.count, asked.price)
        missing = asked.count - sum(level.size for level in fills)
        if missing:
            at = "" if asked.price is None else f" at {price_to_wire(asked.price)} or better"
            raise DepthError(
                f"{name}: {count_to_wire(Count(missing))} of {count_to_wire(asked.count)} are not on its book{at}"
            )
        limit = fills[-1].price if asked.price is None else asked.price
        return _Filled(asked, Leg(asked.market, asked.outcome, asked.count, limit), market, book, fills)

    def _fee(self, one: _Filled) -> Cash:
        return order_fee(one.market.fees, one.fills, self._request.precision, one.asked.role)

    def _fee_at_most(self, one: _Filled) -> Cash:
        request = self._request
        if one.asked.role is Role.MAKER:
            return order_fee_bound(one.market.fees, one.fills, request.precision, request.smallest_fill, Role.MAKER)
        # What an order is charged does not depend on how the markets settle.
        alone = replace(self._group, markets=_with(self._group.markets, one.market), states=self._group.states[:1])
        return verify(
            alone,
            (one.leg,),
            {one.leg.ticker: one.book},
            precision=request.precision,
            smallest_fill=request.smallest_fill,
            now_ms=request.now_ms,
            max_age_ms=request.max_age_ms,
        ).fee_bound

    def _break_even(self, one: _Filled, room: int) -> Price | None:
        """The highest price at which the leg costs no more than ``room`` with its highest fee."""

        def fits(price: int) -> bool:
            asked = replace(one.asked, price=Price(price))
            single = _single(one.leg.ticker, one.leg.outcome, Level(Price(price), one.leg.count), self._request.now_ms)
            leg = replace(one.leg, limit=Price(price))
            moved = _Filled(asked, leg, one.market, single, (Level(Price(price), one.leg.count),))
            return price * one.leg.count + self._fee_at_most(moved) <= room

        legal = _legal(one.market.grid, one.leg.outcome)
        low, high = 0, len(legal)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if fits(legal[middle]) else (low, middle)
        return legal[low - 1] if low else None

    # What carries it, and how far

    def _rests_on(self, filled: Sequence[_Filled], outlay: int, *, gains: bool) -> tuple[ClaimResult, ...]:
        held = _held(filled)
        found: list[ClaimResult] = []
        if self._request.states:
            free = least_payout(held, self._request.relations)
            left_open = None if free is None else Cash(free - outlay)
            text = f"the {len(self._request.states)} listed states are all there are"
            return (ClaimResult(text, gains and left_open is not None and left_open <= 0, left_open),)
        said = claims(self._request.relations) if self._request.group is None else []
        for number, claim in enumerate(said):
            left = [other.relation for place, other in enumerate(said) if place != number]
            payout = least_payout(held, left)
            without = None if payout is None else Cash(payout - outlay)
            found.append(ClaimResult(claim.text, gains and without is not None and without <= 0, without))
        return tuple(found)

    def _takes(self, filled: Sequence[_Filled]) -> bool:
        """Whether every leg takes from a book that was given."""
        return all(one.asked.role is Role.TAKER and one.leg.ticker in self._request.books for one in filled)

    def _largest(self, filled: Sequence[_Filled]) -> Size | None:
        if not self._takes(filled) or any(one.asked.fees is not None for one in filled):
            return None
        step = gcd(*(one.leg.count for one in filled))
        units = [one.leg.count // step for one in filled]
        levels = [_within(one.book.asks(one.leg.outcome), one.asked.price) for one in filled]
        ends = [list(accumulate(level.size for level in side)) for side in levels]
        depth = [side[-1] // unit for side, unit in zip(ends, units, strict=True)]
        # Sizes that every market trades.
        lot = max(one.market.count_step for one in filled)
        most = min(depth) // lot * lot

        def worst(sets: int) -> int:
            legs = []
            for one, unit, side in zip(filled, units, levels, strict=True):
                count = Count(sets * unit)
                price = _taken(side, count, one.asked.price)[-1].price
                legs.append(replace(one.leg, count=count, limit=price))
            return int(self._verified(legs))

        marks = sorted({most, *(end // unit for side, unit in zip(ends, units, strict=True) for end in side)})
        marks = sorted({mark - mark % lot for mark in marks if lot <= mark <= most})
        # Up to the end of a level every contract costs the same limit, so the profit rises up to there or not at all.
        for mark in reversed(marks):
            for sets in range(mark, max(0, mark - _STEPS_BELOW * lot), -lot):
                profit = worst(sets)
                if profit > 0:
                    short = filled[depth.index(min(depth))].leg
                    whole = f"the depth of {short.ticker} {short.outcome.value.upper()}"
                    why = whole if sets == most else "what lies deeper costs too much"
                    return Size(Count(sets * units[0]), Cash(profit), why)
        return Size(Count(0), Cash(0), "no size gains in the worst case")

    def _verified(self, legs: Sequence[Leg]) -> Cash:
        request = self._request
        return verify(
            self._group,
            legs,
            request.books,
            precision=request.precision,
            smallest_fill=request.smallest_fill,
            now_ms=request.now_ms,
            max_age_ms=request.max_age_ms,
        ).floor_profit

    def _best(self, filled: Sequence[_Filled]) -> Best | None:
        """Of legs that were given on books: what the search would buy there instead."""
        if not self._request.legs or not self._takes(filled):
            return None
        try:
            found, _ = self._searched()
        except CalcError:  # the legs that were given can be judged all the same
            return None
        legs = tuple(Leg(one.market, one.outcome, one.count, one.price or Price(0)) for one in found)
        return Best(legs, self._verified(legs)) if legs else None


def _space(request: CalcRequest) -> Group:
    given = [
        name
        for name, there in (("states", request.states), ("strikes", request.strikes), ("a listing", request.group))
        if there
    ]
    if len(given) > 1 or (request.strikes and request.relations):
        raise CalcError(
            f"the ways to settle come from one source, not from {' and '.join(given)}"
            + (" and relations" if request.relations else "")
        )
    names = list(
        dict.fromkeys(
            (
                *(leg.market for leg in request.legs),
                *(name for relation in request.relations for name in relation.members),
                *(name for state in request.states for name in state.yes_payouts),
                *request.strikes,
            )
        )
    )
    if request.group is not None:
        for name in names:
            request.group.index(name)
        return request.group
    if not names:
        raise CalcError("there is nothing to calculate: give legs, a relation, states or strikes")
    terms = Terms(request.fees, request.grid, request.market_fees)
    if request.strikes:
        return from_strikes(names, request.strikes, terms)
    if request.states:
        return from_states(names, request.states, request.relations, terms)
    return from_relations(names, request.relations, terms)


def _check_book(name: str, book: BookSnapshot, request: CalcRequest) -> None:
    age_ms = request.now_ms - book.alive_ms
    if is_crossed(book):
        raise CalcError(f"the book of {name} is crossed: its best bids add up to a dollar or more")
    if age_ms > request.max_age_ms:
        raise CalcError(f"the book of {name} is stale: {age_ms} ms old, more than {request.max_age_ms}")
    if age_ms < -request.max_age_ms:
        raise CalcError(f"the book of {name} is from the future: {-age_ms} ms ahead")


@lru_cache(maxsize=64)
def _legal(grid: PriceGrid, outcome: Outcome) -> tuple[Price, ...]:
    """Every price that a purchase of the outcome can carry, rising."""
    # Grids are stated for YES prices, and a purchase of NO is sent as the YES price it sells at.
    prices = map(Price, range(1, ONE_DOLLAR))
    return tuple(price for price in prices if grid.is_valid(price if outcome is Outcome.YES else complement(price)))


def _check_price(name: str, market: Market, outcome: Outcome, price: Price) -> None:
    try:
        market.grid.require(price if outcome is Outcome.YES else complement(price))
    except GridError as error:
        seen = "" if outcome is Outcome.YES else f" ({price_to_wire(price)} of NO, in YES prices)"
        raise GridError(f"{name}: {error}{seen}") from error


def _single(name: str, outcome: Outcome, ask: Level, now_ms: int) -> BookSnapshot:
    """A book that offers one level of one outcome."""
    bids = (Level(complement(ask.price), ask.size),)
    sides = ((), bids) if outcome is Outcome.YES else (bids, ())
    return BookSnapshot(name, _NO_VERSION, now_ms, now_ms, *sides)


def _within(levels: Sequence[Level], limit: Price | None) -> list[Level]:
    return [level for level in levels if limit is None or level.price <= limit]


def _taken(levels: Sequence[Level], count: int, limit: Price | None) -> tuple[Level, ...]:
    """What a purchase takes, best first; less than ``count`` where there is no more."""
    taken = []
    for price, size in _within(levels, limit):
        if count <= 0:
            break
        taken.append(Level(price, Count(min(count, size))))
        count -= size
    return tuple(taken)


def _cost(fills: Sequence[Level]) -> int:
    return sum(notional(price, size) for price, size in fills)


def _held(filled: Sequence[_Filled]) -> dict[str, tuple[int, int]]:
    return held_of((one.leg.ticker, one.leg.outcome is Outcome.YES, one.leg.count) for one in filled)


def _payout(
    group: Group, least: Sequence[Price], most: Sequence[Price] | None, held: Mapping[str, tuple[int, int]]
) -> int:  # fmt: skip
    """The least that contracts pay in a state: where a market pays a range, at the worse of its ends."""
    total = 0
    for name, (yes, no) in held.items():
        place = group.index(name)
        ends = (least[place],) if most is None else (least[place], most[place])
        total += min(yes * value + no * (ONE_DOLLAR - value) for value in ends)
    return total


def _with(markets: Sequence[Market], changed: Market) -> tuple[Market, ...]:
    return tuple(changed if market.ticker == changed.ticker else market for market in markets)
