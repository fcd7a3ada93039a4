"""A small world for baskets: two groups, a fake exchange with their books, every port in memory, and a driver that
follows the state machine and the sweeper. Used by the tests of risk and execution."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState, OrderState
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, Netting, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg, Opportunity
from kalshi_arb.domain.portfolio import cash_change, net_positions
from kalshi_arb.domain.reservation_keys import UNTIL_SETTLED
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.execution.assess import Action, Assessment, Assessor
from kalshi_arb.execution.audit import Auditor
from kalshi_arb.execution.close import Closer
from kalshi_arb.execution.early_sale import EarlySale
from kalshi_arb.execution.machine import BUYING, UNWINDING
from kalshi_arb.execution.plan import propose_basket
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.review import HeldReview
from kalshi_arb.execution.settle import Settler
from kalshi_arb.execution.sweep import Sweeper
from kalshi_arb.execution.waves import WaveExecutor
from kalshi_arb.fakes import (
    FakeExchange,
    ManualClock,
    MemoryBasketStore,
    MemoryGroupStore,
    MemoryLedgerStore,
    MemoryNotifier,
    MemoryQueue,
    MemoryReservationStore,
    MemoryStatusStore,
    MemoryWorkflow,
)
from kalshi_arb.risk.breaker import Breaker
from kalshi_arb.risk.check import RESUMED, RiskCheck
from kalshi_arb.risk.limits import Limits, parse_limits
from tests.cloud_samples import CAPITAL, QUALITY

YES, NO = Outcome.YES, Outcome.NO
QUADRATIC = FeeSchedule(FeeType.QUADRATIC)
OPENING = Cash(1_000_000_000)

WIDE_LIMITS: dict[str, object] = {
    "max_outlay_per_basket": "500.00",
    "max_exposure_per_market": "500.00",
    "max_exposure_per_event": "1000.00",
    "max_open_outlay": "1000.00",
    "max_open_baskets": 5,
    "max_loss_per_basket": "500.00",
    "max_daily_loss": "1000.00",
    "max_long_locked": "1000.00",
    "min_profit": "0.01",
    "min_profit_per_set": "0.00",
    **{f"max_share_per_{what}": "1" for what in ("market", "event", "series", "underlying")},
}


def market(ticker: str, event: str = "EV", shard: int = 0) -> Market:
    """A market of a quadratic series on whole cents."""
    return Market(
        ticker, event, "SERIES", StrikeType.GREATER, None, None, "", ticker, CENT_GRID, QUADRATIC, shard,
        2_000_000_000_000, "rules",
    )  # fmt: skip


def partition(size: int = 3, group_id: str = "partition", event: str = "EV", shards: Sequence[int] = ()) -> Group:
    """Markets of which exactly one settles YES."""
    markets = tuple(market(f"{event}-{number}", event, shards[number] if shards else 0) for number in range(size))
    states = tuple(
        State(
            f"{markets[winner].ticker} wins",
            tuple(ONE_DOLLAR if number == winner else Price(0) for number in range(size)),
            Basis.CERTAIN,
        )
        for winner in range(size)
    )
    return Group(group_id, Family.PARTITION, event, markets, states, (), f"print-{group_id}")


def ladder(size: int = 3, group_id: str = "ladder", event: str = "LD") -> Group:
    """Nested thresholds: a market settles YES whenever the next one does."""
    markets = tuple(market(f"{event}-{number}", event) for number in range(size))
    states = tuple(
        State(
            f"{reached} reached",
            tuple(ONE_DOLLAR if number < reached else Price(0) for number in range(size)),
            Basis.CERTAIN,
        )
        for reached in range(size + 1)
    )
    return Group(group_id, Family.LADDER, event, markets, states, (), f"print-{group_id}")


def leg(ticker: str, outcome: Outcome, contracts: int, cents: int) -> Leg:
    """Whole contracts at whole cents."""
    return Leg(ticker, outcome, Count(contracts * 100), Price(cents * 100))


class Killed(Exception):  # noqa: N818 - the death of a process is not an error of the program
    """The process died at a call of a port."""


class Switch:
    """Kills the process at its n-th call of a port, before or after the call took effect."""

    def __init__(self) -> None:
        self.calls = 0
        self.method = ""
        self.kill_at: int | None = None
        self.after = False
        self.chooser: Callable[[], str] | None = None

    def wrap(self, port: Any) -> Any:
        """The same port behind the switch."""
        return _Watched(port, self)

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One call of a port."""
        self.calls += 1
        self.method = method.__name__
        choice = self.chooser() if self.chooser is not None else ""
        hit = self.kill_at == self.calls
        if choice == "before" or (hit and not self.after):
            raise Killed(f"before call {self.calls}, {method.__name__}")
        result = method(*args, **kwargs)
        if choice == "after" or (hit and self.after):
            raise Killed(f"after call {self.calls}, {method.__name__}")
        return result


