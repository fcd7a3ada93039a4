"""`kalshi-arb run --exchange prod` on paper, the embedded exchange standing in for Kalshi's production exchange."""

from pathlib import Path

import pytest

from kalshi_arb.domain.paper import ASSUMPTION
from tests.stand_in import kalshi_stand_in
from tests.whole_system import BOUGHT, wait_for

pytestmark = pytest.mark.e2e


def test_a_paper_run_trades_and_its_books_balance(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with kalshi_stand_in(tmp_path) as exchange, exchange.run("prod", "paper", folder) as system:
        wait_for("a basket that bought something", lambda: system.baskets(*BOUGHT))
        wait_for("an alert", system.told)
        ended = system.end()
        real = system.ask_exchange("admin/account")
    account = ended.account
    assert account["mode"] == "paper"
    assert account["exchange"] == "paper account on books of kalshi prod, a stand-in on this machine"
    assert account["assumption"] == ASSUMPTION
    assert account["candidates"] > 0
    assert sum(account["baskets"][end] for end in BOUGHT) > 0, "something was bought"
    assert account["ledger_matches_exchange"], account["ledger_minus_exchange"]
    assert real["cash"] == real["initial_cash"], "nothing was sent to the exchange"
    assert not any(real["positions"].values())
    assert "PAPER, real books, fills of our own assumption, no real money" in ended.said
    assert f"paper: {ASSUMPTION}" in ended.said
    assert "ledger equals paper account" in ended.said
    assert all(text.startswith("paper ") for text in system.told())
    assert exchange.files_with_the_key(folder) == []
