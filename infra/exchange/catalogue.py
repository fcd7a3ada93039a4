"""The seeded listings: which series exist and what their events look like.

Two families: threshold ladders (`greater`), some with two subjects in one event so that strikes alone do not make a
ladder, and bracket partitions (`less`, `between`..., `greater`) of whole numbers, between which the real line has
slivers that no bracket covers.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from random import Random

from infra.exchange.fair import Underlying
from infra.exchange.terms import EventTerms, GridName, MarketTerms, SeriesTerms
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import StrikeType


@unique
class Shape(Enum):
    """How a series' events are built."""

    LADDER = "ladder"
    TWO_SUBJECTS = "two_subjects"
    PARTITION = "partition"


@dataclass(frozen=True, slots=True)
class Template:
    """A series with the recipe of its events. ``level`` is where values start, ``spacing`` lies between strikes.

    ``override`` is a fee schedule that every third event of the series carries.
    """

    series: SeriesTerms
    shape: Shape
    grid: GridName
    level: Decimal
    spacing: Decimal
    step: Decimal
    subjects: tuple[str, ...] = ()
    override: FeeSchedule | None = None


_FULL = FeeSchedule(FeeType.QUADRATIC, 10_000)
_HALF = FeeSchedule(FeeType.QUADRATIC, 5_000)
_WITH_MAKER = FeeSchedule(FeeType.WITH_MAKER, 10_000)

TEMPLATES = (
    Template(
        SeriesTerms("KXSIMTEMP", "Highest temperature in Simville", "Climate and Weather", "daily", _FULL, 0),
        Shape.PARTITION, GridName.LINEAR_CENT, Decimal(70), Decimal(2), Decimal(1),
    ),
    Template(
        SeriesTerms("KXSIMINDEX", "Simulated index at the close", "Financials", "hourly", _FULL, 2),
        Shape.LADDER, GridName.LINEAR_CENT, Decimal(5_000), Decimal(25), Decimal("0.01"),
    ),
    Template(
        SeriesTerms("KXSIMRUNS", "Runs in a simulated game", "Sports", "custom", _HALF, 2),
        Shape.TWO_SUBJECTS, GridName.TAPERED_DECI_CENT, Decimal(40), Decimal(5), Decimal("0.1"),
        subjects=("Ash Orchard", "Bo Quarry"), override=_FULL,
    ),
    Template(
        SeriesTerms("KXSIMSNOW", "Snowfall in Simville", "Climate and Weather", "daily", _HALF, 0),
        Shape.PARTITION, GridName.TAPERED_DECI_CENT, Decimal(30), Decimal(3), Decimal(1),
    ),
    Template(
        SeriesTerms("KXSIMCPI", "Simulated price index", "Economics", "monthly", _WITH_MAKER, 0),
        Shape.LADDER, GridName.DECI_CENT, Decimal("3.0"), Decimal("0.1"), Decimal("0.01"), subjects=("headline",),
    ),
)  # fmt: skip


SHARDS = tuple(sorted({template.series.shard for template in TEMPLATES}))
"""Every ``exchange_index`` that lists something."""


@dataclass(frozen=True, slots=True)
class Listing:
    """An event with the hidden value that each of its markets settles on."""

    terms: EventTerms
    shape: Shape
    underlyings: dict[str, Underlying]


def build_event(
    template: Template, number: int, *, now_ms: int, open_ms: int, close_ms: int, timer_s: int, random: Random
) -> Listing:
    """The ``number``-th event of a series, open from ``open_ms`` to ``close_ms`` (UTC milliseconds)."""
    ticker = f"{template.series.ticker}-{number:05d}"
    if template.shape is Shape.PARTITION:
        markets, underlyings = _partition(template, ticker, now_ms, open_ms, close_ms, timer_s, random)
    else:
        markets, underlyings = _ladders(template, ticker, now_ms, open_ms, close_ms, timer_s, random)
    terms = EventTerms(
        ticker,
        template.series.ticker,
        f"{template.series.title}, number {number}",
        f"Number {number}",
        mutually_exclusive=template.shape is Shape.PARTITION,
        markets=tuple(markets),
        fees_override=template.override if number % 3 == 0 else None,
    )
    return Listing(terms, template.shape, underlyings)


