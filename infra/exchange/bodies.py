"""Reading the bodies of writes: orders, changes of orders, limits of groups, transfers; with the exchange's refusals.

A field that this exchange does not know is refused, never ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar
from uuid import UUID

import msgspec

from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.query import AUTO_ROUTE, bad_request
from infra.exchange.terms import KEEP, Amendment, Keep, NewOrder, SelfTradePrevention, TimeInForce
from infra.exchange.wire_portfolio import EVENT_CONTRACT
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, Cash, Count, Price, complement, count_from_wire, price_from_wire

E = TypeVar("E", bound=Enum)
Fields = dict[str, object]

_ORDER = ("ticker", "side", "count", "price", "time_in_force", "self_trade_prevention_type")
_ORDER_MORE = (
    "client_order_id", "post_only", "reduce_only", "cancel_order_on_pause", "subaccount", "exchange_index",
    "expiration_time", "order_group_id",
)  # fmt: skip
_AMENDMENT = ("ticker", "side", "price", "count")
_AMENDMENT_MORE = ("client_order_id", "updated_client_order_id", "expiration_time", "exchange_index")
_DECREASE = ("reduce_by", "reduce_to", "exchange_index", "market_ticker")
_CANCEL = ("subaccount", "exchange_index", "market_ticker")
_LIMIT = ("contracts_limit", "contracts_limit_fp")
_TRANSFER = ("source", "destination", "amount")
_TRANSFER_SHARDS = ("source_exchange_shard", "destination_exchange_shard")
_TRANSFER_SUBACCOUNTS = ("source_subaccount", "destination_subaccount")
_MICROS_PER_CENTICENT = 100
_HIGHEST_SHARD = 100
_LATEST_S = 10**11


def read_json(body: bytes) -> Fields:
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
    fields = _fields(fields, _ORDER, _ORDER_MORE)
    primary_only(fields, "subaccount")
    outcome, limit, count = _direction(fields)
    expires_s = _optional_whole(fields, "expiration_time", _LATEST_S)
    return NewOrder(
        ticker=_required_text(fields, "ticker"),
        outcome=outcome,
        limit=limit,
        count=count,
        time_in_force=_choice(fields, "time_in_force", TimeInForce),
        client_order_id=_text(fields, "client_order_id"),
        self_trade=_choice(fields, "self_trade_prevention_type", SelfTradePrevention),
        post_only=_boolean(fields, "post_only"),
        reduce_only=_boolean(fields, "reduce_only"),
        shard=_shard(fields),
        expiration_ms=None if expires_s is None else expires_s * 1_000,
        order_group_id=_text(fields, "order_group_id"),
        cancel_on_pause=_boolean(fields, "cancel_order_on_pause"),
    )


def read_amendment(order_id: str, fields: object) -> Amendment:
    """The amend call. ``expiration_time`` absent keeps the expiry, 0 removes it.

    :raises ExchangeRefusalError: missing, unknown or malformed fields.
    """
    fields = _fields(fields, _AMENDMENT, _AMENDMENT_MORE)
    outcome, limit, count = _direction(fields)
    expires_s = _optional_whole(fields, "expiration_time", _LATEST_S)
    expiration_ms: int | Keep | None = KEEP if expires_s is None else expires_s * 1_000 or None
    return Amendment(
        order_id, _required_text(fields, "ticker"), outcome, limit, count, _text(fields, "client_order_id"),
        _text(fields, "updated_client_order_id"), expiration_ms, _shard(fields),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Which order a cancel or decrease means, and where to look for it. ``shard`` None routes by ``ticker``."""

    order_id: str
    shard: int | None
    ticker: str


@dataclass(frozen=True, slots=True)
class Decrease:
    """How much smaller an order is to become: exactly one of the two is set."""

    target: Target
    reduce_by: Count | None
    reduce_to: Count | None


def read_decrease(order_id: str, fields: object) -> Decrease:
    """The decrease call.

    :raises ExchangeRefusalError: unknown or malformed fields, or not exactly one size.
    """
    fields = _fields(fields, (), _DECREASE)
    by, to = (_count(fields, name) if fields.get(name) is not None else None for name in ("reduce_by", "reduce_to"))
    if (by is None) == (to is None):
        raise bad_request("exactly one of reduce_by and reduce_to is needed")
    return Decrease(_target(order_id, fields), by, to)


def read_cancel(fields: object) -> Target:
    """One item of the batch cancel call.

    :raises ExchangeRefusalError: missing, unknown or malformed fields.
    """
    fields = _fields(fields, ("order_id",), _CANCEL)
    primary_only(fields, "subaccount")
    return _target(_required_text(fields, "order_id"), fields)


def read_group(fields: object) -> tuple[Count, int]:
    """Limit and shard of a new order group; without a shard it is on 0.

    :raises ExchangeRefusalError: unknown or malformed fields, or no limit.
    """
    fields = _fields(fields, (), (*_LIMIT, "subaccount", "exchange_index"))
    primary_only(fields, "subaccount")
    return _limit(fields), _shard(fields) or 0


