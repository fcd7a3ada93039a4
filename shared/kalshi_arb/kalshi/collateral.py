"""``ports.CollateralReads`` on the REST API."""

from collections.abc import Iterator, Sequence

from kalshi_arb.domain.collateral import EventCollateral
from kalshi_arb.domain.market import CollateralReturn
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import RejectedError
from kalshi_arb.kalshi.mapping import to_collateral
from kalshi_arb.kalshi.markets import BOOKS_PER_CALL, Markets
from kalshi_arb.kalshi.models.market import EventWire

# Tickers of events are long, and an address of more than 8 KB is refused on the way.
_EVENTS_PER_CALL = 100


class KalshiCollateral:
    """Which event a market is of, and that an event gives nothing back, never changes and is asked once; what the
    markets of the other events have paid is asked each time. Needs no key."""

    def __init__(self, client: RestClient) -> None:
        self._markets = Markets(client)
        self._homes: dict[str, str] = {}
        self._without: dict[str, EventCollateral] = {}

    def collateral(self, tickers: Sequence[str]) -> dict[str, EventCollateral]:
        """By market what its event gives collateral back for, up to 15 seconds old. One that is not listed any more is
        missing.

        :raises ExchangeError: a call failed, or an answer cannot be read.
        """
        unknown = [ticker for ticker in dict.fromkeys(tickers) if ticker not in self._homes]
        for start in range(0, len(unknown), BOOKS_PER_CALL):
            for wire in self._markets.markets(tickers=unknown[start : start + BOOKS_PER_CALL]):
                self._homes[wire.ticker] = wire.event_ticker
        wanted = {self._homes[ticker] for ticker in tickers if ticker in self._homes}
        events = {name: self._without[name] for name in wanted if name in self._without}
        for found in self._events(sorted(wanted - events.keys())):
            event = to_collateral(found)
            events[event.event_ticker] = event
            if event.collateral_return is not CollateralReturn.MECNET:
                self._without[event.event_ticker] = event
        return {
            ticker: events[self._homes[ticker]]
            for ticker in tickers
            if ticker in self._homes and self._homes[ticker] in events
        }

    def _events(self, names: Sequence[str]) -> Iterator[EventWire]:
        for start in range(0, len(names), _EVENTS_PER_CALL):
            chunk = names[start : start + _EVENTS_PER_CALL]
            left = set(chunk)
            for page in self._markets.event_pages(tickers=chunk, with_nested_markets=True):
                for wire in map(self._markets.read_event, page):
                    left.discard(wire.event_ticker)
                    yield wire
            for name in sorted(left):
                # The listing leaves combos out.
                try:
                    yield self._markets.event(name, with_nested_markets=True)
                except RejectedError:
                    continue
