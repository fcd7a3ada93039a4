"""The seeded listings: which series exist and what each of their events looks like to everybody.

How the markets of a shape are made is in :mod:`infra.exchange.ladders` (numbers) and :mod:`infra.exchange.contests`
(names and deadlines).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique

from infra.exchange.fair import Hidden
from infra.exchange.figures import Profile
from infra.exchange.terms import EventTerms, GridName, MarketTerms, SeriesTerms
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import StrikeType


@unique
class Shape(Enum):
    """How a series' events are built."""

    LADDER = "ladder"  # thresholds of one number
    TWO_SUBJECTS = "two_subjects"  # thresholds of two numbers, told apart only by custom_strike
    PARTITION = "partition"  # brackets of one number, both ends open
    SINGLE = "single"  # one threshold, alone in its event
    GAME = "game"  # two or three sides, one wins
    FIELD = "field"  # some of those who may win
    DEADLINES = "deadlines"  # something happens before one of several dates
    COMBO = "combo"  # every selected leg comes true

    @property
    def is_exclusive(self) -> bool:
        """Whether at most one market of such an event can be YES."""
        return self in (Shape.PARTITION, Shape.GAME, Shape.FIELD)


@dataclass(frozen=True, slots=True)
class Template:
    """A series with the recipe of its events. ``level`` is where values start, ``spacing`` lies between strikes and
    ``step`` is what values are published on.

    ``wander`` is the range of how many strikes the value moves in its life (one standard deviation). ``brackets`` is
    the range of how many inner brackets a partition has. ``activity`` is how many times as often as others its events
    change. ``override`` is a fee schedule that every third event of the series carries; of a ``waived`` series, every
    third event charges nothing for the first half of its life. ``clause`` is added to the rules text.
    """

    series: SeriesTerms
    shape: Shape
    profile: Profile
    grid: GridName
    level: Decimal = Decimal(0)
    spacing: Decimal = Decimal(1)
    step: Decimal = Decimal(1)
    subjects: tuple[str, ...] = ()
    strike: StrikeType = StrikeType.GREATER
    brackets: tuple[int, int] = (3, 5)
    wander: tuple[float, float] = (1.2, 1.8)
    override: FeeSchedule | None = None
    waived: bool = False
    activity: int = 2
    clause: str = ""


_FULL = FeeSchedule(FeeType.QUADRATIC, 10_000)
_HALF = FeeSchedule(FeeType.QUADRATIC, 5_000)
_FREE = FeeSchedule(FeeType.QUADRATIC, 0)
_WITH_MAKER = FeeSchedule(FeeType.WITH_MAKER, 10_000)
_HALF_WITH_MAKER = FeeSchedule(FeeType.WITH_MAKER, 5_000)
_COMBO = FeeSchedule(FeeType.WITH_COMBO_MAKER, 10_000)

_NOT_STARTED = "If the game does not start within 48 hours of its time, each market resolves to a fair market price. "
_TIED = "If the game ends in a tie, the market resolves to $0.50. "