def _underlying(template: Template, level: float, now_ms: int, close_ms: int, random: Random) -> Underlying:
    # Over a whole life the value wanders about one and a half strikes: most strikes stay undecided to the end.
    seconds = max(1.0, (close_ms - now_ms) / 1_000)
    volatility = float(template.spacing) * random.uniform(1.2, 1.8) / seconds**0.5
    return Underlying(level, volatility, template.step, close_ms, now_ms)


def _ladders(
    template: Template, event: str, now_ms: int, open_ms: int, close_ms: int, timer_s: int, random: Random
) -> tuple[list[MarketTerms], dict[str, Underlying]]:
    markets: list[MarketTerms] = []
    underlyings: dict[str, Underlying] = {}
    two = template.shape is Shape.TWO_SUBJECTS
    subjects = template.subjects or ("",)
    for position, subject in enumerate(subjects):
        strikes = random.randint(5, 6) if two else random.randint(5, 8)
        # Subjects of one event share strikes but not values, so across subjects prices are no ladder.
        centre = template.level + position * 2 * template.spacing
        value = float(centre) + random.uniform(-0.5, 0.5) * float(template.spacing)
        underlying = _underlying(template, value, now_ms, close_ms, random)
        first = (template.level if two else centre) - template.spacing * (strikes // 2)
        for index in range(strikes):
            floor = first + template.spacing * index
            suffix = f"{subject.split()[0].upper()}-T{floor}" if two else f"T{floor}"
            custom = {"subject": subject} if subject else None
            whose = f"{subject}: " if subject else ""
            terms = MarketTerms(
                f"{event}-{suffix}", event, f"{whose}{template.series.title} above {floor}?",
                f"{whose}above {floor}", StrikeType.GREATER, floor, None, custom, template.grid,
                open_ms, close_ms, timer_s,
                f"If the published value{f' for {subject}' if subject else ''} of {event} is greater than {floor}, "
                "then the market resolves to Yes.",
            )  # fmt: skip
            markets.append(terms)
            underlyings[terms.ticker] = underlying
    return markets, underlyings


def _partition(
    template: Template, event: str, now_ms: int, open_ms: int, close_ms: int, timer_s: int, random: Random
) -> tuple[list[MarketTerms], dict[str, Underlying]]:
    inner = random.randint(3, 5)
    width = template.spacing
    first = template.level - width * inner // 2 + random.randint(-3, 3)
    middle = float(first) + float(width) * inner / 2
    underlying = _underlying(template, middle + random.uniform(-0.5, 0.5) * float(width), now_ms, close_ms, random)
    rows: list[tuple[str, StrikeType, Decimal | None, Decimal | None, str]] = [
        (f"T{first}", StrikeType.LESS, None, first, f"{first - 1} or below")
    ]
    for index in range(inner):
        low = first + width * index
        high = low + width - 1
        rows.append((f"B{low + (width - 1) / 2}", StrikeType.BETWEEN, low, high, f"{low} to {high}"))
    last = first + width * inner - 1
    rows.append((f"T{last}", StrikeType.GREATER, last, None, f"{last + 1} or above"))
    words = {StrikeType.LESS: "less than", StrikeType.BETWEEN: "between", StrikeType.GREATER: "greater than"}
    markets = []
    for suffix, kind, floor, cap, label in rows:
        bounds = "-".join(str(bound) for bound in (floor, cap) if bound is not None)
        markets.append(
            MarketTerms(
                f"{event}-{suffix}", event, f"{template.series.title}: {label}?", label, kind, floor, cap, None,
                template.grid, open_ms, close_ms, timer_s,
                f"If the published value of {event} is {words[kind]} {bounds}, then the market resolves to Yes.",
            )
        )  # fmt: skip
    return markets, {terms.ticker: underlying for terms in markets}
