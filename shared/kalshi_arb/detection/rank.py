"""Which of several finds comes first, and the figures that say so."""

from collections.abc import Iterable, Mapping, Sequence

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.opportunity import Capital, Leg, Opportunity, Quality

_MILLION = 10**6


def quality(legs: Sequence[Leg], books: Mapping[str, BookSnapshot], now_ms: int) -> Quality:
    """How much of its books a bundle takes, and how old and how far apart they are. Each leg's book holds its count
    within its limit.

    :param now_ms: UTC milliseconds
    """
    alive = [books[leg.ticker].alive_ms for leg in legs]
    shares = [
        leg.count * _MILLION // sum(size for price, size in books[leg.ticker].asks(leg.outcome) if price <= leg.limit)
        for leg in legs
    ]
    return Quality(depth_ppm=max(shares), age_ms=now_ms - min(alive), skew_ms=max(alive) - min(alive))


def rank(found: Iterable[Opportunity]) -> list[Opportunity]:
    """Best first: the greatest guaranteed profit, then the most of it for each locked dollar-day, then the smallest
    share of the depth, the youngest books, the least skew. The id settles what is left, so the order is always the
    same."""
    return sorted(found, key=_key)


def _key(one: Opportunity) -> tuple[int, int, int, int, int, int, str]:
    free, earned = _earning(one.capital)
    return (
        -one.certificate.floor_profit,
        free,
        -earned,
        one.quality.depth_ppm,
        one.quality.age_ms,
        one.quality.skew_ms,
        one.opportunity_id,
    )


def _earning(capital: Capital) -> tuple[int, int]:
    """What locks nothing comes before any rate, and what is locked for an unknown time after every rate."""
    if capital.locked and capital.profit_per_dollar_day is None:
        return 2, 0
    return (0, 0) if not capital.locked else (1, capital.profit_per_dollar_day or 0)
