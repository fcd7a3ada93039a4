"""The REST API: one client that signs, sends and sorts what can go wrong, and the two ports built on it.

What a failure means depends on the kind of call. A read that fails may simply be made again. A write that got a 408,
a 5xx, no answer or an answer nobody can read may have happened; only a connection that never came about proves that
nothing was sent (Kalshi API documentation, order errors).
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, unique
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from kalshi_arb.clock import Clock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import DomainError, ExchangeError, SettingsError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest, Settlement
from kalshi_arb.kalshi import schemas
from kalshi_arb.kalshi.errors import AuthError, RejectedError, RetryableError, UnknownOutcomeError, WireFormatError
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.ports import EventListing, MarketState

T = TypeVar("T")
Query = Sequence[tuple[str, str]]

logger = logging.getLogger(__name__)

BOOKS_PER_CALL = 100
FILL_TICKERS_PER_CALL = 100
# Above this many tickers one unfiltered listing is cheaper than a call for each: orders filter by one ticker only.
ORDER_CALLS = 5
PAGE = "1000"
EVENT_PAGE = "200"
# Each costs a call; a discovery run must stay far below the read limit.
COMBO_EVENTS = 25
# The filter counts whole seconds of the exchange's clock, ours may be ahead of it.
SINCE_MARGIN_S = 5

READ_ATTEMPTS = 5
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 4.0

ORDER_ALREADY_EXISTS = "order_already_exists"
# A killed fill-or-kill: HTTP 409 in REST, upper case from the engine.
KILLED_CODES = frozenset({"fill_or_kill_insufficient_resting_volume", "FOK_INSUFFICIENT_VOLUME"})
# Items of a batch that failed inside the exchange: they may have traded, like a 5xx on a single order.
_UNKNOWN_ITEM_CODES = frozenset(
    {
        "exchange_unavailable",
        "internal_error",
        "internal_server_error",
        "service_unavailable",
        "request_timeout",
        "gateway_timeout",
        "timeout",
    }
)


@unique
class Kind(Enum):
    """What a call does, which decides its time limits and what its failure means."""

    READ = "read"
    LISTING = "listing"  # reads of megabytes
    WRITE = "write"


_TIMEOUTS = {
    Kind.READ: httpx.Timeout(5.0, connect=3.0),
    Kind.LISTING: httpx.Timeout(30.0, connect=3.0),
    Kind.WRITE: httpx.Timeout(5.0, connect=2.0, pool=2.0),
}
# Raised before a single byte of the request left.
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RestClient:
    """Sends calls and maps every way they can fail to the errors of ``kalshi.errors``.

    :param base_url: with the API's root, such as ``https://host/trade-api/v2``
    :param credentials: None for public market data only
    :param transport: replaces the network, for tests
    :param jitter: numbers from 0 to 1 that spread repeated reads
    :raises SettingsError: a private key that cannot be used
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Credentials | None,
        clock: Clock,
        transport: httpx.BaseTransport | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        url = httpx.URL(base_url)
        self._root = url.path.rstrip("/")
        self._signer = Signer(credentials) if credentials is not None else None
        self._clock = clock
        self._jitter = jitter
        self._http = httpx.Client(
            base_url=url.copy_with(path="/"),
            http2=url.scheme == "https",
            transport=transport,
            # Proxy variables of the machine must not decide where orders go.
            trust_env=False,
            headers={"Accept": "application/json", "Accept-Language": "en"},
        )

    def close(self) -> None:
        """Close kept connections."""
        self._http.close()

    def get(self, path: str, shape: type[T], query: Query = (), *, kind: Kind = Kind.READ, signed: bool = False) -> T:
        """Read and decode, repeating what may be repeated a bounded number of times.

        :raises ExchangeError: ``RetryableError`` when every attempt failed, otherwise what the exchange said.
        """
        attempt = 1
        while True:
            try:
                return schemas.read(self._send(kind, "GET", path, query, None, signed=signed), shape, f"GET {path}")
            except RetryableError:
                if attempt == READ_ATTEMPTS:
                    raise
            longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt)
            self._clock.sleep(longest * (0.5 + self._jitter() / 2))
            attempt += 1

    def write(self, method: str, path: str, body: object, shape: type[T]) -> T:
        """Send a signed write once, never repeated here.

        :raises RejectedError: certainly refused.
        :raises RetryableError: certainly without effect (429, or no connection came about).
        :raises UnknownOutcomeError: it may or may not have happened, an unreadable success included.
        """
        content = self._send(Kind.WRITE, method, path, (), msgspec.json.encode(body), signed=True)
        try:
            return schemas.read(content, shape, f"{method} {path}")
        except WireFormatError as error:
            raise UnknownOutcomeError(
                f"the exchange accepted the call but its answer is unreadable: {error}"
            ) from error

    def _send(self, kind: Kind, method: str, path: str, query: Query, content: bytes | None, *, signed: bool) -> bytes:
        full_path = f"{self._root}/{path}"
        headers: dict[str, str] = {}
        if signed:
            if self._signer is None:
                raise SettingsError(f"{method} {path} needs an API key, and none is configured")
            headers = self._signer.headers(self._clock.now_ms(), method, full_path)
        if content is not None:
            headers["Content-Type"] = "application/json"
        target = f"{full_path}?{urlencode(query)}" if query else full_path
        try:
            response = self._http.request(method, target, content=content, headers=headers, timeout=_TIMEOUTS[kind])
        except httpx.HTTPError as error:
            raise _transport_error(kind, f"{method} {path}", error) from error
        if response.is_success:
            return response.content
        raise _status_error(kind, f"{method} {path}", response)


