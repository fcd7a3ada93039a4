"""Events about names and dates: games, fields of candidates, deadlines, and combos of games.

None of them has strikes. What follows from what is in the exclusivity flag, in the selected legs of a combo, and for
deadlines in the rules text alone.
"""

import math
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from infra.exchange.catalogue import Listing, Shape, Span, Template, make_listing
from infra.exchange.fair import Hidden, Occurrence, Product, Race
from infra.exchange.terms import MarketTerms
from kalshi_arb.domain.market import ComboLeg, Outcome, StrikeType

_VOID = 0.06  # share of games that end without a winner
_WANDER = 1.2  # log-odds that a contestant moves over an event's life
_DEADLINES = (0.4, 0.6, 0.8, 1.0)  # of an event's life
_SIDES = 2
_BETWEEN_DEADLINES_MS = 30 * 86_400_000  # in the rules text: the world's time is a short one
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EVENTUALLY = 0.7  # mean chance that what deadlines are about happens at all
FEWEST_LEGS = 2
_SELECTED = (FEWEST_LEGS, 3)


def build_contest(template: Template, number: int, span: Span, random: Random) -> Listing:
    """The ``number``-th event of a series about names or dates."""
    ticker = f"{template.series.ticker}-{number:05d}"
    if template.shape is Shape.DEADLINES:
        return _deadlines(template, ticker, number, span, random)
    return _race(template, ticker, number, span, random)


def build_combo(template: Template, number: int, span: Span, games: Sequence[Listing], random: Random) -> Listing:
    """A combo of one market of each of two or three of ``games``, which are still being played at its close."""
    ticker = f"{template.series.ticker}-{number:05d}"
    chosen = random.sample(games, min(len(games), random.randint(*_SELECTED)))
    legs = []
    names = []
    for game in chosen:
        market = random.choice(game.terms.markets)
        outcome = Outcome.YES if random.random() < 0.8 else Outcome.NO
        legs.append(ComboLeg(game.terms.ticker, market.ticker, outcome))
        names.append(f"{outcome.value} {market.sub_title}")
    title = ",".join(names)
    selected = {
        "Associated Events": ",".join(leg.event_ticker for leg in legs),
        "Associated Market Sides": ",".join(leg.outcome.value for leg in legs),
        "Associated Markets": ",".join(leg.ticker for leg in legs),
    }
    terms = MarketTerms(
        f"{ticker}-1", ticker, title, title, StrikeType.OTHER, None, None, selected, template.grid, span.open_ms,
        span.close_ms, span.timer_s, "", strike_word="custom", legs=tuple(legs),
    )  # fmt: skip
    values = {
        leg.ticker: game.hidden[leg.ticker].probability(_market(game, leg.ticker))
        for leg, game in zip(legs, chosen, strict=True)
    }
    return make_listing(template, ticker, number, [terms], {terms.ticker: Product(values, span.now_ms)})


def _market(game: Listing, ticker: str) -> MarketTerms:
    return next(terms for terms in game.terms.markets if terms.ticker == ticker)


def _race(template: Template, event: str, number: int, span: Span, random: Random) -> Listing:
    is_game = template.shape is Shape.GAME
    subjects = template.subjects if is_game else random.sample(template.subjects, random.randint(4, 6))
    strengths: dict[str, float] = {}
    markets = []
    for position, subject in enumerate(subjects):
        ticker = f"{event}-{subject.split()[0][:3].upper()}"
        strengths[ticker] = random.gauss(0.0, 0.6)
        verb = "ends" if subject == "Tie" else "wins"
        whose = f"the game of {event} {verb} in a tie" if subject == "Tie" else f"{subject} {verb} {event}"
        markets.append(
            MarketTerms(
                ticker, event, f"{template.series.title}: {subject}?", subject, StrikeType.OTHER, None, None,
                {"contestant": str(uuid.UUID(int=random.getrandbits(128), version=4))}, template.grid, span.open_ms,
                span.close_ms, span.timer_s, f"If {whose}, then the market resolves to Yes. {template.clause}".strip(),
                strike_word="structured" if position or is_game else "custom",
            )
        )  # fmt: skip
    race = Race(
        strengths,
        None if is_game else random.gauss(0.0, 0.6),
        _WANDER / math.sqrt(span.seconds),
        _VOID if is_game else 0.0,
        is_game and len(subjects) == _SIDES and random.random() < 0.5,
        span.close_ms,
        span.now_ms,
    )
    hidden: dict[str, Hidden] = dict.fromkeys(strengths, race)
    return make_listing(template, event, number, markets, hidden)


def _deadlines(template: Template, event: str, number: int, span: Span, random: Random) -> Listing:
    markets = []
    for day, part in enumerate(_DEADLINES, start=1):
        close_ms = span.open_ms + max(1, round((span.close_ms - span.open_ms) * part))
        date = _date(span.now_ms + day * _BETWEEN_DEADLINES_MS)
        markets.append(
            MarketTerms(
                f"{event}-D{day}", event, f"{template.series.title} before {date}?", f"Before {date}",
                StrikeType.OTHER, None, None, {}, template.grid, span.open_ms, close_ms, span.timer_s,
                f"If the approval of {event} is published before {date}, then the market resolves to Yes.",
                strike_word="custom",
                early_close="This market closes and expires early if the event occurs.",
            )
        )  # fmt: skip
    hazard = -math.log(1 - _EVENTUALLY * random.uniform(0.5, 1.3)) / span.seconds
    value = Occurrence(math.log(hazard), 1.0 / math.sqrt(span.seconds), span.close_ms, span.open_ms)
    hidden: dict[str, Hidden] = {terms.ticker: value for terms in markets}
    return make_listing(template, event, number, markets, hidden)


def _date(ms: int) -> str:
    day = datetime.fromtimestamp(ms // 1_000, tz=UTC)
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"