TEMPLATES = (
    Template(
        SeriesTerms("KXSIMTEMP", "Highest temperature in Simville", "Climate and Weather", "daily", _FULL, 0),
        Shape.PARTITION, Profile.WEATHER, GridName.LINEAR_CENT, Decimal(70), Decimal(2), wander=(0.9, 1.4),
    ),
    Template(
        SeriesTerms("KXSIMINDEX", "Simulated index at the close", "Financials", "hourly", _FULL, 2),
        Shape.LADDER, Profile.WEATHER, GridName.LINEAR_CENT, Decimal(5_000), Decimal(25), Decimal("0.01"),
    ),
    Template(
        SeriesTerms("KXSIMRUNS", "Runs in a simulated game", "Sports", "custom", _HALF, 2),
        Shape.TWO_SUBJECTS, Profile.SPORTS, GridName.TAPERED_DECI_CENT, Decimal(40), Decimal(5), Decimal("0.1"),
        subjects=("Ash Orchard", "Bo Quarry"), override=_FULL, wander=(2.5, 3.5), activity=4,
    ),
    Template(
        SeriesTerms("KXSIMSNOW", "Snowfall in Simville", "Climate and Weather", "daily", _HALF, 0),
        Shape.PARTITION, Profile.WEATHER, GridName.TAPERED_DECI_CENT, Decimal(30), Decimal(3),
    ),
    Template(
        SeriesTerms("KXSIMCPI", "Simulated price index", "Economics", "monthly", _WITH_MAKER, 0),
        Shape.LADDER, Profile.MACRO, GridName.DECI_CENT, Decimal("3.0"), Decimal("0.1"), Decimal("0.01"),
        subjects=("headline",), activity=1,
    ),
    Template(
        SeriesTerms("KXSIMGAME", "Winner of a simulated game", "Sports", "custom", _HALF_WITH_MAKER, 3),
        Shape.GAME, Profile.SPORTS, GridName.LINEAR_CENT, subjects=("Cedar Bay", "Dunmore"),
        override=_WITH_MAKER, activity=4, clause=_NOT_STARTED + _TIED,
    ),
    Template(
        SeriesTerms("KXSIMCUP", "Winner of the simulated cup", "Sports", "annual", _FREE, 3),
        Shape.FIELD, Profile.SPORTS, GridName.CENTER_HALF_EDGE_DECI_CENT,
        subjects=("Elm Park", "Fairholm", "Grange", "Hartwell", "Inverley", "Juniper Hill"),
    ),
    Template(
        SeriesTerms("KXSIMBY", "Simulated approval", "Politics", "custom", _FULL, 0),
        Shape.DEADLINES, Profile.MACRO, GridName.LINEAR_CENT, activity=1,
    ),
    Template(
        SeriesTerms("KXSIMCOIN", "Simulated coin price range", "Crypto", "hourly", _FULL, 2),
        Shape.PARTITION, Profile.CRYPTO, GridName.LINEAR_CENT, Decimal(62_000), Decimal(100), Decimal("0.01"),
        brackets=(18, 22), wander=(0.5, 0.8), activity=4,
    ),
    Template(
        SeriesTerms("KXSIMMATCH", "Simulated match after 90 minutes", "Sports", "custom", _FULL, 0),
        Shape.GAME, Profile.SPORTS, GridName.LINEAR_CENT, subjects=("Kelso Town", "Lorne Rovers", "Tie"),
        clause=_NOT_STARTED,
    ),
    Template(
        SeriesTerms("KXSIMGAS", "Simulated petrol price", "Economics", "weekly", _FULL, 0),
        Shape.LADDER, Profile.MACRO, GridName.CENTER_WHOLE_EDGE_HALF_CENT, Decimal("3.10"), Decimal("0.05"),
        Decimal("0.001"), strike=StrikeType.GREATER_OR_EQUAL, waived=True, activity=1,
    ),
    Template(
        SeriesTerms("KXSIMCOIN15M", "Simulated coin up in 15 minutes", "Crypto", "fifteen_min", _FULL, 2),
        Shape.SINGLE, Profile.CRYPTO_15M, GridName.TAPERED_DECI_CENT, Decimal(62_000), Decimal(40), Decimal("0.01"),
        strike=StrikeType.GREATER_OR_EQUAL, activity=12,
    ),
    Template(
        SeriesTerms("KXSIMMVE", "Simulated combination", "Sports", "custom", _COMBO, 1),
        Shape.COMBO, Profile.COMBO, GridName.CENTER_DECI_EDGE_CENTI_CENT, activity=1,
    ),
)  # fmt: skip


_BY_SERIES = {template.series.ticker.removeprefix("KXSIM"): template for template in TEMPLATES}

LISTING_ORDER = tuple(
    _BY_SERIES[name]
    for name in (
        "TEMP", "INDEX", "RUNS", "SNOW", "CPI", "GAME", "CUP", "TEMP", "BY", "INDEX", "COIN", "RUNS", "MATCH", "GAS",
        "TEMP", "COIN15M", "SNOW", "MVE",
    )
)  # fmt: skip
"""The order in which events are listed, over and over. Every template is in it, families on numbers more often."""

SHARDS = tuple(sorted({template.series.shard for template in TEMPLATES}))
"""Every ``exchange_index`` that lists something."""


@dataclass(frozen=True, slots=True)
class Span:
    """When an event lives (UTC milliseconds) and how long its results wait before they are paid (seconds)."""

    now_ms: int
    open_ms: int
    close_ms: int
    timer_s: int

    @property
    def seconds(self) -> float:
        """How long it is from now to the close, at least a second."""
        return max(1.0, (self.close_ms - self.now_ms) / 1_000)


@dataclass(frozen=True, slots=True)
class Listing:
    """An event with the hidden value that each of its markets settles on."""

    terms: EventTerms
    shape: Shape
    profile: Profile
    activity: int
    hidden: dict[str, Hidden]


def make_listing(
    template: Template, ticker: str, number: int, markets: Iterable[MarketTerms], hidden: dict[str, Hidden]
) -> Listing:
    """The ``number``-th event of a series, of these markets."""
    terms = EventTerms(
        ticker,
        template.series.ticker,
        f"{template.series.title}, number {number}",
        f"Number {number}",
        mutually_exclusive=template.shape.is_exclusive,
        markets=tuple(markets),
        fees_override=template.override if number % 3 == 0 else None,
    )
    return Listing(terms, template.shape, template.profile, template.activity, hidden)
