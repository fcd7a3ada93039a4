"""One WebSocket session without its socket: command texts and core emissions in, frames out.

Every channel has one subscription id per session. ``seq`` counts from 1 per subscription over everything that carries
it: snapshots, deltas and control replies (Kalshi API documentation, WebSocket connection and order book updates).
"""

from collections.abc import Iterable, Sequence

import msgspec

from infra.exchange import messages, wire
from infra.exchange.channels import (
    UNFILTERED,
    Channel,
    CommandError,
    ErrorCode,
    Frame,
    NoFaults,
    StreamFaults,
    StreamLimits,
    Subscription,
)
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import (
    BookChanged,
    BookReplaced,
    Emission,
    EventFeeUpdated,
    EventListed,
    Filled,
    GroupChanged,
    LifecycleKind,
    MarketLifecycle,
    OrderChanged,
    Traded,
)

COMBO_PREFIX = "KXMVE"
"""Tickers of combos begin with it: the two lifecycle channels divide by it."""

_encode = msgspec.json.Encoder().encode


class StreamSession:
    """The state of one connection of one account."""

    def __init__(
        self,
        core: ExchangeCore,
        account_id: str,
        *,
        limits: StreamLimits | None = None,
        faults: StreamFaults | None = None,
    ) -> None:
        self._core = core
        self._account_id = account_id
        self._limits = limits or StreamLimits()
        self._faults = faults or NoFaults()
        self._by_sid: dict[int, Subscription] = {}
        self._by_channel: dict[Channel, Subscription] = {}
        self._last_sid = 0
        self._second = 0
        self._commands = 0

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
            self._count_command()
            return self._dispatch(command, command_id)
        except CommandError as problem:
            return [_error(command_id, problem.code, problem.subscription)]

    def end(self, sid: int, code: ErrorCode) -> list[Frame]:
        """End a subscription with a terminal error; nothing when it has ended already."""
        subscription = self._by_sid.get(sid)
        if subscription is None:
            return []
        self._drop(subscription)
        # It does not go with the subscription's frames: those may never be sent any more, this one must be.
        return [_error(None, code, subscription)._replace(sid=None)]

    def _count_command(self) -> None:
        second = self._core.now_ms // 1_000
        if second != self._second:
            self._second, self._commands = second, 0
        self._commands += 1
        if self._commands > self._limits.commands_per_second:
            raise CommandError(ErrorCode.TOO_MANY_REQUESTS)

    def _dispatch(self, command: wire.Json, command_id: object) -> list[Frame]:
        name = command.get("cmd")
        if name == "list_subscriptions":
            rows = [{"channel": sub.channel.value, "sid": sub.sid} for sub in self._by_sid.values()]
            return [_control(None, "ok", {"id": command_id, "type": "ok", "msg": rows})]
        handlers = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "update_subscription": self._update,
        }
        if not isinstance(name, str) or name not in handlers:
            raise CommandError(ErrorCode.UNKNOWN_COMMAND)
        params = command.get("params")
        if not isinstance(params, dict):
            raise CommandError(ErrorCode.NO_PARAMS)
        return handlers[name](params, command_id)

    def _subscribe(self, params: wire.Json, command_id: object) -> list[Frame]:
        names = params.get("channels")
        if not isinstance(names, list) or not names:
            raise CommandError(ErrorCode.NO_CHANNELS)
        try:
            channels = [Channel(name) for name in dict.fromkeys(names)]
        except (ValueError, TypeError):
            raise CommandError(ErrorCode.UNKNOWN_CHANNEL) from None
        tickers = self._tickers(params, by_id=channels == [Channel.TICKER])
        if Channel.ORDERBOOK in channels and not tickers:
            raise CommandError(ErrorCode.NO_TICKER)
        use_yes_price = _flag(params, "use_yes_price")
        quiet_acks = _flag(params, "skip_ticker_ack")
        initial = _flag(params, "send_initial_snapshot")
        for channel in channels:
            self._check_room(self._by_channel.get(channel), None if channel in UNFILTERED else tickers)
        frames: list[Frame] = []
        for channel in channels:
            wanted = None if channel in UNFILTERED else tickers
            known = self._by_channel.get(channel)
            if known is None:
                frames.append(self._open(channel, wanted, command_id, use_yes_price, quiet_acks))
                new = wanted or []
            else:
                new = known.join(wanted)
                frames.append(self._ok(known, command_id))
            subscription = self._by_channel[channel]
            if channel is Channel.ORDERBOOK:
                frames += self._snapshots(subscription, new)
            elif channel is Channel.TICKER and initial:
                frames += self._tickers_changed(subscription, new or list(self._core.markets))
        return frames

    def _check_room(self, subscription: Subscription | None, tickers: list[str] | None) -> None:
        new = len(tickers or ()) if subscription is None else len(subscription.joining(tickers))
        held = 0 if subscription is None else len(subscription.tickers or ())
        if new and held + new > self._limits.markets_per_subscription:
            raise CommandError(ErrorCode.MARKET_LIMIT, subscription)

    def _open(
        self, channel: Channel, tickers: list[str] | None, command_id: object, use_yes_price: bool, quiet: bool
    ) -> Frame:
        self._last_sid += 1
        wanted = None if tickers is None else dict.fromkeys(tickers)
        subscription = Subscription(self._last_sid, channel, wanted, use_yes_price, quiet)
        self._by_sid[subscription.sid] = subscription
        self._by_channel[channel] = subscription
        message = {"channel": channel.value, "sid": subscription.sid}
        # It announces the subscription, so it does not go with the frames that a subscription loses.
        frame = _control(subscription, "subscribed", {"id": command_id, "type": "subscribed", "msg": message})
        return frame._replace(sid=None)

    def _unsubscribe(self, params: wire.Json, command_id: object) -> list[Frame]:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            raise CommandError(ErrorCode.NO_SIDS)
        frames = []
        for subscription in {found.sid: found for found in map(self._find, sids)}.values():
            self._drop(subscription)
            body = {"id": command_id, "sid": subscription.sid, **subscription.next_seq(), "type": "unsubscribed"}
            frames.append(_control(subscription, "unsubscribed", body))
        return frames

    def _update(self, params: wire.Json, command_id: object) -> list[Frame]:
        subscription = self._one_sid(params)
        action = params.get("action")
        if action is None:
            raise CommandError(ErrorCode.NO_ACTION, subscription)
        if action not in ("add_markets", "delete_markets", "get_snapshot"):
            raise CommandError(ErrorCode.BAD_ACTION, subscription)
        books = subscription.channel is Channel.ORDERBOOK
        tickers = self._tickers(params, by_id=subscription.channel is Channel.TICKER)
        if not tickers:
            raise CommandError(ErrorCode.NO_TICKER, subscription)
        if subscription.tickers is None or (action == "get_snapshot" and not books):
            raise CommandError(ErrorCode.BAD_ACTION, subscription)
        if action == "get_snapshot":
            return self._snapshots(subscription, tickers, command_id)
        if action == "delete_markets":
            for ticker in tickers:
                subscription.tickers.pop(ticker, None)
                subscription.shown.pop(ticker, None)
            return [self._ok(subscription, command_id)]
        self._check_room(subscription, tickers)
        new = subscription.join(tickers)
        frames = [self._ok(subscription, command_id)]
        if books:
            frames += self._snapshots(subscription, new)
        elif subscription.channel is Channel.TICKER and _flag(params, "send_initial_snapshot"):
            frames += self._tickers_changed(subscription, new)
        return frames

    def _one_sid(self, params: wire.Json) -> Subscription:
        sids = params.get("sids", [params["sid"]] if "sid" in params else [])
        if not isinstance(sids, list) or len(sids) != 1 or ("sid" in params and "sids" in params):
            raise CommandError(ErrorCode.ONE_SID)
        return self._find(sids[0])

    def _find(self, sid: object) -> Subscription:
        subscription = self._by_sid.get(sid) if isinstance(sid, int) else None
        if subscription is None:
            raise CommandError(ErrorCode.UNKNOWN_SID)
        return subscription

    def _drop(self, subscription: Subscription) -> None:
        del self._by_sid[subscription.sid]
        del self._by_channel[subscription.channel]

    def _ok(self, subscription: Subscription, command_id: object) -> Frame:
        message: wire.Json = {}
        if subscription.tickers is not None and not subscription.quiet_acks:
            message["market_tickers"] = list(subscription.tickers)
        body = {"id": command_id, "sid": subscription.sid, **subscription.next_seq(), "type": "ok", "msg": message}
        return _control(subscription, "ok", body)

    def _tickers(self, params: wire.Json, *, by_id: bool) -> list[str] | None:
        """The markets that a command names, or None; by their ids only where that is allowed."""
        given = [
            key for key in ("market_ticker", "market_tickers", "market_id", "market_ids") if params.get(key) is not None
        ]
        if not given:
            return None
        (key, *others) = given
        if others or (not by_id and key.startswith("market_id")):
            raise CommandError(ErrorCode.INVALID_PARAMETER)
        value = params[key] if key.endswith("s") else [params[key]]
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise CommandError(ErrorCode.INVALID_PARAMETER)
        if key.startswith("market_id"):
            tickers = {market.market_id: ticker for ticker, market in self._core.markets.items()}
            value = [tickers[market_id] for market_id in value if market_id in tickers]
        return list(dict.fromkeys(value))

    # Data

    def emit(self, emissions: Sequence[Emission]) -> list[Frame]:
        """The frames that this session gets for what happened."""
        frames: list[Frame] = []
        touched: dict[str, None] = {}
        moved: dict[str, None] = {}
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
                    moved[emission.fill.ticker] = None
                case OrderChanged() if emission.account_id == self._account_id:
                    message = messages.user_order(emission)
                    frames += self._data(Channel.USER_ORDERS, "user_order", message, emission.order.ticker)
                case MarketLifecycle():
                    frames += self._lifecycle(emission)
                    touched[emission.ticker] = None
                    if emission.kind is LifecycleKind.SETTLED and self._has_traded(emission.ticker):
                        moved[emission.ticker] = None
                case EventListed():
                    frames += self._event_listed(emission)
                case EventFeeUpdated():
                    message = messages.event_fee_update(emission)
                    frames += self._data(Channel.LIFECYCLE, "event_fee_update", message, "")
                case GroupChanged() if emission.account_id == self._account_id:
                    message = messages.order_group_update(emission)
                    frames += self._data(Channel.ORDER_GROUPS, Channel.ORDER_GROUPS.value, message, "")
        frames += self._positions(moved)
        tickers = self._by_channel.get(Channel.TICKER)
        if tickers is not None and touched:
            frames += self._tickers_changed(tickers, touched)
        return frames

    def _frame(
        self, subscription: Subscription, kind: str, message: wire.Json, market: str, command_id: object = None
    ) -> Frame:
        channel = subscription.channel.value
        skipped = self._faults.numbers_skipped(channel, kind, market)
        body: wire.Json = {"type": kind, "sid": subscription.sid, **subscription.next_seq(skipped)}
        if command_id is not None:
            body["id"] = command_id
        body["sending_ts_ms"] = self._core.now_ms
        body["msg"] = message
        return Frame(subscription.sid, _encode(body).decode(), channel, kind, market)

    def _data(self, channel: Channel, kind: str, message: wire.Json, ticker: str) -> list[Frame]:
        subscription = self._by_channel.get(channel)
        if subscription is None or not subscription.wants(ticker):
            return []
        return [self._frame(subscription, kind, message, ticker)]

    def _snapshots(self, subscription: Subscription, tickers: Iterable[str], command_id: object = None) -> list[Frame]:
        frames = []
        for ticker in tickers:
            market = self._core.markets.get(ticker)
            if market is None:
                continue
            message = messages.snapshot(market, use_yes_price=subscription.use_yes_price)
            older = subscription.shown.get(ticker, message)
            if older != message and self._faults.shows_stale(subscription.channel.value, ticker):
                message = older
            subscription.shown[ticker] = message
            frames.append(self._frame(subscription, "orderbook_snapshot", message, ticker, command_id))
        return frames

    def _replaced(self, change: BookReplaced) -> list[Frame]:
        subscription = self._by_channel.get(Channel.ORDERBOOK)
        if subscription is None or not subscription.wants(change.ticker):
            return []
        market = self._core.markets[change.ticker]
        message = messages.replaced(change, market, use_yes_price=subscription.use_yes_price)
        return [self._frame(subscription, "orderbook_snapshot", message, change.ticker)]

    def _delta(self, change: BookChanged) -> list[Frame]:
        subscription = self._by_channel.get(Channel.ORDERBOOK)
        if subscription is None or not subscription.wants(change.ticker):
            return []
        market = self._core.markets[change.ticker]
        own = change.account_id == self._account_id
        message = messages.delta(change, market, use_yes_price=subscription.use_yes_price, own=own)
        return [self._frame(subscription, "orderbook_delta", message, change.ticker)]

    def _lifecycle(self, emission: MarketLifecycle) -> list[Frame]:
        message = messages.lifecycle(emission, self._core.markets[emission.ticker])
        if emission.ticker.startswith(COMBO_PREFIX):
            return self._data(Channel.COMBO_LIFECYCLE, Channel.COMBO_LIFECYCLE.value, message, emission.ticker)
        return self._data(Channel.LIFECYCLE, Channel.LIFECYCLE.value, message, emission.ticker)

    def _event_listed(self, emission: EventListed) -> list[Frame]:
        event = self._core.events[emission.event_ticker]
        message = messages.event_listed(event, self._core.series[event.series_ticker])
        combo = event.ticker.startswith(COMBO_PREFIX)
        return self._data(Channel.COMBO_LIFECYCLE if combo else Channel.LIFECYCLE, "event_lifecycle", message, "")

    def _has_traded(self, ticker: str) -> bool:
        return ticker in self._core.accounts[self._account_id].positions

    def _positions(self, tickers: Iterable[str]) -> list[Frame]:
        frames = []
        for ticker in tickers:
            message = messages.market_position(self._core.accounts[self._account_id], ticker)
            frames += self._data(Channel.POSITIONS, "market_position", message, ticker)
        return frames

    def _tickers_changed(self, subscription: Subscription, tickers: Iterable[str]) -> list[Frame]:
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
            frames.append(self._frame(subscription, "ticker", {**figures, **times}, ticker))
        return frames


def _flag(params: wire.Json, name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise CommandError(ErrorCode.INVALID_PARAMETER)
    return value


def _control(subscription: Subscription | None, kind: str, body: wire.Json) -> Frame:
    if subscription is None:
        return Frame(None, _encode(body).decode(), kind=kind)
    return Frame(subscription.sid, _encode(body).decode(), subscription.channel.value, kind)


def _error(command_id: object, code: ErrorCode, subscription: Subscription | None = None) -> Frame:
    number, message = code.value
    body: wire.Json = {} if command_id is None else {"id": command_id}
    if subscription is not None:
        body |= {"sid": subscription.sid, **subscription.next_seq()}
    body |= {"type": "error", "msg": {"code": number, "msg": message}}
    return _control(subscription, "error", body)
