"""A tape with one real bargain through the whole local system: found, bought at the recorded depth, told."""

from pathlib import Path

import pytest

from tests.whole_system import wait_for, whole_system

pytestmark = pytest.mark.e2e

TAPE = Path(__file__).resolve().parents[1] / "payloads" / "tapes" / "lock.jsonl"
EVENT = "KXMADELOCK-26MAR03"
# The second pass, an hour later on the tape, comes 27 seconds after the first and shows the same levels again.
SPEED = 150


def test_a_recorded_lock_is_bought_once_and_held(tmp_path: Path) -> None:
    with whole_system(tmp_path, "--fresh", "--tape", str(TAPE), "--speed", str(SPEED)) as system:
        wait_for("the lock", lambda: system.baskets("lock"))
        assert system.ask_exchange("admin/tape")["passes"] == 1, "it was bought before the second pass"
        # As long as the markets are open, what was bought could be bought again.
        wait_for(
            "their close",
            lambda: system.ask_exchange(f"trade-api/v2/events/{EVENT}")["markets"][0]["status"] != "active",
        )
        ended = system.end()
    told = ended.account
    tape = told["tape"]
    assert (tape["passes"], tape["rows"], tape["events"]) == (2, 4, 1)
    # What was taken stays taken: the second pass has nothing left to contradict.
    assert tape["raw"] == tape["net"] == {"bids_over_1": 0, "asks_under_1": 0, "nested_crossed": 1}
    assert tape["locks"] == [{"event": EVENT, "at": "2026-03-03T10:00:00Z", "profit": tape["proved_profit"]}]
    assert (told["baskets"]["lock"], told["baskets"]["settled"]) == (1, 0)
    assert float(told["locked_profit"]) >= float(told["expected_profit"]) > 1
    assert told["ledger_matches_exchange"]
    assert "not on tape result" in ended.said
