"""Coherent prices of markets whose states have no structure that is known: a mixture of the states, found exactly.

A simplex method with one row for each market and one for the mixture, in integers: the inverse of the basis is kept as
whole numbers over one denominator (the determinant, small as long as payouts are all or nothing), so no rounding ever
decides. Mispriced quotes cost what they are off, so the optimum is the gain of the best bundle of at most one contract
of each market, and the multipliers of the rows are that bundle.

Where states differ in one market alone, moving shares between them moves that market's price and no other: that is
tried first. Then the method aims at the middle of every quote, so that the vector lasts; only when that leaves some
quote behind is the question asked in earnest. Prices are in 1e-10 dollars.
"""

from collections.abc import Sequence
from operator import le
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE
from kalshi_arb.detection.prices import NO_ASK, NO_BID, TopBundle

_HARD = 10**9
"""The price of leaving a quote while another market's price is pushed to its end: more than any hedge needs."""


class _Optimum(NamedTuple):
    """``objective``, ``prices``, ``multipliers`` and the states' ``shares`` are whole numbers over ``denominator``."""

    objective: int
    denominator: int
    prices: list[int]
    multipliers: list[int]
    shares: dict[int, int]


# What a market's own columns say: how far its price is below the bid, above the ask, or from the bid up.
_BELOW, _ABOVE, _BETWEEN = range(3)


