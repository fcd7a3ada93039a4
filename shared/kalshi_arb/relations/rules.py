"""What the rules text adds to the ways a group can settle.

Structured fields carry no word about a game that is not played. Two sources do, and both only ever add states of basis
POSSIBLE, so text can lower a grade and never raise one:

- the reviewed registry (``reviewed.py``), keyed by the series and a hash of the text's wording
- a free reading of every text, reviewed or not, which looks for the words below

A market without text, or whose text is silent, gets no such state. Clauses by which the exchange may settle any
contract at its discretion apply to all alike; they are a residual risk of every group and a state of none.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, Ground, State
from kalshi_arb.relations.registry import EdgeRule, Registry

_SIDES = 2
_HALF = Price(ONE_DOLLAR // 2)

_CLAUSES = (
    (EdgeRule.FAIR_PRICE, re.compile(r"\bfair\s+(?:market\s+)?(?:price|value)", re.IGNORECASE)),
    (
        EdgeRule.FAIR_PRICE,
        re.compile(r"\blast[\s-]+(?:traded|fair|market)\s+(?:\w+\s+)?(?:price|value)", re.IGNORECASE),
    ),
    # A stated amount other than one half. Amounts elsewhere in a text are strikes.
    (EdgeRule.FAIR_PRICE, re.compile(r"\b(?:resolve|settle)s?\s+to\s+\$0?\.(?!50?\b)\d", re.IGNORECASE)),
    (EdgeRule.EVEN_SPLIT, re.compile(r"\b(?:resolve|settle)s?\s+to\s+\$0?\.50?\b", re.IGNORECASE)),
    (EdgeRule.EVEN_SPLIT, re.compile(r"\b(?:resolve|settle)s?\s+(?:to\s+)?50\s*/\s*50\b", re.IGNORECASE)),
    (EdgeRule.FAIR_PRICE, re.compile(r"\b(?:void(?:ed)?|refund(?:ed)?|nullified)\b", re.IGNORECASE)),
)
_WORDS = ("fair", "last", "void", "refund", "nullified")


@lru_cache(maxsize=65_536)
def read_clauses(text: str) -> frozenset[EdgeRule]:
    """The clauses that a free reading finds; it may find too many."""
    # Every clause has one of these words in it, or an amount beside "resolve" or "settle": most texts need no second
    # look.
    lowered = text.lower()
    has_amount = ("$" in text or "50" in text) and ("resolve" in lowered or "settle" in lowered)
    if not has_amount and not any(word in lowered for word in _WORDS):
        return frozenset()
    return frozenset(rule for rule, pattern in _CLAUSES if pattern.search(text))


class EdgeStates(NamedTuple):
    """States that clauses bring, what they rest on, and the certificate's sentences about them."""

    states: tuple[State, ...]
    grounds: tuple[Ground, ...]
    sentences: tuple[str, ...]
    rules: tuple[EdgeRule, ...]


def rule_states(members: Sequence[ListedMarket], registry: Registry) -> EdgeStates:
    """The states that the rules of ``members`` add to their group, each named with its source. One market's clause
    counts for the whole group."""
    sources: dict[EdgeRule, str] = {}
    entries: dict[str, Ground] = {}
    known = 0
    for member in members:
        known += member.rules is not None
        series = member.market.series_ticker
        entry = registry.find(series, member.rules)
        if entry is not None and entry.name not in entries:
            entries[entry.name] = entry.ground
        for rule, source in _sources(series, member.rules, registry):
            sources.setdefault(rule, source)
    width = len(members)
    states = []
    sentences = []
    split = sources.get(EdgeRule.EVEN_SPLIT)
    if split is not None and width == _SIDES:
        states.append(State(f"each side settles at one half ({split})", (_HALF,) * width, Basis.POSSIBLE))
        sentences.append(f"A tie or no contest may pay each side one half [{split}].")
        split = None
    # Which of more than two markets settle at one half is not said: anything may be paid.
    fair = sources.get(EdgeRule.FAIR_PRICE, split)
    if fair is not None:
        name = f"each market settles at a price of its own ({fair})"
        states.append(State(name, (Price(0),) * width, Basis.POSSIBLE, highest=(ONE_DOLLAR,) * width))
        sentences.append(
            f"A clause may settle the markets at a price each, which need not add up to a dollar [{fair}]."
        )
    if not known:
        sentences.append("No rules text is known, so nothing is known of ties, voids or fair prices [absent].")
    elif not states:
        sentences.append("No clause about ties, voids or fair prices was found [rules text, searched for words only].")
    grounds = tuple(ground for _, ground in sorted(entries.items()))
    return EdgeStates(tuple(states), grounds, tuple(sentences), tuple(sources))


@lru_cache(maxsize=16_384)
def _sources(series: str, text: str | None, registry: Registry) -> tuple[tuple[EdgeRule, str], ...]:
    """Each clause of a text with where it was found, the review before the free reading."""
    if not text:
        return ()
    entry = registry.find(series, text)
    reviewed = () if entry is None else entry.clauses
    # Part by part: the second part is the same for many markets and is looked at once.
    found = [rule for part in text.split("\n") for rule in sorted(read_clauses(part), key=lambda rule: rule.value)]
    return (
        *((rule, f"rules text of {series}, read in full") for rule in reviewed),
        *((rule, f"rules text of {series}, searched for words only") for rule in found),
    )
