"""Hold or release: an early sale is proposed only where it beats the worst settlement, after fees and waiting."""

from dataclasses import replace
from fractions import Fraction
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.market import CollateralReturn, Netting, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.execution.early_sale import EarlySale
from kalshi_arb.execution.exposure import worst_cash
from kalshi_arb.execution.release import YEAR_MS, Release, Terms, best_release, told
from kalshi_arb.execution.review import RELEASE, HeldReview, proposals_of
from kalshi_arb.fakes import ManualClock, MemoryBasketStore, MemoryGroupStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.risk.limits import Limits
from tests.basket_rows import book
from tests.cloud_samples import NOW, group, market
from tests.report_samples import ENTER, MONDAY, UNWIND, Week

DAY = 86_400_000
YES, NO = Outcome.YES, Outcome.NO
NO_COST = Terms(NOW, 0, None)


def lock(count: int = 2_000, unwound: int = 0) -> Basket:
    """Both sides of a pair that pays a dollar, 20 of each, bought for 40 and 50 cents."""
    trades = [(0, ENTER, count, 4_000), (1, ENTER, count, 5_000)]
    if unwound:
        trades.append((1, UNWIND, unwound, 5_500))
    return Week().basket("b1", MONDAY, (4_000, 5_000), trades, BasketState.LOCK, count)


