"""A market whose fee is going to change before the next discoveries is in no group."""

import pytest

from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.relations.assembly import FEE_HORIZON_MS, Reason, unfit
from tests.market_samples import CLOSE_MS, market


@pytest.mark.parametrize(
    ("due_in_ms", "reason"),
    [(None, None), (1, Reason.FEES_CHANGING), (FEE_HORIZON_MS, Reason.FEES_CHANGING), (FEE_HORIZON_MS + 1, None)],
)
def test_an_announced_change_refuses_a_market_when_it_is_near(due_in_ms: int | None, reason: Reason | None) -> None:
    now_ms = CLOSE_MS - 10 * FEE_HORIZON_MS
    change_ms = None if due_in_ms is None else now_ms + due_in_ms
    listed = ListedMarket(market("> 5"), MarketStatus.ACTIVE, fee_change_ms=change_ms)
    assert unfit(listed, now_ms) is reason
