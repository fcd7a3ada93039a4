"""The client's own budget beside the exchange's: what the client lets through, the exchange takes."""

import pytest

from kalshi_arb.kalshi.rate_limit import WHOLE, Budget, Charge, Share, Tier
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import Credentials
from tests.live_exchange import KEY_ID, PEM, live_exchange

READS = 50  # of 10 tokens by each of two processes, at a bucket of 600


class Counting(Budget):
    """Counts what the exchange refused, and learns from it all the same."""

    refusals = 0

    def refused(self, charge: Charge, now_ms: int) -> None:
        self.refusals += 1
        super().refused(charge, now_ms)


@pytest.mark.parametrize(("share", "refuses"), [(Share(50, 50), False), (WHOLE, True)])
def test_processes_within_their_shares_are_never_refused_and_beyond_them_they_slow_down(
    share: Share, refuses: bool
) -> None:
    with live_exchange(tier="basic") as exchange:
        now_ms = exchange.clock.now_ms()
        budgets = [Counting(Tier.BASIC.limits, share, now_ms) for _ in range(2)]
        clients = [Kalshi(exchange.url, Credentials(KEY_ID, PEM), budget=budget) for budget in budgets]
        for _ in range(READS):
            for kalshi in clients:
                kalshi.portfolio.balance()
        for kalshi in clients:
            kalshi.client.close()
    assert (sum(budget.refusals for budget in budgets) > 0) is refuses
