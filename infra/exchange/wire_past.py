"""Trades and candles in the exchange's REST shapes (Kalshi API documentation, OpenAPI 3.34)."""

from infra.exchange import wire
from infra.exchange.emissions import Traded
from infra.exchange.past import Candle, Span
from kalshi_arb.domain.money import Price, complement, count_to_wire, price_to_wire, print_decimal

_ENDS = ("open", "low", "high", "close")
_PRICES = (*_ENDS, "mean", "previous")
_MEAN_DECIMALS = 6


def trade_json(trade: Traded) -> wire.Json:
    """A public trade."""
    return {
        "trade_id": trade.trade_id,
        "ticker": trade.ticker,
        "count_fp": count_to_wire(trade.count),
        "yes_price_dollars": price_to_wire(trade.yes_price),
        "no_price_dollars": price_to_wire(complement(trade.yes_price)),
        "taker_side": trade.taker.value,
        "taker_outcome_side": trade.taker.value,
        "taker_book_side": wire.book_side(trade.taker),
        "created_time": wire.iso(trade.ms),
        "is_block_trade": False,
    }


def _span(span: Span) -> dict[str, str]:
    prices = (span.open, span.low, span.high, span.close)
    return {name: price_to_wire(price) for name, price in zip(_ENDS, prices, strict=True)}


def _optional(price: Price | None) -> str | None:
    return None if price is None else price_to_wire(price)


def _price(candle: Candle) -> dict[str, str | None]:
    fields: dict[str, str | None] = dict.fromkeys(_PRICES)
    fields["previous"] = _optional(candle.previous)
    if candle.price is not None:
        fields |= _span(candle.price)
        fields["mean"] = print_decimal(candle.paid * 100 // candle.volume, _MEAN_DECIMALS)
    return fields


def candle_json(candle: Candle) -> wire.Json:
    """A candlestick; without a trade its price has no members but the previous one."""
    price = _price(candle)
    ends = {"min": price["low"], "max": price["high"]}
    return {
        "end_period_ts": candle.end_s,
        "yes_bid": {f"{name}_dollars": value for name, value in _span(candle.bid).items()},
        "yes_ask": {f"{name}_dollars": value for name, value in _span(candle.ask).items()},
        "price": {f"{name}_dollars": value for name, value in (price | ends).items()},
        "volume_fp": count_to_wire(candle.volume),
        "open_interest_fp": count_to_wire(candle.open_interest),
    }


def old_candle_json(candle: Candle) -> wire.Json:
    """A candlestick of the historical endpoint, whose names lack their endings."""
    return {
        "end_period_ts": candle.end_s,
        "yes_bid": _span(candle.bid),
        "yes_ask": _span(candle.ask),
        "price": _price(candle),
        "volume": count_to_wire(candle.volume),
        "open_interest": count_to_wire(candle.open_interest),
    }
