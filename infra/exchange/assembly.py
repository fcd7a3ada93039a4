"""Puts an exchange together: seed, key, cash and universe in, a server that only needs starting out."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from infra.exchange.auth import KeyRing, PublicKey
from infra.exchange.catalogue import SHARDS
from infra.exchange.core import ExchangeCore
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.universe import Universe, UniverseConfig
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash

MEMBER = "member"
"""The account of the one member that the assembled exchange has."""


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """What an assembled exchange is made of. ``cash`` (1e-6 dollars) is the total, split evenly over the shards."""

    seed: int
    key_id: str
    public_key: PublicKey
    cash: Cash
    precision: Precision = Precision.DIRECT
    universe: UniverseConfig = field(default_factory=UniverseConfig)
    server: ServerConfig = field(default_factory=ServerConfig)


def seeded_ids(random: Random) -> Callable[[], str]:
    """Identifiers in UUID form that follow from the seed."""

    def next_id() -> str:
        return str(uuid.UUID(int=random.getrandbits(128), version=4))

    return next_id


def split_cash(cash: Cash, shards: tuple[int, ...]) -> dict[int, Cash]:
    """Cash over shards, as even as the balance grid of 1e-4 dollars allows; the first takes the rest."""
    share = cash // len(shards) // Precision.DIRECT * Precision.DIRECT
    split = dict.fromkeys(shards, Cash(share))
    split[shards[0]] = Cash(cash - share * (len(shards) - 1))
    return split


def create_exchange(options: ExchangeOptions, now_ms: Callable[[], int]) -> ExchangeServer:
    """An exchange with a living universe and one member, not yet started.

    :param now_ms: UTC milliseconds
    """
    random = Random(options.seed)
    core = ExchangeCore(now_ms(), seeded_ids(Random(random.getrandbits(64))))
    core.open_account(MEMBER, split_cash(options.cash, SHARDS), options.precision)
    universe = Universe(core, options.universe, random)
    universe.start()
    keys = KeyRing()
    keys.add(options.key_id, options.public_key, MEMBER)
    return ExchangeServer(core, keys, options.server, now_ms=now_ms, universe=universe)
