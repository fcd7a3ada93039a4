"""Answers of the exchange, damaged in every way: only our own typed errors come out, and no wrong amount comes in.

``KALSHI_ARB_FUZZ=full`` runs 20,000 damaged bodies instead of 2,000.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi import wire
from kalshi_arb.kalshi.answers import failure
from kalshi_arb.kalshi.errors import AuthError, RejectedError, RetryableError, UnknownOutcomeError, WireFormatError
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.models import account, market, orders
from kalshi_arb.kalshi.requests import Outcome
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.kalshi.wire import WireModel, read
from tests.live_exchange import PEM, live_exchange

ROOT = "/trade-api/v2"
BODIES = 20_000 if os.environ.get("KALSHI_ARB_FUZZ") == "full" else 2_000
SCALE = {"money.Price": 10**4, "money.Count": 10**2, "money.Cash": 10**6}
# Replaced for a value: what a parser might take for an amount, and what no amount can be.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 10**18, 2**70, 0.5, -0.01, 1e-7, 0.1 + 0.2, "", " ", "0", "1", "-1", "+1", "01", ".5",
    "5.", "1e2", "0x10", "1_000", "1,5", "1.005", "0.00001", "0.5600 ", "٣.٣", "½", "NaN", "nan", "inf", "-0", "-0.00",
    "9" * 400, "0." + "1" * 400, "yes", "no", "\u0000", "\ud83d", [], {}, [[]], [["0.5", "1"]], ["0.5"], {"code": 5},
]  # fmt: skip
ORDER = OrderRequest("fuzz-1", "T", Outcome.YES, Count(1_000), Price(5_600), TimeInForce.FILL_OR_KILL, 0)
PLACED = {
    "order_id": "o", "client_order_id": "fuzz-1", "fill_count": "4.00", "remaining_count": "6.00",
    "average_fill_price": "0.560000", "average_fee_paid": "0.017500", "ts_ms": 1,
}  # fmt: skip
NOT_FOUND = {"error": {"code": "not_found", "message": "not found"}}
REFUSED = {"client_order_id": "fuzz-1", "error": {"code": "invalid_order", "message": "invalid order", "details": ""}}


@dataclass(frozen=True)
class Sample:
    """One answer of the exchange: its path, model and body, and the call that reads it in domain terms."""

    path: str
    shape: type[WireModel]
    body: bytes
    use: Callable[[KalshiMarketData, KalshiTrading], Any]


def _uses() -> dict[str, tuple[type[WireModel], Callable[[KalshiMarketData, KalshiTrading], Any]]]:
    return {
        "/series": (market.SeriesListReply, lambda data, _: list(data.open_events())),
        "/series/fee_changes": (market.SeriesFeeChangesReply, lambda data, _: list(data.open_events())),
        "/events/fee_changes": (market.EventFeeChangesReply, lambda data, _: list(data.open_events())),
        "/events": (market.EventsReply, lambda data, _: list(data.open_events())),
        "/markets": (market.MarketsReply, lambda data, _: data.market_states(["T"])),
        "/markets/orderbooks": (market.OrderbooksReply, lambda data, _: data.orderbooks(["T"])),
        "/portfolio/orders": (orders.OrdersReply, lambda _, own: own.find_orders(["T"], 0)),
        "/portfolio/fills": (orders.FillsReply, lambda _, own: own.fills(["T"], 0)),
        "/portfolio/balance": (account.BalanceReply, lambda _, own: own.balance()),
        "/portfolio/positions": (account.PositionsReply, lambda _, own: own.positions()),
        "/portfolio/settlements": (account.SettlementsReply, lambda _, own: own.settlements(0)),
        "/exchange/user_data_timestamp": (market.UserDataReply, lambda _, own: own.user_data_ms()),
    }


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """What the embedded exchange answers after some trading, and the answers to orders."""
    with live_exchange() as exchange:
        exchange.trade()
        found = [Sample(path, shape, last_page(exchange.body(path)), use) for path, (shape, use) in _uses().items()]
    found += [
        Sample(
            "/portfolio/events/orders", orders.PlacedWire, json.dumps(PLACED).encode(),
            lambda _, own: own.place([ORDER]),
        ),
        Sample(
            "/portfolio/events/orders/batched", orders.BatchReply, json.dumps({"orders": [PLACED, REFUSED]}).encode(),
            lambda _, own: own.place([ORDER, ORDER]),
        ),
        Sample(
            "/portfolio/settlements", account.SettlementsReply,
            json.dumps({"settlements": [{
                "ticker": "T", "event_ticker": "E", "market_result": "scalar", "value": 40, "revenue": 160,
                "yes_count_fp": "4.00", "yes_total_cost_dollars": "2.2400", "no_count_fp": "0.00",
                "no_total_cost_dollars": "0.0000", "fee_cost": "0.0690", "settled_time": "2026-11-22T12:00:00Z",
            }], "cursor": ""}).encode(),
            lambda _, own: own.settlements(0),
        ),
    ]  # fmt: skip
    return found


def last_page(body: bytes) -> bytes:
    """The body without a cursor to more."""
    value = json.loads(body)
    return json.dumps(value | {"cursor": ""} if "cursor" in value else value).encode()


# Damage


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def damage(body: bytes, rng: random.Random) -> bytes:
    """One damaged copy."""
    if rng.random() < 0.35:
        return damage_bytes(body, rng)
    value = json.loads(body)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place = rng.choice([place for place in places(value) if place] or [()])
        if not place:
            return json.dumps(rng.choice(ODD)).encode("utf-8", "replace")
        parent = value
        for key in place[:-1]:
            parent = parent[key]
        kind = rng.randrange(6)
        if kind == 0 and isinstance(parent, dict):
            parent[f"{place[-1]}_of_tomorrow"] = parent.pop(place[-1])
        elif kind == 1 and isinstance(parent, dict):
            del parent[place[-1]]
        elif kind == 2 and isinstance(parent[place[-1]], str) and parent[place[-1]]:
            text = list(parent[place[-1]])
            text[rng.randrange(len(text))] = rng.choice("0123456789.-eE +x")
            parent[place[-1]] = "".join(text)
        elif kind == 3 and isinstance(parent, list):
            parent.append(deepcopy(parent[place[-1]]))
        else:
            parent[place[-1]] = deepcopy(rng.choice(ODD))
    return json.dumps(value).encode()


def damage_bytes(body: bytes, rng: random.Random) -> bytes:
    """Damage below JSON."""
    start, stop = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return body[:start]
    if kind == 1:
        return body[:start] + body[min(stop, start + 20) :]
    if kind == 2:
        return body[:start] + bytes([rng.randrange(256)]) + body[start + 1 :]
    if kind == 3:
        return body[:stop] + body[start : min(stop, start + 200)] + body[stop:]
    if kind == 4:
        return (
            body[:start]
            + rng.choice([b"[" * 5_000, b'{"a":' * 5_000, b"1e999999999999", b"\xed\xa0\x80"])
            + body[start:]
        )
    # A bare number of many digits in the place of a string.
    return body.replace(rng.choice([b'"0.', b'"1.', b'"4.']), b"0." if rng.random() < 0.5 else b"-1e-", 1)


# What came in must be what the text says


def amounts(model: BaseModel, raw: Any, place: str) -> Iterator[tuple[str, int, Decimal]]:
    """Every amount of an accepted model, beside the exact value of its text; read by the standard library alone."""
    for name, field in type(model).model_fields.items():
        if name not in model.model_fields_set:
            continue
        value, text, where = getattr(model, name), raw[name], f"{place}.{name}"
        scale = next((scale for word, scale in SCALE.items() if word in repr(field)), None)
        if isinstance(value, BaseModel):
            yield from amounts(value, text, where)
        elif isinstance(value, list):
            for number, (inner, source) in enumerate(zip(value, text, strict=True)):
                if isinstance(inner, BaseModel):
                    yield from amounts(inner, source, f"{where}.{number}")
                elif isinstance(inner, tuple):
                    yield f"{where}.{number}.0", inner[0], Decimal(str(source[0])) * SCALE["money.Price"]
                    yield f"{where}.{number}.1", inner[1], Decimal(str(source[1])) * SCALE["money.Count"]
        elif scale is not None and value is not None:
            yield where, value, Decimal(str(text)) * scale


def check_amounts(content: bytes, shape: type[WireModel]) -> bool:
    """Whether the body was accepted; if so, with no amount but its own."""
    try:
        model = read(content, shape, "fuzz")
    except WireFormatError:
        return False
    raw = json.loads(content, parse_float=Decimal)
    for place, value, exact in amounts(model, raw, shape.__name__):
        assert value == exact, f"{place}: {exact} was read as {value} in {content!r}"
    return True


def test_damaged_answers_raise_our_errors_or_are_read_exactly(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.logger, "disabled", True)
    monkeypatch.setattr("kalshi_arb.kalshi.market_data.logger.disabled", True)
    rng = random.Random(20_261_122)
    healthy = {sample.path: sample.body for sample in samples}
    outcomes: Counter[str] = Counter()
    lines = 0
    served: dict[str, bytes] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        body = served.get(request.url.path.removeprefix(ROOT))
        return httpx.Response(404, json=NOT_FOUND) if body is None else httpx.Response(200, content=body)

    kalshi = Kalshi(
        f"http://exchange.test{ROOT}",
        Credentials("key", PEM),
        clock=ManualClock(),
        transport=httpx.MockTransport(answer),
    )
    data, own = KalshiMarketData(kalshi.client, ManualClock()), KalshiTrading(kalshi.client)
    for sample in samples:
        served = {**healthy, sample.path: sample.body}
        sample.use(data, own)
        assert check_amounts(sample.body, sample.shape), f"{sample.path} is not accepted undamaged"
    for number in range(BODIES):
        sample = samples[number % len(samples)]
        content = damage(sample.body, rng)
        served = {**healthy, sample.path: content}
        accepted = check_amounts(content, sample.shape)
        try:
            sample.use(data, own)
            outcomes["answered"] += 1
        except (WireFormatError, UnknownOutcomeError, RejectedError) as error:
            outcomes[type(error).__name__] += 1
            lines += "\n" in str(error)
        outcomes["accepted"] += accepted
    assert lines == 0, "every error is one line"
    # A test that refuses, or accepts, everything would show nothing.
    assert outcomes["WireFormatError"] > BODIES // 10
    assert outcomes["accepted"] > BODIES // 20
    assert outcomes["UnknownOutcomeError"] > 10


def test_damaged_errors_are_still_errors() -> None:
    rng = random.Random(7)
    shapes = [
        {"error": {"code": "invalid_order", "message": "invalid order", "details": "post only cross"}},
        {"code": "bad_request", "message": "bad request", "details": "x"},
        {"error": "too many requests"},
    ]
    statuses = [302, 400, 401, 403, 404, 408, 409, 410, 418, 429, 500, 502, 503, 504]
    for _ in range(BODIES // 4):
        content = damage(json.dumps(rng.choice(shapes)).encode(), rng)
        status = rng.choice(statuses)
        error: ExchangeError = failure("POST x", status, content, writes=True)
        assert "\n" not in str(error)
        if status == 429:
            assert type(error) is RetryableError
        elif status in (401, 403):
            assert isinstance(error, AuthError)
        elif status >= 500 or status in (302, 408):
            assert type(error) is UnknownOutcomeError
        else:
            assert type(error) is RejectedError
