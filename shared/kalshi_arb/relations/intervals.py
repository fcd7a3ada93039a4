"""Markets on one line, and every way they can settle together.

A market is a stretch of the line. All strikes of a group cut the line into points and open intervals; on each of them
every market's answer is constant, so one payout vector per point and interval is the complete state space: it grows
with the number of strikes, never with the number of combinations. What the structured fields do not say becomes states
of basis POSSIBLE:

- whether a bracket includes its ends, or a threshold whose text contradicts its strike type its strike: such a point
  has one state for each reading;
- whether the observed value can lie between two neighbouring display values: a sliver, that is an interval of one
  display tick inside no bracket (55,799.99 to 55,800, or 76 to 77 degrees).

An interval that is wider and inside no bracket holds a display value, so it is CERTAIN. Where a reviewed text states
the step that the value is rounded to, places that hold no such value do not exist, and the others are certain.

Which markets pay at a place is kept as the bits of one integer, so that a place costs what changes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from itertools import chain, combinations, pairwise

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, State

_GREATER, _GREATER_OR_EQUAL = StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL
_LESS, _LESS_OR_EQUAL = StrikeType.LESS, StrikeType.LESS_OR_EQUAL


def is_floor(market: Market) -> bool:
    """Whether a market pays above its strike."""
    return market.strike_type is _GREATER or market.strike_type is _GREATER_OR_EQUAL


def is_cap(market: Market) -> bool:
    """Whether a market pays below its strike."""
    return market.strike_type is _LESS or market.strike_type is _LESS_OR_EQUAL


# Each open reading at a point doubles its states.
_MOST_UNKNOWN = 6


def strikes_of(market: Market) -> tuple[Decimal, ...] | None:
    """The strikes a market's type needs, lowest first, or None when one is missing or not a finite number.

    ``greater`` types use the floor, ``less`` types the cap, ``between`` both (Kalshi API documentation, market object).
    """
    floor, cap = market.floor, market.cap
    if is_floor(market):
        return None if floor is None or not floor.is_finite() else (floor,)
    if is_cap(market):
        return None if cap is None or not cap.is_finite() else (cap,)
    if market.strike_type is not StrikeType.BETWEEN or floor is None or cap is None:
        return None
    return (floor, cap) if floor.is_finite() and cap.is_finite() else None


def needed_strikes(market: Market) -> tuple[Decimal, ...]:
    """The strikes a market's type needs. :raises ProofError: one is missing, or the type has none."""
    strikes = strikes_of(market)
    if strikes is None:
        raise ProofError(f"{market.ticker} has no strikes on a line")
    return strikes


def first_strike(market: Market) -> Decimal:
    """The lowest strike of a market that is known to have its strikes. :raises ProofError: it has none."""
    strike = market.cap if is_cap(market) else market.floor
    if strike is None:
        raise ProofError(f"{market.ticker} has no strikes on a line")
    return strike


@lru_cache(maxsize=65_536)
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
    finest = min([0, *map(_exponent, strikes)])
    return Decimal(1).scaleb(finest)


@lru_cache(maxsize=65_536)
def _exponent(strike: Decimal) -> int:
    return int(strike.normalize().as_tuple().exponent)


@dataclass(frozen=True, slots=True)
class Cell:
    """One state of a line: its name, its basis, and the markets that pay there as bits, the first market lowest."""

    name: str
    basis: Basis
    payers: int


@dataclass(slots=True)
class _Spot:
    """One point or open interval of the line: who certainly pays there, and who may or may not."""

    name: str
    basis: Basis
    payers: int
    unknown: list[int]


def line_cells(
    markets: Sequence[Market], *, lattice: Decimal | None = None, open_ends: Sequence[bool] | None = None
) -> tuple[Cell, ...]:
    """Every way ``markets`` can settle together on one observed value, without repetitions, from lowest to highest.

    Places of the line with the same payers are one cell, CERTAIN when one of them is; its name tells how many more
    edges it stands for.

    :param lattice: the step that the value is known to be rounded to, None for any real number
    :param open_ends: per market whether it is open who pays at its own strikes; by default it is for brackets and is
        not for thresholds. A bracket whose ends are not open includes both.
    :raises ProofError: no markets, a market without its strikes, or too many open readings at one point.
    """
    if not markets:
        raise ProofError("no markets, no states")
    spots = _spots(markets, lattice, open_ends)
    found: dict[int, _Merged] = {}
    certain: set[int] = set()
    for place, spot in enumerate(spots):
        if not spot.unknown:
            _merge(found, place, spot.basis, spot.payers, None)
            if spot.basis is Basis.CERTAIN:
                certain.add(spot.payers)
    for place, spot in enumerate(spots):
        if not spot.unknown:
            continue
        if len(spot.unknown) > _MOST_UNKNOWN:
            raise ProofError(f"{len(spot.unknown)} markets leave open what they pay {spot.name}")
        readings = [(spot.payers | _bits(counted), counted) for counted in _subsets(spot.unknown)]
        # The value can be here and one reading is true. With no certain state beside it the usual reading (both ends
        # included) must count, or a bundle that breaks in every reading would seem merely conditional.
        usual = readings[-1] if certain.isdisjoint([payers for payers, _ in readings]) else None
        for reading in readings:
            _merge(found, place, Basis.CERTAIN if reading is usual else Basis.POSSIBLE, *reading)
    ordered = sorted(found.values(), key=lambda merged: merged.place)
    return tuple(Cell(_name(markets, spots[one.place], one), one.basis, one.payers) for one in ordered)


