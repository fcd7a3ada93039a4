"""The feed's numbers, each with its reason."""

from dataclasses import dataclass

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.kalshi.commands import PRIVATE_CHANNELS
from kalshi_arb.settings import Mode, Settings

_CENT = 10**8  # 1e-10 dollars


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """Times end in their unit.

    ``depth`` is levels a side in candidates and copies of books. ``judge_delay_s`` is how long an exchange millisecond
    may stay open when no later one is seen. ``near_edge`` (1e-10 dollars, negative) is how close to being a candidate
    a group must be for its books to be copied at ``snapshot_interval_ms``; all others follow at ``sweep_interval_ms``,
    because writes are the largest cost. A connection is given up after ``heartbeat_s`` of silence: the exchange pings
    every 10 s. Groups are asked for every ``poll_s``: a suspension must be known here within two seconds. Discovery is
    reminded every ``look_s`` to ask what changed without a message. Our own pings every ``ping_every_s`` keep quiet
    books young. ``private`` channels of our own account are followed as a cross-check; not on paper, where the orders
    are not the account's.
    """

    mode: str
    depth: int = 20
    snapshot_interval_ms: int = 2_000
    sweep_interval_ms: int = 60_000
    near_edge: int = -2 * _CENT
    cooldown_ms: int = 250
    judge_delay_s: float = 0.005
    beat_s: float = 0.05
    ping_every_s: float = 2.0
    heartbeat_s: float = 30.0
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    poll_s: float = 0.5
    look_s: float = 20.0
    status_s: float = 1.0
    metrics_s: float = 10.0
    misses_shown: int = 10
    health_file: str | None = None
    private: tuple[str, ...] = ()


def config_of(settings: Settings) -> FeedConfig:
    """The part of the settings that the feed's loop needs.

    :raises SettingsError: the slow sweep would be faster than the copies of near books.
    """
    config = FeedConfig(
        mode=settings.mode.value,
        depth=settings.book_depth,
        snapshot_interval_ms=settings.snapshot_interval_ms,
        health_file=settings.health_file,
        private=() if settings.mode is Mode.PAPER else PRIVATE_CHANNELS,
    )
    if config.snapshot_interval_ms > config.sweep_interval_ms:
        raise SettingsError(f"KALSHI_ARB_SNAPSHOT_INTERVAL_MS must be at most {config.sweep_interval_ms}")
    return config
