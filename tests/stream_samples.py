"""Frames of the order book stream, written as the exchange writes them."""

import json
from collections.abc import Mapping

from kalshi_arb.domain.money import Count, Price, count_to_wire, price_to_wire

BOOK_SID = 7
Levels = Mapping[int, int]


def subscribed(command_id: int = 2, sid: int = BOOK_SID, channel: str = "orderbook_delta") -> str:
    return json.dumps({"id": command_id, "type": "subscribed", "msg": {"channel": channel, "sid": sid}})


def snapshot(seq: int, ticker: str, yes: Levels | None = None, no: Levels | None = None, **extra: object) -> str:
    """Levels map price (1e-4 dollars) to size (1e-2 contracts); an empty side's key is absent."""
    message: dict[str, object] = {"market_ticker": ticker, "market_id": "5f3c"}
    for key, levels in (("yes_dollars_fp", yes), ("no_dollars_fp", no)):
        if levels:
            message[key] = [[price_to_wire(Price(p)), count_to_wire(Count(c))] for p, c in levels.items()]
    return json.dumps({"type": "orderbook_snapshot", "sid": BOOK_SID, "seq": seq, "msg": message, **extra})


def delta(seq: int, ticker: str, side: str, price: int, change: int, ts_ms: int = 1_000, **changes: object) -> str:
    message: dict[str, object] = {
        "market_ticker": ticker, "market_id": "5f3c", "price_dollars": price_to_wire(Price(price)),
        "delta_fp": count_to_wire(Count(change)), "side": side, "ts_ms": ts_ms, "ts": "2026-06-14T07:33:32Z",
    }  # fmt: skip
    return json.dumps({"type": "orderbook_delta", "sid": BOOK_SID, "seq": seq, "msg": message | changes})


def error(code: int, command_id: int = 0, **extra: object) -> str:
    return json.dumps({"id": command_id, "type": "error", "msg": {"code": code, "msg": "refused"}, **extra})


def ok(seq: int, command_id: int = 3) -> str:
    return json.dumps({"id": command_id, "sid": BOOK_SID, "seq": seq, "type": "ok", "msg": {"market_tickers": []}})
