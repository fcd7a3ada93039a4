"""Our books against the exchange's: every difference is found, named, stops new baskets, and is repaired by recording
what the exchange says."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, LegTerms, OrderState, Purpose, client_order_id
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.journal import verify
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    OrderRequest,
    TimeInForce,
    cash_by_shard,
    effective,
    fill_entry,
    net_positions,
)
from kalshi_arb.domain.positions import replay
from kalshi_arb.execution.audit import ACCOUNT, Auditor
from kalshi_arb.execution.differences import Difference, DifferenceKind
from kalshi_arb.fakes import (
    FakeExchange,
    ManualClock,
    MemoryBasketStore,
    MemoryLedgerStore,
    MemoryNotifier,
    MemoryStatusStore,
)
from kalshi_arb.ports import AlertKind
from kalshi_arb.risk.breaker import COMPONENT, Breaker, Cause, read_trip
from kalshi_arb.risk.limits import parse_limits
from tests.cloud_samples import HIGH, LOW, NOW, basket, market

FEES = FeeSchedule(FeeType.QUADRATIC)


class Account:
    """One basket that holds 10 YES of one market and 10 NO of the other, and the audit over it."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.exchange = FakeExchange(self.clock, [market(LOW, 10), market(HIGH, 20)])
        self.baskets = MemoryBasketStore()
        self.ledger = MemoryLedgerStore(self.clock)
        self.status = MemoryStatusStore()
        self.notifier = MemoryNotifier()
        breaker = Breaker(
            status=self.status, notifier=self.notifier, clock=self.clock, mode="simulated",
            limits=lambda: parse_limits({}),
        )  # fmt: skip
        self.auditor = Auditor(
            baskets=self.baskets, ledger=self.ledger, account=self.exchange, status=self.status,
            notifier=self.notifier, breaker=breaker, clock=self.clock, mode="simulated",
        )  # fmt: skip
        self.auditor.run()
        self.row = self.buy(basket(), (LOW, Outcome.YES, 4_000), (HIGH, Outcome.NO, 5_000))

    def buy(self, row: Basket, *legs: tuple[str, Outcome, int], book: bool = True) -> Basket:
        """Ten contracts of each leg; fills go to the journal when ``book`` says so."""
        self.clock.advance(1_000)
        orders = []
        for number, (ticker, outcome, price) in enumerate(legs):
            self.exchange.offer(ticker, outcome, price, 1_000)
            request = OrderRequest(
                client_order_id(row.basket_id, number, 0), ticker, outcome, Count(1_000), Price(price),
                TimeInForce.FILL_OR_KILL, 0,
            )  # fmt: skip
            (report,) = self.exchange.place([request])
            orders.append(
                BasketOrder(request, number, 0, Purpose.ENTER, OrderState.DONE, self.clock.now_ms(), report.order_id,
                            report.filled, booked=True)
            )  # fmt: skip
        held = replace(
            row, state=BasketState.LOCK, orders=tuple(orders), terms=(LegTerms(CENT_GRID, FEES, 0),) * len(legs)
        )
        assert self.baskets.create(held, self.clock.now_ms())
        if book:
            own = {order.order_id for order in orders}
            fills = [fill for fill in self.exchange.account_fills(0) if fill.order_id in own]
            self.ledger.append([fill_entry(fill, row.basket_id) for fill in fills])
        self.clock.advance(10_000)
        return held

    def foreign(self) -> None:
        """Somebody trades on the account by hand."""
        self.exchange.offer(LOW, Outcome.YES, 3_000, 500)
        self.exchange.place(
            [OrderRequest("by-hand", LOW, Outcome.YES, Count(500), Price(3_000), TimeInForce.FILL_OR_KILL, 0)]
        )
        self.clock.advance(10_000)

    def change_fill(self, **change: object) -> None:
        """The exchange tells the first fill otherwise from now on; cash moves with a fee."""
        seen_ms, fill = self.exchange._fills[0]
        changed = replace(fill, **change)  # type: ignore[arg-type]  # the fields of a parametrised change
        self.exchange._fills[0] = (seen_ms, changed)
        self.exchange._cash[0] -= changed.fee - fill.fee

    def audit(self, after_ms: int = 60_000) -> list[Difference]:
        """What the schedule's next audit finds, or one that comes so much later than the last."""
        self.clock.advance(after_ms)
        found = self.auditor.run()
        assert found is not None
        return found

    def matches(self) -> bool:
        status = self.status.get(ACCOUNT)
        assert status is not None
        return status["matches"] is True

    def alerts(self) -> list[str]:
        return [
            alert.text
            for alert in self.notifier.published
            if alert.kind is AlertKind.ERROR and alert.alert_id.startswith("mismatch")
        ]

    def trip(self) -> str | None:
        trip = read_trip(self.status.get(COMPONENT))
        return None if trip is None else trip.cause


