"""`kalshi-arb run --exchange prod` on paper, the embedded exchange standing in for Kalshi's production exchange."""

from pathlib import Path

import httpx

from kalshi_arb.domain.paper import ASSUMPTION
from tests.stand_in import kalshi_stand_in

SECONDS = 20


def test_a_paper_run_trades_and_its_books_balance(tmp_path: Path) -> None:
    with kalshi_stand_in(tmp_path) as exchange:
        done = exchange.run("prod", "paper", tmp_path / "run", SECONDS)
        account = httpx.get(f"{exchange.address['admin_url']}/account", timeout=10).json()
    result = done.result
    assert result["mode"] == "paper"
    assert result["exchange"] == "paper account on books of kalshi prod, a stand-in on this machine"
    assert result["assumption"] == ASSUMPTION
    assert result["candidates"] > 0
    assert sum(result["baskets"][end] for end in ("lock", "flat", "held", "settled")) > 0, "something was bought"
    assert result["ledger_matches_exchange"], result["ledger_minus_exchange"]
    assert account["cash"] == account["initial_cash"], "nothing was sent to the exchange"
    assert not any(account["positions"].values())
    assert "PAPER, real books, fills of our own assumption, no real money" in done.said
    assert f"paper: {ASSUMPTION}" in done.said
    assert "ledger equals paper account" in done.said
    assert done.told
    assert all(text.startswith("paper ") for text in done.told)
    assert exchange.files_with_the_key(done.folder) == []
