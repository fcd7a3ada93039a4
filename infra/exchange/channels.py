"""The stream's channels, its error codes and what one subscription remembers (Kalshi API documentation, WebSocket)."""

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import NamedTuple, Protocol

from infra.exchange import wire


@unique
class Channel(Enum):
    """The channels this exchange carries."""

    ORDERBOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"
    COMBO_LIFECYCLE = "multivariate_market_lifecycle"
    FILL = "fill"
    USER_ORDERS = "user_orders"
    POSITIONS = "market_positions"
    ORDER_GROUPS = "order_group_updates"


SEQUENCED = frozenset(
    {Channel.ORDERBOOK, Channel.TRADE, Channel.LIFECYCLE, Channel.COMBO_LIFECYCLE, Channel.ORDER_GROUPS}
)
UNFILTERED = frozenset({Channel.LIFECYCLE, Channel.COMBO_LIFECYCLE, Channel.ORDER_GROUPS})


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
    CHANNEL_ERROR = (10, "Channel error")
    INVALID_PARAMETER = (11, "Invalid parameter")
    ONE_SID = (12, "Exactly one subscription ID is required")
    BAD_ACTION = (13, "Unsupported action")
    NO_TICKER = (14, "Market ticker required")
    NO_ACTION = (15, "Action required")
    OVERFLOW = (25, "Subscription buffer overflow")
    MARKET_LIMIT = (26, "Subscription market limit exceeded")
    TOO_MANY_REQUESTS = (27, "Too many requests")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one session may have and do. The number of markets in a subscription is limited (error 26) but was never
    published: the default is what a whole session may have."""

    markets_per_subscription: int = 500_000
    commands_per_second: int = 10_000


class Frame(NamedTuple):
    """A text to send; ``sid`` is the subscription that it goes with and ends with, or None. The rest says what the
    frame is: its channel, its ``type`` and the market that it is about ("" when it has none)."""

    sid: int | None
    text: str
    channel: str = ""
    kind: str = ""
    market: str = ""


class CommandError(Exception):
    """A command that cannot be done, and the subscription it was for once that is known."""

    def __init__(self, code: ErrorCode, subscription: "Subscription | None" = None) -> None:
        super().__init__(code.value[1])
        self.code = code
        self.subscription = subscription


@dataclass(slots=True, eq=False)
class Subscription:
    """A channel of one session. ``tickers`` is an insertion-ordered set, None for every market."""

    sid: int
    channel: Channel
    tickers: dict[str, None] | None
    use_yes_price: bool = False
    quiet_acks: bool = False
    seq: int = 0
    shown: dict[str, wire.Json] = field(default_factory=dict)  # by market, what was shown last: tickers, snapshots

    def wants(self, ticker: str) -> bool:
        """Whether messages about a market belong here."""
        return self.tickers is None or ticker in self.tickers

    def next_seq(self, skipped: int = 0) -> wire.Json:
        """The ``seq`` field of the next frame, nothing on a channel without numbers."""
        if self.channel not in SEQUENCED:
            return {}
        self.seq += 1 + skipped
        return {"seq": self.seq}

    def joining(self, tickers: list[str] | None) -> list[str]:
        """Which of these markets would be new to it."""
        if tickers is None or self.tickers is None:
            return []
        return [ticker for ticker in tickers if ticker not in self.tickers]

    def join(self, tickers: list[str] | None) -> list[str]:
        """Add markets; returns the new ones. No filter means every market from now on."""
        new = self.joining(tickers)
        if tickers is None or self.tickers is None:
            self.tickers = None
        else:
            self.tickers.update(dict.fromkeys(new))
        return new


class StreamFaults(Protocol):
    """What can go wrong while frames are being made."""

    def numbers_skipped(self, channel: str, kind: str, market: str) -> int:
        """How many sequence numbers are left out before a frame."""
        ...

    def shows_stale(self, channel: str, market: str) -> bool:
        """Whether a snapshot for which there is a different older one shows that instead."""
        ...


class NoFaults:
    """Everything goes well."""

    def numbers_skipped(self, channel: str, kind: str, market: str) -> int:
        """None."""
        del channel, kind, market
        return 0

    def shows_stale(self, channel: str, market: str) -> bool:
        """Never."""
        del channel, market
        return False
