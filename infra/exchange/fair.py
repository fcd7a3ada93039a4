"""Hidden values, the fair prices that follow from them, and what they settle at.

Probabilities are floats because they are opinions of simulated people, not money; they become prices on the tick grid
where quotes are made.
"""

import math
from decimal import Decimal
from random import Random

import msgspec

from infra.exchange.terms import MarketTerms
from kalshi_arb.domain.market import Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Price

_SQRT2 = math.sqrt(2.0)
_CENT = 100
_ABOVE = (StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL)
_BELOW = (StrikeType.LESS, StrikeType.LESS_OR_EQUAL)


class Ruling(msgspec.Struct, frozen=True):
    """How a market settles: what one YES pays (1e-4 dollars) and the value as it is published."""

    payout: Price
    value: str


def _below(bound: float, mean: float, deviation: float) -> float:
    return 0.5 * (1.0 + math.erf((bound - mean) / (deviation * _SQRT2)))


class Underlying(msgspec.Struct, tag="value"):
    """A number. A random walk with normal steps: ``volatility`` is its deviation over one second.

    ``published`` (the value that settles) is the walk's end on its ``step``.
    """

    value: float
    volatility: float
    step: Decimal
    close_ms: int
    walked_ms: int

    def walk(self, now_ms: int, random: Random) -> None:
        """Let the value move up to ``now_ms``, at most up to the close."""
        until = min(now_ms, self.close_ms)
        if until > self.walked_ms:
            seconds = (until - self.walked_ms) / 1_000
            self.value += random.gauss(0.0, self.volatility * math.sqrt(seconds))
            self.walked_ms = until

    def deviation(self) -> float:
        """How far the value may still go before the close (one standard deviation, never quite zero)."""
        seconds = max(0.25, (self.close_ms - self.walked_ms) / 1_000)
        return self.volatility * math.sqrt(seconds)

    def published(self) -> Decimal:
        """The value as it will be published."""
        return (Decimal(repr(self.value)) / self.step).to_integral_value() * self.step

    def probability(self, terms: MarketTerms) -> float:
        """The fair price of one YES: the chance that the published value lies in the market's strikes."""
        half, mean, deviation = float(self.step) / 2, self.value, self.deviation()
        strike, floor, cap = _strikes(terms)
        if strike is StrikeType.BETWEEN and floor is not None and cap is not None:
            return _below(float(cap) + half, mean, deviation) - _below(float(floor) - half, mean, deviation)
        # An end that counts lies a half step further out than one that does not.
        outwards = half if strike in (StrikeType.GREATER, StrikeType.LESS_OR_EQUAL) else -half
        if strike in _ABOVE and floor is not None:
            return 1.0 - _below(float(floor) + outwards, mean, deviation)
        if cap is not None:
            return _below(float(cap) + outwards, mean, deviation)
        raise ValueError(f"{terms.ticker} has no strikes to be priced on")

    def conclude(self, random: Random) -> None:
        """Let the value reach its end."""
        self.walk(self.close_ms, random)

    def ruling(self, terms: MarketTerms) -> Ruling:
        """How a market settles by the value at its end."""
        value = self.published()
        return Ruling(ONE_DOLLAR if settles_yes(terms, value) else Price(0), str(value))


