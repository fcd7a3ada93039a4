"""Markets on one real line, and every way they can settle together.

A market is a stretch of the line. All strikes of a group cut the line into points and open intervals; on each of them
every market's answer is constant, so one payout vector per point and interval is the complete state space. Two things
the structured fields do not say, and both become states of basis POSSIBLE:

- whether a bracket includes its ends: a point at a bracket's end has one state for each reading;
- whether the observed value can lie between two neighbouring display values: a sliver, that is an interval of one
  display tick inside no bracket (55,799.99 to 55,800, or 76 to 77 degrees).

An interval that is wider and inside no bracket holds a display value, so it is CERTAIN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain, combinations, pairwise

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, State

FLOOR_TYPES = frozenset({StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL})
CAP_TYPES = frozenset({StrikeType.LESS, StrikeType.LESS_OR_EQUAL})

# Brackets that overlap in more than this many ends at one point are no partition anyway.
_MOST_UNKNOWN = 6


def strikes_of(market: Market) -> tuple[Decimal, ...] | None:
    """The strikes a market's type needs, lowest first, or None when one is missing or not a finite number.

    ``greater`` types use the floor, ``less`` types the cap, ``between`` both (Kalshi API documentation, market object).
    """
    if market.strike_type in FLOOR_TYPES:
        needed: tuple[Decimal | None, ...] = (market.floor,)
    elif market.strike_type in CAP_TYPES:
        needed = (market.cap,)
    elif market.strike_type is StrikeType.BETWEEN:
        needed = (market.floor, market.cap)
    else:
        return None
    strikes = tuple(strike for strike in needed if strike is not None and strike.is_finite())
    return strikes if len(strikes) == len(needed) else None


def needed_strikes(market: Market) -> tuple[Decimal, ...]:
    """The strikes a market's type needs. :raises ProofError: one is missing, or the type has none."""
    strikes = strikes_of(market)
    if strikes is None:
        raise ProofError(f"{market.ticker} has no strikes on a line")
    return strikes


def print_strike(strike: Decimal) -> str:
    """A strike for a person: plain notation, no trailing zeros."""
    text = f"{strike:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def describe(market: Market) -> str:
    """The values for which a market pays, in words.

    :raises ProofError: a strike is missing.
    """
    strikes = [print_strike(strike) for strike in needed_strikes(market)]
    match market.strike_type:
        case StrikeType.GREATER:
            return f"above {strikes[0]}"
        case StrikeType.GREATER_OR_EQUAL:
            return f"{strikes[0]} or above"
        case StrikeType.LESS:
            return f"below {strikes[0]}"
        case StrikeType.LESS_OR_EQUAL:
            return f"{strikes[0]} or below"
        case _:
            return f"{strikes[0]} to {strikes[1]}"


def display_tick(strikes: Sequence[Decimal]) -> Decimal:
    """The step in which values are shown: one unit of the finest decimal that any strike is written with, at most 1.

    55,700 beside 55,799.99 is shown in hundredths, 76 beside 77 in whole numbers.
    """
    return Decimal(1).scaleb(min([0, *(int(strike.normalize().as_tuple().exponent) for strike in strikes)]))


@dataclass(slots=True)
class _Spot:
    """One point or open interval of the line: who certainly pays there, and who may or may not."""

    name: str
    basis: Basis
    members: list[int]
    unknown: list[int]


