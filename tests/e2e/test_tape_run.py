"""A tape with one real bargain through the whole local system: found, bought at the recorded depth, told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

TAPE = Path(__file__).resolve().parents[1] / "payloads" / "tapes" / "lock.jsonl"
EVENT = "KXMADELOCK-26MAR03"


def test_a_recorded_lock_is_bought_once_and_held(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "kalshi_arb.cli", "run", "--fresh", "--json", "--folder", str(tmp_path)]
    # The second pass, an hour later on the tape, comes after nine seconds and shows the same levels again.
    arguments += ["--tape", str(TAPE), "--speed", "400", "--seconds", "26"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    tape = told["tape"]
    assert (tape["passes"], tape["rows"], tape["events"]) == (2, 4, 1)
    # What was taken stays taken: the second pass has nothing left to contradict.
    assert tape["raw"] == tape["net"] == {"bids_over_1": 0, "asks_under_1": 0, "nested_crossed": 1}
    assert tape["locks"] == [{"event": EVENT, "at": "2026-03-03T10:00:00Z", "profit": tape["proved_profit"]}]
    assert (told["baskets"]["lock"], told["baskets"]["settled"]) == (1, 0)
    assert float(told["locked_profit"]) >= float(told["expected_profit"]) > 1
    assert told["ledger_matches_exchange"]
    assert "not on tape result" in done.stderr
