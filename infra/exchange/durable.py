"""An exchange that outlives its process: a snapshot now and then, every input in between, replayed at the start.

Why inputs and not effects: the exchange is deterministic, and at default rates it takes 50 inputs a second of some 45
bytes, against hundreds of book changes. The code that carried an input out carries it out again, so nothing can be
restored by half, and the kept answers prove it: a replay that answers anything else is refused. Why a snapshot too:
it bounds the file and the time of a replay, and it is plain data, so a program that behaves differently can go on
from it. Time that passed meanwhile is just time: the first step after a restart is a long one.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import msgspec

from infra.exchange.errors import ExchangeStartError
from infra.exchange.inputs import Gate, Input
from infra.exchange.journal import Journal
from infra.exchange.living import Beginning, LivingExchange, SavedExchange
from infra.exchange.requests import Step
from infra.exchange.universe import UniverseConfig
from kalshi_arb.domain.money import cash_to_wire

log = logging.getLogger(__name__)

SNAPSHOT_EVERY = 2_500
"""Inputs between two snapshots: some 50 seconds at default rates, replayed in about one."""

_FIRST_INPUT_LINE = 3
_encode = msgspec.json.Encoder().encode
_decode_snapshot: msgspec.json.Decoder[SavedExchange] = msgspec.json.Decoder(SavedExchange)
_decode_input: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input)


class Keeper:
    """Keeps a living exchange in its journal.

    :param was_there: whether the journal held the exchange already
    :param snapshot_every: inputs after which the next snapshot is taken
    :raises OSError: the first snapshot cannot be written
    """

    def __init__(self, journal: Journal, exchange: LivingExchange, *, was_there: bool, snapshot_every: int) -> None:
        self.exchange = exchange
        self.was_there = was_there
        self._journal = journal
        self._snapshot_every = snapshot_every
        self._snapshot()

    def keep(self, happened: Input) -> None:
        """Put an input on disk. :raises OSError: it is not there, and nobody may be answered."""
        self._journal.append(_encode(happened))
        # Only between two steps are the books those of whole events.
        if isinstance(happened.request, Step) and self._journal.lines >= self._snapshot_every:
            self._snapshot()

    def close(self, *, is_sound: bool) -> None:
        """Let the journal go, with a last snapshot when memory is what was kept. Closing twice does nothing."""
        try:
            if is_sound and self._journal.is_open:
                self._snapshot()
        except OSError as error:
            log.warning("no last snapshot in %s (%s): the next start replays more", self._journal.path, error.strerror)
        self._journal.close()

    def _snapshot(self) -> None:
        self._journal.begin(_encode(self.exchange.save()))


def open_durable(
    folder: Path,
    beginning: Beginning,
    config: UniverseConfig,
    now_ms: int,
    *,
    snapshot_every: int = SNAPSHOT_EVERY,
) -> Keeper:
    """The exchange that a folder keeps, as of its last input, or a new one that it keeps from now on.

    :param config: holds from now on, whatever it was before
    :param now_ms: when a new exchange begins, UTC milliseconds
    :raises ExchangeStartError: the folder cannot be used, or what is in it cannot be gone on with or began otherwise
        than ``beginning``; nothing in it was changed then.
    """
    journal = Journal(folder)
    try:
        kept = _read(journal, beginning, now_ms)
        exchange = kept or LivingExchange.begin(beginning, config, now_ms)
        exchange.universe.config = config
        return Keeper(journal, exchange, was_there=kept is not None, snapshot_every=snapshot_every)
    except ExchangeStartError:
        journal.close()
        raise
    except OSError as error:
        journal.close()
        raise ExchangeStartError(f"cannot write {journal.path}: {error.strerror}") from error


def _read(journal: Journal, beginning: Beginning, now_ms: int) -> LivingExchange | None:
    started = perf_counter()
    lines = journal.read()
    if not lines:
        return None
    try:
        saved = _decode_snapshot.decode(lines[0])
        inputs = [_decode_input.decode(line) for line in lines[1:]]
    except msgspec.DecodeError as error:
        raise journal.unusable(f"does not read as format says ({error})") from error
    if saved.beginning != beginning:
        raise journal.unusable(f"began with {_described(saved.beginning)}, not with {_described(beginning)}")
    exchange = LivingExchange.restore(saved)
    _repeat(journal, exchange, inputs)
    log.info(
        "resumed from %s: %d inputs in %.1f s, down for %.1f s", journal.path, len(inputs), perf_counter() - started,
        (now_ms - exchange.core.now_ms) / 1_000,
    )  # fmt: skip
    return exchange


def _repeat(journal: Journal, exchange: LivingExchange, inputs: Sequence[Input]) -> None:
    again: list[Input] = []
    gate = Gate(exchange.core, exchange.universe, again.append)
    for number, happened in enumerate(inputs, start=_FIRST_INPUT_LINE):
        try:
            gate.repeat(happened)
        except (LookupError, ValueError, RuntimeError) as error:
            raise journal.unusable(f"cannot be replayed at line {number} by this program ({error})") from error
        exchange.core.drain()  # nobody is connected who could hear of it
        if again != [happened]:
            raise journal.unusable(f"is replayed otherwise by this program from line {number} on")
        again.clear()


def _described(beginning: Beginning) -> str:
    return f"seed {beginning.seed}, ${cash_to_wire(beginning.cash)} and a {beginning.precision.name.lower()} account"