def line_states(markets: Sequence[Market]) -> tuple[State, ...]:
    """Every way ``markets`` can settle together on one observed value, without repetitions.

    Places of the line with the same payouts are one state, CERTAIN when one of them is; its name tells how many more
    edges it stands for. From lowest to highest.

    :raises ProofError: no markets, a market without its strikes, or too many brackets ending at one point.
    """
    if not markets:
        raise ProofError("no markets, no states")
    spots = _spots(markets)
    found: dict[tuple[Price, ...], _Merged] = {}
    for number, spot in enumerate(spots):
        if not spot.unknown:
            _merge(found, number, _state(markets, spot, ()))
    certain = {payouts for payouts, merged in found.items() if merged.state.basis is Basis.CERTAIN}
    for number, spot in enumerate(spots):
        if not spot.unknown:
            continue
        if len(spot.unknown) > _MOST_UNKNOWN:
            raise ProofError(f"{len(spot.unknown)} brackets end {spot.name}")
        readings = [_state(markets, spot, reading) for reading in _subsets(spot.unknown)]
        if not any(reading.yes_payouts in certain for reading in readings):
            # The value can be here and one reading is true. With no certain state beside it the usual reading (both
            # ends included) must count, or a bundle that breaks in every reading would seem merely conditional.
            readings[-1] = replace(readings[-1], basis=Basis.CERTAIN)
        for state in readings:
            _merge(found, number, state)
    return tuple(merged.named() for merged in sorted(found.values(), key=lambda merged: merged.place))


@dataclass(slots=True)
class _Merged:
    place: int
    state: State
    others: int = 0

    def named(self) -> State:
        if self.state.basis is Basis.CERTAIN or not self.others:
            return self.state
        return replace(self.state, name=f"{self.state.name}, or one of {self.others} more edges")


def _merge(found: dict[tuple[Price, ...], _Merged], place: int, state: State) -> None:
    known = found.get(state.yes_payouts)
    if known is None:
        found[state.yes_payouts] = _Merged(place, state)
    elif known.state.basis is Basis.POSSIBLE and state.basis is Basis.CERTAIN:
        known.place, known.state = place, state
    else:
        known.others += 1


def _spots(markets: Sequence[Market]) -> list[_Spot]:
    strikes = [needed_strikes(market) for market in markets]
    cuts = sorted(set(chain.from_iterable(strikes)))
    tick = display_tick(cuts)
    place = {cut: number for number, cut in enumerate(cuts)}
    spots = _empty_spots(cuts)
    bracketed = [False] * len(spots)
    last = len(spots) - 1
    for index, (market, own) in enumerate(zip(markets, strikes, strict=True)):
        # Interval below cut n is spot 2n, the cut itself is spot 2n + 1.
        low, high = 2 * place[own[0]] + 1, 2 * place[own[-1]] + 1
        match market.strike_type:
            case StrikeType.GREATER:
                covered = range(low + 1, last + 1)
            case StrikeType.GREATER_OR_EQUAL:
                covered = range(low, last + 1)
            case StrikeType.LESS:
                covered = range(high)
            case StrikeType.LESS_OR_EQUAL:
                covered = range(high + 1)
            case _:
                covered = range(low + 1, high)
                spots[low].unknown.append(index)
                spots[high].unknown.append(index)
                for number in covered:
                    bracketed[number] = True
        for number in covered:
            spots[number].members.append(index)
    for number, (low_cut, high_cut) in enumerate(pairwise(cuts), start=1):
        if high_cut - low_cut <= tick and not bracketed[2 * number]:
            sliver = spots[2 * number]
            sliver.basis = Basis.POSSIBLE
            sliver.name += " (sliver between neighbouring values)"
    return spots


def _empty_spots(cuts: Sequence[Decimal]) -> list[_Spot]:
    names = [print_strike(cut) for cut in cuts]
    spots = [_Spot(f"below {names[0]}", Basis.CERTAIN, [], [])]
    for number, name in enumerate(names):
        spots.append(_Spot(f"at {name}", Basis.CERTAIN, [], []))
        above = f"between {name} and {names[number + 1]}" if number + 1 < len(names) else f"above {name}"
        spots.append(_Spot(above, Basis.CERTAIN, [], []))
    return spots


def _subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    return list(chain.from_iterable(combinations(items, size) for size in range(len(items) + 1)))


def _state(markets: Sequence[Market], spot: _Spot, counted: tuple[int, ...]) -> State:
    payouts = [Price(0)] * len(markets)
    for index in chain(spot.members, counted):
        payouts[index] = ONE_DOLLAR
    if not spot.unknown:
        return State(spot.name, tuple(payouts), spot.basis)
    into = " and ".join(describe(markets[index]) for index in counted) or "no bracket"
    return State(f"{spot.name}, counted into {into}", tuple(payouts), Basis.POSSIBLE)