def line_states(
    markets: Sequence[Market], *, lattice: Decimal | None = None, open_ends: Sequence[bool] | None = None
) -> tuple[State, ...]:
    """The cells of a line as states of a group of ``markets``; parameters and errors as in :func:`line_cells`."""
    return cell_states(line_cells(markets, lattice=lattice, open_ends=open_ends), len(markets))


def cell_states(cells: Sequence[Cell], width: int) -> tuple[State, ...]:
    """The payouts of each cell in full."""
    row = [Price(0)] * width
    before = 0
    states = []
    for cell in cells:
        changed = cell.payers ^ before
        while changed:
            low = changed & -changed
            index = low.bit_length() - 1
            row[index] = ONE_DOLLAR if cell.payers & low else Price(0)
            changed ^= low
        before = cell.payers
        states.append(State(cell.name, tuple(row), cell.basis))
    return tuple(states)


@dataclass(slots=True)
class _Merged:
    """What differs by who pays: where it is first, the readings counted there, and how many more places look alike."""

    place: int
    basis: Basis
    payers: int
    counted: tuple[int, ...] | None
    others: int = 0


def _merge(
    found: dict[int, _Merged], place: int, basis: Basis, payers: int, counted: tuple[int, ...] | None
) -> None:  # fmt: skip
    known = found.get(payers)
    if known is None or (known.basis is Basis.POSSIBLE and basis is Basis.CERTAIN):
        found[payers] = _Merged(place, basis, payers, counted)
    else:
        known.others += 1


def _spots(markets: Sequence[Market], lattice: Decimal | None, open_ends: Sequence[bool] | None) -> list[_Spot]:
    strikes = [needed_strikes(market) for market in markets]
    cuts = sorted(set(chain.from_iterable(strikes)))
    tick = display_tick(cuts)
    place = {cut: number for number, cut in enumerate(cuts)}
    spots = _empty_spots(cuts)
    # Bits that change when the place before is left, and how many brackets begin and end there.
    changes = [0] * (len(spots) + 1)
    brackets = [0] * (len(spots) + 1)
    for index, (market, own) in enumerate(zip(markets, strikes, strict=True)):
        # Interval below cut n is spot 2n, the cut itself is spot 2n + 1.
        low, high = 2 * place[own[0]] + 1, 2 * place[own[-1]] + 1
        kind = market.strike_type
        is_bracket = kind is StrikeType.BETWEEN
        is_open = is_bracket if open_ends is None else open_ends[index]
        if is_open:
            for end in {low, high}:
                spots[end].unknown.append(index)
        if kind is _GREATER or kind is _GREATER_OR_EQUAL:
            first, after = low + (is_open or kind is _GREATER), len(spots)
        elif kind is _LESS or kind is _LESS_OR_EQUAL:
            first, after = 0, high + (not is_open and kind is _LESS_OR_EQUAL)
        else:
            first, after = (low + 1, high) if is_open else (low, high + 1)
            brackets[first] += 1
            brackets[after] -= 1
        changes[first] ^= 1 << index
        changes[after] ^= 1 << index
    payers = covering = 0
    bracketed = [False] * len(spots)
    for number, spot in enumerate(spots):
        payers ^= changes[number]
        covering += brackets[number]
        spot.payers = payers
        bracketed[number] = covering > 0
    if lattice is not None:
        return _on_lattice(spots, cuts, lattice)
    for number, (low_cut, high_cut) in enumerate(pairwise(cuts), start=1):
        if high_cut - low_cut <= tick and not bracketed[2 * number]:
            sliver = spots[2 * number]
            sliver.basis = Basis.POSSIBLE
            sliver.name += " (sliver between neighbouring values)"
    return spots


def _on_lattice(spots: Sequence[_Spot], cuts: Sequence[Decimal], lattice: Decimal) -> list[_Spot]:
    """The places that hold a multiple of ``lattice``."""
    kept = [spots[0]]
    for number, cut in enumerate(cuts):
        if cut % lattice == 0:
            kept.append(spots[2 * number + 1])
        above = ((cut / lattice).to_integral_value(ROUND_FLOOR) + 1) * lattice
        if number + 1 == len(cuts) or above < cuts[number + 1]:
            kept.append(spots[2 * number + 2])
    return kept


def _empty_spots(cuts: Sequence[Decimal]) -> list[_Spot]:
    names = [print_strike(cut) for cut in cuts]
    spots = [_Spot(f"below {names[0]}", Basis.CERTAIN, 0, [])]
    for number, name in enumerate(names):
        spots.append(_Spot(f"at {name}", Basis.CERTAIN, 0, []))
        above = f"between {name} and {names[number + 1]}" if number + 1 < len(names) else f"above {name}"
        spots.append(_Spot(above, Basis.CERTAIN, 0, []))
    return spots


def _bits(indexes: Sequence[int]) -> int:
    bits = 0
    for index in indexes:
        bits |= 1 << index
    return bits


def _subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    if len(items) == 1:
        # Most places have one open reading.
        return [(), (items[0],)]
    return list(chain.from_iterable(combinations(items, size) for size in range(len(items) + 1)))


def _name(markets: Sequence[Market], spot: _Spot, merged: _Merged) -> str:
    name = spot.name
    if merged.counted is not None:
        names = [describe(markets[index]) for index in spot.unknown]
        if len(set(names)) < len(names):
            # Markets of several events may share their strikes.
            names = [markets[index].ticker for index in spot.unknown]
        into = [one for one, index in zip(names, spot.unknown, strict=True) if index in merged.counted]
        name += f", counted into {' and '.join(into) or 'no bracket'}"
    if merged.basis is Basis.POSSIBLE and merged.others:
        name += f", or one of {merged.others} more edges"
    return name