def bids(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> dict[str, BookSnapshot]:
    """Bids for both legs, in cents and contracts."""
    return {"b1-A": book("b1-A", yes=first), "b1-B": book("b1-B", yes=second)}


def best(row: Basket, books: dict[str, BookSnapshot], terms: Terms = NO_COST) -> Release | None:
    return best_release(row, None, books, Netting.OFF, terms)


def test_a_lock_is_held_while_selling_brings_less_than_it_pays() -> None:
    assert best(lock(), bids([(45, 50)], [(53, 50)])) is None
    assert best(lock(), bids([(45, 50)], [])) is None
    assert best(lock(), {}) is None


def test_selling_counts_the_highest_fee_of_every_leg() -> None:
    found = best(lock(), bids([(50, 50)], [(55, 50)]))
    assert found is not None
    fees = sum(
        order_fee(FeeSchedule(FeeType.QUADRATIC), [(Price(price), Count(2_000))], Precision.DIRECT)
        for price in (5_000, 4_500)
    )
    # A fee bound holds for fills of one contract each, so it is at least the fee of one fill.
    assert fees <= found.fees <= fees + 2 * 20 * 100
    assert found.proceeds == 20 * 1_050_000 - found.fees
    assert (found.payout, found.present) == (20_000_000, 20_000_000)
    assert found.advantage == found.proceeds - 20_000_000
    # A dollar and four cents a pair is eaten by fees of three and a half.
    assert best(lock(), bids([(50, 50)], [(53, 50)])) is None


def test_what_waits_a_year_is_worth_less_by_the_cost_of_capital() -> None:
    books = bids([(48, 50)], [(51, 50)])
    assert best(lock(), books) is None
    year = Terms(NOW, 100_000, NOW + YEAR_MS)
    found = best(lock(), books, year)
    assert found is not None
    assert found.present == 18_181_819, "20 dollars over 1.1, rounded up"
    assert found.payout == 20_000_000
    words = told(found, lock(), 100_000)
    assert words.startswith("selling 20.00 b1-A yes, 20.00 b1-B yes now brings at least $")
    assert "worth $18.181819 now at 10.00 % a year" in words
    # Without a date, or with one that has passed, nothing is discounted.
    assert best(lock(), books, replace(year, paid_ms=None)) is None
    assert best(lock(), books, replace(year, paid_ms=NOW - 1)) is None


def test_as_much_is_released_as_the_good_bids_take_of_every_leg() -> None:
    found = best(lock(), bids([(55, 8), (20, 50)], [(55, 5), (10, 50)]))
    assert found is not None
    assert found.counts == (500, 500)
    assert found.payout == 5_000_000


def test_what_was_unwound_is_not_sold_again() -> None:
    found = best(lock(unwound=1_500), bids([(99, 50)], [(99, 50)]))
    assert found is not None
    assert max(found.counts) <= 2_000
    assert found.counts[1] <= 500


def test_collateral_that_came_back_is_put_back_by_a_sale_and_discounts_nothing() -> None:
    tickers = ("b1-A", "b1-B", "b1-C")
    markets = tuple(
        replace(market(ticker, place), collateral_return=CollateralReturn.MECNET)
        for place, ticker in enumerate(tickers)
    )
    states = tuple(
        State(f"{place} pays", tuple(Price(ONE_DOLLAR if one == place else 0) for one in range(3)), Basis.CERTAIN)
        for place in range(3)
    )
    group = Group("g", Family.PARTITION, "KXTEST-26", markets, states, (), "f1")
    row = lock()
    legs = tuple(Leg(ticker, NO, Count(1_000), Price(6_000)) for ticker in tickers)
    orders = tuple(
        replace(
            row.orders[0], leg=place, filled=Count(1_000),
            request=replace(row.orders[0].request, ticker=leg.ticker, outcome=NO, count=Count(1_000)),
        )
        for place, leg in enumerate(legs)
    )  # fmt: skip
    payouts = tuple(tuple(Price(ONE_DOLLAR - paid) for paid in state.yes_payouts) for state in states)
    row = replace(row, legs=legs, orders=orders, terms=(*row.terms, row.terms[0]), payouts=payouts)
    books = {ticker: book(ticker, no=[(66, 50)]) for ticker in tickers}
    year = Terms(NOW, 1_000_000, NOW + YEAR_MS)
    off = best_release(row, group, books, Netting.OFF, year)
    on = best_release(row, group, books, Netting.ON, year)
    # Ten NO of three markets of which one pays: 20 dollars at settlement, all of which came back at once.
    assert off is not None
    assert (off.payout, off.present) == (20_000_000, 10_000_000)
    # With netting nothing is locked any more: a sale pays 20 dollars back for less, and waits for nothing.
    assert on is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 99), st.integers(1, 30)), min_size=1, max_size=4, unique_by=lambda one: one[0]),
    st.lists(st.tuples(st.integers(1, 99), st.integers(1, 30)), min_size=1, max_size=4, unique_by=lambda one: one[0]),
    st.integers(0, 1_000_000),
    st.one_of(st.none(), st.integers(-DAY, 3 * YEAR_MS)),
)
def test_a_release_is_better_in_every_settlement_than_the_worst_of_holding(
    first: list[tuple[int, int]], second: list[tuple[int, int]], yearly: int, wait_ms: int | None
) -> None:
    row, books = lock(), bids(first, second)
    terms = Terms(NOW, yearly, None if wait_ms is None else NOW + wait_ms)
    found = best(row, books, terms)
    factor = Fraction(1) if wait_ms is None else 1 / (1 + Fraction(yearly, 10**6) * Fraction(max(0, wait_ms), YEAR_MS))
    assert terms.factor() == factor
    ladder = [sorted(((price, size) for price, size in levels), reverse=True) for levels in (first, second)]

    def gain(counts: tuple[int, int]) -> Fraction | None:
        """Independently: contract by contract from the best bid, a fee for each as if it filled alone."""
        brought = 0
        for count, levels in zip(counts, ladder, strict=True):
            each = [price for price, size in levels for _ in range(size)]
            if count > len(each):
                return None
            brought += sum(price * 10_000 for price in each[:count])
        rest = [20 - count for count in counts]
        worst = worst_cash(row.payouts, [one * 100 for one in rest], [0, 0], Cash(0))
        return brought + worst * factor - 20_000_000 * factor

    if found is not None:
        exact = gain((found.counts[0] // 100, found.counts[1] // 100))
        assert exact is not None
        assert 0 < found.advantage <= exact - found.fees
        assert found.advantage >= exact - found.fees - 2
    else:
        # Nothing was missed: no equal share gains more than its fees can cost, a fill of one contract each.
        for count in range(1, 21):
            exact = gain((count, count))
            assert exact is None or exact <= 2 * 20_000 * count + 2 * 100 * count + 2


class Desk:
    """One lock, its group and its books."""

    def __init__(self, paid_ms: int | None = NOW + YEAR_MS, min_profit: int = 50_000) -> None:
        self.week = Week()
        trades = [(0, ENTER, 2_000, 4_000), (1, ENTER, 2_000, 5_000)]
        self.row = self.week.basket("b1", MONDAY, (4_000, 5_000), trades, BasketState.LOCK)
        self.baskets = MemoryBasketStore()
        assert self.baskets.create(self.row, NOW)
        known = group(self.row.group_id)
        markets = zip(known.markets, self.row.legs, strict=True)
        self.groups = MemoryGroupStore(
            [replace(known, markets=tuple(replace(one, ticker=leg.ticker, paid_by_ms=paid_ms) for one, leg in markets))]
        )
        self.books = bids([(48, 50)], [(51, 50)])
        self.status, self.notifier = MemoryStatusStore(), MemoryNotifier()
        self.review = HeldReview(
            baskets=self.baskets,
            groups=self.groups,
            market_data=self,
            status=self.status,
            notifier=self.notifier,
            clock=ManualClock(NOW),
            netting=Netting.OFF,
            limits=lambda: Limits(cost_of_capital=100_000, min_profit=Cash(min_profit)),
            early_sale=cast(EarlySale, None),
        )

    def orderbooks(self, tickers: object) -> dict[str, BookSnapshot]:
        return self.books

    def market_states(self, tickers: object) -> dict[str, object]:
        raise AssertionError("not asked for")

    def market_fees(self, event_ticker: str) -> dict[str, object]:
        raise AssertionError("not asked for")


def test_a_proposal_stands_in_the_status_and_is_told_once() -> None:
    desk = Desk()
    assert [desk.review.run() for _ in range(3)] == [1, 1, 1]
    (alert,) = desk.notifier.published
    assert alert.alert_id == "b1-release"
    assert "Nothing is sold unless you sell it." in alert.text
    status = desk.status.get(RELEASE)
    assert status is not None
    (text,) = proposals_of(status)
    assert text.startswith("b1 on KXB1: selling 20.00 b1-A yes")
    assert text in alert.text
    # The bids go away, and come back: nobody is told twice.
    desk.books = {}
    assert desk.review.run() == 0
    assert proposals_of(desk.status.get(RELEASE)) == []
    desk.books = bids([(48, 50)], [(51, 50)])
    assert desk.review.run() == 1
    assert len(desk.notifier.published) == 1


def test_nothing_is_proposed_for_less_than_the_smallest_profit() -> None:
    assert Desk(min_profit=10**9).review.run() == 0


@pytest.mark.parametrize("gone", [True, False])
def test_without_a_date_or_a_group_nothing_is_discounted(gone: bool) -> None:
    desk = Desk(paid_ms=None)
    if gone:
        desk.groups.hold([])
    assert desk.review.run() == 0
    desk.books = bids([(60, 50)], [(60, 50)])
    assert desk.review.run() == 1


def test_what_has_settled_is_not_proposed_any_more() -> None:
    desk = Desk()
    desk.review.run()
    desk.baskets.save(replace(desk.row, state=BasketState.SETTLED))
    assert desk.review.run() == 0
    assert desk.status.get(RELEASE) == {"checked_ms": NOW, "proposals": [], "told": []}
    desk.status.put(RELEASE, {"proposals": []})
    assert desk.review.run() == 0
    assert desk.status.get(RELEASE) == {"proposals": []}, "nothing held, nothing asked, nothing written"


def test_fractions_are_released_in_hundredths_only_where_a_leg_has_them() -> None:
    found = best(lock(count=2_050), bids([(99, 50)], [(99, 50)]))
    assert found is not None
    assert found.counts == (2_050, 2_050)
