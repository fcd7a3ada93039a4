"""Killed at any byte of its journal, the exchange is what it was at its last answer, and goes on as if nothing was."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.catalogue import SHARDS
from infra.exchange.durable import Keeper, open_durable
from infra.exchange.emissions import Emission
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.inputs import Gate, Input
from infra.exchange.journal import FILE_NAME
from infra.exchange.living import MEMBER, Beginning, LivingExchange
from infra.exchange.market import pair_value
from infra.exchange.requests import Request
from infra.exchange.terms import KEEP, Amendment, GridName, NewOrder, SelfTradePrevention, TimeInForce
from infra.exchange.testkit import START_MS
from infra.exchange.universe import UniverseConfig
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, Cash, Count, Price, complement

WORLD = UniverseConfig(
    events=3, deltas_per_second=60, mispricing_every_ms=100, mispricing_life_ms=(300, 2_000), fade_share=1.0,
    event_life_ms=(1_000, 4_000), retention_ms=3_000,
)  # fmt: skip
BEGINNING = Beginning(11, Cash(400 * CASH_PER_DOLLAR), Precision.DIRECT)


def random_order(exchange: LivingExchange, random: Random) -> NewOrder:
    """Mostly at or near what is offered, so that orders trade, rest, are killed and are refused."""
    ticker = a_market(exchange, random, MarketStatus.ACTIVE)
    outcome = random.choice(list(Outcome))
    best = exchange.core.markets[ticker].book.side(outcome.other).best
    limit = complement(best.price) if best and random.random() < 0.7 else Price(random.randint(1, 99) * 100)
    return NewOrder(
        ticker=ticker,
        outcome=outcome,
        limit=limit,
        count=Count(random.choice([random.randint(1, 40), random.randint(200, 5_000)]) * ONE_CONTRACT // 10),
        time_in_force=random.choice(list(TimeInForce)),
        client_order_id=random.choice([None, "again", f"order-{random.getrandbits(32)}"]),
        self_trade=random.choice(list(SelfTradePrevention)),
        order_group_id=random.choice([None, None, *(view.group_id for view in exchange.core.groups(MEMBER))]),
        cancel_on_pause=random.random() < 0.3,
    )


def a_market(exchange: LivingExchange, random: Random, *statuses: MarketStatus) -> str:
    """Mostly a market in one of these states, if there is any."""
    markets = exchange.core.markets
    fitting = [ticker for ticker, market in markets.items() if market.status in statuses]
    return random.choice(fitting if fitting and random.random() < 0.9 else list(markets))


def random_input(exchange: LivingExchange, gate: Gate, random: Random) -> None:
    core = exchange.core
    kind = random.choices(["step", "advance", "place", "cancel", "pause", "change"], [38, 6, 26, 4, 1, 25])[0]
    if not core.trading_active and random.random() < 0.2:
        resume = gate.pause_trading if core.exchange_active else gate.pause_exchange
        resume(paused=False)
    elif kind == "step":
        gate.step(core.now_ms + random.choice([0, 20, 20, 200, 700]))
    elif kind == "advance":
        gate.advance(core.now_ms + random.randint(0, 30))
    elif kind == "pause":
        gate.step(core.now_ms + 60_000)
    elif kind == "place":
        gate.place(MEMBER, random_order(exchange, random))
    elif kind == "cancel":
        placed = [order_id for order_id in core.accounts[MEMBER].orders if core.is_resting(order_id)]
        gate.cancel(MEMBER, random.choice([*placed, "none"]), None)
    else:
        random_change(exchange, gate, random)


def random_change(exchange: LivingExchange, gate: Gate, random: Random) -> None:
    """Anything else that a member or whoever runs the exchange may do."""
    core = exchange.core
    ticker = a_market(exchange, random, MarketStatus.ACTIVE)
    paused = a_market(exchange, random, MarketStatus.INACTIVE)
    judged = a_market(exchange, random, MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED)
    market = core.markets[ticker]
    groups = [view.group_id for view in core.groups(MEMBER)] or ["none"]
    own = [order_id for order_id in core.accounts[MEMBER].orders if core.is_resting(order_id)]
    fees = FeeSchedule(random.choice([FeeType.QUADRATIC, FeeType.WITH_MAKER]), random.choice([0, 5_000]))
    later = core.now_ms + random.randint(-500, 1_500)
    changes: list[Callable[[], object]] = [
        lambda: gate.amend(MEMBER, random_amendment(exchange, random.choice(own), random)) if own else None,
        lambda: gate.decrease(MEMBER, random.choice(own or ["none"]), reduce_by=Count(random.randint(1, 200))),
        lambda: gate.create_group(MEMBER, Count(random.choice([100, 10_000])), market.series.shard),
        lambda: gate.reset_group(MEMBER, random.choice(groups)),
        lambda: gate.set_group_limit(MEMBER, random.choice(groups), Count(random.choice([100, 20_000]))),
        lambda: gate.trigger_group(MEMBER, random.choice(groups)),
        lambda: gate.set_netting(MEMBER, enabled=random.random() < 0.7),
        lambda: gate.transfer(MEMBER, Cash(10**6), *random.sample(SHARDS, 2), random.choice([None, "once"])),
        lambda: gate.move_cash(MEMBER, random.choice(SHARDS), Cash(random.randint(-(10**6), 10**6))),
        lambda: gate.pause_trading(paused=core.trading_active and random.random() < 0.7),
        lambda: gate.pause_exchange(paused=core.trading_active and random.random() < 0.7),
        lambda: gate.set_weekly_pause(enabled=random.random() < 0.5),
        lambda: gate.deactivate(ticker),
        lambda: gate.activate(paused),
        lambda: gate.move_close(ticker, later),
        lambda: gate.determine(ticker, Price(random.choice([0, 2_500, 10_000])), "x"),
        lambda: gate.dispute(judged),
        lambda: gate.amend_result(judged, Price(random.choice([0, 10_000])), "y"),
        lambda: gate.change_strike(ticker, Decimal(random.randint(1, 99)), market.terms.cap),
        lambda: gate.change_rules(ticker, f"Rules number {random.randint(1, 9)}."),
        lambda: gate.change_grid(ticker, random.choice(list(GridName))),
        lambda: gate.change_fees(random.choice([market.series.ticker, market.event.ticker]), fees, later),
    ]
    random.choice([*changes, *changes[:1] * 6, *changes[1:2] * 2])()


def random_amendment(exchange: LivingExchange, order_id: str, random: Random) -> Amendment:
    entry = exchange.core.resting(order_id)
    assert entry is not None
    market, order = entry
    return Amendment(
        order_id,
        market.ticker,
        order.outcome,
        random.choice([order.price, Price(random.randint(1, 99) * 100)]),
        Count(order.filled + random.choice([order.remaining, random.randint(1, 3_000)])),
        updated_client_order_id=random.choice([None, f"renamed-{random.getrandbits(32)}"]),
        expiration_ms=random.choice([KEEP, None, exchange.core.now_ms + 400]),
    )


def state(exchange: LivingExchange) -> str:
    """Everything there is to know about an exchange, as a digest: of two long texts only whether they differ counts."""
    return sha256(msgspec.json.encode(exchange.save())).hexdigest()


@dataclass
class Told:
    """One uncrashed life: every input with what it made happen, the state and the disk at the end.

    ``snapshot_at`` is the number of inputs that the snapshot on disk already contains.
    """

    inputs: list[Input] = field(default_factory=list)
    emitted: list[list[Emission]] = field(default_factory=list)
    end: str = ""
    snapshot_at: int = 0
    disk: bytes = b""


def live(folder: Path, seed: int, inputs: int, snapshot_every: int) -> Told:
    keeper = open_durable(folder, BEGINNING, WORLD, START_MS, snapshot_every=snapshot_every)
    exchange, random, told = keeper.exchange, Random(seed), Told()
    exchange.core.drain()

    def keep(happened: Input) -> None:
        keeper.keep(happened)
        told.inputs.append(happened)

    gate = Gate(exchange.core, exchange.universe, keep)
    while len(told.inputs) < inputs:
        before = len(told.inputs)
        with suppress(ExchangeRefusalError):
            random_input(exchange, gate, random)
        if len(told.inputs) > before:
            told.emitted.append(exchange.core.drain())
    check_money_and_books(exchange)
    told.end = state(exchange)
    told.disk = (folder / FILE_NAME).read_bytes()
    told.snapshot_at = inputs - (told.disk.count(b"\n") - 2)
    keeper.close(is_sound=False)
    return told


def twin(told: Told, inputs: int) -> LivingExchange:
    """An exchange that never died and saw the first ``inputs`` inputs."""
    exchange = LivingExchange.begin(BEGINNING, WORLD, START_MS)
    gate = Gate(exchange.core, exchange.universe)
    for happened in told.inputs[:inputs]:
        gate.repeat(happened)
    return exchange


def check_money_and_books(exchange: LivingExchange) -> None:
    accounts = exchange.core.accounts.values()
    cash = sum(sum(account.cash.values()) for account in accounts)
    open_pairs = sum(pair_value(market.open_interest) for market in exchange.core.markets.values())
    returned = sum(cover.returned for account in accounts for cover in account.covers.values())
    paid_in = sum(sum(account.initial_cash.values()) + sum(account.deposits.values()) for account in accounts)
    assert cash + open_pairs - returned + exchange.core.fees_collected == paid_in
    for market in exchange.core.markets.values():
        assert not market.book.is_crossed()
        assert market.status in (MarketStatus.ACTIVE, MarketStatus.INACTIVE) or not market.resting()


def reload(folder: Path) -> Keeper:
    return open_durable(folder, BEGINNING, WORLD, START_MS + 10**9)


def test_whatever_byte_it_dies_at_the_exchange_goes_on_from_its_last_answer() -> None:
    covered: Counter[str] = Counter()

    @given(
        seed=st.integers(0, 2**32),
        inputs=st.integers(40, 120),
        snapshot_every=st.sampled_from([5, 25, 1_000]),
        where=st.floats(0, 1),
        draft=st.binary(max_size=40),
    )
    @settings(max_examples=25, deadline=None, derandomize=True)
    def run(seed: int, inputs: int, snapshot_every: int, where: float, draft: bytes) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            told = live(folder, seed, inputs, snapshot_every)
            journal = folder / FILE_NAME
            # The title and the snapshot arrive in one rename: only what follows can be cut.
            least = len(b"\n".join(told.disk.split(b"\n", 2)[:2])) + 1
            cut = least + round(where * (len(told.disk) - least))
            journal.write_bytes(told.disk[:cut])
            if draft:
                journal.with_suffix(".new").write_bytes(draft)
            survived = told.snapshot_at + told.disk[:cut].count(b"\n") - 2
            keeper = reload(folder)
            try:
                assert keeper.was_there
                assert state(keeper.exchange) == state(twin(told, survived))
                check_money_and_books(keeper.exchange)
                go_on(keeper, told, survived)
            finally:
                keeper.close(is_sound=True)
            again = reload(folder)
            again.close(is_sound=True)
            assert state(again.exchange) == told.end
        for happened in told.inputs:
            name, answer = type(happened.request).__name__, happened.answer
            refused = isinstance(answer, dict) and answer.get("refused")
            covered[name] += not refused
            if refused:
                covered[refused] += 1
            elif isinstance(answer, dict) and "status" in answer:
                covered[answer["status"]] += 1
        account = again.exchange.core.accounts[MEMBER]
        covered["fills"] += len(account.fills)
        covered["settlements"] += len(account.settlements)
        covered["faded"] += again.exchange.universe.mispricings.counts.faded
        covered["cut"] += survived < inputs
        covered["torn"] += told.disk[cut - 1 : cut] != b"\n"
        covered["inside a snapshot's life"] += told.snapshot_at > 0

    run()
    # A run in which hardly anything happens would prove nothing; what happens is the same in every run.
    for name in (
        "Step", "Advance", "Place", "Cancel", "Amend", "fills", "settlements", "faded", "executed", "resting",
        "canceled", "order_already_exists", "insufficient_balance", "fill_or_kill_insufficient_resting_volume",
        "not_found", "cut", "torn", "inside a snapshot's life",
    ):  # fmt: skip
        assert covered[name] >= 3, (name, covered)
    # Every kind is done again in the tests of the core alone.
    assert sum(covered[kind.__name__] > 0 for kind in get_args(Request)) >= 15, covered


def go_on(keeper: Keeper, told: Told, survived: int) -> None:
    """Send what was lost once more: everything happens as it happened to the one that never died."""
    answers: list[Input] = []

    def keep(happened: Input) -> None:
        keeper.keep(happened)
        answers.append(happened)

    exchange = keeper.exchange
    gate = Gate(exchange.core, exchange.universe, keep)
    for number, happened in enumerate(told.inputs[survived:], start=survived):
        gate.repeat(happened)
        assert exchange.core.drain() == told.emitted[number]
    assert answers == told.inputs[survived:]
    assert state(exchange) == told.end


@given(seed=st.integers(0, 2**32), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_a_changed_byte_in_a_complete_line_is_always_found_and_nothing_is_overwritten(
    seed: int, place: float, flip: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        told = live(folder, seed, 12, 1_000)
        # From the last line feed on, a change cannot be told from a line that was never finished.
        position = int(place * (len(told.disk) - 1))
        damaged = bytearray(told.disk)
        damaged[position] ^= flip
        (folder / FILE_NAME).write_bytes(damaged)
        with pytest.raises(ExchangeStartError, match=r"nothing was changed.*--fresh"):
            reload(folder)
        assert (folder / FILE_NAME).read_bytes() == damaged
