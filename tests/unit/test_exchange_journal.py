"""The exchange's file on disk: what is refused and in which words, who may use it, how it stays small."""

import logging
import zlib
from io import FileIO
from pathlib import Path

import msgspec
import pytest

from infra.exchange import journal
from infra.exchange.assembly import ExchangeOptions, TapeOptions, create_exchange
from infra.exchange.auth import read_public_key
from infra.exchange.core import ExchangeCore
from infra.exchange.durable import Keeper, open_durable
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.inputs import Gate, Input
from infra.exchange.journal import FILE_NAME
from infra.exchange.living import MEMBER, Beginning, SavedExchange
from infra.exchange.market import pair_value
from infra.exchange.terms import NewOrder, TimeInForce
from infra.exchange.testkit import START_MS
from infra.exchange.universe import UniverseConfig
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, Cash, Count, complement

WORLD = UniverseConfig(events=4, event_life_ms=(3_000, 6_000), mispricing_every_ms=200, mispricing_life_ms=(400, 1_500))
BEGINNING = Beginning(5, Cash(1_000 * CASH_PER_DOLLAR), Precision.DIRECT)
STEP_MS = 50


def begin(
    folder: Path, *, beginning: Beginning = BEGINNING, world: UniverseConfig = WORLD, every: int = 1_000
) -> Keeper:
    return open_durable(folder, beginning, world, START_MS, snapshot_every=every)


def gate_of(keeper: Keeper) -> Gate:
    return Gate(keeper.exchange.core, keeper.exchange.universe, keeper.keep)


def live(keeper: Keeper, steps: int) -> Gate:
    gate = gate_of(keeper)
    for _ in range(steps):
        gate.step(keeper.exchange.core.now_ms + STEP_MS)
    return gate


def order_at_best(core: ExchangeCore, client_order_id: str) -> NewOrder:
    """A purchase that trades with what rests first on the first market that trades."""
    for ticker, market in core.markets.items():
        best = market.book.no.best
        if best is not None and market.status is MarketStatus.ACTIVE:
            return NewOrder(
                ticker, Outcome.YES, complement(best.price), Count(ONE_CONTRACT), TimeInForce.IMMEDIATE_OR_CANCEL,
                client_order_id,
            )  # fmt: skip
    raise AssertionError("nothing is offered")


def framed(*payloads: bytes) -> bytes:
    """A file with sound checksums around any content."""
    text, check = b"", 0
    for payload in payloads:
        check = zlib.crc32(payload, check)
        text += b"%08x %b\n" % (check, payload)
    return text


def payloads(path: Path) -> list[bytes]:
    return [line[9:] for line in path.read_bytes().splitlines()]


def refused(folder: Path, beginning: Beginning = BEGINNING) -> str:
    """The one line with which a start is refused; the file is what it was."""
    path = folder / FILE_NAME
    before = path.read_bytes()
    with pytest.raises(ExchangeStartError) as caught:
        begin(folder, beginning=beginning)
    assert path.read_bytes() == before
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert "start anew with --fresh" in text
    return text


