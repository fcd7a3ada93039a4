"""The parts of an exchange from which its whole future follows, begun from a seed or from a snapshot."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from infra.exchange.catalogue import SHARDS
from infra.exchange.core import ExchangeCore, SavedCore
from infra.exchange.universe import SavedUniverse, Universe, UniverseConfig
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash

MEMBER = "member"
"""The account of the one member that the exchange has."""

RandomState = tuple[int, tuple[int, ...], float | None]


class Beginning(msgspec.Struct, frozen=True):
    """What cannot change once an exchange has begun. ``cash`` (1e-6 dollars) is split evenly over the shards."""

    seed: int
    cash: Cash
    precision: Precision


class SavedExchange(msgspec.Struct, frozen=True):
    """A snapshot: what every part must remember so that it goes on as if it had never stopped.

    The order of lists and dicts is part of it: queues, and chance that picks from them, depend on it. It shares what
    it holds with the living exchange, so it is encoded at once and never kept. Changing the shape of anything in it
    means raising :data:`infra.exchange.journal.FORMAT`.
    """

    beginning: Beginning
    ids: RandomState
    chance: RandomState
    core: SavedCore
    universe: SavedUniverse


@dataclass(frozen=True, slots=True)
class LivingExchange:
    """A core with a universe on it. ``ids`` and ``chance`` are where all identifiers and all chance come from."""

    beginning: Beginning
    ids: Random
    chance: Random
    core: ExchangeCore
    universe: Universe

    @classmethod
    def begin(cls, beginning: Beginning, config: UniverseConfig, now_ms: int) -> "LivingExchange":
        """A new exchange with one member (UTC milliseconds)."""
        chance = Random(beginning.seed)
        ids = Random(chance.getrandbits(64))
        core = ExchangeCore(now_ms, seeded_ids(ids))
        core.open_account(MEMBER, split_cash(beginning.cash, SHARDS), beginning.precision)
        universe = Universe(core, config, chance)
        universe.start()
        return cls(beginning, ids, chance, core, universe)

    @classmethod
    def restore(cls, saved: SavedExchange) -> "LivingExchange":
        """The exchange as it was when the snapshot was taken."""
        chance, ids = Random(), Random()
        chance.setstate(saved.chance)
        ids.setstate(saved.ids)
        core = ExchangeCore.restore(saved.core, seeded_ids(ids))
        universe = Universe.restore(saved.universe, core, chance)
        return cls(saved.beginning, ids, chance, core, universe)

    def save(self) -> SavedExchange:
        """A snapshot of this moment."""
        return SavedExchange(
            self.beginning, _state(self.ids), _state(self.chance), self.core.save(), self.universe.save()
        )


def _state(random: Random) -> RandomState:
    version, internal, gauss = random.getstate()
    return version, internal, gauss


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
