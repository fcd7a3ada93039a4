"""Markets with texts, and a registry that has read them, in the words of the tests."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.relations.registry import Entry, Instant, LineReading, Registry
from kalshi_arb.relations.wordings import wording
from tests.market_samples import CLOSE_MS, listing, market

_WORDS = {
    StrikeType.GREATER: "above {}",
    StrikeType.GREATER_OR_EQUAL: "at least {}",
    StrikeType.LESS: "below {}",
    StrikeType.LESS_OR_EQUAL: "at most {}",
    StrikeType.BETWEEN: "between {} and {}",
}
TEXT = "If the average of the Ash Index is {}, then the market resolves to Yes."


def text_of(one: Market, template: str = TEXT) -> str:
    """The rules text that says what the strikes say."""
    strikes = [strike for strike in (one.floor, one.cap) if strike is not None]
    return template.format(_WORDS[one.strike_type].format(*strikes))


def told(one: Market, template: str = TEXT) -> ListedMarket:
    """An active market with such a text."""
    return ListedMarket(one, MarketStatus.ACTIVE, text_of(one, template))


def index_event(
    event: str,
    *strikes: str,
    series: str = "SERIES",
    template: str = TEXT,
    close_ms: int = CLOSE_MS,
    sources: tuple[str, ...] | None = None,
) -> EventListing:
    """An event of markets that compare one index with their strikes, each named ``EVENT strike``."""
    markets = [
        replace(
            market(strike, ticker=f"{event} {strike}", event=event, close_ms=close_ms), series_ticker=series
        )
        for strike in strikes
    ]  # fmt: skip
    found = listing([told(one, template) for one in markets], event=event)
    return replace(found, series_ticker=series, sources=sources)


def index_registry(
    *series: str,
    template: str = TEXT,
    source: str = "Ash Index",
    statistic: str = "average",
    lattice: str | None = None,
    ends_included: bool = False,
    kinds: Iterable[StrikeType] = tuple(_WORDS),
) -> Registry:
    """Reviewed entries for every comparison of the template."""
    return Registry(
        index_entry(
            name, kind, template=template, source=source, statistic=statistic, lattice=lattice,
            ends_included=ends_included,
        )
        for name in series or ("SERIES",)
        for kind in kinds
    )  # fmt: skip


def index_entry(
    series: str,
    kind: StrikeType,
    *,
    template: str = TEXT,
    source: str = "Ash Index",
    statistic: str = "average",
    lattice: str | None = None,
    ends_included: bool = False,
) -> Entry:
    """The reviewed entry of one comparison."""
    reading = LineReading(
        underlying="Ash",
        source=source,
        statistic=statistic,
        unit="points",
        instant=Instant.CLOSE,
        strike_types=frozenset({kind}),
        lattice=None if lattice is None else Decimal(lattice),
        ends_included=ends_included,
    )
    return Entry(
        series, wording(template.format(_WORDS[kind].format(1, 2))), "The text names the index.", line=reading
    )  # fmt: skip
