"""Collateral return: what NO contracts of an event with at most one YES are sure to pay comes back at once."""

import pytest

from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.living import MEMBER
from infra.exchange.terms import TimeInForce
from infra.exchange.testkit import CLOSE_MS, TICKERS, buy, rest, still_core, still_event
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Price

A, B, C = TICKERS
YES, NO = Outcome.YES, Outcome.NO
SHARD = 2
DOLLAR = 1_000_000


def exclusive_core(*, exclusive: bool = True, netting: bool = True, dollars: int = 1_000) -> ExchangeCore:
    core = still_core(multiplier=0, dollars=dollars, event=lambda: still_event(exclusive=exclusive))
    core.set_netting(MEMBER, enabled=netting)
    return core


def buy_no(core: ExchangeCore, ticker: str, cents: int, contracts: int) -> None:
    rest(core, ticker, YES, 100 - cents, contracts)
    assert buy(core, ticker, NO, cents, contracts).filled == contracts * 100


def sell_no(core: ExchangeCore, ticker: str, cents: int, contracts: int) -> None:
    """Close NO contracts at a NO price: buy YES at the complement."""
    rest(core, ticker, NO, cents, contracts)
    assert buy(core, ticker, YES, 100 - cents, contracts).filled == contracts * 100


def spent(core: ExchangeCore) -> int:
    account = core.accounts[MEMBER]
    return account.initial_cash[SHARD] - account.cash[SHARD]


def settle(core: ExchangeCore, **payouts: Price) -> None:
    core.advance(CLOSE_MS)
    for name, payout in payouts.items():
        core.determine({"a": A, "b": B, "c": C}[name], payout, "x")
        core.advance(core.now_ms + 1_000)


def test_two_no_positions_of_an_exclusive_event_give_a_dollar_back_at_once() -> None:
    core = exclusive_core()
    buy_no(core, A, 60, 1)
    assert spent(core) == 600_000
    buy_no(core, B, 70, 1)
    assert spent(core) == 300_000
    buy_no(core, C, 80, 3)
    # Of NO counts 1, 1 and 3 all but the largest come back.
    assert spent(core) == 600_000 + 700_000 + 3 * 800_000 - 2 * DOLLAR


@pytest.mark.parametrize(("exclusive", "netting"), [(False, True), (True, False)])
def test_nothing_comes_back_without_netting_or_without_exclusiveness(exclusive: bool, netting: bool) -> None:
    core = exclusive_core(exclusive=exclusive, netting=netting)
    buy_no(core, A, 60, 1)
    buy_no(core, B, 70, 1)
    assert spent(core) == 1_300_000


def test_only_what_is_bought_while_netting_is_on_is_covered() -> None:
    core = exclusive_core(netting=False)
    buy_no(core, A, 60, 1)
    core.set_netting(MEMBER, enabled=True)
    buy_no(core, B, 70, 1)
    assert spent(core) == 1_300_000
    buy_no(core, A, 60, 1)
    assert spent(core) == 900_000
    core.set_netting(MEMBER, enabled=False)
    buy_no(core, A, 60, 5)
    assert spent(core) == 3_900_000
    # What is not covered is sold first.
    sell_no(core, A, 60, 6)
    assert spent(core) == 300_000


