"""An account that gets collateral back across the markets of an event: what came back is the exchange's cash before its
time, and no difference. The whole account over REST, on the exchange's own core."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.chaos.transport import InProcess
from infra.exchange.auth import KeyRing
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.testkit import EVENT, TICKERS, buy, rest, still_core, still_event
from infra.exchange.tokens import Tier
from kalshi_arb.domain.collateral import EventCollateral, no_tickers, returned_by_shard, sure_payout
from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.domain.market import CollateralReturn, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Settlement,
    cash_by_shard,
    cash_entry,
    net_positions,
    opening_position,
    settlement_entry,
)
from kalshi_arb.execution.audit import ACCOUNT, RETURNED, Auditor
from kalshi_arb.execution.differences import Difference, DifferenceKind, Told, differences
from kalshi_arb.fakes import ManualClock, MemoryBasketStore, MemoryLedgerStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.kalshi.account import KalshiAccount
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.collateral import KalshiCollateral
from kalshi_arb.kalshi.errors import RejectedError, RetryableError
from kalshi_arb.kalshi.markets import Markets
from kalshi_arb.kalshi.models.market import EventWire
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.risk.breaker import Breaker
from kalshi_arb.risk.limits import parse_limits
from tests.exchange_venue import KEY, KEY_ID

A, B, C = TICKERS
YES, NO = Outcome.YES, Outcome.NO
SHARD = 2
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Member:
    """A member of an exclusive event's markets, the books that are kept of it, and the audit over both."""

    def __init__(self, *, netting: bool = True, ours: bool = True, exclusive: bool = True) -> None:
        self.core = still_core(multiplier=0, event=lambda: still_event(exclusive=exclusive, timer_s=5))
        self.core.set_netting(MEMBER, enabled=netting)
        self.clock = ManualClock(self.core.now_ms)
        keys = KeyRing()
        keys.add(KEY_ID, KEY.public_key(), MEMBER)
        server = ExchangeServer(self.core, keys, ServerConfig(tier=Tier.PRESTIGE), now_ms=self.clock.now_ms)
        self.wire = InProcess(server)
        self.client = RestClient(
            base_url="http://exchange.invalid/trade-api/v2", credentials=Credentials(KEY_ID, PEM), clock=self.clock,
            transport=self.wire,
        )  # fmt: skip
        self.ledger = MemoryLedgerStore(self.clock)
        self.status = MemoryStatusStore()
        breaker = Breaker(
            status=self.status, notifier=MemoryNotifier(), clock=self.clock, mode="simulated",
            limits=lambda: parse_limits({}),
        )  # fmt: skip
        self.reads = KalshiCollateral(self.client)
        self.auditor = Auditor(
            baskets=MemoryBasketStore(), ledger=self.ledger, account=KalshiAccount(self.client), status=self.status,
            notifier=MemoryNotifier(), breaker=breaker, clock=self.clock, mode="simulated",
            collateral=self.reads if ours else None,
        )  # fmt: skip

    def close(self) -> None:
        self.client.close()
        self.wire.close()

    def buy(self, ticker: str, outcome: Outcome, cents: int, contracts: int) -> None:
        rest(self.core, ticker, outcome.other, 100 - cents, contracts)
        assert buy(self.core, ticker, outcome, cents, contracts).filled == contracts * 100

    def settle(self, ticker: str, payout: Price) -> None:
        """The market pays; its timer runs while the listing, which may be old, catches up."""
        self.core.determine(ticker, payout, "x")
        self.rest()

    def rest(self) -> None:
        self.clock.advance(30_000)
        self.core.advance(self.clock.now_ms())

    def audit(self) -> list[Difference]:
        self.rest()
        found = self.auditor.run()
        assert found is not None
        return found

    def recorded(self) -> set[DifferenceKind]:
        """The causes that a repair records; nothing is left after it."""
        self.rest()
        found = self.auditor.repair()
        assert found is not None
        assert self.audit() == []
        return {one.kind for one in found}

    @property
    def told(self) -> dict[str, object]:
        told = self.status.get(ACCOUNT)
        assert told is not None
        return told

    @property
    def balance(self) -> int:
        return sum(self.core.accounts[MEMBER].cash.values())


@pytest.fixture
def member() -> Iterator[Member]:
    member = Member()
    assert member.audit() == []
    yield member
    member.close()


TRADED = {DifferenceKind.FOREIGN_ORDER, DifferenceKind.MISSING_FILL}


