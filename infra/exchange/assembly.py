"""Puts an exchange together: seed, key, cash and universe or tape in, a server that only needs starting out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from infra.exchange.auth import KeyRing, PublicKey
from infra.exchange.core import ExchangeCore
from infra.exchange.durable import open_durable
from infra.exchange.errors import ExchangeStartError
from infra.exchange.living import MEMBER, Beginning, LivingExchange, seeded_ids, split_cash
from infra.exchange.playback import Playback
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.tape_terms import Tape
from infra.exchange.universe import UniverseConfig
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash


@dataclass(frozen=True, slots=True)
class TapeOptions:
    """A tape in place of the universe, played ``speed`` times as fast as recorded. One that ``waits`` lists nothing
    until it is told to start."""

    tape: Tape
    speed: float
    waits: bool


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """What an assembled exchange is made of. ``cash`` (1e-6 dollars) is the total, split evenly over the shards.

    ``state_dir`` is where a universe is kept and gone on with; without it everything ends with the process.
    """

    seed: int
    key_id: str
    public_key: PublicKey
    cash: Cash
    precision: Precision = Precision.DIRECT
    universe: UniverseConfig = field(default_factory=UniverseConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    tape: TapeOptions | None = None
    state_dir: Path | None = None


def create_exchange(options: ExchangeOptions, now_ms: Callable[[], int]) -> ExchangeServer:
    """An exchange with a living universe, or a tape, and one member, not yet started.

    :param now_ms: UTC milliseconds
    :raises ExchangeStartError: ``state_dir`` cannot be gone on with, or is given with a tape.
    """
    keys = KeyRing()
    keys.add(options.key_id, options.public_key, MEMBER)
    if options.tape is not None:
        if options.state_dir is not None:
            raise ExchangeStartError("a tape is always played from its beginning and keeps no state")
        core = ExchangeCore(now_ms(), seeded_ids(Random(options.seed)))
        playback = _playback(core, options, options.tape)
        return ExchangeServer(core, keys, options.server, now_ms=now_ms, universe=playback)
    beginning = Beginning(options.seed, options.cash, options.precision)
    if options.state_dir is None:
        keeper = None
        exchange = LivingExchange.begin(beginning, options.universe, now_ms())
    else:
        keeper = open_durable(options.state_dir, beginning, options.universe, now_ms())
        exchange = keeper.exchange
    return ExchangeServer(exchange.core, keys, options.server, now_ms=now_ms, universe=exchange.universe, keeper=keeper)


def _playback(core: ExchangeCore, options: ExchangeOptions, played: TapeOptions) -> Playback:
    shards = tuple(sorted({series.shard for series in played.tape.series}))
    core.open_account(MEMBER, split_cash(options.cash, shards), options.precision)
    playback = Playback(core, played.tape, played.speed)
    if not played.waits:
        playback.start()
    return playback
