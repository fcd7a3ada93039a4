"""The comparison itself: one load for everybody, wrong answers and missing peers stop it, and ours holds its ratios."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bench import contenders, feed, loopback
from infra.bench.contenders import OurBooks, OurFeed, PeerMissingError
from infra.bench.feed import DifferentBooksError, compare_answers, summary, time_contenders
from infra.bench.workload import Workload, make
from kalshi_arb.domain.errors import KalshiArbError

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-bench" / "bin" / "python"
SIZE = (100, 2_000, 7)
OURS = {"books": OurBooks, "feed": OurFeed}


@pytest.fixture(scope="module")
def load() -> Workload:
    return make(*SIZE)


def test_the_load_is_the_same_for_the_same_seed_and_has_what_a_recording_has(load: Workload) -> None:
    assert make(*SIZE) == load
    assert make(100, 2_000, 8) != load
    assert (len(load.tickers), len(load.snapshots), len(load.deltas)) == (100, 100, 2_000)
    times = [json.loads(frame)["msg"]["ts_ms"] for frame in load.deltas]
    assert times == sorted(times)
    assert 1.4 < len(times) / len(set(times)) < 1.9
    assert all(200 < len(frame) < 280 for frame in load.deltas)


def test_ours_ends_with_the_books_of_the_load_and_the_screen_finds_what_is_mispriced(load: Workload) -> None:
    compare_answers(load, OURS)
    ours = OurFeed(load)
    ours.feed(load.snapshots)
    ours.feed(load.deltas)
    ours.check()
    assert list(ours.sink.groups) == ["KXBENCH-26NOV22H03:ladder"]


class Forgetful(OurBooks):
    """Leaves one change out, and everything after the gap."""

    def feed(self, frames: tuple[bytes, ...]) -> None:
        super().feed(frames[:-2] + frames[-1:])


def test_other_books_stop_the_comparison(load: Workload) -> None:
    with pytest.raises(DifferentBooksError, match="forgetful ends with other books on 100 markets"):
        compare_answers(load, {"forgetful": Forgetful})


class Blind(OurFeed):
    """A screen that sees nothing."""

    def feed(self, frames: tuple[bytes, ...]) -> None:
        super().feed(frames)
        self.sink.groups.clear()


def test_a_screen_that_finds_nothing_stops_the_comparison(load: Workload) -> None:
    with pytest.raises(KalshiArbError, match="let none through"):
        compare_answers(load, {"blind": Blind})


def test_a_ratio_is_the_median_of_the_rounds_and_carries_its_target() -> None:
    times = {"ours": [10.0, 20.0, 30.0], "theirs": [40.0, 60.0, 300.0]}
    report = summary(times, {"faster": ("ours", "theirs", 4.0), "slower": ("theirs", "ours", 1.0)})
    assert report["median"]["ours"] == {"ns_per_frame": 20, "frames_per_s": 50_000_000}
    assert report["ratios"]["faster"] == {"ratio": 4.0, "target": 4.0, "met": True, "of": "theirs / ours"}
    assert report["ratios"]["slower"]["met"] is False


def test_every_round_times_everybody(load: Workload) -> None:
    times = time_contenders(load, 2, OURS)
    assert {name: len(rounds) for name, rounds in times.items()} == {"books": 2, "feed": 2}
    assert all(time > 0 for rounds in times.values() for time in rounds)


def test_without_a_peer_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(contenders, "import_module", absent)
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])
    assert feed.main() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: pykalshi is not installed here" in told.err
    assert "make bench-feed" in told.err
    with pytest.raises(PeerMissingError):
        contenders.peer("nautilus_trader.model.book")


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--deltas", "10"], ["--markets", "5"], ["--seed", "x"]])
def test_wrong_numbers_are_wrong_use(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        feed.main()
    assert ended.value.code == 2


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with loopback.serving(*SIZE) as url:
        yield url


def test_the_whole_chain_over_a_socket_ends_with_the_same_books(address: str, load: Workload) -> None:
    # Twice: every connection gets everything anew.
    for _ in range(2):
        taken, books = loopback.run("ours", address, load)
        assert taken > 0
        assert books == load.final
    assert loopback.run("websockets_alone", address, load)[1] is None


@pytest.mark.skipif(not PEERS.exists(), reason="the peers are not installed: `make bench-feed` makes .venv-bench")
def test_ours_is_several_times_faster_than_its_peers() -> None:
    size = ["--deltas", "4000", "--markets", "100", "--runs", "5", "--socket-runs", "1"]
    command = [str(PEERS), "-m", "infra.bench.feed", "--json", *size]
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}shared{os.pathsep}feed_container"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["answers_equal"] is True
    ratios = {name: row["ratio"] for name, row in report["without_socket"]["ratios"].items()}
    # Half of what a quiet machine shows, since this one may not be.
    assert ratios["apply_over_pykalshi"] > 3
    assert ratios["apply_screen_over_pykalshi"] > 2
    assert ratios["apply_over_nautilus"] > 1.5
    assert report["loopback"]["ratios"]["chain_over_pykalshi"]["ratio"] > 1
