"""A basket's cash explained: whatever was bought, unwound or left, the parts add up, and each says what it is for."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count as numbers

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, LegTerms, OrderState, Purpose
from kalshi_arb.domain.errors import ExplanationError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.portfolio import Fill, OrderRequest, TimeInForce, fill_entry
from kalshi_arb.execution.explain import Explanation, Item, Part, explain
from tests.cloud_samples import basket as sample_basket

YES, NO = Outcome.YES, Outcome.NO
FEES = FeeSchedule(FeeType.QUADRATIC)
TERMS = LegTerms(CENT_GRID, FEES, 0)
FREE = LegTerms(CENT_GRID, FeeSchedule(FeeType.QUADRATIC, 0), 0)
PARTITION = ((ONE_DOLLAR, Price(0)), (Price(0), ONE_DOLLAR))

Trade = tuple[int, Purpose, int, int]
"""Leg, purpose, contracts (1e-2), price (1e-4 dollars)."""


def basket_of(
    legs: list[tuple[int, int]], payouts: tuple[tuple[Price, ...], ...], trades: list[Trade], terms: LegTerms = TERMS
) -> tuple[Basket, list[Fill]]:
    """Legs of (count, limit), and one order with one fill for each trade."""
    planned = tuple(Leg(f"M-{place}", YES, Count(count), Price(limit)) for place, (count, limit) in enumerate(legs))
    orders, fills = [], []
    for number, (place, purpose, count, price) in enumerate(trades):
        outcome = NO if purpose is Purpose.UNWIND else YES
        fee = order_fee(terms.fees, [(Price(price), Count(count))], Precision.DIRECT)
        name = f"o{number}"
        request = OrderRequest(
            name, f"M-{place}", outcome, Count(count), Price(price), TimeInForce.IMMEDIATE_OR_CANCEL, 0
        )
        orders.append(
            BasketOrder(
                request, place, number, purpose, OrderState.DONE, 1, name, Count(count), Cash(count * price), fee, True
            )
        )
        fills.append(Fill(f"t{number}", name, f"M-{place}", outcome, Count(count), Price(price), fee, 1))
    row = sample_basket()
    row = replace(
        row, legs=planned, terms=(terms,) * len(planned), payouts=payouts, orders=tuple(orders),
        certificate=replace(row.certificate, precision=int(Precision.DIRECT), smallest_fill=Count(100)),
        expected_profit=Cash(1_000_000), exposure_bound=Cash(9_000_000), locked_profit=None, settled_profit=None,
    )  # fmt: skip
    return row, fills


def amounts(explained: Explanation) -> dict[Part, int]:
    return {part: explained.total(part) for part in Part if explained.total(part)}


def two_legs(*trades: Trade) -> tuple[Basket, list[Fill]]:
    """Ten sets of a pair that pays a dollar, at 40 and 50 cents, without fees: a dollar is expected."""
    return basket_of([(1_000, 4_000), (1_000, 5_000)], PARTITION, list(trades), FREE)


def test_a_lock_at_its_limits_earns_what_was_expected() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000), (1, Purpose.ENTER, 1_000, 5_000))
    explained = explain(row, fills)
    assert explained.realised == explained.expected == 1_000_000
    assert explained.items == ()
    assert explained.loss == 0


def test_better_prices_are_price_improvement() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 3_900), (1, Purpose.ENTER, 1_000, 5_000))
    explained = explain(row, fills)
    assert amounts(explained) == {Part.PRICE: 100_000}
    (item,) = explained.items
    assert (item.leg, item.why) == (0, "10.00 M-0 yes below the limit of 0.4000")


def test_sets_that_were_not_bought_are_missing() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 300, 4_000), (1, Purpose.ENTER, 300, 5_000))
    assert amounts(explain(row, fills)) == {Part.MISSING: -700_000}


def test_a_leg_alone_is_unhedged_for_what_it_cost() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000), (1, Purpose.ENTER, 300, 5_000))
    explained = explain(row, fills)
    assert amounts(explained) == {Part.MISSING: -700_000, Part.UNHEDGED: -7 * 400_000}
    assert explained.items[1].why == "held beyond whole sets: 7.00 M-0 yes"
    assert explained.loss == 2_500_000


def test_an_unwind_costs_the_way_there_and_back() -> None:
    # Bought at 40, sold again at 38 (the opposite for 62): two cents for each of ten contracts, and no profit.
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000), (0, Purpose.UNWIND, 1_000, 6_200))
    explained = explain(row, fills)
    assert amounts(explained) == {Part.MISSING: -1_000_000, Part.UNWIND: -200_000}
    assert explained.realised == -200_000


def test_settlement_adds_what_the_state_pays_beyond_the_worst() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000))
    row = replace(row, state=BasketState.SETTLED, locked_profit=Cash(-4_000_000), settled_profit=Cash(6_000_000))
    explained = explain(row, fills)
    assert explained.total(Part.SETTLEMENT) == 10_000_000
    assert (explained.locked, explained.realised) == (-4_000_000, 6_000_000)


def test_what_the_ledger_holds_explains_as_well_as_fills() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 3_900), (0, Purpose.UNWIND, 400, 6_200))
    assert explain(row, [fill_entry(fill, row.basket_id) for fill in fills]) == explain(row, fills)


def test_a_fee_that_was_corrected_later_is_part_of_the_fees() -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000), (0, Purpose.UNWIND, 1_000, 6_200))
    flat = replace(row, state=BasketState.FLAT, locked_profit=Cash(-200_000), settled_profit=Cash(-200_000))
    dearer = replace(fills[0], trade_id="c", count=Count(0), fee=Cash(30_000))
    explained = explain(flat, [*fills, dearer])
    assert amounts(explained) == {Part.MISSING: -1_000_000, Part.FEES: -30_000, Part.UNWIND: -200_000}
    assert explained.locked == explained.realised == -230_000


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda row, fills: (row, fills[:-1]), "the fills given add up to 0.00"),
        (lambda row, fills: (row, [*fills, fills[-1]]), "the fills given add up to 20.00"),
        (lambda row, fills: (row, [*fills, replace(fills[0], ticker="X")]), "no leg on X"),
        (lambda row, fills: (replace(row, locked_profit=Cash(5)), fills), "the row says"),
        (lambda row, fills: (replace(row, payouts=()), fills), "never reserved"),
    ],
)
def test_fills_that_are_not_the_baskets_are_refused(
    spoil: Callable[[Basket, list[Fill]], tuple[Basket, list[Fill]]], says: str
) -> None:
    row, fills = two_legs((0, Purpose.ENTER, 1_000, 4_000), (1, Purpose.ENTER, 1_000, 5_000))
    with pytest.raises(ExplanationError, match=says):
        explain(*spoil(row, fills))


def test_more_unwound_than_bought_is_refused() -> None:
    row, fills = two_legs((0, Purpose.UNWIND, 100, 6_000))
    with pytest.raises(ExplanationError, match="unwound more"):
        explain(row, fills)


def test_items_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ExplanationError, match="not explained"):
        Explanation("b", Cash(5), Cash(9), Cash(9), Cash(0), (Item(Part.PRICE, 0, Cash(3), ""),))


@st.composite
def baskets(draw: st.DrawFn) -> tuple[Basket, list[Fill]]:
    size = draw(st.integers(1, 4))
    cents = st.integers(1, 99).map(lambda price: price * 100)
    legs = draw(st.lists(st.tuples(st.integers(1, 900), cents), min_size=size, max_size=size))
    value = st.one_of(st.sampled_from([0, ONE_DOLLAR]), st.integers(0, ONE_DOLLAR)).map(Price)
    payouts = tuple(draw(st.lists(st.tuples(*[value] * size), min_size=1, max_size=4)))
    trades: list[Trade] = []
    for place, (count, limit) in enumerate(legs):
        bought = 0
        for purpose in draw(st.sampled_from([(), (Purpose.ENTER,), (Purpose.ENTER, Purpose.COMPLETE)])):
            part = draw(st.integers(0, count - bought))
            if part:
                trades.append((place, purpose, part, draw(st.integers(1, limit))))
                bought += part
        part = draw(st.integers(0, bought))
        if part:
            trades.append((place, Purpose.UNWIND, part, draw(st.integers(1, 9_999))))
    row, fills = basket_of(legs, payouts, trades)
    # Several fills of an order, as long as they add up.
    split = draw(st.booleans())
    if split:
        serial = numbers()
        fills = [
            replace(fill, count=Count(part), fee=fee, trade_id=f"s{next(serial)}")
            for fill in fills
            for part, fee in ((fill.count - fill.count // 2, fill.fee), (fill.count // 2, Cash(0)))
            if part
        ]
    settled = draw(st.one_of(st.none(), st.integers(-(10**9), 10**9).map(Cash)))
    return replace(row, expected_profit=Cash(draw(st.integers(-(10**8), 10**8))), settled_profit=settled), fills


@settings(max_examples=400, deadline=None)
@given(baskets())
def test_the_parts_always_add_up_to_what_the_fills_left(made: tuple[Basket, list[Fill]]) -> None:
    row, fills = made
    explained = explain(row, fills)
    worst = min(
        sum(
            fill.count * (pays[place] if fill.outcome is YES else ONE_DOLLAR - pays[place])
            for fill in fills
            for place in [int(fill.ticker.removeprefix("M-"))]
        )
        for pays in row.payouts
    ) - sum(fill.count * fill.price + fill.fee for fill in fills)
    assert explained.locked == worst
    assert explained.realised == (worst if row.settled_profit is None else row.settled_profit)
    assert explained.expected + sum(explained.total(part) for part in Part) == explained.realised
    assert explained.total(Part.PRICE) >= 0, "no purchase is above its limit"
    assert explained.loss == max(0, -worst)
    if not any(order.purpose is Purpose.UNWIND for order in row.orders):
        assert explained.total(Part.UNWIND) == 0
    if all(row.leg_position(place) == leg.count for place, leg in enumerate(row.legs)):
        assert explained.total(Part.MISSING) == explained.total(Part.UNHEDGED) == 0
    if not any(row.leg_position(place) for place in range(len(row.legs))):
        assert explained.total(Part.UNHEDGED) == 0