def read_limit(fields: object) -> Count:
    """The limit of an order group.

    :raises ExchangeRefusalError: unknown or malformed fields, or no limit.
    """
    return _limit(_fields(fields, (), _LIMIT))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Cash to move between two shards, 1e-6 dollars."""

    amount: Cash
    source_shard: int
    destination_shard: int
    client_transfer_id: str | None


def read_transfer(fields: object) -> Transfer:
    """The transfer call, whose amount is in 1e-4 dollars.

    :raises ExchangeRefusalError: missing, unknown or malformed fields, or an exchange instance that is not here.
    """
    fields = _fields(fields, _TRANSFER, (*_TRANSFER_SHARDS, *_TRANSFER_SUBACCOUNTS, "client_transfer_id"))
    primary_only(fields, *_TRANSFER_SUBACCOUNTS)
    for name in ("source", "destination"):
        if fields[name] != EVENT_CONTRACT:
            raise bad_request(f"{name} must be {EVENT_CONTRACT}")
    source, destination = (_optional_whole(fields, name, _HIGHEST_SHARD) or 0 for name in _TRANSFER_SHARDS)
    amount = _optional_whole(fields, "amount", 10**15) or 0
    client_id = _text(fields, "client_transfer_id")
    if client_id is not None:
        try:
            UUID(client_id)
        except ValueError as error:
            raise bad_request("client_transfer_id must be a UUID") from error
    return Transfer(Cash(amount * _MICROS_PER_CENTICENT), source, destination, client_id)


def read_netting(fields: object) -> bool:
    """The netting call. :raises ExchangeRefusalError: missing, unknown or malformed fields, or no such subaccount."""
    fields = _fields(fields, ("subaccount_number", "enabled"), ())
    primary_only(fields, "subaccount_number")
    return _boolean(fields, "enabled")


def primary_only(fields: Fields, *names: str) -> None:
    """Check fields that name a subaccount: members here have none but the first."""
    if any(_optional_whole(fields, name, 63) for name in names):
        raise ExchangeRefusalError(404, "not_found", "no such subaccount")


def _fields(fields: object, required: Sequence[str], more: Sequence[str]) -> Fields:
    if not isinstance(fields, dict):
        raise bad_request("a body and each item in it must be an object")
    missing = [name for name in required if fields.get(name) in (None, "")]
    if missing:
        raise ExchangeRefusalError(400, "missing_parameters", ", ".join(missing))
    unknown = [name for name in fields if name not in required and name not in more]
    if unknown:
        raise bad_request(f"not supported: {', '.join(map(str, unknown))}")
    return fields


def _direction(fields: Fields) -> tuple[Outcome, Price, Count]:
    side = fields["side"]
    if side not in ("bid", "ask"):
        raise bad_request("side must be bid or ask")
    try:
        yes_price = price_from_wire(_string(fields, "price"))
    except AmountError as error:
        raise ExchangeRefusalError(400, "invalid_order", "invalid price") from error
    count = _count(fields, "count")
    return (Outcome.YES, yes_price, count) if side == "bid" else (Outcome.NO, complement(yes_price), count)


def _count(fields: Fields, name: str) -> Count:
    try:
        return count_from_wire(_string(fields, name))
    except AmountError as error:
        raise ExchangeRefusalError(400, "invalid_order_size", str(error)) from error


def _target(order_id: str, fields: Fields) -> Target:
    return Target(order_id, _shard(fields), _text(fields, "market_ticker") or "")


def _limit(fields: Fields) -> Count:
    whole, exact = fields.get("contracts_limit"), fields.get("contracts_limit_fp")
    if whole is None and exact is None:
        raise ExchangeRefusalError(400, "missing_parameters", " or ".join(_LIMIT))
    limits = set()
    if whole is not None:
        limits.add(Count((_optional_whole(fields, "contracts_limit", 10**9) or 0) * ONE_CONTRACT))
    if exact is not None:
        limits.add(_count(fields, "contracts_limit_fp"))
    if len(limits) > 1:
        raise bad_request("contracts_limit and contracts_limit_fp differ")
    return limits.pop()


def _string(fields: Fields, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise AmountError(f"{name} must be a decimal string")
    return value


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if not (value is None or isinstance(value, str)):
        raise bad_request(f"{name} must be a string")
    return value or None


def _required_text(fields: Fields, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a string")
    return value


def _optional_whole(fields: Fields, name: str, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise bad_request(f"{name} must be a whole number from 0 to {high}")
    return value


def _shard(fields: Fields) -> int | None:
    value = fields.get("exchange_index")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not AUTO_ROUTE <= value <= _HIGHEST_SHARD:
        raise bad_request(f"exchange_index must be a whole number from -1 to {_HIGHEST_SHARD}")
    return None if value == AUTO_ROUTE else value


def _boolean(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if not (value is None or isinstance(value, bool)):
        raise bad_request(f"{name} must be true or false")
    return bool(value)


def _choice(fields: Fields, name: str, choices: type[E]) -> E:
    try:
        return choices(fields[name])
    except ValueError as error:
        raise bad_request(f"{name} must be one of {', '.join(choice.value for choice in choices)}") from error
