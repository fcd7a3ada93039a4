"""Events about a number: threshold ladders, also of two subjects in one event, bracket partitions, one threshold.

Between brackets of whole numbers the real line has slivers that no bracket covers. Now and then a market of a ladder is
labelled as something other than a threshold, as on the real exchange, though it carries its strike.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random

from infra.exchange.catalogue import Listing, Shape, Span, Template, make_listing
from infra.exchange.fair import Hidden, Underlying
from infra.exchange.terms import MarketTerms
from kalshi_arb.domain.market import StrikeType

_MISLABELLED = 0.04  # share of ladders that have one market with another strike type
_WORDS = ("custom", "structured", "functional", None)
_THRESHOLDS = {StrikeType.GREATER: ("above {}", "greater than {}"), StrikeType.GREATER_OR_EQUAL: ("{} or above",) * 2}


def build_line(template: Template, number: int, span: Span, random: Random) -> Listing:
    """The ``number``-th event of a series about a number."""
    ticker = f"{template.series.ticker}-{number:05d}"
    if template.shape is Shape.PARTITION:
        rows = _partition(template, ticker, span, random)
    else:
        rows = _ladders(template, ticker, span, random)
    pairs = list(rows)
    # Without a type a floor is read as one to be exceeded, so only those that are may lose theirs.
    may_lose_it = template.shape is Shape.LADDER and template.strike is StrikeType.GREATER
    if may_lose_it and random.random() < _MISLABELLED:
        place = random.randrange(len(pairs))
        terms, value = pairs[place]
        terms = replace(terms, strike_type=StrikeType.OTHER, strike_word=random.choice(_WORDS))
        pairs[place] = (terms, value)
    if template.waived and number % 3 == 0:
        halfway = (span.open_ms + span.close_ms) // 2
        pairs = [(replace(terms, fee_waiver_until_ms=halfway), value) for terms, value in pairs]
    hidden: dict[str, Hidden] = {terms.ticker: value for terms, value in pairs}
    return make_listing(template, ticker, number, [terms for terms, _ in pairs], hidden)


def _underlying(template: Template, level: float, span: Span, random: Random) -> Underlying:
    volatility = float(template.spacing) * random.uniform(*template.wander) / span.seconds**0.5
    return Underlying(level, volatility, template.step, span.close_ms, span.now_ms)


def _ladders(template: Template, event: str, span: Span, random: Random) -> Iterator[tuple[MarketTerms, Underlying]]:
    two, single = template.shape is Shape.TWO_SUBJECTS, template.shape is Shape.SINGLE
    label, words = _THRESHOLDS[template.strike]
    for position, subject in enumerate(template.subjects or ("",)):
        strikes = 1 if single else random.randint(5, 6) if two else random.randint(5, 8)
        # Subjects of one event share strikes but not values, so across subjects prices are no ladder.
        centre = template.level + position * 2 * template.spacing
        value = float(centre) + random.uniform(-0.5, 0.5) * float(template.spacing)
        underlying = _underlying(template, value, span, random)
        first = (template.level if two else centre) - template.spacing * (strikes // 2)
        whose = f"{subject}: " if subject else ""
        for index in range(strikes):
            floor = first + template.spacing * index
            suffix = f"{subject.split()[0].upper()}-T{floor}" if two else f"T{floor}"
            terms = MarketTerms(
                f"{event}-{suffix}", event, f"{whose}{template.series.title} {label.format(floor)}?",
                f"{whose}{label.format(floor)}", template.strike, floor, None,
                {"subject": subject} if subject else None, template.grid, span.open_ms, span.close_ms, span.timer_s,
                f"If the published value{f' for {subject}' if subject else ''} of {event} is {words.format(floor)}, "
                "then the market resolves to Yes.",
            )  # fmt: skip
            yield terms, underlying


def _partition(template: Template, event: str, span: Span, random: Random) -> Iterator[tuple[MarketTerms, Underlying]]:
    inner = random.randint(*template.brackets)
    width, step = template.spacing, template.step
    first = template.level - width * inner // 2 + random.randint(-3, 3)
    middle = float(first) + float(width) * inner / 2
    underlying = _underlying(template, middle + random.uniform(-0.5, 0.5) * float(width), span, random)
    rows: list[tuple[str, StrikeType, Decimal | None, Decimal | None, str]] = [
        (f"T{first}", StrikeType.LESS, None, first, f"{first - step} or below")
    ]
    for index in range(inner):
        low = first + width * index
        high = low + width - step
        rows.append((f"B{low + (width - step) / 2}", StrikeType.BETWEEN, low, high, f"{low} to {high}"))
    last = first + width * inner - step
    rows.append((f"T{last}", StrikeType.GREATER, last, None, f"{last + step} or above"))
    words = {StrikeType.LESS: "less than", StrikeType.BETWEEN: "between", StrikeType.GREATER: "greater than"}
    for suffix, kind, floor, cap, label in rows:
        bounds = "-".join(str(bound) for bound in (floor, cap) if bound is not None)
        terms = MarketTerms(
            f"{event}-{suffix}", event, f"{template.series.title}: {label}?", label, kind, floor, cap, None,
            template.grid, span.open_ms, span.close_ms, span.timer_s,
            f"If the published value of {event} is {words[kind]} {bounds}, then the market resolves to Yes.",
        )  # fmt: skip
        yield terms, underlying
