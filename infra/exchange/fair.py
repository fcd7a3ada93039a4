"""Hidden values and the fair prices that follow from them.

Probabilities are floats because they are opinions of simulated people, not money; they become prices on the tick grid
where quotes are made.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from infra.exchange.terms import MarketTerms
from kalshi_arb.domain.market import StrikeType

_SQRT2 = math.sqrt(2.0)


def _below(bound: float, mean: float, deviation: float) -> float:
    return 0.5 * (1.0 + math.erf((bound - mean) / (deviation * _SQRT2)))


@dataclass(slots=True)
class Underlying:
    """A random walk with normal steps: ``volatility`` is its deviation over one second.

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
        if terms.strike_type is StrikeType.GREATER and terms.floor is not None:
            return 1.0 - _below(float(terms.floor) + half, mean, deviation)
        if terms.strike_type is StrikeType.LESS and terms.cap is not None:
            return _below(float(terms.cap) - half, mean, deviation)
        if terms.strike_type is StrikeType.BETWEEN and terms.floor is not None and terms.cap is not None:
            upper = _below(float(terms.cap) + half, mean, deviation)
            return upper - _below(float(terms.floor) - half, mean, deviation)
        raise ValueError(f"{terms.ticker} has no strikes to be priced on")


def settles_yes(terms: MarketTerms, value: Decimal) -> bool:
    """Whether the published value makes YES true: `greater` and `less` are strict, `between` has both ends in it.

    :raises ValueError: the market has no such strikes.
    """
    if terms.strike_type is StrikeType.GREATER and terms.floor is not None:
        return value > terms.floor
    if terms.strike_type is StrikeType.LESS and terms.cap is not None:
        return value < terms.cap
    if terms.strike_type is StrikeType.BETWEEN and terms.floor is not None and terms.cap is not None:
        return terms.floor <= value <= terms.cap
    raise ValueError(f"{terms.ticker} has no strikes to be settled on")
