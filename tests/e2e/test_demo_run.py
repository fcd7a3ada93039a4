"""`kalshi-arb run --exchange demo` with a user's key, the embedded exchange standing in for Kalshi's demo exchange."""

from pathlib import Path

from tests.stand_in import kalshi_stand_in

SECONDS = 12


def test_a_demo_run_trades_and_its_books_balance(tmp_path: Path) -> None:
    with kalshi_stand_in(tmp_path) as exchange:
        done = exchange.run("demo", "demo", tmp_path / "run", SECONDS)
    result = done.result
    assert (result["mode"], result["exchange"]) == ("demo", "kalshi demo, a stand-in on this machine")
    assert result["frames"] > 0
    assert sum(result["groups"].values()) > 0
    assert result["candidates"] > 0
    assert result["ledger_matches_exchange"], result["ledger_minus_exchange"]
    assert "DEMO, Kalshi's demo exchange, no real money" in done.said
    assert done.told
    assert all(text.startswith("demo ") for text in done.told)
    assert exchange.files_with_the_key(done.folder) == []
