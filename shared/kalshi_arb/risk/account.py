"""What the account is worth and what it lost today, by the ledger of the exchange's own fills and payments. Pure."""

from collections import Counter
from collections.abc import Mapping

from kalshi_arb.domain.eastern import midnight_ms
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.positions import Books


def daily_loss(books: Books, now_ms: int) -> Cash:
    """What baskets that came to an end since midnight in New York have lost together, gains set off; 0 when they
    gained (1e-6 dollars).

    A basket's end is the last movement that changed its result. So a lock whose losing leg is paid on one day and its
    winning leg on the next counts once, as what it came to.
    """
    since = midnight_ms(now_ms)
    open_baskets = {owner for (owner, _), held in books.virtual.items() if held.count}
    ended: dict[str, int] = {}
    profits: Counter[str] = Counter()
    for gain in books.gains:
        if gain.basket_id and gain.basket_id not in open_baskets:
            ended[gain.basket_id] = max(gain.ms, ended.get(gain.basket_id, 0))
            profits[gain.basket_id] += gain.realised - gain.fee
    return Cash(max(0, -sum(profit for basket_id, profit in profits.items() if ended[basket_id] >= since)))


def locked_cost(books: Books) -> Cash:
    """What the contracts that the account holds now have cost, fees left out (1e-6 dollars). Contracts that were there
    before the ledger cost nothing in it."""
    return Cash(sum(held.cost for held in books.net.values() if held.count))


def equity(balance: Mapping[int, Cash], locked: Cash, returned: Cash) -> Cash:
    """Cash on all shards and what is locked: what shares are shares of. Collateral that came back across the markets
    of an event is in both, and counts once."""
    return Cash(sum(balance.values()) + locked - returned)
