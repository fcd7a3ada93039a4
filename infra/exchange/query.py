"""Reading requests: query parameters, pages and order bodies, with the exchange's own refusals."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TypeVar

import msgspec

from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.terms import NewOrder, SelfTradePrevention, TimeInForce
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import complement, count_from_wire, price_from_wire

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

_AUTO_ROUTE = -1
_REQUIRED = ("ticker", "side", "count", "price", "time_in_force", "self_trade_prevention_type")
_OPTIONAL = ("client_order_id", "post_only", "reduce_only", "cancel_order_on_pause", "subaccount", "exchange_index")


def bad_request(details: str) -> ExchangeRefusalError:
    """A 400 for a request that cannot be read."""
    return ExchangeRefusalError(400, "bad_request", details)


class Query:
    """The parameters of one request. A parameter that this exchange does not know is refused, never ignored."""

    def __init__(self, items: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            if name not in known:
                raise bad_request(f"parameter {name} is not supported here")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """One value, "" when absent."""
        values = self._values.get(name, [""])
        if len(values) > 1:
            raise bad_request(f"parameter {name} may be given once")
        return values[0]

    def repeated(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return self._values.get(name, [])

    def listed(self, name: str) -> list[str]:
        """A comma-separated list."""
        return [part for part in self.text(name).split(",") if part]

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        value = self.text(name)
        if value not in ("", "true", "false"):
            raise bad_request(f"parameter {name} must be true or false")
        return value == "true"

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.text(name)
        if not value:
            return default
        if not (value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()):
            raise bad_request(f"parameter {name} must be a whole number")
        number = int(value)
        if not low <= number <= high:
            raise bad_request(f"parameter {name} must be {low} to {high}")
        return number

    def seconds_as_ms(self, name: str) -> int | None:
        """A Unix time in seconds as milliseconds, or None."""
        value = self.whole(name, -1, 0, 10**12)
        return None if value < 0 else value * 1_000

    def shard(self, name: str = "exchange_index") -> int | None:
        """A shard filter, or None for all."""
        value = self.whole(name, _AUTO_ROUTE, _AUTO_ROUTE, 1_000)
        return None if value == _AUTO_ROUTE else value


def page(rows: Iterable[T], key: Callable[[T], str], limit: int, cursor: str) -> tuple[list[T], str]:
    """One page of rows by descending key, and the cursor of the next one ("" at the end).

    :raises ExchangeRefusalError: a cursor this exchange never gave.
    """
    ordered = sorted(rows, key=key, reverse=True)
    if cursor:
        try:
            after = base64.urlsafe_b64decode(cursor.encode("ascii")).decode()
        except (binascii.Error, UnicodeError, ValueError) as error:
            raise bad_request("invalid cursor") from error
        ordered = [row for row in ordered if key(row) < after]
    chosen = ordered[:limit]
    more = len(ordered) > limit and bool(chosen)
    return chosen, base64.urlsafe_b64encode(key(chosen[-1]).encode()).decode() if more else ""


def read_json(body: bytes) -> dict[str, object]:
    """A JSON object. :raises ValueError: it is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("the body is no JSON") from error
    if not isinstance(value, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004 - a caller's input, not a programming error
    return value


def read_order(fields: object) -> NewOrder:
    """One order of the create call. A bid at p buys YES at p, an ask at p buys NO at 1 - p.

    :raises ExchangeRefusalError: missing, unknown or malformed fields.
    """
    if not isinstance(fields, dict):
        raise bad_request("an order must be an object")
    missing = [name for name in _REQUIRED if fields.get(name) in (None, "")]
    if missing:
        raise ExchangeRefusalError(400, "missing_parameters", ", ".join(missing))
    unknown = [name for name in fields if name not in _REQUIRED and name not in _OPTIONAL]
    if unknown:
        raise bad_request(f"not supported: {', '.join(map(str, unknown))}")
    ticker, side = fields["ticker"], fields["side"]
    if not isinstance(ticker, str) or side not in ("bid", "ask"):
        raise bad_request("ticker must be a string and side bid or ask")
    try:
        yes_price = price_from_wire(_string(fields, "price"))
    except AmountError as error:
        raise ExchangeRefusalError(400, "invalid_order", "invalid price") from error
    try:
        count = count_from_wire(_string(fields, "count"))
    except AmountError as error:
        raise ExchangeRefusalError(400, "invalid_order_size", str(error)) from error
    client_order_id = fields.get("client_order_id")
    if not (client_order_id is None or isinstance(client_order_id, str)):
        raise bad_request("client_order_id must be a string")
    if fields.get("subaccount", 0) != 0:
        raise ExchangeRefusalError(404, "not_found", "no such subaccount")
    shard = fields.get("exchange_index", _AUTO_ROUTE)
    if isinstance(shard, bool) or not isinstance(shard, int) or shard < _AUTO_ROUTE:
        raise bad_request("exchange_index must be a whole number from -1")
    _boolean(fields, "cancel_order_on_pause")
    return NewOrder(
        ticker=ticker,
        outcome=Outcome.YES if side == "bid" else Outcome.NO,
        limit=yes_price if side == "bid" else complement(yes_price),
        count=count,
        time_in_force=_choice(fields, "time_in_force", TimeInForce),
        client_order_id=client_order_id or None,
        self_trade=_choice(fields, "self_trade_prevention_type", SelfTradePrevention),
        post_only=_boolean(fields, "post_only"),
        reduce_only=_boolean(fields, "reduce_only"),
        shard=None if shard == _AUTO_ROUTE else shard,
    )


def _string(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise AmountError(f"{name} must be a decimal string")
    return value


def _boolean(fields: dict[str, object], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise bad_request(f"{name} must be true or false")
    return value


def _choice(fields: dict[str, object], name: str, choices: type[E]) -> E:
    try:
        return choices(fields[name])
    except ValueError as error:
        raise bad_request(f"{name} must be one of {', '.join(choice.value for choice in choices)}") from error