@pytest.fixture
def account() -> Account:
    return Account()


def named(found: Iterable[Difference] | None) -> list[str]:
    assert found is not None
    return [str(one) for one in found]


def missing(account: Account) -> None:
    account.buy(basket("b2", "other"), (LOW, Outcome.YES, 4_500), book=False)


def doubled(account: Account) -> None:
    first = next(entry for entry in account.ledger.all() if entry.kind is EntryKind.FILL)
    account.ledger.append([replace(first, entry_id="fill-again-o1")])


def by_hand(account: Account) -> None:
    account.exchange._cash[0] += 25_000_000


def dearer(account: Account) -> None:
    account.change_fill(fee=Cash(account.exchange.account_fills(0)[0].fee + 100))


def changed(account: Account) -> None:
    """The exchange corrects a trade: half a contract less, and what it cost comes back."""
    seen_ms, fill = account.exchange._fills[0]
    account.exchange._fills[0] = (seen_ms, replace(fill, count=Count(950)))
    account.exchange._cash[0] += 50 * fill.price
    account.exchange._positions[fill.ticker] -= 50


def paid(account: Account) -> None:
    account.exchange.settle(HIGH, Price(0))
    account.clock.advance(10_000)


KIND = DifferenceKind
INJECTED: dict[str, tuple[Callable[[Account], object], list[tuple[DifferenceKind, str]]]] = {
    "a missing fill": (missing, [(KIND.MISSING_FILL, "fill-t3-o3")]),
    "a doubled fill": (doubled, [(KIND.UNKNOWN_FILL, "fill-again-o1")]),
    "a foreign order": (Account.foreign, [(KIND.FOREIGN_ORDER, "o3"), (KIND.MISSING_FILL, "fill-t3-o3")]),
    "cash moved by hand": (by_hand, [(KIND.CASH, "shard 0")]),
    "a fee off by 1e-4 dollars": (dearer, [(KIND.FEE, "fill-t1-o1"), (KIND.FEE_RULE, "o1")]),
    "a corrected trade": (changed, [(KIND.CHANGED_FILL, "fill-t1-o1")]),
    "a payment nobody booked": (paid, [(KIND.SETTLEMENT, HIGH)]),
}


def test_books_that_agree_differ_nowhere(account: Account) -> None:
    assert account.audit() == []
    assert account.matches()
    assert account.trip() is None
    assert cash_by_shard(account.ledger.all()) == account.exchange.balance()


@pytest.mark.parametrize("what", INJECTED)
def test_a_difference_is_found_named_told_stops_and_is_repaired(account: Account, what: str) -> None:
    inject, expected = INJECTED[what]
    account.audit()
    inject(account)
    found = account.audit()
    assert [(one.kind, one.subject) for one in found] == expected
    # One sight of it may be a read between two movements.
    assert account.trip() is None
    assert not account.alerts()
    assert named(account.audit()) == named(found)
    assert account.trip() == Cause.DIFFERENCES
    (text,) = account.alerts()
    assert all(str(one) in text for one in found)
    assert "kalshi-arb journal repair" in text
    account.audit()
    assert len(set(account.alerts())) == 1, "the same difference is one alert"

    before = account.ledger.all()
    assert named(account.auditor.repair()) == named(found)
    assert account.audit() == []
    assert account.matches()
    after = account.ledger.all()
    assert [entry for entry in after if entry in before] == before, "nothing was changed or removed"
    assert all(entry.note for entry in after if entry not in before), "what was recorded says why"
    assert cash_by_shard(after) == account.exchange.balance()
    assert net_positions(after) == account.exchange.positions()
    told = account.exchange.account_fills(0)
    assert sum(one.fees for one in replay(after).net.values()) == sum(fill.fee for fill in told)
    assert verify(*account.ledger.rows()) == []
    # Only a person resets the breaker.
    assert account.trip() == Cause.DIFFERENCES