@pytest.mark.parametrize("order", [("a", "b", "c"), ("b", "a", "c"), ("c", "b", "a")])
@pytest.mark.parametrize("winner", ["a", "b", "c", None])
def test_in_the_end_the_account_has_what_it_would_have_without_netting(
    order: tuple[str, ...], winner: str | None
) -> None:
    ends = []
    for netting in (True, False):
        core = exclusive_core(netting=netting)
        buy_no(core, A, 60, 4)
        buy_no(core, B, 70, 2)
        buy_no(core, C, 80, 3)
        account = core.accounts[MEMBER]
        assert bool(account.covers) is netting
        settle(core, **{name: ONE_DOLLAR if name == winner else Price(0) for name in order})
        assert account.covers == {}
        assert account.available(SHARD) >= 0
        ends.append((spent(core), account.settled_revenue, account.fees_paid))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_scalar_result_takes_no_more_than_it_pays(order: tuple[str, str]) -> None:
    core = exclusive_core(dollars=11)
    buy_no(core, A, 60, 10)
    buy_no(core, B, 70, 7)
    assert spent(core) == 6_000_000 + 4_900_000 - 7 * DOLLAR
    core.move_cash(MEMBER, SHARD, Cash(-core.accounts[MEMBER].available(SHARD)))
    core.advance(CLOSE_MS)
    for name in order:
        core.determine({"a": A, "b": B}[name], Price(3_333) if name == "a" else Price(5_000), "x")
        core.advance(core.now_ms + 1_000)
        assert core.accounts[MEMBER].available(SHARD) >= 0
    paid = 10 * 666_700 + 7 * 500_000
    assert core.accounts[MEMBER].cash[SHARD] + core.accounts[MEMBER].fees_paid == paid - 7 * DOLLAR


def test_a_market_that_pays_its_yes_makes_the_others_sure_at_that_moment() -> None:
    core = exclusive_core()
    buy_no(core, A, 60, 4)
    assert spent(core) == 2_400_000
    settle(core, c=Price(2_500))
    assert spent(core) == 1_400_000, "of four NO no more than three dollars can be lost now"
    settle(core, b=Price(7_500))
    assert spent(core) == -1_600_000
    settle(core, a=Price(0))
    assert spent(core) == -1_600_000, "its payment has come already"


def test_a_payment_is_rounded_by_itself_whatever_was_returned_for_it() -> None:
    core = still_core(multiplier=0, precision=Precision.CENT, event=lambda: still_event(exclusive=True))
    core.set_netting(MEMBER, enabled=True)
    buy_no(core, A, 60, 3)
    buy_no(core, B, 70, 3)
    settle(core, a=Price(3_333), b=Price(3_333), c=Price(3_334))
    account = core.accounts[MEMBER]
    assert [row.revenue for row in account.settlements] == [2_000_000, 2_000_000]
    assert spent(core) == 3_900_000 - 4_000_000
    assert account.fees_paid == 2 * 100, "what was rounded off is shown as a fee"


def test_results_that_contradict_the_event_are_paid_back_even_below_zero() -> None:
    core = exclusive_core(dollars=11)
    buy_no(core, A, 60, 10)
    buy_no(core, B, 70, 7)
    core.move_cash(MEMBER, SHARD, Cash(-core.accounts[MEMBER].available(SHARD)))
    settle(core, a=ONE_DOLLAR, b=ONE_DOLLAR)
    assert core.accounts[MEMBER].cash[SHARD] == -7 * DOLLAR


def test_a_covered_position_frees_nothing_when_sold_and_without_cash_it_cannot_be_sold() -> None:
    core = exclusive_core(dollars=2)
    buy_no(core, A, 60, 1)
    buy_no(core, B, 70, 1)
    before = spent(core)
    sell_no(core, A, 60, 1)
    # The sale brings 0.60; the dollar that came back at the purchase of B goes away again.
    assert spent(core) == before - 600_000 + DOLLAR
    buy_no(core, A, 60, 1)
    core.move_cash(MEMBER, SHARD, Cash(-core.accounts[MEMBER].available(SHARD)))
    rest(core, A, NO, 60, 1)
    with pytest.raises(ExchangeRefusalError, match="insufficient_balance"):
        buy(core, A, YES, 40, 1)
    resting = core.markets[A].resting()
    assert len(resting) == 1


def test_a_makers_fill_is_covered_like_a_takers() -> None:
    core = exclusive_core()
    for ticker in (A, B):
        buy(core, ticker, NO, 60, 10, TimeInForce.GOOD_TILL_CANCELED)
        buy(core, ticker, YES, 40, 10, account="maker")
    assert spent(core) == 2 * DOLLAR
    assert core.accounts[MEMBER].reserved[SHARD] == 0
