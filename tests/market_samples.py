"""Markets, listings, books and groups in the words of the tests: prices in cents, counts in contracts."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID, Band, PriceGrid
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.state_space import Group
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.registry import Registry
from kalshi_arb.relations.reviewed import REVIEWED

NOW_MS = 1_750_000_000_000
CLOSE_MS = NOW_MS + 3_600_000
STANDARD_FEES = FeeSchedule(FeeType.QUADRATIC)
NO_FEES = FeeSchedule(FeeType.QUADRATIC, 0)
FINE_GRID = PriceGrid((Band(Price(0), Price(10_000), Price(1)),))

_TYPES = {
    ">": StrikeType.GREATER,
    ">=": StrikeType.GREATER_OR_EQUAL,
    "<": StrikeType.LESS,
    "<=": StrikeType.LESS_OR_EQUAL,
}


def market(
    strike: str,
    *,
    ticker: str | None = None,
    subject: str = "",
    fees: FeeSchedule = STANDARD_FEES,
    grid: PriceGrid = CENT_GRID,
    close_ms: int = CLOSE_MS,
    rules: str = "rules",
    event: str = "EVENT",
) -> Market:
    """A market from its strike: ``"> 67.99"``, ``"<= 5"`` or ``"93 .. 94"``; its ticker is the strike as written."""
    sign, _, number = strike.partition(" ")
    floor: Decimal | None
    cap: Decimal | None
    if sign in _TYPES:
        kind = _TYPES[sign]
        floor = Decimal(number) if sign.startswith(">") else None
        cap = Decimal(number) if sign.startswith("<") else None
    else:
        low, high = strike.split(" .. ")
        kind, floor, cap = StrikeType.BETWEEN, Decimal(low), Decimal(high)
    return Market(
        ticker=ticker or strike,
        event_ticker=event,
        series_ticker="SERIES",
        strike_type=kind,
        floor=floor,
        cap=cap,
        subject=subject,
        title=strike,
        grid=grid,
        fees=fees,
        shard=0,
        close_ms=close_ms,
        rules_fingerprint=rules,
    )


def listing(
    markets: Iterable[Market | tuple[Market, MarketStatus] | ListedMarket],
    *,
    exclusive: bool | None = False,
    event: str = "EVENT",
    rules: Mapping[str, str] | None = None,
) -> EventListing:
    """An event of these markets, active where no status is given, with rules texts by ticker."""
    rows = tuple(_listed(item, rules or {}) for item in markets)
    return EventListing(event, "SERIES", "An event", exclusive, rows)


def _listed(item: Market | tuple[Market, MarketStatus] | ListedMarket, rules: Mapping[str, str]) -> ListedMarket:
    if isinstance(item, ListedMarket):
        return item
    market, status = item if isinstance(item, tuple) else (item, MarketStatus.ACTIVE)
    return ListedMarket(market, status, rules.get(market.ticker))


def formed(
    listing: EventListing, *, registry: Registry = REVIEWED, now_ms: int = 0
) -> tuple[list[Group], dict[str, int]]:
    """The groups that one event forms alone, and how many of its markets are left out by reason."""
    built = build_groups([listing], registry=registry, now_ms=now_ms)
    return list(built.groups), dict(built.counts)


def group(*strikes: str, fees: FeeSchedule = STANDARD_FEES, grid: PriceGrid = CENT_GRID, event: str = "EVENT") -> Group:
    """The one group that markets with these strikes form."""
    markets = [market(strike, fees=fees, grid=grid, event=event) for strike in strikes]
    groups, drops = formed(listing(markets, event=event))
    assert len(groups) == 1, drops
    return groups[0]


def book(
    ticker: str,
    yes: Iterable[tuple[float, float]] = (),
    no: Iterable[tuple[float, float]] = (),
    *,
    seq: int = 1,
    alive_ms: int = NOW_MS,
) -> BookSnapshot:
    """A book from resting bids, each ``(cents, contracts)``, in any order."""

    def levels(side: Iterable[tuple[float, float]]) -> tuple[Level, ...]:
        rows = [Level(Price(round(cents * 100)), Count(round(size * 100))) for cents, size in side]
        return tuple(sorted(rows, reverse=True))

    return BookSnapshot(ticker, BookVersion(1, 1, seq), alive_ms, alive_ms, levels(yes), levels(no))


def books(*snapshots: BookSnapshot) -> dict[str, BookSnapshot]:
    """Books by ticker."""
    return {snapshot.ticker: snapshot for snapshot in snapshots}
