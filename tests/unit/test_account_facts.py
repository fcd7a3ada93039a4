"""The day's loss and the account's equity, from the ledger's own entries."""

from kalshi_arb.domain.eastern import midnight_ms
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, Settlement, fill_entry, settlement_entry
from kalshi_arb.domain.positions import replay
from kalshi_arb.risk.account import daily_loss, equity, locked_cost

NOON = 1_764_003_600_000  # 2025-11-24 12:00 in New York
MIDNIGHT = midnight_ms(NOON)


def bought(
    number: int, ticker: str, outcome: Outcome, cents: int, contracts: int, at_ms: int, basket: str = "b1", fee: int = 0
) -> LedgerEntry:
    fill = Fill(
        f"t{number}", f"o{number}", ticker, outcome, Count(contracts * 100), Price(cents * 100), Cash(fee), at_ms
    )
    return fill_entry(fill, basket)


def paid(ticker: str, yes_cents: int, revenue: int, at_ms: int) -> LedgerEntry:
    return settlement_entry(Settlement(ticker, Price(yes_cents * 100), Cash(revenue), at_ms))


def test_midnight_is_new_yorks() -> None:
    assert NOON - MIDNIGHT == 12 * 3_600_000


def test_a_lock_across_midnight_counts_as_what_it_came_to() -> None:
    """Ninety cents for a dollar: the losing leg is paid on one day, the winning one on the next."""
    entries = [
        bought(1, "A", Outcome.YES, 40, 1, MIDNIGHT - 9_000),
        bought(2, "B", Outcome.YES, 50, 1, MIDNIGHT - 8_000),
        paid("A", 0, 0, MIDNIGHT - 1_000),
    ]
    assert daily_loss(replay(entries), MIDNIGHT - 500) == 0, "nothing has come to its end"
    assert daily_loss(replay([*entries, paid("B", 100, 1_000_000, MIDNIGHT + 1_000)]), NOON) == 0, "a gain is no loss"


def test_losses_of_the_day_add_up_fees_included_and_gains_set_off() -> None:
    entries = [
        # Unwound: bought for 50 and, as NO, for 60 cents.
        bought(1, "A", Outcome.YES, 50, 10, MIDNIGHT + 1, "b1", fee=30_000),
        bought(2, "A", Outcome.NO, 60, 10, MIDNIGHT + 2, "b1", fee=20_000),
        bought(3, "B", Outcome.YES, 20, 1, MIDNIGHT + 3, "b2"),
        paid("B", 100, 1_000_000, MIDNIGHT + 4),
        bought(4, "C", Outcome.YES, 90, 10, MIDNIGHT - 9, "b3"),
        paid("C", 0, 0, MIDNIGHT - 5),
    ]
    assert daily_loss(replay(sorted(entries, key=lambda one: one.created_ms)), NOON) == 1_050_000 - 800_000


def test_equity_is_cash_and_what_is_locked_at_cost() -> None:
    entries = [
        bought(1, "A", Outcome.YES, 40, 10, NOON, fee=99),
        bought(2, "B", Outcome.NO, 30, 10, NOON),
        bought(3, "B", Outcome.YES, 60, 4, NOON),
        bought(4, "C", Outcome.YES, 10, 10, NOON),
        paid("C", 0, 0, NOON),
    ]
    # All of A, and of B's ten NO the six that no YES closed.
    assert locked_cost(replay(entries)) == 4_000_000 + 1_800_000
    assert equity({0: Cash(5), 2: Cash(7)}, Cash(3), Cash(0)) == 15
    assert equity({0: Cash(5), 2: Cash(7)}, Cash(3), Cash(2)) == 13, "what came back is in the balance, and is locked"
    assert locked_cost(replay([])) == 0