class _Watched:
    def __init__(self, port: Any, switch: Switch) -> None:
        self._port = port
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return lambda *args, **kwargs: self._switch.call(method, *args, **kwargs)


class World:
    """Every port in memory, and the use cases over them. Another ``exchange`` than the fake one must go by the same
    ``clock``, and say what the fake one does; other ``tables`` than those in memory hold ``baskets``, ``ledger``,
    ``reservations`` and ``status``."""

    def __init__(
        self,
        group: Group,
        *,
        limits: dict[str, object] | None = None,
        precision: Precision = Precision.DIRECT,
        mode: str = "simulated",
        cash: dict[int, Cash] | None = None,
        policy: ExecutionPolicy | None = None,
        may_trade_on_its_fees: bool = True,
        netting: Netting = Netting.OFF,
        clock: ManualClock | None = None,
        exchange: Any = None,
        tables: Any = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.group = group
        self.precision = precision
        self.smallest_fill = Count(100)
        self.exchange = exchange or FakeExchange(
            self.clock, group.markets, cash=cash or {0: OPENING}, precision=precision, smallest_fill=self.smallest_fill
        )
        self.opening = Cash(sum(self.exchange.balance().values()))
        self.baskets: MemoryBasketStore = MemoryBasketStore() if tables is None else tables.baskets
        self.groups = MemoryGroupStore([group])
        self.ledger: MemoryLedgerStore = MemoryLedgerStore(self.clock) if tables is None else tables.ledger
        self.reservations: MemoryReservationStore = MemoryReservationStore() if tables is None else tables.reservations
        self.status: MemoryStatusStore = MemoryStatusStore() if tables is None else tables.status
        self.notifier = MemoryNotifier()
        self.workflow = MemoryWorkflow()
        self.audits = MemoryQueue()
        self.problems: list[str] = []
        self.limits: Limits = parse_limits({**WIDE_LIMITS, **(limits or {})})
        self.mode = mode
        self.policy = policy or ExecutionPolicy()
        self.switch = Switch()
        wrap = self.switch.wrap
        exchange, baskets, status = wrap(self.exchange), wrap(self.baskets), wrap(self.status)
        reservations, notifier = wrap(self.reservations), wrap(self.notifier)
        self.risk = RiskCheck(
            baskets=baskets, groups=wrap(self.groups), ledger=wrap(self.ledger), market_data=exchange,
            trading=exchange, reservations=reservations, status=status, notifier=notifier, clock=self.clock, mode=mode,
            precision=precision, smallest_fill=self.smallest_fill, may_trade_on_its_fees=may_trade_on_its_fees,
            write_tokens=1_000, limits=lambda: self.limits, policy=self.policy,
            terms=lambda: None, netting=netting,
        )  # fmt: skip
        self.breaker = Breaker(
            status=status, notifier=notifier, clock=self.clock, mode=mode, limits=lambda: self.limits
        )
        self.executor, self.unwinder = (
            WaveExecutor(
                baskets=baskets, trading=exchange, purposes=purposes, status=status, clock=self.clock,
                policy=self.policy,
            )
            for purposes in (BUYING, UNWINDING)
        )  # fmt: skip
        self.assessor = Assessor(
            baskets=baskets, ledger=wrap(self.ledger), trading=exchange, market_data=exchange, status=status,
            notifier=notifier, breaker=self.breaker, clock=self.clock, policy=self.policy,
        )  # fmt: skip
        self.closer = Closer(
            baskets=baskets, ledger=wrap(self.ledger), reservations=reservations, audits=wrap(self.audits),
            status=status, notifier=notifier, breaker=self.breaker, clock=self.clock,
            write_problem=self.problems.append,
        )  # fmt: skip
        self.sweeper = Sweeper(
            baskets=baskets, ledger=wrap(self.ledger), workflow=wrap(self.workflow), reservations=reservations,
            status=status, notifier=notifier, breaker=self.breaker, clock=self.clock, mode=mode,
        )  # fmt: skip
        self.auditor = Auditor(
            baskets=baskets, ledger=wrap(self.ledger), account=exchange, status=status, notifier=notifier,
            breaker=self.breaker, clock=self.clock, mode=mode,
        )  # fmt: skip
        self.settler = Settler(
            baskets=baskets, ledger=wrap(self.ledger), account=exchange, market_data=exchange, auditor=self.auditor,
            reservations=reservations, status=status, notifier=notifier, clock=self.clock, mode=mode,
            precision=precision,
        )  # fmt: skip

        self.review = HeldReview(
            baskets=baskets, groups=wrap(self.groups), market_data=exchange, status=status, notifier=notifier,
            clock=self.clock, netting=netting, limits=lambda: self.limits,
            early_sale=EarlySale(
                baskets=baskets, workflow=wrap(self.workflow), reservations=reservations, account=exchange,
                market_data=exchange, status=status, clock=self.clock, mode=mode, netting=netting,
                write_tokens=1_000, policy=self.policy,
            ),
        )  # fmt: skip

    def offer(self, *levels: tuple[str, Outcome, int, int]) -> None:
        """Let contracts be bought: (ticker, outcome, cents, contracts)."""
        for ticker, outcome, cents, contracts in levels:
            self.exchange.offer(ticker, outcome, cents * 100, contracts * 100)

    def propose(self, *legs: Leg, opportunity_id: str = "opp-1", mode: str | None = None) -> Basket:
        """Prove legs on the present books and create their basket."""
        now = self.clock.now_ms()
        books = self.exchange.orderbooks([own.ticker for own in legs])
        certificate = verify(
            self.group, legs, books, precision=self.precision, smallest_fill=self.smallest_fill, now_ms=now
        )
        opportunity = Opportunity(
            opportunity_id,
            self.group.group_id,
            self.group.event_ticker,
            tuple(legs),
            certificate,
            now,
            now,
            CAPITAL,
            QUALITY,
        )
        basket = propose_basket(opportunity, self.group.family.value, mode or self.mode, now)
        assert self.baskets.create(basket, now)
        return basket

    def offer_bundle(self) -> None:
        """Offer YES of a partition's three markets for 30 cents, the more of it the later the market."""
        self.offer(("EV-0", YES, 30, 20), ("EV-1", YES, 30, 40), ("EV-2", YES, 30, 60))

    def propose_bundle(self) -> Basket:
        """A basket of ten contracts of each of them."""
        return self.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)))

    def row(self, basket_id: str) -> Basket:
        """The basket's row."""
        row = self.baskets.get(basket_id)
        assert row is not None
        return row

    # What drives baskets in the cloud

    def execute(self, basket_id: str, attempt: int, most_steps: int = 200) -> bool:
        """One execution of the state machine; False when it handed over or died."""
        try:
            answer = self.risk.run(basket_id, attempt)
        except Killed:
            return False
        if not answer.accepted:
            return self.close(basket_id, attempt)
        wave = answer.wave
        if answer.reason != RESUMED:
            self.send(Action.WAVE, basket_id, attempt, wave)
        for _ in range(most_steps):
            assessment = self.assess(basket_id, attempt, wave)
            if assessment is None:
                return False
            if assessment.action is Action.CLOSE:
                return self.close(basket_id, attempt)
            if assessment.action is Action.HANDOVER:
                self.close(basket_id, attempt, "orders_stay_unknown")
                return False
            if assessment.action is Action.WAIT:
                assert 1 <= assessment.wait_seconds <= 5
                self.clock.sleep(assessment.wait_seconds)
                continue
            wave = assessment.wave
            self.send(assessment.action, basket_id, attempt, wave)
        raise AssertionError("the state machine never came to an end")

    def send(self, action: Action, basket_id: str, attempt: int, wave: int) -> None:
        """A wave whose death is caught, as the machine does."""
        try:
            (self.unwinder if action is Action.UNWIND else self.executor).run(basket_id, attempt, wave)
        except Killed:
            return

    def assess(self, basket_id: str, attempt: int, wave: int) -> Assessment | None:
        """None when it died."""
        try:
            return self.assessor.run(basket_id, attempt, wave)
        except Killed:
            return None

    def close(self, basket_id: str, attempt: int, gave_up: str = "") -> bool:
        """False when it died."""
        try:
            self.closer.run(basket_id, attempt, gave_up)
        except Killed:
            return False
        return True

    def drive(self, basket_id: str, rounds: int = 60) -> Basket:
        """Executions and sweeps until the basket has ended."""
        self.execute(basket_id, 1)
        for _ in range(rounds):
            if self.row(basket_id).state in ENDED_STATES:
                return self.row(basket_id)
            self.clock.advance(21_000)
            started = len(self.workflow.started)
            try:
                self.sweeper.run()
            except Killed:
                continue
            for name, attempt in self.workflow.started[started:]:
                self.execute(name, attempt)
        raise AssertionError(f"the basket never ended: {self.row(basket_id)}")

    def settle(self, *payouts: int) -> None:
        """Settle the group's markets, in dollars to each YES, and run the settlement."""
        self.clock.advance(10_000)
        for own, payout in zip(self.group.markets, payouts, strict=True):
            self.exchange.settle(own.ticker, Price(payout * ONE_DOLLAR))

    # What must hold

    def assert_ledger_is_the_exchange(self) -> None:
        """Cash, positions and filled counts, exactly."""
        entries = self.ledger.all()
        assert sum(self.exchange.balance().values()) == self.opening + cash_change(entries)
        assert self.exchange.positions() == net_positions(entries)

    def assert_nothing_twice(self) -> None:
        """No client order id reached the exchange twice."""
        sent = [order.client_order_id for batch in self.exchange.batches for order in batch]
        assert len(sent) == len(set(sent))
        assert self.exchange.duplicates == 0

    def assert_ended_well(self, basket_id: str) -> None:
        """Whatever happened on the way: what an ended basket promises."""
        row = self.row(basket_id)
        assert row.state in ENDED_STATES
        self.assert_nothing_twice()
        self.assert_ledger_is_the_exchange()
        executed = {name: filled for name, filled in self.exchange.executions().items() if filled}
        assert executed == {o.request.client_order_id: o.filled for o in row.orders if o.filled}
        assert all(order.booked or not order.filled for order in row.orders)
        if row.locked_profit is not None:
            assert row.locked_profit >= -row.exposure_bound
        if row.state is BasketState.LOCK:
            assert all(row.leg_position(index) == own.count for index, own in enumerate(row.legs))
        if row.state is BasketState.FLAT:
            assert not self.exchange.positions()
            assert row.settled_profit == sum(self.exchange.balance().values()) - self.opening
        if row.state is BasketState.REFUSED:
            assert not self.exchange.batches
        kept = self.reservations.held.get(basket_id, {})
        allowed = UNTIL_SETTLED if row.state in (BasketState.LOCK, BasketState.HELD) else ()
        assert all(key.startswith(allowed) for key in kept) if allowed else not kept
        assert not self.baskets.owners


def handed_out(row: Basket) -> int:
    """The last wave that was given to whoever sends it, when every one was taken."""
    return max((order.wave for order in row.orders if order.state is not OrderState.PLANNED), default=0)


def with_counts(legs: Sequence[Leg], contracts: Sequence[int]) -> tuple[Leg, ...]:
    """The legs at other counts."""
    return tuple(replace(own, count=Count(number * 100)) for own, number in zip(legs, contracts, strict=True))