def test_a_second_sight_counts_once_reads_cannot_trail_the_first_any_more(account: Account) -> None:
    """After a basket and by schedule two audits may run almost at once, and both meet the same movement under way."""
    account.audit()
    by_hand(account)
    found = named(account.audit())
    for after_ms in (0, 1_000, 3_999):
        assert named(account.audit(after_ms)) == found
        assert account.trip() is None
        assert not account.alerts()
    assert named(account.audit(1)) == found
    assert account.trip() == Cause.DIFFERENCES
    assert len(account.alerts()) == 1


def test_another_difference_is_a_first_sight_again(account: Account) -> None:
    account.audit()
    by_hand(account)
    account.audit()
    by_hand(account)
    account.audit()
    assert account.trip() is None
    account.audit(4_999)
    assert account.trip() is None
    account.audit(1)
    assert account.trip() == Cause.DIFFERENCES


def test_a_difference_that_went_away_was_none(account: Account) -> None:
    account.audit()
    by_hand(account)
    account.audit()
    account.exchange._cash[0] -= 25_000_000
    assert account.audit() == []
    by_hand(account)
    account.audit()
    assert account.trip() is None


def test_nothing_is_opened_with_what_was_read_while_something_moved() -> None:
    """The journal's beginning is never compared again: what it begins with is read at one quiet moment."""
    account = Account()
    fresh, status = MemoryLedgerStore(account.clock), MemoryStatusStore()
    auditor = Auditor(
        baskets=account.baskets, ledger=fresh, account=account.exchange, status=status, notifier=account.notifier,
        breaker=account.auditor._breaker, clock=account.clock, mode="simulated",
    )  # fmt: skip
    read = account.exchange.positions

    def moving() -> dict[str, Count]:
        held = read()
        fresh.append([fill_entry(fill, "b1") for fill in account.exchange.account_fills(0)])
        return held

    account.exchange.positions = moving  # type: ignore[method-assign]
    assert auditor.run() is None
    assert not [entry for entry in fresh.all() if entry.kind is EntryKind.OPENING]
    assert auditor.run() == []


@pytest.mark.parametrize("kept", range(4))
def test_a_beginning_that_was_recorded_in_part_is_recorded_whole_by_the_next_audit(kept: int) -> None:
    """The process died while it wrote; meanwhile a basket bought the opposite of what the account had held before."""
    account = Account()
    fresh, status = MemoryLedgerStore(account.clock), MemoryStatusStore()
    auditor = Auditor(
        baskets=account.baskets, ledger=fresh, account=account.exchange, status=status, notifier=account.notifier,
        breaker=account.auditor._breaker, clock=account.clock, mode="simulated",
    )  # fmt: skip
    append = fresh.append

    def die(entries: Sequence[LedgerEntry]) -> int:
        append(entries[:kept])
        raise StoreError("no answer")

    fresh.append = die  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        auditor.run()
    fresh.append = append  # type: ignore[method-assign]
    account.buy(basket("b2", "other"), (LOW, Outcome.NO, 5_500), book=False)
    fresh.append([fill_entry(fill, "b2") for fill in account.exchange.account_fills(0) if fill.order_id == "o3"])
    assert auditor.run() == []
    assert cash_by_shard(fresh.all()) == account.exchange.balance()
    assert net_positions(fresh.all()) == account.exchange.positions()
    assert auditor.run() == []


def test_a_missing_fill_of_ours_gets_its_basket_and_a_foreign_one_none(account: Account) -> None:
    missing(account)
    account.auditor.repair()
    account.foreign()
    account.auditor.repair()
    own = {entry.entry_id: entry.basket_id for entry in account.ledger.all() if entry.kind is EntryKind.FILL}
    assert own == {"fill-t1-o1": "b1", "fill-t2-o2": "b1", "fill-t3-o3": "b2", "fill-t4-o4": ""}


def test_a_payment_of_what_only_a_missing_fill_tells_of_is_missing_too(account: Account) -> None:
    """As after a restore: bought and paid since, and nothing of either is in the journal."""
    third = replace(market(LOW, 10), ticker="KXTEST-26-THIRD")
    account.exchange._markets[third.ticker] = third
    account.buy(basket("b2", "other"), (third.ticker, Outcome.YES, 4_500), book=False)
    account.exchange.settle(third.ticker, ONE_DOLLAR)
    account.clock.advance(10_000)
    found = account.audit()
    assert [one.kind for one in found] == [KIND.MISSING_FILL, KIND.SETTLEMENT]
    account.auditor.repair()
    assert account.audit() == []
    assert cash_by_shard(account.ledger.all()) == account.exchange.balance()


