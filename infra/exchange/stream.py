"""One WebSocket session without its socket: command texts and core emissions in, frames out.

Every channel has one subscription id per session. ``seq`` counts from 1 per subscription over everything that carries
it: snapshots, deltas and control replies (Kalshi API documentation, WebSocket connection and order book updates).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import NamedTuple

import msgspec

from infra.exchange import messages, wire
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import (
    BookChanged,
    BookReplaced,
    Emission,
    EventListed,
    Filled,
    MarketLifecycle,
    OrderChanged,
    Traded,
)

_encode = msgspec.json.Encoder().encode


@unique
class Channel(Enum):
    """The channels this exchange carries."""

    ORDERBOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"
    FILL = "fill"
    USER_ORDERS = "user_orders"


_SEQUENCED = frozenset({Channel.ORDERBOOK, Channel.TRADE, Channel.LIFECYCLE})
_UNFILTERED = frozenset({Channel.LIFECYCLE})


@unique
class ErrorCode(Enum):
    """Error codes of the stream with the text that goes with them."""

    UNABLE = (1, "Unable to process message")
    NO_PARAMS = (2, "Params required")
    NO_CHANNELS = (3, "Channels required")
    NO_SIDS = (4, "Subscription IDs required")
    UNKNOWN_COMMAND = (5, "Unknown command")
    UNKNOWN_SID = (7, "Unknown subscription ID")
    UNKNOWN_CHANNEL = (8, "Unknown channel name")
    INVALID_PARAMETER = (11, "Invalid parameter")
    ONE_SID = (12, "Exactly one subscription ID is required")
    BAD_ACTION = (13, "Unsupported action")
    NO_TICKER = (14, "Market ticker required")
    NO_ACTION = (15, "Action required")
    OVERFLOW = (25, "Subscription buffer overflow")


class Frame(NamedTuple):
    """A text to send; ``sid`` is the subscription it belongs to, or None."""

    sid: int | None
    text: str


class _CommandError(Exception):
    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value[1])
        self.code = code


@dataclass(slots=True, eq=False)
class _Subscription:
    sid: int
    channel: Channel
    tickers: dict[str, None] | None  # insertion-ordered set; None is every market
    use_yes_price: bool = False
    quiet_acks: bool = False
    seq: int = 0
    shown: dict[str, wire.Json] = field(default_factory=dict)

    def wants(self, ticker: str) -> bool:
        return self.tickers is None or ticker in self.tickers

    def next_seq(self) -> wire.Json:
        if self.channel not in _SEQUENCED:
            return {}
        self.seq += 1
        return {"seq": self.seq}


class StreamSession:
    """The state of one connection of one account."""

    def __init__(self, core: ExchangeCore, account_id: str) -> None:
        self._core = core
        self._account_id = account_id
        self._by_sid: dict[int, _Subscription] = {}
        self._by_channel: dict[Channel, _Subscription] = {}
        self._last_sid = 0

    # Commands

    def handle(self, text: str | bytes) -> list[Frame]:
        """Answer one command text."""
        try:
            command = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            command = None
        if not isinstance(command, dict):
            return [_error(None, ErrorCode.UNABLE)]
        command_id = command.get("id")
        try:
            return self._dispatch(command, command_id)
        except _CommandError as problem:
            return [_error(command_id, problem.code)]

    def overflow(self, sid: int) -> list[Frame]:
        """End a subscription whose frames nobody reads in time."""
        subscription = self._by_sid.get(sid)
        if subscription is None:
            return []
        self._drop(subscription)
        code, message = ErrorCode.OVERFLOW.value
        body = {"type": "error", "sid": sid, **subscription.next_seq(), "msg": {"code": code, "msg": message}}
        return [Frame(None, _encode(body).decode())]

    def _dispatch(self, command: wire.Json, command_id: object) -> list[Frame]:
        name = command.get("cmd")
        if name == "list_subscriptions":
            rows = [{"channel": sub.channel.value, "sid": sub.sid} for sub in self._by_sid.values()]
            return [Frame(None, _encode({"id": command_id, "type": "ok", "msg": rows}).decode())]
        handlers = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "update_subscription": self._update,
        }
        if not isinstance(name, str) or name not in handlers:
            raise _CommandError(ErrorCode.UNKNOWN_COMMAND)
        params = command.get("params")
        if not isinstance(params, dict):
            raise _CommandError(ErrorCode.NO_PARAMS)
        return handlers[name](params, command_id)

    def _subscribe(self, params: wire.Json, command_id: object) -> list[Frame]:
        names = params.get("channels")
        if not isinstance(names, list) or not names:
            raise _CommandError(ErrorCode.NO_CHANNELS)
        try:
            channels = [Channel(name) for name in names]
        except ValueError:
            raise _CommandError(ErrorCode.UNKNOWN_CHANNEL) from None
        tickers = _tickers(params)
        if Channel.ORDERBOOK in channels and not tickers:
            raise _CommandError(ErrorCode.NO_TICKER)
        use_yes_price = _flag(params, "use_yes_price")
        quiet_acks = _flag(params, "skip_ticker_ack")
        initial = _flag(params, "send_initial_snapshot")
        frames: list[Frame] = []
        for channel in channels:
            wanted = None if channel in _UNFILTERED else tickers
            known = self._by_channel.get(channel)
            if known is None:
                frames += self._open(channel, wanted, command_id, use_yes_price, quiet_acks)
                new = wanted or []
            else:
                new = _join(known, wanted)
                frames.append(self._ok(known, command_id))
            subscription = self._by_channel[channel]
            if channel is Channel.ORDERBOOK:
                frames += self._snapshots(subscription, new)
            elif channel is Channel.TICKER and initial:
                frames += self._tickers_changed(subscription, new or list(self._core.markets))
        return frames

    def _open(
        self, channel: Channel, tickers: list[str] | None, command_id: object, use_yes_price: bool, quiet: bool
    ) -> list[Frame]:
        self._last_sid += 1
        wanted = None if tickers is None else dict.fromkeys(tickers)
        subscription = _Subscription(self._last_sid, channel, wanted, use_yes_price, quiet)
        self._by_sid[subscription.sid] = subscription
        self._by_channel[channel] = subscription
        message = {"channel": channel.value, "sid": subscription.sid}
        return [Frame(None, _encode({"id": command_id, "type": "subscribed", "msg": message}).decode())]

    def _unsubscribe(self, params: wire.Json, command_id: object) -> list[Frame]:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            raise _CommandError(ErrorCode.NO_SIDS)
        subscriptions = [self._find(sid) for sid in sids]
        frames = []
        for subscription in subscriptions:
            self._drop(subscription)
            body = {"id": command_id, "sid": subscription.sid, **subscription.next_seq(), "type": "unsubscribed"}
            frames.append(Frame(subscription.sid, _encode(body).decode()))
        return frames

    def _update(self, params: wire.Json, command_id: object) -> list[Frame]:
        subscription = self._one_sid(params)
        action = params.get("action")
        if action is None:
            raise _CommandError(ErrorCode.NO_ACTION)
        if action not in ("add_markets", "delete_markets", "get_snapshot"):
            raise _CommandError(ErrorCode.BAD_ACTION)
        tickers = _tickers(params)
        if not tickers:
            raise _CommandError(ErrorCode.NO_TICKER)
        if subscription.tickers is None or (action == "get_snapshot" and subscription.channel is not Channel.ORDERBOOK):
            raise _CommandError(ErrorCode.BAD_ACTION)
        if action == "get_snapshot":
            return self._snapshots(subscription, tickers, command_id)
        if action == "delete_markets":
            for ticker in tickers:
                subscription.tickers.pop(ticker, None)
            return [self._ok(subscription, command_id)]
        new = _join(subscription, tickers)
        frames = [self._ok(subscription, command_id)]
        if subscription.channel is Channel.ORDERBOOK:
            frames += self._snapshots(subscription, new)
        return frames

    def _one_sid(self, params: wire.Json) -> _Subscription:
        sids = params.get("sids", [params["sid"]] if "sid" in params else [])
        if not isinstance(sids, list) or len(sids) != 1:
            raise _CommandError(ErrorCode.ONE_SID)
        return self._find(sids[0])

    def _find(self, sid: object) -> _Subscription:
        subscription = self._by_sid.get(sid) if isinstance(sid, int) else None
        if subscription is None:
            raise _CommandError(ErrorCode.UNKNOWN_SID)
        return subscription

    def _drop(self, subscription: _Subscription) -> None:
        del self._by_sid[subscription.sid]
        del self._by_channel[subscription.channel]

    def _ok(self, subscription: _Subscription, command_id: object) -> Frame:
        message: wire.Json = {}
        if subscription.tickers is not None and not subscription.quiet_acks:
            message["market_tickers"] = list(subscription.tickers)
        body = {"id": command_id, "sid": subscription.sid, **subscription.next_seq(), "type": "ok", "msg": message}
        return Frame(subscription.sid, _encode(body).decode())

    # Data

    def emit(self, emissions: Sequence[Emission]) -> list[Frame]:
        """The frames that this session gets for what happened."""
        frames: list[Frame] = []
        touched: dict[str, None] = {}
        for emission in emissions:
            match emission:
                case BookChanged():
                    frames += self._delta(emission)
                    touched[emission.ticker] = None
                case BookReplaced():
                    frames += self._replaced(emission)
                    touched[emission.ticker] = None
                case Traded():
                    frames += self._data(Channel.TRADE, "trade", messages.trade(emission), emission.ticker)
                    touched[emission.ticker] = None
                case Filled() if emission.account_id == self._account_id:
                    frames += self._data(Channel.FILL, "fill", messages.fill(emission), emission.fill.ticker)
                case OrderChanged() if emission.account_id == self._account_id:
                    message = messages.user_order(emission)
                    frames += self._data(Channel.USER_ORDERS, "user_order", message, emission.order.ticker)
                case MarketLifecycle():
                    frames += self._lifecycle(emission)
                case EventListed():
                    frames += self._event_listed(emission)
        tickers = self._by_channel.get(Channel.TICKER)
        if tickers is not None and touched:
            frames += self._tickers_changed(tickers, touched)
        return frames

    def _frame(self, subscription: _Subscription, kind: str, message: wire.Json, command_id: object = None) -> Frame:
        body: wire.Json = {"type": kind, "sid": subscription.sid, **subscription.next_seq()}
        if command_id is not None:
            body["id"] = command_id
        body["sending_ts_ms"] = self._core.now_ms
        body["msg"] = message
        return Frame(subscription.sid, _encode(body).decode())

    def _data(self, channel: Channel, kind: str, message: wire.Json, ticker: str | None = None) -> list[Frame]:
        subscription = self._by_channel.get(channel)
        if subscription is None or (ticker is not None and not subscription.wants(ticker)):
            return []
        return [self._frame(subscription, kind, message)]

    def _snapshots(self, subscription: _Subscription, tickers: Iterable[str], command_id: object = None) -> list[Frame]:
        frames = []
        for ticker in tickers:
            market = self._core.markets.get(ticker)
            if market is not None:
                message = messages.snapshot(market, use_yes_price=subscription.use_yes_price)
                frames.append(self._frame(subscription, "orderbook_snapshot", message, command_id))
        return frames

    def _replaced(self, change: BookReplaced) -> list[Frame]:
        subscription = self._by_channel.get(Channel.ORDERBOOK)
        if subscription is None or not subscription.wants(change.ticker):
            return []
        market = self._core.markets[change.ticker]
        message = messages.replaced(change, market, use_yes_price=subscription.use_yes_price)
        return [self._frame(subscription, "orderbook_snapshot", message)]

    def _delta(self, change: BookChanged) -> list[Frame]:
        subscription = self._by_channel.get(Channel.ORDERBOOK)
        if subscription is None or not subscription.wants(change.ticker):
            return []
        market = self._core.markets[change.ticker]
        own = change.account_id == self._account_id
        message = messages.delta(change, market, use_yes_price=subscription.use_yes_price, own=own)
        return [self._frame(subscription, "orderbook_delta", message)]

    def _lifecycle(self, emission: MarketLifecycle) -> list[Frame]:
        message = messages.lifecycle(emission, self._core.markets[emission.ticker])
        return self._data(Channel.LIFECYCLE, "market_lifecycle_v2", message)

    def _event_listed(self, emission: EventListed) -> list[Frame]:
        event = self._core.events[emission.event_ticker]
        message = messages.event_listed(event, self._core.series[event.series_ticker])
        return self._data(Channel.LIFECYCLE, "event_lifecycle", message)

    def _tickers_changed(self, subscription: _Subscription, tickers: Iterable[str]) -> list[Frame]:
        frames = []
        for ticker in tickers:
            market = self._core.markets.get(ticker)
            if market is None or not subscription.wants(ticker):
                continue
            figures = messages.ticker_figures(market)
            if subscription.shown.get(ticker) == figures:
                continue
            subscription.shown[ticker] = figures
            now_ms = self._core.now_ms
            times = {"ts_ms": now_ms, "ts": now_ms // 1_000, "time": wire.iso(now_ms)}
            frames.append(self._frame(subscription, "ticker", {**figures, **times}))
        return frames


def _join(subscription: _Subscription, tickers: list[str] | None) -> list[str]:
    """Add markets to a subscription; returns the new ones. No filter means every market from now on."""
    if tickers is None or subscription.tickers is None:
        subscription.tickers = None
        return []
    known = subscription.tickers
    new = [ticker for ticker in dict.fromkeys(tickers) if ticker not in known]
    known.update(dict.fromkeys(new))
    return new


def _tickers(params: wire.Json) -> list[str] | None:
    if "market_ticker" in params and "market_tickers" in params:
        raise _CommandError(ErrorCode.INVALID_PARAMETER)
    value = params.get("market_tickers")
    if "market_ticker" in params:
        value = [params["market_ticker"]]
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(ticker, str) and ticker for ticker in value):
        raise _CommandError(ErrorCode.INVALID_PARAMETER)
    return list(dict.fromkeys(value))


def _flag(params: wire.Json, name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise _CommandError(ErrorCode.INVALID_PARAMETER)
    return value


def _error(command_id: object, code: ErrorCode) -> Frame:
    number, message = code.value
    body: wire.Json = {"type": "error", "msg": {"code": number, "msg": message}}
    if command_id is not None:
        body = {"id": command_id, **body}
    return Frame(None, _encode(body).decode())
