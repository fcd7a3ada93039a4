"""A small world that is put together from parts: what the exchange would list of it, and every way it can settle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from kalshi_arb.domain.money import ONE_DOLLAR

Json = dict[str, Any]
Row = tuple[int, ...]
"""What one YES of each market pays, in 1e-4 dollars."""

DOLLAR = int(ONE_DOLLAR)
NOW = "2026-11-23T12:00:00Z"
CLOSE = "2026-11-24T17:00:00Z"
_CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
PRICES = (0, DOLLAR * 3 // 10, DOLLAR * 7 // 10, DOLLAR)


@dataclass(frozen=True, slots=True)
class World:
    """A payload in the form of a case, what is odd about it (``plain``: nothing), the order of its markets, every way
    they settle, and sets that may pay at most or at least once: sides of markets that settle together, True for YES."""

    family: str
    trap: str
    content: Json
    tickers: tuple[str, ...]
    truth: frozenset[Row]
    sets: tuple[tuple[tuple[str, bool], ...], ...]


@dataclass(slots=True)
class Draft:
    """A world that is being put together: markets of which each group settles by itself."""

    events: list[Json] = field(default_factory=list)
    reviewed: list[Json] = field(default_factory=list)
    relations: str | None = None
    parts: list[tuple[tuple[str, ...], frozenset[Row]]] = field(default_factory=list)

    def event(self, ticker: str, markets: Sequence[Json], *, exclusive: bool, source: str = "Ash Office") -> None:
        """List an event with these markets."""
        own = [{**market, "event_ticker": ticker, "exchange_index": 0} for market in markets]
        self.events.append(
            {
                "event_ticker": ticker,
                "series_ticker": ticker.partition("-")[0],
                "title": ticker,
                "mutually_exclusive": exclusive,
                "collateral_return_type": "MECNET" if exclusive else "",
                "settlement_sources": [{"name": source, "url": "https://example.org"}],
                "markets": own,
            }
        )

    def settle(self, tickers: Sequence[str], rows: Iterable[Row]) -> None:
        """These markets settle together in these ways, whatever the others do."""
        self.parts.append((tuple(tickers), frozenset(rows)))

    def world(self, family: str, trap: str = "plain", sets: Iterable[tuple[tuple[str, bool], ...]] = ()) -> World:
        """The world, whose truth is every combination of what its parts can do."""
        series = dict.fromkeys(event["series_ticker"] for event in self.events)
        content: Json = {
            "now": NOW,
            "series": [{"ticker": one, "fee_type": "quadratic", "fee_multiplier": 1} for one in series],
            "events": self.events,
            "reviewed": self.reviewed,
        }
        if self.relations is not None:
            content["relations"] = self.relations
        tickers = tuple(ticker for own, _ in self.parts for ticker in own)
        rows = product(*(sorted(rows) for _, rows in self.parts))
        truth = frozenset(tuple(value for row in joined for value in row) for joined in rows)
        together = [tuple((ticker, True) for ticker in own) for own, _ in self.parts]
        return World(family, trap, content, tickers, truth, (*together, *sets))


def market(ticker: str, text: str, close: str = CLOSE, **fields: Any) -> Json:
    """A market in the exchange's form."""
    return {
        "ticker": ticker,
        "status": "active",
        "close_time": close,
        "price_ranges": _CENTS,
        "rules_primary": text,
        "rules_secondary": "",
        "can_close_early": False,
        **fields,
    }
