"""Random histories on the exchange's own core: our cash, positions, fees and results are its own at every step."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Price
from kalshi_arb.domain.portfolio import cash_by_shard
from kalshi_arb.domain.positions import settled_profits, with_results
from tests.books_desk import ACTIONS, PAYOUTS, Desk, play

EXAMPLES = int(os.environ.get("KALSHI_ARB_BOOKS_EXAMPLES", "60"))
"""The long form: KALSHI_ARB_BOOKS_EXAMPLES=5000."""


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    ACTIONS,
    st.sampled_from(Precision),
    st.sampled_from([0, 5_000, 10_000, 12_345]),
    st.lists(PAYOUTS, min_size=3, max_size=3),
    st.booleans(),
)
def test_our_books_are_the_exchanges_at_every_step(
    actions: list[tuple[object, ...]], precision: Precision, multiplier: int, last: list[Price], netting: bool
) -> None:
    """With netting on, the exchange's cash is ours and what has come back of it."""
    desk = Desk(precision, multiplier, netting=netting)
    play(desk, actions, last, desk.check)
    provisional = settled_profits(with_results(desk.ledger.all()))
    desk.wait(30)
    desk.check()
    desk.check_end()
    assert desk.cash(desk.ledger.all()) == cash_by_shard(desk.ledger.all()), "in the end nothing is returned any more"
    if precision is Precision.DIRECT:
        # Provisional results are exact payouts; what is paid may be rounded down, market by market.
        final = settled_profits(desk.ledger.all())
        assert all(0 <= provisional[basket] - final[basket] < 3 * precision for basket in final)