def test_a_folder_that_holds_nothing_begins_anew_even_after_a_death_before_the_first_answer(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    folder.mkdir(parents=True)
    (folder / "exchange.new").write_bytes(b"half a snap")
    keeper = begin(folder)
    assert not keeper.was_there
    live(keeper, 3)
    keeper.close(is_sound=False)
    again = begin(folder)
    assert again.was_there
    assert again.exchange.core.now_ms == START_MS + 3 * STEP_MS
    again.close(is_sound=True)
    again.close(is_sound=True)


def test_a_half_written_last_line_is_dropped_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = begin(tmp_path)
    live(keeper, 3)
    keeper.close(is_sound=False)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        again = begin(tmp_path)
    assert "half-written last line" in caplog.text
    assert again.exchange.core.now_ms == START_MS + 2 * STEP_MS
    again.close(is_sound=True)
    assert path.read_bytes().count(b"\n") == 2, "the half line is still there"


def test_what_cannot_be_gone_on_with_is_named_in_one_line_and_left_alone(tmp_path: Path) -> None:
    keeper = begin(tmp_path)
    gate = live(keeper, 4)
    gate.place(MEMBER, order_at_best(keeper.exchange.core, "one"))
    live(keeper, 4)
    keeper.close(is_sound=False)
    path = tmp_path / FILE_NAME
    sound = path.read_bytes()
    lines = sound.splitlines(keepends=True)
    title, snapshot, *inputs = payloads(path)
    placed = msgspec.json.decode(inputs[4], type=Input)
    other_answer = msgspec.json.encode(Input(placed.request, {"refused": "market_inactive"}))
    cases = {
        "is damaged in line 5": b"".join(lines[:4]) + lines[4].replace(b"step", b"stop") + b"".join(lines[5:]),
        "is damaged in line 6": b"".join(lines[:5] + lines[6:]),
        "is damaged in line 1": b"something else\n",
        "its snapshot is not complete": lines[0],
        f"has format 9 and this program knows format {journal.FORMAT} only": framed(
            title.replace(b"%d}" % journal.FORMAT, b"9}"), snapshot, *inputs
        ),
        "is no journal of an exchange": framed(b'{"journal":"tables","format":1}', snapshot),
        "does not read as format says": framed(title, snapshot, b'[{"type":"dance"},null]'),
        "is replayed otherwise by this program from line 7 on": framed(
            title, snapshot, *inputs[:4], other_answer, *inputs[5:]
        ),
    }
    for words, content in cases.items():
        path.write_bytes(content)
        assert words in refused(tmp_path)
    path.write_bytes(b"")
    assert "its snapshot is not complete" in refused(tmp_path)
    path.write_bytes(sound)
    begin(tmp_path).close(is_sound=True)


def test_an_exchange_that_began_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    begin(tmp_path).close(is_sound=True)
    richer = Beginning(5, Cash(2_000 * CASH_PER_DOLLAR), Precision.CENT)
    assert "began with seed 5, $1000.000000 and a direct account, not with seed 5, $2000.000000 and a cent" in refused(
        tmp_path, richer
    )


def test_two_exchanges_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LOCK_SECONDS", 0.0)
    first = begin(tmp_path)
    with pytest.raises(ExchangeStartError, match="another exchange is using"):
        begin(tmp_path)
    first.close(is_sound=True)
    begin(tmp_path).close(is_sound=True)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExchangeStartError, match="cannot keep state in"):
        begin(tmp_path / "file")


def test_snapshots_bound_the_file_and_the_replay(tmp_path: Path) -> None:
    keeper = begin(tmp_path, every=20)
    path = tmp_path / FILE_NAME
    gate = gate_of(keeper)
    sizes = []
    for _ in range(100):
        gate.step(keeper.exchange.core.now_ms + STEP_MS)
        sizes.append(path.read_bytes().count(b"\n") - 2)
    assert max(sizes) == 19
    assert sizes.count(0) == 5
    keeper.close(is_sound=True)
    assert path.read_bytes().count(b"\n") == 2, "a clean end leaves nothing to replay"
    assert {entry.name for entry in tmp_path.iterdir()} == {FILE_NAME, "lock"}


def test_other_rates_hold_after_a_restart_and_the_past_is_replayed_at_its_own(tmp_path: Path) -> None:
    keeper = begin(tmp_path)
    live(keeper, 30)
    before = msgspec.json.encode(keeper.exchange.core.save())
    keeper.close(is_sound=False)
    again = begin(tmp_path, world=UniverseConfig(events=9))
    assert msgspec.json.encode(again.exchange.core.save()) == before
    live(again, 1)
    assert len(again.exchange.core.events) > 4
    again.close(is_sound=True)


def test_a_write_that_fails_stops_the_exchange_before_anybody_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = begin(tmp_path)
    gate = live(keeper, 2)
    core = keeper.exchange.core

    def full(file: FileIO, data: bytes) -> None:
        file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            gate.place(MEMBER, order_at_best(core, "lost"))
    assert not gate.is_sound
    with pytest.raises(RuntimeError, match="stands still"):
        gate.advance(core.now_ms + 1)
    with pytest.raises(RuntimeError, match="stands still"):
        gate.place(MEMBER, order_at_best(core, "next"))
    keeper.close(is_sound=gate.is_sound)
    again = begin(tmp_path)
    assert again.exchange.core.accounts[MEMBER].orders_by_client_id == {}, "it was never answered"
    gate_of(again).place(MEMBER, order_at_best(again.exchange.core, "lost"))
    again.close(is_sound=True)


