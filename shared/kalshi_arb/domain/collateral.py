"""Collateral that the exchange gives back across the markets of an event, from the journal's entries. Pure.

Of the NO contracts held in the markets of an event of which at most one pays (MECNET) only one market's can lose. An
account that has netting on gets back at once what the others are sure to pay, and it is taken out of their payments
again (Kalshi API documentation, collateral return; the rule for NO contracts alone). So it is the exchange's cash
before its time and no profit. It depends on what is held now and on what the event's markets have paid, not on the way
there: as long as netting is on from the first purchase on. What is bought while it is off is never covered; which
contracts those were the exchange does not say, so nothing here models it.

For events of ordered thresholds (DIRECNET) the exchange returns something too, by a rule that is not published. It
counts as nothing here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kalshi_arb.domain.market import CollateralReturn
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, effective, net_positions


@dataclass(frozen=True, slots=True)
class EventCollateral:
    """What an event gives collateral back for. ``markets`` are all of its markets, each with what one YES has paid
    (1e-4 dollars), None until it has; ``shard`` is where its cash is."""

    event_ticker: str
    collateral_return: CollateralReturn
    shard: int
    markets: Mapping[str, Price | None]


def sure_payout(counts: Iterable[int], yes_left: Price = ONE_DOLLAR) -> Cash:
    """What NO contracts of several markets (1e-2 each) pay at the least, while one YES of each pays at most
    ``yes_left`` in all."""
    own = list(counts)
    return Cash(notional(ONE_DOLLAR, Count(sum(own))) - notional(yes_left, Count(max(own, default=0))))


def no_tickers(positions: Mapping[str, Count]) -> list[str]:
    """The markets of which NO is held."""
    return sorted(ticker for ticker, count in positions.items() if count < 0)


def returned_by_shard(entries: Iterable[LedgerEntry], events: Mapping[str, EventCollateral]) -> dict[int, Cash]:
    """What has come back for the contracts that are held now: the exchange's cash holds it, the journal's does not.

    :param events: by market, for every market of which NO is held; one that is missing returns nothing
    :raises DomainError: an entry appears twice.
    """
    rows = effective(entries)
    # A payment that is booked counts, even if the listing of the event is older.
    paid = {entry.ticker: entry.price for entry in rows if entry.kind is EntryKind.SETTLEMENT}
    counts: dict[str, list[int]] = {}
    for ticker, count in net_positions(rows).items():
        event = events.get(ticker)
        if count < 0 and event is not None and event.collateral_return is CollateralReturn.MECNET:
            counts.setdefault(event.event_ticker, []).append(-count)
    cash: Counter[int] = Counter()
    by_event = {event.event_ticker: event for event in events.values()}
    for name, own in counts.items():
        event = by_event[name]
        payouts = (paid.get(ticker) if payout is None else payout for ticker, payout in event.markets.items())
        yes_left = Price(max(0, ONE_DOLLAR - sum(payout for payout in payouts if payout is not None)))
        cash[event.shard] += sure_payout(own, yes_left)
    return {shard: Cash(amount) for shard, amount in cash.items() if amount}
