"""Random things that members, operators and time do to an exchange, and what must be true after each of them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, BookReplaced, Emission
from infra.exchange.inputs import Gate
from infra.exchange.living import seeded_ids
from infra.exchange.market import MarketState, pair_value
from infra.exchange.orders import Order
from infra.exchange.terms import (
    KEEP,
    Amendment,
    GridName,
    NewOrder,
    SelfTradePrevention,
    SeriesTerms,
    TimeInForce,
)
from infra.exchange.testkit import EVENT, START_MS, TICKERS, still_event
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

MEMBERS = {"ann": Precision.DIRECT, "bob": Precision.CENT, "eve": Precision.DIRECT}
SHARD = 2
SERIES = "KXSTILL"
LIFE_MS = 60_000
PAYOUTS = (0, int(ONE_DOLLAR), 3_333, 5_000, 1_250)

WEIGHTS = {
    "place": 60, "cancel": 6, "amend": 10, "decrease": 4, "wait": 8, "group": 4, "netting": 1, "transfer": 1,
    "cash": 1, "cancel_all": 0.2, "pause": 1, "market": 2, "close": 0.5, "result": 1.5, "terms": 1.2, "fees": 0.8,
}  # fmt: skip


def open_exchange(schedule: FeeSchedule, *, exclusive: bool, ids: Random | None = None) -> ExchangeCore:
    """Three members with cash on shard 2, where three markets trade for a minute, and a little on shard 0."""
    core = ExchangeCore(START_MS, seeded_ids(ids or Random(3)))
    core.add_series(SeriesTerms(SERIES, "Still", "Tests", "once", schedule, SHARD))
    for member, precision in MEMBERS.items():
        core.open_account(member, {SHARD: Cash(60_000_000), 0: Cash(5_000_000)}, precision)
    core.list_event(still_event(grid=GridName.DECI_CENT, close_ms=START_MS + LIFE_MS, timer_s=3, exclusive=exclusive))
    return core


@dataclass
class Actor:
    """Does one random thing at a time through the gate."""

    core: ExchangeCore
    gate: Gate
    random: Random
    placed: list[str] = field(default_factory=list)
    group_ids: list[str] = field(default_factory=list)

    def act(self) -> str:
        """Do something; returns its kind. Refusals come out as they are."""
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        member = self.random.choice(sorted(MEMBERS))
        actions: dict[str, Callable[[str], object]] = {
            "place": self._place,
            "cancel": lambda who: self.gate.cancel(who, self._order_id(), self.random.choice([None, None, SHARD, 0])),
            "amend": self._amend,
            "decrease": self._decrease,
            "wait": lambda _: self.gate.advance(self.core.now_ms + self.random.randint(0, 1_000)),
            "group": self._group,
            "netting": lambda who: self.gate.set_netting(who, enabled=self.random.random() < 0.8),
            "transfer": self._transfer,
            "cash": lambda who: self.gate.move_cash(who, SHARD, Cash(self.random.randint(-(10**6), 10**6))),
            "cancel_all": lambda who: self.gate.cancel_all(who),
            "pause": self._pause,
            "market": self._market,
            "close": self._close,
            "result": self._result,
            "terms": self._terms,
            "fees": self._fees,
        }
        actions[kind](member)
        return kind

    def _place(self, member: str) -> None:
        new = self.random_order()
        view = self.gate.place(member, new)
        self.placed.append(view.order_id)
        assert view.filled + view.remaining <= new.count
        if new.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
            assert view.remaining == 0

    def random_order(self) -> NewOrder:
        random = self.random
        time_in_force = random.choice([TimeInForce.GOOD_TILL_CANCELED, *TimeInForce])
        expires = time_in_force is TimeInForce.GOOD_TILL_CANCELED and random.random() < 0.15
        return NewOrder(
            ticker=random.choice(TICKERS),
            outcome=random.choice(list(Outcome)),
            limit=self._price(),
            count=self._count(),
            time_in_force=time_in_force,
            client_order_id=random.choice([None] * 12 + ["a", "b", "c"]),
            self_trade=random.choice(list(SelfTradePrevention)),
            post_only=random.random() < 0.05,
            reduce_only=random.random() < 0.05,
            shard=random.choice([None] * 12 + [SHARD, 0]),
            expiration_ms=self.core.now_ms + random.randint(-100, 3_000) if expires else None,
            order_group_id=random.choice(self.group_ids) if self.group_ids and random.random() < 0.3 else None,
            cancel_on_pause=random.random() < 0.3,
        )

    def _price(self) -> Price:
        return Price(self.random.choice([self.random.randint(35, 65) * 100, self.random.randint(1, 999) * 10]))

    def _count(self) -> Count:
        random = self.random
        return Count(random.choice([random.randint(1, 8) * 100, random.randint(1, 900), 3_000]))

    def _order_id(self) -> str:
        recent = self.placed[-12:]
        return self.random.choice(recent) if recent else "none"

    def _own(self, member: str) -> tuple[MarketState, Order] | None:
        own = [
            (market, order)
            for market in self.core.markets.values()
            for order in market.resting()
            if order.account.account_id == member
        ]
        return self.random.choice(own) if own else None

    def _amend(self, member: str) -> None:
        own = self._own(member)
        if own is None:
            return
        market, order = own
        random = self.random
        wanted = random.choice([order.remaining, Count(max(1, order.remaining // 2)), self._count()])
        expiry = random.choice([KEEP, KEEP, None, self.core.now_ms + random.randint(-10, 3_000)])
        self.gate.amend(
            member,
            Amendment(
                order.order_id,
                random.choice([market.ticker] * 9 + [TICKERS[0]]),
                order.outcome,
                random.choice([order.price, self._price()]),
                Count(wanted + order.filled),
                updated_client_order_id=random.choice([None] * 5 + ["d", "e"]),
                expiration_ms=expiry,
            ),
        )

    def _decrease(self, member: str) -> None:
        own = self._own(member)
        order_id = own[1].order_id if own else "none"
        if self.random.random() < 0.5:
            self.gate.decrease(member, order_id, reduce_by=self._count())
        else:
            self.gate.decrease(member, order_id, reduce_to=Count(self.random.randint(0, 300)))

    def _group(self, member: str) -> None:
        random = self.random
        if len(self.group_ids) < 4:
            view = self.gate.create_group(member, Count(random.choice([300, 2_000])), random.choice([SHARD] * 5 + [0]))
            self.group_ids.append(view.group_id)
            return
        group_id = random.choice(self.group_ids)
        kind = random.choice(["limit", "reset", "reset", "reset", "trigger", "delete"])
        if kind == "limit":
            self.gate.set_group_limit(member, group_id, Count(random.choice([100, 5_000])))
        elif kind == "reset":
            self.gate.reset_group(member, group_id)
        elif kind == "trigger":
            self.gate.trigger_group(member, group_id)
        else:
            self.gate.delete_group(member, group_id)
            self.group_ids.remove(group_id)

    def _transfer(self, member: str) -> None:
        source, destination = self.random.sample([0, SHARD], 2)
        amount = Cash(self.random.randint(1, 3_000) * 10_000)
        self.gate.transfer(member, amount, source, destination, self.random.choice([None, "t1", "t2"]))

    def _pause(self, _: str) -> None:
        pause = self.random.choice([self.gate.pause_trading, self.gate.pause_exchange])
        pause(paused=True)
        if self.random.random() < 0.3:
            self.gate.cancel("ann", self._order_id(), None)
        self.gate.pause_trading(paused=False)
        self.gate.pause_exchange(paused=False)

    def _market(self, _: str) -> None:
        ticker = self.random.choice(TICKERS)
        if self.core.markets[ticker].status is MarketStatus.INACTIVE:
            self.gate.activate(ticker)
        elif self.random.random() < 0.3:
            self.gate.deactivate(ticker)

    def _close(self, _: str) -> None:
        ticker = self.random.choice(TICKERS)
        if self.random.random() < 0.3:
            self.gate.close_market(ticker)
        else:
            self.gate.move_close(ticker, self.core.now_ms + self.random.randint(1, LIFE_MS))

    def _result(self, _: str) -> None:
        ticker = self.random.choice(TICKERS)
        kind = self.random.choice(["determine", "dispute", "amend"])
        if kind == "dispute":
            self.gate.dispute(ticker)
        elif kind == "amend":
            self.gate.amend_result(ticker, self.payout(ticker), "2")
        elif self.random.random() < 0.3:
            self.gate.determine(ticker, self.payout(ticker), "1")

    def payout(self, ticker: str) -> Price:
        """A result that does not contradict an exclusive event."""
        others = sum(int(m.payout or 0) for m in self.core.markets.values() if m.ticker != ticker)
        exclusive = self.core.events[EVENT].mutually_exclusive
        return Price(self.random.choice([p for p in PAYOUTS if not exclusive or p + others <= ONE_DOLLAR]))

    def _terms(self, _: str) -> None:
        ticker = self.random.choice(TICKERS)
        kind = self.random.choice(["grid", "strike", "rules"])
        if kind == "grid":
            self.gate.change_grid(ticker, self.random.choice(list(GridName)))
        elif kind == "strike":
            self.gate.change_strike(ticker, Decimal(self.random.randint(1, 99)), None)
        else:
            self.gate.change_rules(ticker, f"Rules number {self.random.randint(1, 9)}.")

    def _fees(self, _: str) -> None:
        random = self.random
        fee_type = random.choice([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER, FeeType.FLAT])
        schedule = random.choice([None, FeeSchedule(fee_type, random.choice([0, 5_000, 20_000]))])
        self.gate.change_fees(
            random.choice([SERIES, EVENT]), schedule, self.core.now_ms + random.randint(-1_000, 5_000)
        )


def total_money(core: ExchangeCore) -> int:
    """Everything that belongs to anybody, less what was paid in and out since the beginning."""
    accounts = core.accounts.values()
    cash = sum(sum(account.cash.values()) for account in accounts)
    deposits = sum(sum(account.deposits.values()) for account in accounts)
    returned = sum(cover.returned for account in accounts for cover in account.covers.values())
    collateral = sum(pair_value(market.open_interest) for market in core.markets.values())
    return cash + collateral - returned + core.fees_collected - deposits


def check(core: ExchangeCore, money: int) -> None:
    """What must be true at every moment."""
    assert total_money(core) == money
    for account in core.accounts.values():
        for shard in account.cash:
            assert account.reserved[shard] >= 0
            assert account.available(shard) >= 0
        assert account.reserved[0] == 0, "an order drew on another shard's cash"
        for cover in account.covers.values():
            for ticker, covered in cover.counts.items():
                assert 0 < covered <= account.position(ticker).held(Outcome.NO)
    assert core.fees_collected == sum(account.fees_paid for account in core.accounts.values())
    owned = dict.fromkeys(core.accounts, 0)
    for market in core.markets.values():
        check_market(core, market)
        for order in [*market.resting(), *market.closing.values()]:
            owned[order.account.account_id] += market.reservation(order, order.remaining)
    assert {account_id: account.reserved[SHARD] for account_id, account in core.accounts.items()} == owned


def check_market(core: ExchangeCore, market: MarketState) -> None:
    held = [account.position(market.ticker).count for account in core.accounts.values()]
    assert sum(held) == 0
    assert sum(count for count in held if count > 0) == market.open_interest
    assert not market.book.is_crossed()
    resting = market.resting()
    trading = market.status in (MarketStatus.ACTIVE, MarketStatus.INACTIVE)
    assert trading or not resting
    assert market.status is MarketStatus.CLOSED or not market.closing
    assert not trading or market.terms.close_ms > core.now_ms
    for outcome in Outcome:
        on_book = {level.price: level.size for level in market.book.side(outcome)}
        summed: Counter[Price] = Counter()
        for order in resting:
            if order.outcome is outcome:
                summed[order.price] += order.remaining
        assert on_book == summed
    for order in resting:
        assert order.remaining > 0
        assert order.initial == order.filled + order.remaining
        assert market.takes_price(order.outcome, order.price), "an order rests off the grid"
        assert order.expiration_ms is None or order.expiration_ms > core.now_ms, "an order outlived its expiry"
        assert core.is_resting(order.order_id)


def replay(emissions: Iterable[Emission], books: dict[str, dict[Outcome, Counter[Price]]]) -> None:
    """Bring the books that a reader of the stream holds up to date."""
    for emission in emissions:
        match emission:
            case BookChanged():
                side = books[emission.ticker][emission.outcome]
                side[emission.price] += emission.change
                assert side[emission.price] >= 0
                if side[emission.price] == 0:
                    del side[emission.price]
            case BookReplaced():
                books[emission.ticker] = {
                    Outcome.YES: Counter({level.price: level.size for level in emission.yes}),
                    Outcome.NO: Counter({level.price: level.size for level in emission.no}),
                }
            case _:
                pass


def shown(core: ExchangeCore) -> dict[str, dict[Outcome, Counter[Price]]]:
    """The books as they are."""
    return {
        market.ticker: {
            outcome: Counter({level.price: level.size for level in market.book.side(outcome)}) for outcome in Outcome
        }
        for market in core.markets.values()
    }