def test_what_comes_back_is_in_the_books_from_the_purchase_to_the_last_payment(member: Member) -> None:
    assert member.told[RETURNED] == "0.000000"
    member.buy(A, NO, 60, 10)
    member.buy(B, NO, 70, 7)
    member.buy(C, YES, 20, 2)
    # Trades by hand, of which no group of ours knows: fills are missing, and no cash is.
    assert member.recorded() == TRADED
    assert member.told[RETURNED] == "7.000000"
    assert member.told["ledger"] == member.told["balance"]
    assert sum(cash_by_shard(member.ledger.all()).values()) == member.balance - 7_000_000
    member.buy(B, YES, 40, 3)
    assert member.recorded() == TRADED
    assert member.told[RETURNED] == "4.000000", "what was covered and sold has gone back"
    member.settle(A, ONE_DOLLAR)
    assert member.recorded() == {DifferenceKind.SETTLEMENT}
    assert member.told[RETURNED] == "4.000000", "the other market's NO is sure to pay, and its payment has come already"
    member.settle(B, Price(0))
    assert member.recorded() == {DifferenceKind.SETTLEMENT}
    assert member.told[RETURNED] == "0.000000"
    member.settle(C, Price(0))
    assert member.recorded() == {DifferenceKind.SETTLEMENT}
    assert not any(entry.kind is EntryKind.CASH for entry in member.ledger.all())


def test_a_result_of_a_market_that_is_not_held_makes_the_others_sure(member: Member) -> None:
    member.buy(A, NO, 60, 10)
    member.buy(B, NO, 70, 7)
    assert member.recorded() == TRADED
    before = member.balance
    member.settle(C, ONE_DOLLAR)
    assert member.audit() == []
    assert member.told[RETURNED] == "17.000000"
    assert member.balance == before + 10_000_000
    member.settle(A, Price(0))
    member.settle(B, Price(0))
    assert member.recorded() == {DifferenceKind.SETTLEMENT}
    assert member.balance == before + 10_000_000, "nothing is paid twice"


def test_a_journal_that_begins_later_opens_with_the_cash_that_is_the_accounts_own() -> None:
    member = Member()
    member.buy(A, NO, 60, 10)
    member.buy(B, NO, 70, 7)
    assert member.audit() == []
    opened = cash_by_shard(member.ledger.all())
    assert opened[SHARD] == member.core.accounts[MEMBER].cash[SHARD] - 7_000_000
    assert net_positions(member.ledger.all()) == {A: -1_000, B: -700}
    member.settle(A, Price(0))
    assert member.recorded() == {DifferenceKind.SETTLEMENT}
    member.close()


@pytest.mark.parametrize(
    ("ours", "hint"),
    [
        (True, f"; netting may have been switched while {EVENT} was held"),
        (False, "; NO of several markets is held, so netting may be switched on at the exchange alone"),
    ],
)
def test_netting_that_was_switched_is_a_difference_of_cash_that_says_so(ours: bool, hint: str) -> None:
    """Which contracts are covered the exchange does not say: every step of cash is named and can be recorded."""
    member = Member(netting=not ours, ours=ours)
    assert member.audit() == []
    member.buy(A, NO, 60, 1)
    member.core.set_netting(MEMBER, enabled=True)
    member.buy(B, NO, 70, 1)
    member.rest()
    found = member.auditor.repair()
    assert found is not None
    (cash,) = (one for one in found if one.kind is DifferenceKind.CASH)
    assert cash.text.endswith(hint)
    assert ("$-1.00 have no cause" if ours else "$1.00 have no cause") in cash.text.replace("-$", "$-")
    assert member.audit() == []
    assert (RETURNED in member.told) is ours
    for ticker in (A, B, C):
        member.settle(ticker, Price(0))
    member.rest()
    last = member.auditor.repair()
    assert last is not None
    assert {one.kind for one in last} == {DifferenceKind.SETTLEMENT, DifferenceKind.CASH}, "it goes back at a payment"
    assert member.audit() == []
    assert sum(entry.cash for entry in member.ledger.all() if entry.kind is EntryKind.CASH) == 0
    member.close()


def test_nothing_comes_back_for_an_event_that_is_not_exclusive() -> None:
    member = Member(exclusive=False)
    member.buy(A, NO, 60, 1)
    member.buy(B, NO, 70, 1)
    assert member.audit() == []
    assert member.told[RETURNED] == "0.000000"
    member.close()


