"""What the rules text adds to the ways a group can settle.

Structured fields carry no word about a game that is not played. Two sources do, and both only ever add states of basis
POSSIBLE, so text can lower a grade and never raise one:

- the reviewed registry (``reviewed.py``), keyed by the series and a hash of the text's wording
- a free reading of text that nobody reviewed, which looks for the words below

A market without text, or whose text is silent, gets no such state. Clauses by which the exchange may settle any
contract at its discretion apply to all alike; they are a residual risk of every group and a state of none.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, State
from kalshi_arb.relations.reviewed import REVIEWED, EdgeRule

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
)
# Names, dates and numbers begin with a capital or a digit; what is left is the wording that a series' markets share.
_NAMES = re.compile(r"(?:\b[A-Z0-9][\w'\u2019&:/-]*[^\w$]*)+")


def wording(text: str) -> str:
    """SHA-256 in hex of a rules text without its names, dates and numbers: one hash for all games of a series that are
    worded alike. What it leaves out cannot hide a clause, because the text itself is always read as well."""
    return hashlib.sha256(" ".join(_NAMES.sub("_ ", text).split()).encode()).hexdigest()


def read_clauses(text: str) -> frozenset[EdgeRule]:
    """The clauses that a free reading finds; it may find too many."""
    return frozenset(rule for rule, pattern in _CLAUSES if pattern.search(text))


def rule_states(markets: Sequence[Market], rules: Mapping[str, str]) -> tuple[State, ...]:
    """The states that the rules of ``markets`` add to their group, each named with its source. One market's clause
    counts for the whole group.

    :param rules: rules text by ticker; a ticker whose text is not known is missing
    """
    sources: dict[EdgeRule, str] = {}
    for market in markets:
        for rule, source in _sources(market.series_ticker, rules.get(market.ticker, "")):
            sources.setdefault(rule, source)
    width = len(markets)
    states = []
    split = sources.get(EdgeRule.EVEN_SPLIT)
    if split is not None and width == _SIDES:
        states.append(State(f"each side settles at one half ({split})", (_HALF,) * width, Basis.POSSIBLE))
        split = None
    # Which of more than two markets settle at one half is not said: anything may be paid.
    fair = sources.get(EdgeRule.FAIR_PRICE, split)
    if fair is not None:
        name = f"each market settles at a price of its own ({fair})"
        states.append(State(name, (Price(0),) * width, Basis.POSSIBLE, highest=(ONE_DOLLAR,) * width))
    return tuple(states)


def _sources(series: str, text: str) -> Iterator[tuple[EdgeRule, str]]:
    if not text:
        return
    for rule in REVIEWED.get((series, wording(text)), ()):
        yield rule, f"rules text of {series}, read in full"
    for rule in read_clauses(text):
        yield rule, f"rules text of {series}, searched for words only"