class Race(msgspec.Struct, tag="race"):
    """Somebody wins, or perhaps nobody who is listed. ``strengths`` are log-odds by ticker, ``nobody`` is theirs.

    With a chance of ``void`` it ends without a winner: ``splits`` pays each an equal part of a dollar then, otherwise
    each market settles at its own fair price in whole cents.
    """

    strengths: dict[str, float]
    nobody: float | None
    volatility: float
    void: float
    splits: bool
    close_ms: int
    walked_ms: int
    is_over: bool = False
    is_void: bool = False
    winner: str | None = None

    def walk(self, now_ms: int, random: Random) -> None:
        """Let the strengths move up to ``now_ms``, at most up to the close."""
        until = min(now_ms, self.close_ms)
        if until > self.walked_ms:
            deviation = self.volatility * math.sqrt((until - self.walked_ms) / 1_000)
            for ticker in self.strengths:
                self.strengths[ticker] += random.gauss(0.0, deviation)
            self.walked_ms = until

    def probability(self, terms: MarketTerms) -> float:
        """The chance that a market's contestant wins."""
        return math.exp(self.strengths[terms.ticker]) / self._all()

    def conclude(self, random: Random) -> None:
        """Let it end: the likelier a contestant, the more often it wins."""
        self.walk(self.close_ms, random)
        if self.is_over:
            return
        self.is_over = True
        self.is_void = random.random() < self.void
        place = random.random() * self._all()
        for ticker, strength in self.strengths.items():
            place -= math.exp(strength)
            if place < 0 and not self.is_void:
                self.winner = ticker
                return

    def ruling(self, terms: MarketTerms) -> Ruling:
        """How a market settles once it is over."""
        if self.is_void and self.splits:
            return Ruling(Price(ONE_DOLLAR // len(self.strengths)), "tie")
        if self.is_void:
            return Ruling(Price(round(self.probability(terms) * ONE_DOLLAR / _CENT) * _CENT), "not played")
        return Ruling(ONE_DOLLAR if self.winner == terms.ticker else Price(0), self.winner or "none of the listed")

    def _all(self) -> float:
        listed = sum(math.exp(strength) for strength in self.strengths.values())
        return listed + (math.exp(self.nobody) if self.nobody is not None else 0.0)


class Occurrence(msgspec.Struct, tag="occurrence"):
    """Something that happens once or never. A market's close is the deadline it is about.

    ``log_hazard`` is the logarithm of how often a second it happens; ``volatility`` its deviation over one second.
    """

    log_hazard: float
    volatility: float
    close_ms: int
    walked_ms: int
    happened_ms: int | None = None

    def walk(self, now_ms: int, random: Random) -> None:
        """Let time pass up to ``now_ms``: it may happen, and the odds move."""
        until = min(now_ms, self.close_ms)
        if until <= self.walked_ms or self.happened_ms is not None:
            return
        seconds = (until - self.walked_ms) / 1_000
        waits = random.expovariate(math.exp(self.log_hazard))
        if waits < seconds:
            self.happened_ms = self.walked_ms + int(waits * 1_000)
        self.log_hazard += random.gauss(0.0, self.volatility * math.sqrt(seconds))
        self.walked_ms = until

    def probability(self, terms: MarketTerms) -> float:
        """The chance that it happens before the market's deadline."""
        if self.happened_ms is not None:
            return 1.0 if self.has_happened_before(terms) else 0.0
        left = max(0.0, (terms.close_ms - self.walked_ms) / 1_000)
        return 1.0 - math.exp(-math.exp(self.log_hazard) * left)

    def has_happened_before(self, terms: MarketTerms) -> bool:
        """Whether it is known to have happened before the market's deadline."""
        return self.happened_ms is not None and self.happened_ms < terms.close_ms

    def conclude(self, random: Random) -> None:
        """Let time run to the last deadline, which decides every market."""
        self.walk(self.close_ms, random)

    def ruling(self, terms: MarketTerms) -> Ruling:
        """How a market settles: by whether it happened before its deadline."""
        happened = self.has_happened_before(terms)
        return Ruling(ONE_DOLLAR if happened else Price(0), "yes" if happened else "no")


class Product(msgspec.Struct, tag="product"):
    """A combo: ``values`` are what its legs' YES are worth now, by ticker, told to it; it is worth their product."""

    values: dict[str, float]
    walked_ms: int
    rulings: dict[str, Price] = {}

    def walk(self, now_ms: int, random: Random) -> None:  # noqa: ARG002 - its legs have the chance
        """Its legs move, not the combo."""
        self.walked_ms = now_ms

    def probability(self, terms: MarketTerms) -> float:
        """The product of what the selected sides are worth."""
        worth = 1.0
        for leg in terms.legs:
            value = self.values[leg.ticker]
            worth *= value if leg.outcome is Outcome.YES else 1.0 - value
        return worth

    def conclude(self, random: Random) -> None:
        """Its legs are over."""

    def ruling(self, terms: MarketTerms) -> Ruling:
        """The product of what the selected sides paid, down to the price unit."""
        paid: int = ONE_DOLLAR
        for leg in terms.legs:
            value = self.rulings[leg.ticker]
            paid = paid * (value if leg.outcome is Outcome.YES else ONE_DOLLAR - value) // ONE_DOLLAR
        return Ruling(Price(paid), "")


Hidden = Underlying | Race | Occurrence | Product


def _strikes(terms: MarketTerms) -> tuple[StrikeType, Decimal | None, Decimal | None]:
    """A market's strikes as its rules mean them: a floor without a structured type is one that must be exceeded.

    :raises ValueError: the market has none.
    """
    if terms.floor is None and terms.cap is None:
        raise ValueError(f"{terms.ticker} has no strikes to be settled on")
    strike = StrikeType.GREATER if terms.strike_type is StrikeType.OTHER else terms.strike_type
    needed = {StrikeType.BETWEEN: (True, True), **dict.fromkeys(_BELOW, (False, True))}.get(strike, (True, False))
    if (needed[0] and terms.floor is None) or (needed[1] and terms.cap is None):
        raise ValueError(f"{terms.ticker} has no strikes to be settled on")
    return strike, terms.floor, terms.cap


def settles_yes(terms: MarketTerms, value: Decimal) -> bool:
    """Whether the published value makes YES true: `greater` and `less` are strict, `between` has both ends in it.

    :raises ValueError: the market has no such strikes.
    """
    strike, floor, cap = _strikes(terms)
    if floor is not None and strike in (*_ABOVE, StrikeType.BETWEEN):
        above = value > floor if strike is StrikeType.GREATER else value >= floor
        return above and (strike is not StrikeType.BETWEEN or (cap is not None and value <= cap))
    return cap is not None and (value < cap if strike is StrikeType.LESS else value <= cap)