def _transport_error(kind: Kind, call: str, error: httpx.HTTPError) -> ExchangeError:
    text = f"{call}: {type(error).__name__}: {error}"
    if kind is not Kind.WRITE or isinstance(error, _NOTHING_SENT):
        return RetryableError(text)
    return UnknownOutcomeError(text)


def _status_error(kind: Kind, call: str, response: httpx.Response) -> ExchangeError:
    status = response.status_code
    code, message = read_error(response.content)
    text = f"{call}: {message or code}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RetryableError(f"{text} (HTTP {status})")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return AuthError(code, text, status)
    if status == httpx.codes.REQUEST_TIMEOUT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        text = f"{code}: {text} (HTTP {status})"
        return UnknownOutcomeError(text) if kind is Kind.WRITE else RetryableError(text)
    if status < httpx.codes.BAD_REQUEST:
        # A redirect or an informational answer is nothing this API promises.
        text = f"{call}: unexpected HTTP {status}"
        return UnknownOutcomeError(text) if kind is Kind.WRITE else WireFormatError(text)
    return RejectedError(code, text, status)


def read_error(content: bytes) -> tuple[str, str]:
    """Code and message of an error body, in any of its three shapes: ``{"error": {...}}``, ``{"code": ...}`` at the
    top level, ``{"error": "text"}``. Anything else is ``unknown_error`` with the beginning of the body."""
    try:
        body: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if isinstance(body, dict):
        inner = body.get("error")
        source = inner if isinstance(inner, dict) else body
        if isinstance(source.get("code"), str):
            parts = (source.get("message"), source.get("details"))
            return source["code"], ": ".join(part for part in parts if isinstance(part, str) and part)
        if isinstance(inner, str):
            return inner.strip().replace(" ", "_"), inner
    return "unknown_error", content[:200].decode(errors="replace")


