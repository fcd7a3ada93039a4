"""One REST client: signs, keeps to the rate limit, sends, and sorts what can go wrong.

What a failure means depends on the kind of call. A read that fails may simply be made again. A write that got a 408,
a 5xx, no answer or an answer nobody can read may have happened; only a connection that never came about proves that
nothing was sent (Kalshi API documentation, order errors).
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from string import Formatter
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ExchangeError, SettingsError
from kalshi_arb.kalshi.answers import failure
from kalshi_arb.kalshi.clock_offset import ClockOffset, OffsetMeter, server_second_ms
from kalshi_arb.kalshi.errors import (
    BudgetError,
    ClockError,
    RetryableError,
    UnknownOutcomeError,
    WireFormatError,
)
from kalshi_arb.kalshi.rate_limit import WHOLE, Budget, Charge, Tier, Use, write_shards
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.kalshi.wire import PageModel, UnknownFields, WireModel, read

M = TypeVar("M", bound=WireModel)
P = TypeVar("P", bound=PageModel)
Query = Sequence[tuple[str, str]]

READ_ATTEMPTS = 5
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 4.0


@unique
class Kind(Enum):
    """What a call does, which decides its time limits, how long it may wait for tokens and what its failure means."""

    READ = "read"
    LISTING = "listing"  # reads of megabytes
    WRITE = "write"


_TIMEOUTS = {
    Kind.READ: httpx.Timeout(5.0, connect=3.0),
    Kind.LISTING: httpx.Timeout(30.0, connect=3.0),
    Kind.WRITE: httpx.Timeout(5.0, connect=2.0, pool=2.0),
}
# An order is for the prices of this moment, and its absence is judged from the moment it was to be sent. A cancel or an
# unwind is worth more patience, but not so much that its caller's own time limits are in doubt.
_TOKEN_WAIT_MS = {Kind.READ: 10_000, Kind.LISTING: 30_000}
_WRITE_TOKEN_WAIT_MS = {Use.OPENING: 200, Use.REDUCING: 1_000}
# Raised before a single byte of the request left.
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of the API: ``path`` from the API's root, with its parameters in braces."""

    method: str
    path: str
    kind: Kind = Kind.READ
    signed: bool = False

    def filled(self, values: Sequence[str]) -> str:
        """The path with its parameters, quoted."""
        names = [name for _, name, _, _ in Formatter().parse(self.path) if name]
        return self.path.format(**{name: quote(value, safe="") for name, value in zip(names, values, strict=True)})


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a write draws on the rate limit: the shard it names (None when the exchange routes it), how many items a
    batch has (None for a single call), and what it is for."""

    shard: int | None = 0
    items: int | None = None
    use: Use = Use.OPENING


_SINGLE = Drawn()


class RestClient:
    """Sends calls and maps every way they can fail to the errors of ``kalshi.errors``.

    :param base_url: with the API's root, such as ``https://host/trade-api/v2``
    :param credentials: None for public market data only
    :param budget: what this process may spend; without one, the whole of the lowest tier
    :param transport: replaces the network, for tests
    :param jitter: numbers from 0 to 1 that spread repeated reads
    :param correct_clock: sign with the exchange's time as measured, not with this machine's
    :raises SettingsError: a private key that cannot be used
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Credentials | None,
        clock: Clock,
        budget: Budget | None = None,
        transport: httpx.BaseTransport | None = None,
        jitter: Callable[[], float] = random.random,
        correct_clock: bool = False,
    ) -> None:
        url = httpx.URL(base_url)
        self._root = url.path.rstrip("/")
        self._signer = Signer(credentials) if credentials is not None else None
        self._clock = clock
        self._budget = budget or Budget(Tier.BASIC.limits, WHOLE, clock.now_ms())
        self._jitter = jitter
        self._correct_clock = correct_clock
        self._offset = OffsetMeter()
        self._unknown = UnknownFields()
        self._http = httpx.Client(
            base_url=url.copy_with(path="/"),
            http2=url.scheme == "https",
            transport=transport,
            # Proxy variables of the machine must not decide where orders go.
            trust_env=False,
            headers={"Accept": "application/json", "Accept-Language": "en"},
        )

    @property
    def unknown(self) -> UnknownFields:
        """Counts fields of answers that nothing here knows."""
        return self._unknown

    @property
    def clock_offset(self) -> ClockOffset | None:
        """How far this machine's clock is off, once an answer was read."""
        return self._offset.offset()

    def close(self) -> None:
        """Close kept connections."""
        self._http.close()

    def read(self, endpoint: Endpoint, shape: type[M], query: Query = (), *values: str) -> M:
        """Read and decode, repeating what may be repeated a bounded number of times.

        :param values: the path's parameters, in order
        :raises ExchangeError: ``RetryableError`` when every attempt failed, otherwise what the exchange said.
        """
        path = endpoint.filled(values)
        attempt = 1
        while True:
            try:
                content = self._send(endpoint, path, query, None, _SINGLE)
                return read(content, shape, f"{endpoint.method} {path}", self._unknown)
            except BudgetError:
                raise
            except RetryableError:
                if attempt == READ_ATTEMPTS:
                    raise
            longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt)
            self._clock.sleep(longest * (0.5 + self._jitter() / 2))
            attempt += 1

    def pages(self, endpoint: Endpoint, shape: type[P], query: Query = (), *values: str) -> Iterator[P]:
        """Every page of a listing, read when it is asked for.

        :raises ExchangeError: as :meth:`read`; ``WireFormatError`` for a cursor that does not move on.
        """
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            page = self.read(endpoint, shape, [*query, ("cursor", cursor)] if cursor else query, *values)
            yield page
            if not page.cursor:
                return
            if page.cursor in seen:
                raise WireFormatError(f"{endpoint.method} {endpoint.path}: the cursor does not move on")
            cursor = page.cursor
            seen.add(cursor)

    def write(
        self,
        endpoint: Endpoint,
        shape: type[M],
        body: Mapping[str, object] | None,
        *values: str,
        query: Query = (),
        drawn: Drawn = _SINGLE,
    ) -> M:
        """Send a signed write once, never repeated here.

        :raises RejectedError: certainly refused.
        :raises RetryableError: certainly without effect (429, no tokens, or no connection came about).
        :raises UnknownOutcomeError: it may or may not have happened, an unreadable success included.
        """
        path = endpoint.filled(values)
        content = self._send(endpoint, path, query, body, drawn)
        try:
            return read(content, shape, f"{endpoint.method} {path}", self._unknown)
        except WireFormatError as error:
            raise UnknownOutcomeError(
                f"the exchange accepted the call but its answer is unreadable: {error}"
            ) from error

    def command(
        self,
        endpoint: Endpoint,
        body: Mapping[str, object] | None,
        *values: str,
        query: Query = (),
        drawn: Drawn = _SINGLE,
    ) -> None:
        """As :meth:`write`, for a call whose success says nothing more."""
        self._send(endpoint, endpoint.filled(values), query, body, drawn)

    def _send(
        self, endpoint: Endpoint, path: str, query: Query, body: Mapping[str, object] | None, drawn: Drawn
    ) -> bytes:
        call, method, writes = f"{endpoint.method} {path}", endpoint.method, endpoint.kind is Kind.WRITE
        charge = self._take(endpoint, call, drawn)
        full_path = f"{self._root}/{path}"
        headers: dict[str, str] = {}
        content: bytes | None = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        sent_ms = self._clock.now_ms()
        if endpoint.signed:
            if self._signer is None:
                raise SettingsError(f"{call} needs an API key, and none is configured")
            headers |= self._signer.headers(self._signing_ms(sent_ms), method, full_path)
        target = f"{full_path}?{urlencode(query)}" if query else full_path
        try:
            response = self._http.request(
                method, target, content=content, headers=headers, timeout=_TIMEOUTS[endpoint.kind]
            )
        except httpx.HTTPError as error:
            raise _transport_error(f"{call} at {self._http.base_url.host}", error, writes=writes) from error
        second_ms = server_second_ms(response.headers.get("date"), response.headers.get("age"))
        if second_ms is not None:
            self._offset.note(second_ms, sent_ms, self._clock.now_ms())
        if response.is_success:
            return response.content
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._budget.refused(charge, self._clock.now_ms())
        refusal = failure(call, response.status_code, response.content, writes=writes)
        if isinstance(refusal, ClockError) and (offset := self.clock_offset) is not None:
            raise ClockError(refusal.code, f"{call}: {offset}; set it right (NTP)", refusal.status)
        raise refusal

    def _signing_ms(self, now_ms: int) -> int:
        offset = self.clock_offset if self._correct_clock else None
        return now_ms if offset is None else now_ms - offset.offset_ms

    def _take(self, endpoint: Endpoint, call: str, drawn: Drawn) -> Charge:
        """Spend the call's tokens, waiting for them no longer than the call is worth."""
        cost = self._budget.costs.of(endpoint.method, endpoint.path, 1 if drawn.items is None else drawn.items)
        if endpoint.kind is Kind.WRITE:
            charge = Charge(cost, write_shards(drawn.shard, batch=drawn.items is not None), drawn.use)
            patience_ms = _WRITE_TOKEN_WAIT_MS[drawn.use]
        else:
            charge, patience_ms = Charge(cost), _TOKEN_WAIT_MS[endpoint.kind]
        until_ms = self._clock.now_ms() + patience_ms
        while wait_ms := self._budget.take(charge, now_ms := self._clock.now_ms()):
            if now_ms + wait_ms > until_ms:
                raise BudgetError(
                    f"{call} costs {cost} tokens, and this process's share of the rate limit has them in "
                    f"{wait_ms} ms; not sent"
                )
            self._clock.sleep(wait_ms / 1000)
        if wait_ms is None:
            raise BudgetError(
                f"{call} costs {cost} tokens, more than this process's share of the rate limit ever holds; not sent"
            )
        return charge


def _transport_error(call: str, error: httpx.HTTPError, *, writes: bool) -> ExchangeError:
    text = f"{call}: {type(error).__name__}: {error}"
    if not writes or isinstance(error, _NOTHING_SENT):
        return RetryableError(text)
    return UnknownOutcomeError(text)
