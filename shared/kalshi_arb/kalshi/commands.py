"""Commands of the stream: their JSON, their ids, and what each was for until it is answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique

import msgspec

BOOK_CHANNEL = "orderbook_delta"
LIFECYCLE_CHANNEL = "market_lifecycle_v2"
PRIVATE_CHANNELS = ("fill", "user_orders", "market_positions", "order_group_updates")
"""Our own account's."""

# A snapshot command is answered by its snapshots, so nothing else ends its wait.
_FORGET_MS = 60_000

_encode = msgspec.json.Encoder().encode


@unique
class Action(Enum):
    """What a command asks for; the value of the last three is the wire's own word."""

    SUBSCRIBE_CHANNEL = "subscribe_channel"
    SUBSCRIBE_BOOKS = "subscribe_books"
    ADD = "add_markets"
    DELETE = "delete_markets"
    SNAPSHOT = "get_snapshot"


@unique
class NoPrices(Enum):
    """In whose prices the exchange writes the levels of the NO side; the value is that of ``use_yes_price``."""

    NO = False
    YES = True


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was handed out at ``sent_ms`` (UTC milliseconds)."""

    action: Action
    tickers: tuple[str, ...]
    sent_ms: int


class Outbox:
    """Commands waiting to be sent, and commands waiting for an answer.

    :param tickers_per_command: longer lists become several commands
    :param no_prices: asked for with every subscription to books
    """

    def __init__(self, tickers_per_command: int, no_prices: NoPrices) -> None:
        self._chunk = tickers_per_command
        self._no_prices = no_prices
        self._texts: list[str] = []
        self._pending: dict[int, Command] = {}
        self._next_id = 1

    @property
    def is_waiting(self) -> bool:
        """Whether :meth:`take` would hand out something."""
        return bool(self._texts)

    def take(self) -> list[str]:
        """JSON texts to send, in order; each is handed out once."""
        texts, self._texts = self._texts, []
        return texts

    def answered(self, command_id: int) -> Command | None:
        """The command an answer belongs to, or None when it is unknown."""
        return self._pending.pop(command_id, None)

    def forget(self, now_ms: int) -> None:
        """Stop waiting for answers that will not come."""
        for command_id in [i for i, command in self._pending.items() if now_ms - command.sent_ms > _FORGET_MS]:
            del self._pending[command_id]

    def clear(self) -> None:
        """Drop everything: the connection is another one."""
        self._texts.clear()
        self._pending.clear()

    def subscribe_channel(self, channel: str, now_ms: int) -> None:
        """Ask for a channel that needs no list of markets."""
        self._send(Action.SUBSCRIBE_CHANNEL, (), {"channels": [channel]}, now_ms)

    def subscribe_books(self, tickers: Sequence[str], now_ms: int) -> None:
        """Ask for books. ``use_yes_price`` is explicit because its default is announced to change."""
        params: dict[str, object] = {
            "channels": [BOOK_CHANNEL],
            "market_tickers": list(tickers),
            "use_yes_price": self._no_prices.value,
            "skip_ticker_ack": True,
        }
        self._send(Action.SUBSCRIBE_BOOKS, tuple(tickers), params, now_ms)

    def update(self, action: Action, sid: int, tickers: Sequence[str], now_ms: int) -> None:
        """Change the book subscription ``sid`` or ask for its snapshots, in as many commands as it takes."""
        for chunk in self.chunks(tickers):
            params: dict[str, object] = {"sid": sid, "action": action.value, "market_tickers": list(chunk)}
            self._send(action, tuple(chunk), params, now_ms)

    def chunks(self, tickers: Sequence[str]) -> Iterator[Sequence[str]]:
        """Tickers in portions of one command."""
        return (tickers[start : start + self._chunk] for start in range(0, len(tickers), self._chunk))

    def _send(self, action: Action, tickers: tuple[str, ...], params: dict[str, object], now_ms: int) -> None:
        name = "subscribe" if action in (Action.SUBSCRIBE_CHANNEL, Action.SUBSCRIBE_BOOKS) else "update_subscription"
        self._pending[self._next_id] = Command(action, tickers, now_ms)
        self._texts.append(_encode({"id": self._next_id, "cmd": name, "params": params}).decode())
        self._next_id += 1