class StatePrices:
    """The kept price vector of a list of states.

    :param rows: the payout of each market's YES by state, in ``parts`` of a dollar
    """

    __slots__ = (
        "_asks", "_bids", "_breach", "_left", "_parts", "_paying", "_rows", "_shares", "_twins", "_where",
        "high", "low",
    )  # fmt: skip

    def __init__(self, rows: Sequence[Sequence[int]], parts: int = 1) -> None:
        self._rows = tuple(dict.fromkeys(map(tuple, rows)))
        self._parts = parts
        self._paying = [[(index, pays) for index, pays in enumerate(row) if pays] for row in self._rows]
        width = len(self._rows[0])
        self._where = [[index for index, row in enumerate(self._rows) if row[place]] for place in range(width)]
        self._bids = [NO_BID] * width
        self._asks = [NO_ASK] * width
        self._breach = TopBundle(0, 1, ())
        self._twins = _twins(self._rows) if parts == 1 else [()] * width
        # Of each state in 1e-10; empty where the vector is known by its rounded prices alone.
        self._shares: list[int] = []
        # Markets whose quote the price left.
        self._left = set(range(width))
        self.low = [0] * width
        self.high = [0] * width
        self.settle()

    def take(self, place: int, bid: int, ask: int) -> bool:
        """A quote changed: what selling one YES frees and what buying one costs. Whether the price lies between."""
        self._bids[place], self._asks[place] = bid, ask
        inside = bid <= self.low[place] and self.high[place] <= ask
        if not inside:
            self._left.add(place)
        return inside

    def settle(self) -> bool:
        """Repair the vector. False when no vector fits every quote; ``breach`` then holds the bundle."""
        if not self._left:
            return True
        if self._shares:
            for place in self._left:
                self._shift(place)
        if self._fits(self.low, self.high):
            self._left.clear()
            return True
        bids = [max(0, bid) for bid in self._bids]
        asks = [min(ONE, ask) for ask in self._asks]
        middles = [(bid + ask) // 2 for bid, ask in zip(bids, asks, strict=True)]
        if self._adopt(self._solve(middles, middles)):
            return True
        found = self._solve(bids, asks)
        if found.objective == 0 and self._adopt(found):
            return True
        self._breach = self._bundle(found.objective, found.denominator, found.multipliers)
        return False

    def breach(self) -> TopBundle:
        """The bundle that ``settle`` found last."""
        return self._breach

    def nearest(self) -> TopBundle | None:
        """The bundle on more than one market that comes nearest to a gain, while the vector fits every quote: each
        market against what the others' quotes allow its price to be."""
        best: TopBundle | None = None
        bids = [max(0, bid) for bid in self._bids]
        asks = [min(ONE, ask) for ask in self._asks]
        for place in range(len(bids)):
            others_bids = [*bids[:place], 0, *bids[place + 1 :]]
            others_asks = [*asks[:place], ONE, *asks[place + 1 :]]
            for push, quote in ((1, self._bids[place]), (-1, self._asks[place])):
                if not 0 <= quote <= ONE:
                    continue
                found = self._solve(others_bids, others_asks, push_at=place, push=push)
                lack = (found.prices[place] - quote * found.denominator * self._parts) * push
                multipliers = [*found.multipliers]
                multipliers[place] = push * found.denominator
                candidate = self._bundle(-lack, found.denominator, multipliers)
                if len(candidate.counts) > 1 and (best is None or candidate.edge > best.edge):
                    best = candidate
        return best

    def _shift(self, place: int) -> None:
        """Bring one price as near to the middle of its quote as states that differ in this market alone allow."""
        low, shares = self.low, self._shares
        bid, ask = max(0, self._bids[place]), min(ONE, self._asks[place])
        if bid <= low[place] <= ask:
            return
        left = (bid + ask) // 2 - low[place]
        for without, within in self._twins[place]:
            source, target = (without, within) if left > 0 else (within, without)
            moved = min(shares[source], abs(left))
            shares[source] -= moved
            shares[target] += moved
            change = moved if left > 0 else -moved
            left -= change
            low[place] += change
            if not left:
                break
        self.high[place] = low[place]

    def _adopt(self, found: _Optimum) -> bool:
        over = found.denominator * self._parts
        shares = self._whole_shares(found)
        low = high = [sum([shares[state] for state in states]) for states in self._where] if shares else []
        if not shares or not self._fits(low, high):
            shares = []
            low = [price // over for price in found.prices]
            high = [-(-price // over) for price in found.prices]
            if not self._fits(low, high):
                return False
        self._shares = shares
        self.low[:], self.high[:] = low, high
        self._left.clear()
        return True

    def _whole_shares(self, found: _Optimum) -> list[int]:
        """A mixture next to the one found whose shares are whole, so that its prices are, too."""
        if self._parts > 1:
            return []
        shares = [0] * len(self._rows)
        for state, share in found.shares.items():
            shares[state] = share // found.denominator
        shares[max(found.shares, key=lambda state: found.shares[state])] += ONE - sum(shares)
        return shares

    def _fits(self, low: Sequence[int], high: Sequence[int]) -> bool:
        return all(map(le, self._bids, low)) and all(map(le, high, self._asks))

    def _bundle(self, edge: int, denominator: int, multipliers: Sequence[int]) -> TopBundle:
        # A multiplier above 0 gains when the bid rises: it is a sale. Where the side is missing the bound is a dollar
        # or nothing, which a leg less reaches as well.
        over = denominator * self._parts
        counts = tuple(
            (place, -count)
            for place, count in enumerate(multipliers)
            if (count > 0 and self._bids[place] > 0) or (count < 0 and self._asks[place] < ONE)
        )
        rounded = -(-edge // over) if edge > 0 else edge // over
        return TopBundle(rounded, denominator, counts)

    def _solve(self, bids: Sequence[int], asks: Sequence[int], *, push_at: int = -1, push: int = 0) -> _Optimum:
        """The mixture that leaves the quotes least, or, with ``push``, one that leaves none and has the highest (1) or
        lowest (-1) price of one market."""
        simplex = _Simplex(self._rows, self._paying, self._parts, bids, asks)
        simplex.minimise(_HARD if push else 1, push_at, -push)
        return simplex.optimum()


def _twins(rows: Sequence[tuple[int, ...]]) -> list[tuple[tuple[int, int], ...]]:
    """For each market the pairs of states that differ in it alone: where it does not pay, and where it does."""
    numbers = {row: number for number, row in enumerate(rows)}
    found = []
    for place in range(len(rows[0])):
        paired = ((number, (*row[:place], 1, *row[place + 1 :])) for row, number in numbers.items() if not row[place])
        found.append(tuple((number, numbers[twin]) for number, twin in paired if twin in numbers))
    return found


class _Simplex:
    """One problem. Row 0 says that the states' shares make one; row ``i + 1`` that market ``i``'s price is their
    mixture. Shares are counted in 1e-10. Columns are numbered: the states first, then three for each market."""

    __slots__ = (
        "_basis", "_bids", "_cost", "_denominator", "_full", "_inverse", "_paying", "_push", "_push_at", "_room",
        "_states", "_width",
    )  # fmt: skip

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        paying: Sequence[Sequence[tuple[int, int]]],
        parts: int,
        bids: Sequence[int],
        asks: Sequence[int],
    ) -> None:
        self._paying = paying
        self._states = len(rows)
        self._width = len(bids)
        self._bids = [bid * parts for bid in bids]
        self._room = [max(0, (ask - bid) * parts) for bid, ask in zip(bids, asks, strict=True)]
        # Markets whose price is at the ask while what lies between is not in the basis.
        self._full: set[int] = set()
        self._cost, self._push_at, self._push = 1, -1, 0
        first = rows[0]
        self._basis = [0]
        self._inverse = [[1, *(0 for _ in first)]]
        self._denominator = 1
        for place, pays in enumerate(first):
            over_bid = pays * ONE - self._bids[place]
            kind = _BELOW if over_bid < 0 else _BETWEEN if over_bid <= self._room[place] else _ABOVE
            sign = 1 if kind == _BELOW else -1
            if kind == _ABOVE:
                self._full.add(place)
            self._basis.append(self._states + 3 * place + kind)
            row = [-sign * pays, *(0 for _ in first)]
            row[place + 1] = sign
            self._inverse.append(row)

    def minimise(self, cost: int, push_at: int, push: int) -> None:
        """Go to the optimum: ``cost`` for leaving a quote, ``push`` for each unit of one market's price."""
        self._cost, self._push_at, self._push = cost, push_at, push
        careful = False
        while True:
            entering = self._entering(self._multipliers(), careful=careful)
            if entering is None:
                return
            # After a step that moved nothing the first eligible column is taken, which cannot go round in circles.
            careful = not self._step(entering)

    def optimum(self) -> _Optimum:
        """Where the method stands."""
        prices = [0] * self._width
        shares: dict[int, int] = {}
        objective = 0
        for column, value in zip(self._basis, self._values(), strict=True):
            if column < self._states:
                shares[column] = value
                for place, pays in self._paying[column]:
                    prices[place] += pays * value
            elif (column - self._states) % 3 != _BETWEEN:
                objective += value
        return _Optimum(objective, self._denominator, prices, self._multipliers()[1:], shares)

    def _is_between(self, column: int) -> bool:
        return column >= self._states and (column - self._states) % 3 == _BETWEEN

    def _cost_of(self, column: int) -> int:
        if column < self._states:
            return 0
        place, kind = divmod(column - self._states, 3)
        if kind == _BETWEEN:
            return self._push if place == self._push_at else 0
        return self._cost

    def _multipliers(self) -> list[int]:
        found = [0] * (self._width + 1)
        for column, row in zip(self._basis, self._inverse, strict=True):
            cost = self._cost_of(column)
            if cost:
                found = [one + cost * entry for one, entry in zip(found, row, strict=True)]
        return found

    def _values(self) -> list[int]:
        right = [ONE, *self._bids]
        for place in self._full:
            right[place + 1] += self._room[place]
        return [sum(map(int.__mul__, row, right)) for row in self._inverse]

    def _entering(self, multipliers: Sequence[int], *, careful: bool) -> int | None:
        """The column whose change pays most, with ``careful`` the first that pays; None at the optimum."""
        best: int | None = None
        most = 0
        shares = multipliers[0]
        for column, paying in enumerate(self._paying):
            worth = shares
            for place, pays in paying:
                worth += multipliers[place + 1] * pays
            if worth > most:
                most, best = worth, column
                if careful:
                    return best
        cost = self._cost * self._denominator
        basic = set(self._basis)
        for place in range(self._width):
            multiplier = multipliers[place + 1]
            column = self._states + 3 * place
            worths = [multiplier - cost, -multiplier - cost]
            if self._room[place] and column + _BETWEEN not in basic:
                push = self._push * self._denominator if place == self._push_at else 0
                rising = -multiplier - push
                worths.append(-rising if place in self._full else rising)
            for kind, worth in enumerate(worths):
                if worth > most:
                    most, best = worth, column + kind
                    if careful:
                        return best
        return best

    def _step(self, entering: int) -> bool:
        """Bring a column in, or from one of its bounds to the other. False when nothing moved."""
        states = self._states
        own = -1
        if entering < states:
            pays = self._paying[entering]
            column = [row[0] + sum(row[place + 1] * one for place, one in pays) for row in self._inverse]
        else:
            place, kind = divmod(entering - states, 3)
            sign = 1 if kind == _BELOW else -1
            column = [sign * row[place + 1] for row in self._inverse]
            own = place if kind == _BETWEEN else -1
        falls = own in self._full
        far, rate, leaving, is_full = self._limit([-one for one in column] if falls else column)
        if own >= 0 and (leaving is None or self._room[own] * rate <= far):
            (self._full.discard if falls else self._full.add)(own)
            return True
        if leaving is None:
            raise AssertionError("the mixture is bounded, so is every column")
        if falls:
            self._full.discard(own)
        if is_full:
            self._full.add((self._basis[leaving] - states) // 3)
        self._pivot(leaving, column)
        self._basis[leaving] = entering
        return far > 0

    def _pivot(self, leaving: int, column: Sequence[int]) -> None:
        pivot, over = column[leaving], self._denominator
        taken = self._inverse[leaving]
        rows = [
            row
            if number == leaving
            else [(entry * pivot - factor * other) // over for entry, other in zip(row, taken, strict=True)]
            for number, (row, factor) in enumerate(zip(self._inverse, column, strict=True))
        ]
        if pivot < 0:
            rows = [[-entry for entry in row] for row in rows]
        self._inverse, self._denominator = rows, abs(pivot)

    def _limit(self, column: Sequence[int]) -> tuple[int, int, int | None, bool]:
        """What stops a growing column first: how far it goes, as a fraction, the row, and whether the row's variable
        is then at its most."""
        far, rate, leaving, is_full = 0, 1, None, False
        for number, (slope, value) in enumerate(zip(column, self._values(), strict=True)):
            basic = self._basis[number]
            if slope > 0:
                reach, speed, full = value, slope, False
            elif slope < 0 and self._is_between(basic):
                reach, speed, full = self._room[(basic - self._states) // 3] * self._denominator - value, -slope, True
            else:
                continue
            if (
                leaving is None
                or reach * rate < far * speed
                or (reach * rate == far * speed and basic < self._basis[leaving])
            ):
                far, rate, leaving, is_full = reach, speed, number, full
        return far, rate, leaving, is_full
