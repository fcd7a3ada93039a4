"""`kalshi-arb run --exchange demo` with a user's key, the embedded exchange standing in for Kalshi's demo exchange."""

from pathlib import Path

import pytest

from tests.stand_in import kalshi_stand_in
from tests.whole_system import BOUGHT, wait_for

pytestmark = pytest.mark.e2e


def test_a_demo_run_trades_and_its_books_balance(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with kalshi_stand_in(tmp_path) as exchange, exchange.run("demo", "demo", folder) as system:
        wait_for("a basket that bought something", lambda: system.baskets(*BOUGHT))
        wait_for("an alert", system.told)
        ended = system.end()
    account = ended.account
    assert (account["mode"], account["exchange"]) == ("demo", "kalshi demo, a stand-in on this machine")
    assert account["frames"] > 0
    assert sum(account["groups"].values()) > 0
    assert account["candidates"] > 0
    assert account["ledger_matches_exchange"], account["ledger_minus_exchange"]
    assert "DEMO, Kalshi's demo exchange, no real money" in ended.said
    assert all(text.startswith("demo ") for text in system.told())
    assert exchange.files_with_the_key(folder) == []