def test_a_fee_off_by_less_than_the_unit_is_no_finding_of_the_rule_but_of_the_booking(account: Account) -> None:
    account.change_fill(fee=Cash(account.exchange.account_fills(0)[0].fee + 1))
    assert [one.kind for one in account.audit()] == [KIND.FEE]


def test_a_fee_that_was_booked_as_charged_but_is_not_the_rules_is_a_finding_of_its_own(account: Account) -> None:
    account.change_fill(fee=Cash(account.exchange.account_fills(0)[0].fee + 100))
    account.auditor.repair()
    assert account.audit() == []
    row = replace(account.row, terms=(LegTerms(CENT_GRID, FeeSchedule(FeeType.QUADRATIC, 5_000), 0),) * 2)
    account.baskets._baskets["b1"] = row
    (found,) = account.audit()
    assert (found.kind, found.subject) == (KIND.FEE_RULE, "o2")
    assert "by the rule that it was planned with" in found.text


def test_a_fee_that_changes_twice_is_corrected_twice(account: Account) -> None:
    for more in (100, 300, -400):
        account.change_fill(fee=Cash(account.exchange.account_fills(0)[0].fee + more))
        account.auditor.repair()
        assert account.audit() == []
    fees = [entry.fee for entry in account.ledger.all() if entry.kind is EntryKind.FEE]
    assert fees == [100, 300, -400]


def test_a_voided_fill_takes_its_corrected_fee_with_it(account: Account) -> None:
    dearer(account)
    account.auditor.repair()
    account.exchange._cash[0] += 4_000 * 1_000 + account.exchange.account_fills(0)[0].fee
    account.exchange._positions[LOW] = 0
    account.exchange._fills.pop(0)
    assert [one.kind for one in account.audit()] == [KIND.UNKNOWN_FILL]
    account.auditor.repair()
    assert account.audit() == []
    assert not any(entry.kind is EntryKind.FEE for entry in effective(account.ledger.all()))


@pytest.mark.parametrize("moved", [-100, 250, -1_000, -1_600])
def test_a_position_that_moved_without_a_fill_is_recorded_and_moves_no_cash(account: Account, moved: int) -> None:
    """Ten contracts are held: some go, some come, all go, and more than all."""
    cost = replay(account.ledger.all()).net[LOW].cost
    account.exchange._positions[LOW] += moved
    (found,) = account.audit()
    assert (found.kind, found.subject) == (KIND.POSITION, LOW)
    assert "no fill says why" in found.text
    account.auditor.repair()
    assert account.audit() == []
    entries = account.ledger.all()
    assert net_positions(entries).get(LOW, 0) == account.exchange._positions[LOW]
    assert cash_by_shard(entries) == account.exchange.balance()
    assert all(entry.basket_id == "" for entry in entries if entry.kind is EntryKind.POSITION)
    books = replay(entries)
    lost = cost * min(1_000, max(0, -moved)) // 1_000
    assert books.net[LOW].realised == -lost, "what went had cost something, what came costs nothing"
    assert sum(one.count for (_, ticker), one in books.virtual.items() if ticker == LOW) == books.net[LOW].count
    account.exchange.settle(LOW, ONE_DOLLAR)
    account.clock.advance(10_000)
    account.auditor.repair()
    assert account.audit() == []
    assert cash_by_shard(account.ledger.all()) == account.exchange.balance()


def test_what_is_still_held_of_a_market_that_has_paid_needs_a_person(account: Account) -> None:
    account.exchange.settle(LOW, ONE_DOLLAR)
    account.clock.advance(10_000)
    account.auditor.repair()
    account.exchange._positions[LOW] = Count(100)
    (found,) = account.audit()
    assert (found.kind, found.subject, found.repair) == (KIND.POSITION, LOW, ())
    account.audit()
    assert "1 of them need a person first" in account.alerts()[0]
    account.auditor.repair()
    assert account.audit() == [found]