def test_a_snapshot_that_fails_at_the_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = begin(tmp_path)
    live(keeper, 7)

    def full(_file: FileIO, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", full)
        keeper.close(is_sound=True)
    assert "no last snapshot" in caplog.text
    again = begin(tmp_path)
    assert again.exchange.core.now_ms == START_MS + 7 * STEP_MS
    again.close(is_sound=True)


def test_time_that_passed_while_it_was_down_is_just_time(tmp_path: Path) -> None:
    keeper = begin(tmp_path)
    core = keeper.exchange.core
    gate = live(keeper, 20)
    view = gate.place(MEMBER, order_at_best(core, "held"))
    assert view.filled == ONE_CONTRACT
    assert keeper.exchange.universe.mispricings.live(), "a mispricing that nobody ends in time is part of this"
    listed = keeper.exchange.universe.events_listed
    keeper.close(is_sound=False)

    again = begin(tmp_path)
    core = again.exchange.core
    money = sum(sum(account.initial_cash.values()) for account in core.accounts.values())
    market = core.markets[view.ticker]
    gate = gate_of(again)
    gate.step(core.now_ms + 3_600_000)
    assert market.status is MarketStatus.DETERMINED
    with pytest.raises(ExchangeRefusalError, match="market_inactive"):
        gate.place(MEMBER, NewOrder(view.ticker, Outcome.YES, view.price, Count(100), TimeInForce.FILL_OR_KILL))
    with pytest.raises(ExchangeRefusalError, match="order_already_exists"):
        gate.place(MEMBER, NewOrder(view.ticker, Outcome.YES, view.price, Count(100), TimeInForce.FILL_OR_KILL, "held"))
    for _ in range(200):
        gate.step(core.now_ms + STEP_MS)
        for state in core.markets.values():
            assert not state.book.is_crossed()
        cash = sum(sum(account.cash.values()) for account in core.accounts.values())
        pairs = sum(pair_value(state.open_interest) for state in core.markets.values())
        assert cash + pairs + core.fees_collected == money
    assert market.status is MarketStatus.FINALIZED
    (settled,) = core.accounts[MEMBER].settlements
    assert (settled.ticker, settled.position) == (view.ticker, ONE_CONTRACT)
    assert core.accounts[MEMBER].position(view.ticker).count == 0
    universe = again.exchange.universe
    assert universe.events_listed >= listed + 4
    assert sum(state.status is MarketStatus.ACTIVE for state in core.markets.values()) > 10
    assert universe.mispricings.counts.injected > 5
    again.close(is_sound=True)


def test_a_tape_keeps_no_state(tmp_path: Path) -> None:
    pem = (
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        b"-----END PUBLIC KEY-----\n"
    )
    tape = TapeOptions(tape=None, speed=1.0, waits=False)  # type: ignore[arg-type] # never looked at
    options = ExchangeOptions(1, "key", read_public_key(pem), Cash(10**9), tape=tape, state_dir=tmp_path)
    with pytest.raises(ExchangeStartError, match="a tape is always played from its beginning"):
        create_exchange(options, lambda: START_MS)
    assert list(tmp_path.iterdir()) == []


def without_prose(schema: object) -> object:
    """A JSON schema without the docstrings that it carries."""
    if isinstance(schema, dict):
        return {name: without_prose(part) for name, part in schema.items() if name != "description"}
    return [without_prose(part) for part in schema] if isinstance(schema, list) else schema


def test_whoever_changes_the_shape_of_what_is_kept_raises_the_format() -> None:
    shapes = [without_prose(msgspec.json.schema(kept)) for kept in (SavedExchange, Input)]
    known = (journal.FORMAT, zlib.crc32(msgspec.json.encode(shapes)))
    assert known == (2, 2584381101), "raise FORMAT, then note the new shape here"
