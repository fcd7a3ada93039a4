"""The one door through which anything comes to change on the exchange, and what came through it as data.

The core and the world on it follow entirely from where they began and from these inputs, in this order: both take
time, chance and identifiers from outside. So keeping the inputs keeps the exchange. An input is kept with its answer
after it was carried out and before the answer goes out; doing a kept input again must give the same record again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from infra.exchange.account import OrderView
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.terms import NewOrder
from kalshi_arb.domain.money import Count


class Stepped(msgspec.Struct, frozen=True, tag="step"):
    """The world was brought to ``ms`` (UTC milliseconds)."""

    ms: int


class Advanced(msgspec.Struct, frozen=True, tag="advance"):
    """Time alone moved to ``ms`` (UTC milliseconds), because somebody asked something."""

    ms: int


class Placed(msgspec.Struct, frozen=True, tag="place"):
    """An order came in. ``answer`` is the order after it, or the code of the refusal."""

    account_id: str
    order: NewOrder
    answer: OrderView | str


class Cancelled(msgspec.Struct, frozen=True, tag="cancel"):
    """A cancel came in. ``answer`` is the order after it, or the code of the refusal."""

    account_id: str
    order_id: str
    shard: int | None
    answer: OrderView | str


Input = Stepped | Advanced | Placed | Cancelled


class World(Protocol):
    """What lives on the core and moves with its time."""

    def step(self, now_ms: int) -> None:
        """Bring the world and the core to ``now_ms``."""
        ...


def forget(_: Input) -> None:
    """Keep nothing: an exchange that ends with its process."""


class Gate:
    """Carries inputs out, one at a time, and hands each to ``keep`` before it returns.

    When carrying out or keeping fails half-way, memory is no longer what was kept: from then on everything raises
    RuntimeError, so that nobody is answered from it.
    """

    def __init__(self, core: ExchangeCore, world: World | None, keep: Callable[[Input], None] = forget) -> None:
        self._core = core
        self._world = world
        self._keep = keep
        self._sound = True

    @property
    def is_sound(self) -> bool:
        """Whether memory is exactly what was kept."""
        return self._sound

    def step(self, now_ms: int) -> None:
        """Bring the world to ``now_ms``; without a world, the core's time alone."""
        if self._world is None:
            self.advance(now_ms)
            return
        with self._change():
            self._world.step(now_ms)
            self._keep(Stepped(now_ms))

    def advance(self, now_ms: int) -> None:
        """Let the core's time pass; time that does not move changes nothing."""
        with self._change():
            if now_ms > self._core.now_ms:
                self._core.advance(now_ms)
                self._keep(Advanced(now_ms))

    def place(self, account_id: str, order: NewOrder) -> OrderView:
        """Take an order. :raises ExchangeRefusalError: it is refused."""
        with self._change():
            try:
                view = self._core.place(account_id, order)
            except ExchangeRefusalError as refusal:
                # A refused order counts as an attempt and uses up an identifier.
                self._keep(Placed(account_id, order, refusal.code))
                raise
            self._keep(Placed(account_id, order, view))
            return view

    def cancel(self, account_id: str, order_id: str, shard: int | None) -> tuple[OrderView, Count]:
        """Cancel a resting order; returns it and what left the book. :raises ExchangeRefusalError: it is refused."""
        with self._change():
            try:
                view, reduced = self._core.cancel(account_id, order_id, shard)
            except ExchangeRefusalError as refusal:
                self._keep(Cancelled(account_id, order_id, shard, refusal.code))
                raise
            self._keep(Cancelled(account_id, order_id, shard, view))
            return view, reduced

    def repeat(self, happened: Input) -> None:
        """Do a kept input again. What it answers now goes to ``keep``, as at the first time."""
        try:
            match happened:
                case Stepped():
                    self.step(happened.ms)
                case Advanced():
                    self.advance(happened.ms)
                case Placed():
                    self.place(happened.account_id, happened.order)
                case Cancelled():
                    self.cancel(happened.account_id, happened.order_id, happened.shard)
        except ExchangeRefusalError:
            return  # refused then, or the comparison of the answers says so

    @contextmanager
    def _change(self) -> Iterator[None]:
        if not self._sound:
            raise RuntimeError("the exchange stands still: an earlier change failed half-way")
        self._sound = False
        try:
            yield
        except ExchangeRefusalError:
            self._sound = True
            raise
        self._sound = True