def test_an_account_with_history_begins_with_what_it_holds() -> None:
    """An empty journal: what was traded before is in the opening, and from then on everything must agree."""
    account = Account()
    fresh = MemoryLedgerStore(account.clock)
    auditor = Auditor(
        baskets=account.baskets, ledger=fresh, account=account.exchange, status=account.status,
        notifier=account.notifier, breaker=account.auditor._breaker, clock=account.clock, mode="simulated",
    )  # fmt: skip
    assert auditor.run() == []
    assert {(entry.ticker, entry.count) for entry in fresh.all() if entry.ticker} == {(LOW, 1_000), (HIGH, 1_000)}
    assert cash_by_shard(fresh.all()) == account.exchange.balance()
    assert net_positions(fresh.all()) == account.exchange.positions()
    account.exchange.settle(LOW, ONE_DOLLAR)
    account.clock.advance(10_000)
    found = auditor.repair()
    assert found is not None
    assert [one.kind for one in found] == [KIND.SETTLEMENT]
    assert auditor.run() == []


def test_a_payment_is_no_difference_to_an_audit_that_comes_before_it_could_be_booked(account: Account) -> None:
    assert account.audit() == []
    paid(account)
    before = account.status.get(ACCOUNT)
    for _ in range(3):
        account.clock.advance(60_000)
        assert account.auditor.run(payments_booked=False) is None
    assert account.status.get(ACCOUNT) == before
    assert read_trip(account.status.get(COMPONENT)) is None
    assert [one.kind for one in account.auditor.run() or ()] == [KIND.SETTLEMENT]


def test_nothing_is_compared_while_reads_trail_the_last_fill(account: Account) -> None:
    account.exchange.read_lag_ms = 60_000
    assert account.auditor.run() is None
    assert account.auditor.repair() is None


def test_a_person_is_told_when_nothing_could_be_compared_for_long(account: Account) -> None:
    assert account.audit() == []
    account.exchange.read_lag_ms = 10**9
    # Hours in which nobody looked are not such a time.
    account.clock.advance(10**7)
    for minutes, alerts in ((0, 0), (15, 0), (1, 1), (1, 1)):
        account.clock.advance(minutes * 60_000)
        assert account.auditor.run() is None
        told = {a.alert_id: a.text for a in account.notifier.published if a.alert_id.startswith("uncompared")}
        assert len(told) == alerts, "told once"
    assert all("could not be compared" in text for text in told.values())


def test_a_fill_listed_twice_is_one_fill(account: Account) -> None:
    account.exchange._fills.append(account.exchange._fills[0])
    assert account.audit() == []


def test_older_fills_than_the_window_are_left_to_cash_and_positions(account: Account) -> None:
    account.clock.advance(72 * 3_600_000)
    account.exchange._fills.pop(0)
    assert account.audit() == []
    # A person who repairs looks back to the beginning.
    found = account.auditor.repair()
    assert found is not None
    assert found[0].kind is KIND.UNKNOWN_FILL


def test_two_shards_are_two_sums() -> None:
    clock = ManualClock(NOW)
    exchange = FakeExchange(clock, [replace(market(LOW, 10), shard=1)], cash={0: Cash(5), 1: Cash(10**9)})
    ledger = MemoryLedgerStore(clock)
    account = Account()
    auditor = Auditor(
        baskets=account.baskets, ledger=ledger, account=exchange, status=account.status, notifier=account.notifier,
        breaker=account.auditor._breaker, clock=clock, mode="simulated",
    )  # fmt: skip
    assert auditor.run() == []
    exchange._cash[0] += 100
    exchange._cash[1] -= 100
    found = auditor.run()
    assert found is not None
    assert [(one.kind, one.subject) for one in found] == [(KIND.CASH, "shard 0"), (KIND.CASH, "shard 1")]


def test_the_precision_of_the_rule_is_the_certificates(account: Account) -> None:
    """A cent account is charged in cents for what a direct one pays exactly."""
    row = replace(account.row, certificate=replace(account.row.certificate, precision=int(Precision.CENT)))
    account.baskets._baskets["b1"] = row
    assert [(one.kind, one.subject) for one in account.audit()] == [(KIND.FEE_RULE, "o1"), (KIND.FEE_RULE, "o2")]


def test_a_fill_of_an_order_that_nobody_knows_belongs_to_no_basket() -> None:
    account = Account()
    fill = Fill("x", "oX", LOW, Outcome.YES, Count(100), Price(4_000), Cash(0), account.clock.now_ms())
    account.exchange._fills.append((account.clock.now_ms(), fill))
    account.exchange._cash[0] -= 400_000
    account.exchange._positions[LOW] += 100
    (found,) = account.audit()
    assert (found.kind, "of no basket" in found.text) == (KIND.MISSING_FILL, True)
    entry: LedgerEntry = found.repair[0]
    assert (entry.basket_id, entry.note) == ("", "recorded as the exchange tells it")