class KalshiMarketData:
    """``ports.MarketData`` on the REST API. Needs no key.

    ``skipped`` counts by reason the events the last complete :meth:`open_events` could not map.
    """

    def __init__(self, client: RestClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.skipped: dict[str, int] = {}

    def open_events(self) -> Iterator[EventListing]:
        """Every open event with its markets, combos left out by the exchange itself. An event that cannot be mapped
        is logged, counted in ``skipped`` and left out whole.

        :raises ExchangeError: a page or the series cannot be read.
        """
        self.skipped = {}
        listed = self._client.get("series", schemas.SeriesListReply, kind=Kind.LISTING)
        series = {item.ticker: item for item in listed.series or ()}
        query = [("status", "open"), ("with_nested_markets", "true"), ("limit", EVENT_PAGE)]
        for page in _pages(self._client, "events", schemas.EventsReply, query, kind=Kind.LISTING, signed=False):
            for raw in page.events:
                listing = self._listing(raw, series)
                if listing is not None:
                    yield listing

    def combo_events(self) -> Iterator[EventListing]:
        """Events with a quoted combo, from the newest page of open combos and at most ``COMBO_EVENTS`` of them: combos
        are made by users without end, and most are never quoted. One that cannot be mapped is logged and left out.

        :raises ExchangeError: the page, an event or a series cannot be read.
        """
        query = [("status", "open"), ("mve_filter", "only"), ("limit", PAGE)]
        page = self._client.get("markets", schemas.QuotesReply, query, kind=Kind.LISTING)
        quoted = list(dict.fromkeys(market.event_ticker for market in page.markets if schemas.is_quoted(market)))
        logger.info("%d combos read, %d events with a quote, %d taken", len(page.markets), len(quoted), COMBO_EVENTS)
        series: dict[str, schemas.SeriesWire] = {}
        for ticker in quoted[:COMBO_EVENTS]:
            try:
                reply = self._client.get(f"events/{ticker}", schemas.EventReply, [("with_nested_markets", "true")])
            except RejectedError as error:
                logger.warning("combo event left out: %s", error)
                continue
            listing = self._listing(reply.event, series)
            if listing is not None:
                yield listing

    def _listing(self, raw: msgspec.Raw, series: dict[str, schemas.SeriesWire]) -> EventListing | None:
        try:
            event = schemas.read(raw, schemas.EventWire, "event")
            owner = series.get(event.series_ticker)
            if owner is None:
                # A series younger than the listing.
                path = f"series/{event.series_ticker}"
                owner = self._client.get(path, schemas.SeriesReply).series
                series[event.series_ticker] = owner
            return schemas.to_listing(event, owner)
        except (WireFormatError, RejectedError) as error:
            reason = "unreadable" if isinstance(error, WireFormatError) else "no_series"
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
            logger.warning("event left out: %s", error)
            return None

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Books read now, in calls of 100 tickers. A ticker the exchange left out of its answer is missing here; one it
        does not know is answered with an empty book, as the exchange does.

        :raises ExchangeError: a call failed, or a book cannot be true.
        """
        books: dict[str, BookSnapshot] = {}
        for chunk in _chunks(list(dict.fromkeys(tickers)), BOOKS_PER_CALL):
            # A comma list would be read as one bogus ticker: the parameter is repeated.
            query = [("tickers", ticker) for ticker in chunk]
            reply = self._client.get("markets/orderbooks", schemas.BooksReply, query)
            received_ms = self._clock.now_ms()
            for wire in reply.orderbooks:
                if wire.ticker in chunk:
                    books[wire.ticker] = schemas.to_book(wire, received_ms)
        return books

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Where these markets stand, up to 15 seconds old: the listing is cached on its way.

        :raises ExchangeError: a call failed, or a market cannot be read.
        """
        states: dict[str, MarketState] = {}
        for chunk in _chunks(list(dict.fromkeys(tickers)), BOOKS_PER_CALL):
            reply = self._client.get("markets", schemas.StatesReply, [("tickers", ",".join(chunk)), ("limit", PAGE)])
            states.update({wire.ticker: schemas.to_state(wire) for wire in reply.markets if wire.ticker in chunk})
        return states

    def fee_schedule(self, event_ticker: str) -> FeeSchedule:
        """What the event's markets charge: its own override, else its series' schedule.

        :raises ExchangeError: a call failed, or a multiplier cannot be read.
        """
        reply = self._client.get(f"events/{event_ticker}", schemas.EventReply)
        event = schemas.read(reply.event, schemas.EventWire, "event")
        series = self._client.get(f"series/{event.series_ticker}", schemas.SeriesReply).series
        try:
            return schemas.fee_schedule(event, series)
        except DomainError as error:
            raise WireFormatError(f"fees of {event_ticker}: {error}") from error


class KalshiTrading:
    """``ports.Trading`` on the REST API. Everything sent is fill-or-kill or immediate-or-cancel."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def place(self, orders: Sequence[OrderRequest]) -> list[OrderReport]:
        """Send one order, or several as one batch; one report per order, in order.

        A definite refusal is a report with the exchange's code (a killed fill-or-kill is one). A duplicate client
        order id is reported as ``order_already_exists``: the first order with that id may have traded, so ask.

        :raises AuthError: key, signature or scope refused; nothing was placed.
        :raises RetryableError: nothing was placed.
        :raises UnknownOutcomeError: at least one order may or may not have traded.
        """
        if not orders:
            return []
        try:
            if len(orders) == 1:
                body = schemas.order_to_wire(orders[0])
                placed = [self._client.write("POST", "portfolio/events/orders", body, schemas.PlacedWire)]
            else:
                batch = {"orders": [schemas.order_to_wire(order) for order in orders]}
                reply = self._client.write("POST", "portfolio/events/orders/batched", batch, schemas.BatchReply)
                placed = reply.orders
        except AuthError:
            raise
        except RejectedError as error:
            code = _rejection(error.code, error.status)
            return [OrderReport(order.client_order_id, None, Count(0), code) for order in orders]
        if len(placed) != len(orders):
            raise UnknownOutcomeError(f"{len(orders)} orders were sent, {len(placed)} answered")
        return [_report(order, wire) for order, wire in zip(orders, placed, strict=True)]

    def find_orders(self, tickers: Sequence[str], since_ms: int) -> dict[str, OrderReport]:
        """Our orders on these markets since then (with a margin of seconds), by client order id. Reads lag writes:
        absence means something only once :meth:`user_data_ms` has passed the send."""
        wanted = set(tickers)
        filters: list[list[tuple[str, str]]]
        filters = [[("ticker", ticker)] for ticker in sorted(wanted)] if len(wanted) <= ORDER_CALLS else [[]]
        found: dict[str, OrderReport] = {}
        for narrowed in filters:
            query = [*narrowed, ("min_ts", _since(since_ms)), ("limit", PAGE)]
            for page in _pages(self._client, "portfolio/orders", schemas.OrdersReply, query):
                for wire in page.orders:
                    # Nothing of ours rests: an order that seems to was read before its end, so it is not there yet.
                    if wire.ticker in wanted and wire.client_order_id and wire.status != "resting":
                        found[wire.client_order_id] = schemas.to_report(wire)
        return found

    def fills(self, tickers: Sequence[str], since_ms: int) -> list[Fill]:
        """Our fills on these markets since then (with a margin of seconds), oldest first."""
        fills: dict[tuple[str, str], Fill] = {}
        for chunk in _chunks(sorted(set(tickers)), FILL_TICKERS_PER_CALL):
            query = [("ticker", ",".join(chunk)), ("min_ts", _since(since_ms)), ("limit", PAGE)]
            for page in _pages(self._client, "portfolio/fills", schemas.FillsReply, query):
                for wire in page.fills:
                    # Pages shift while new fills arrive: the same fill can come twice.
                    fills[wire.trade_id, wire.order_id] = schemas.to_fill(wire)
        return sorted(fills.values(), key=lambda fill: (fill.created_ms, fill.trade_id, fill.order_id))

    def user_data_ms(self) -> int:
        """How far orders, fills, positions and balance have caught up with writes (UTC milliseconds)."""
        reply = self._client.get("exchange/user_data_timestamp", schemas.UserDataReply)
        return schemas.time_ms(reply.as_of_time)

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        return schemas.to_balances(self._client.get("portfolio/balance", schemas.BalanceReply, signed=True))

    def positions(self) -> dict[str, Count]:
        """Signed net positions, zeros left out."""
        query = [("count_filter", "position"), ("limit", PAGE)]
        positions: dict[str, Count] = {}
        for page in _pages(self._client, "portfolio/positions", schemas.PositionsReply, query):
            for wire in page.market_positions:
                count = schemas.to_position(wire)
                if count:
                    positions[wire.ticker] = count
        return positions

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments of settled positions since then (with a margin of seconds), oldest first."""
        query = [("min_ts", _since(since_ms)), ("limit", PAGE)]
        paid: dict[str, Settlement] = {}
        for page in _pages(self._client, "portfolio/settlements", schemas.SettlementsReply, query):
            for wire in page.settlements:
                paid[wire.ticker] = schemas.to_settlement(wire)
        return sorted(paid.values(), key=lambda settlement: (settlement.settled_ms, settlement.ticker))


_Page = TypeVar(
    "_Page",
    schemas.EventsReply,
    schemas.OrdersReply,
    schemas.FillsReply,
    schemas.PositionsReply,
    schemas.SettlementsReply,
)


def _pages(
    client: RestClient, path: str, shape: type[_Page], query: Query, *, kind: Kind = Kind.READ, signed: bool = True
) -> Iterator[_Page]:
    """Every page of a listing; an empty, absent or null cursor ends it."""
    cursor: str | None = None
    while True:
        narrowed = [*query, ("cursor", cursor)] if cursor else query
        page = client.get(path, shape, narrowed, kind=kind, signed=signed)
        yield page
        if not page.cursor:
            return
        if page.cursor == cursor:
            raise WireFormatError(f"GET {path}: the cursor does not move on")
        cursor = page.cursor


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _since(since_ms: int) -> str:
    return str(max(0, since_ms // 1000 - SINCE_MARGIN_S))


def _rejection(code: str, status: int | None) -> str:
    """The code of a refused order, the forms of "this client order id exists" made one.

    The exact REST word for a duplicate is not documented; a 409 means "resource already exists" unless it is a kill.

    :raises UnknownOutcomeError: the code itself says that a part may have traded.
    """
    lowered = code.lower()
    if "partially_filled" in lowered or lowered in _UNKNOWN_ITEM_CODES:
        raise UnknownOutcomeError(f"the exchange refused an order with {code}: part of it may have traded")
    if code in KILLED_CODES:
        return code
    if status == httpx.codes.CONFLICT or "already_exists" in lowered or "duplicate" in lowered:
        return ORDER_ALREADY_EXISTS
    return code


def _report(order: OrderRequest, wire: schemas.PlacedWire) -> OrderReport:
    if wire.error is not None:
        return OrderReport(order.client_order_id, wire.order_id, Count(0), _rejection(wire.error.code, None))
    if wire.client_order_id not in (None, order.client_order_id):
        raise UnknownOutcomeError(f"order {order.client_order_id} was answered as {wire.client_order_id}")
    if wire.order_id is None or wire.fill_count is None:
        raise UnknownOutcomeError(f"order {order.client_order_id} was answered without id or fill count")
    try:
        filled = schemas.filled_count(wire.fill_count)
    except WireFormatError as error:
        raise UnknownOutcomeError(f"order {order.client_order_id}: {error}") from error
    if filled > order.count:
        raise UnknownOutcomeError(f"order {order.client_order_id} for {order.count} reports {filled} filled")
    return OrderReport(order.client_order_id, wire.order_id, filled, None)