def test_an_event_that_cannot_be_read_leaves_everything_open(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    member.buy(A, NO, 60, 1)
    member.buy(B, NO, 70, 1)
    assert member.recorded() == TRADED
    before = dict(member.told)

    def silent(_tickers: object) -> dict[str, EventCollateral]:
        raise RetryableError("no answer")

    monkeypatch.setattr(member.reads, "collateral", silent)
    member.rest()
    with pytest.raises(ExchangeError):
        member.auditor.run()
    with pytest.raises(ExchangeError):
        member.auditor.repair()
    assert member.told == before


def test_a_position_that_came_without_a_fill_brings_its_collateral_in_the_same_repair(member: Member) -> None:
    member.buy(A, NO, 60, 3)
    member.buy(B, NO, 70, 3)
    assert member.recorded() == TRADED
    account = member.core.accounts[MEMBER]
    found = account.position(B)
    account.set_position(B, account.home(B), type(found)(Count(-500), found.cost, updated_ms=member.core.now_ms))
    account.set_position(A, account.home(A), type(found)(Count(-500), found.cost, updated_ms=member.core.now_ms))
    account.move(SHARD, 2_000_000)
    account.record_balance(member.core.now_ms)
    assert member.recorded() == {DifferenceKind.POSITION}, "two dollars more have come back, and have that cause"


# The reads


def counted(member: Member, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    handle = member.wire.handle_request

    def counting(request: object) -> object:
        asked.append(request.url.path.removeprefix("/trade-api/v2"))  # type: ignore[attr-defined]  # an httpx request
        return handle(request)  # type: ignore[arg-type]  # the same request

    monkeypatch.setattr(member.wire, "handle_request", counting)
    return asked


def test_what_never_changes_is_asked_once(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(member, monkeypatch)
    told = member.reads.collateral([A, B, "NOT-LISTED"])
    assert told[A] == told[B] == EventCollateral(EVENT, CollateralReturn.MECNET, SHARD, dict.fromkeys(TICKERS))
    assert "NOT-LISTED" not in told
    assert asked == ["/markets", "/events"]
    member.settle(C, Price(3_333))
    del asked[:]
    assert member.reads.collateral([B])[B].markets == {A: None, B: None, C: Price(3_333)}
    assert asked == ["/events"], "what has been paid is asked again"


def test_an_event_that_gives_nothing_back_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(exclusive=False)
    asked = counted(member, monkeypatch)
    first = member.reads.collateral([A])
    assert first[A].collateral_return is CollateralReturn.NONE
    del asked[:]
    assert member.reads.collateral([A, A]) == first
    assert asked == []
    member.close()


def test_an_event_that_the_listing_leaves_out_is_asked_by_itself(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Markets, "event_pages", lambda *_, **__: iter(()))
    assert member.reads.collateral([A])[A].collateral_return is CollateralReturn.MECNET

    def gone(*_: object, **__: object) -> EventWire:
        raise RejectedError("not_found", "no such event", 404)

    monkeypatch.setattr(Markets, "event", gone)
    assert member.reads.collateral([A]) == {}, "what is gone holds no collateral any more"


def test_without_no_contracts_the_exchange_is_not_asked(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    member.buy(A, YES, 60, 1)
    assert member.recorded() == TRADED
    asked = counted(member, monkeypatch)
    assert member.audit() == []
    assert not any(path.startswith(("/markets", "/events")) for path in asked)


# The rule


def test_of_no_contracts_all_but_the_largest_come_back() -> None:
    assert sure_payout([100, 100, 300]) == 2_000_000
    assert sure_payout([100, 100, 300], Price(2_500)) == 4_250_000
    assert sure_payout([100]) == 0
    assert sure_payout([]) == 0
    assert no_tickers({A: Count(5), C: Count(-1), B: Count(-2)}) == sorted([B, C])


def test_ordered_thresholds_and_unknown_events_count_as_nothing() -> None:
    entries = [opening_position(ticker, Count(-100), 0) for ticker in (A, B)]
    amounts = {CollateralReturn.MECNET: 1_000_000, CollateralReturn.DIRECNET: 0, CollateralReturn.NONE: 0}
    for kind, amount in amounts.items():
        events = dict.fromkeys((A, B), EventCollateral(EVENT, kind, 3, {A: None, B: None}))
        assert returned_by_shard(entries, events) == ({3: Cash(amount)} if amount else {})
    assert returned_by_shard(entries, {}) == {}


def test_a_difference_of_cash_names_an_event_whose_rule_is_not_published() -> None:
    entries = [
        cash_entry(EntryKind.OPENING, "opening-cash-0", 0, Cash(5_000_000), 0, ""),
        *(opening_position(ticker, Count(-100), 0) for ticker in (A, B)),
    ]
    events = dict.fromkeys((A, B), EventCollateral(EVENT, CollateralReturn.DIRECNET, 0, {A: None, B: None}))
    positions = {A: Count(-100), B: Count(-100)}
    (found,) = differences(entries, Told(0, (), (), (), {0: Cash(6_000_000)}, positions, events), {}, 1)
    assert found.text == (
        "$6.00 at the exchange, $5.00 in the journal: $1.00 have no cause; what comes back for KXSTILL-1 follows no "
        "published rule"
    )


def test_a_payment_that_is_booked_counts_before_the_listing_tells_it() -> None:
    entries = [opening_position(ticker, Count(-100), 0) for ticker in (A, B)]
    events = dict.fromkeys((A, B), EventCollateral(EVENT, CollateralReturn.MECNET, 0, {A: None, B: None, C: None}))
    entries.append(settlement_entry(Settlement(A, ONE_DOLLAR, Cash(0), 1)))
    assert returned_by_shard(entries, events) == {0: Cash(1_000_000)}
