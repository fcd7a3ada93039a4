"""A recorded day, played through exchange, stream, screen and detection, against independently computed figures."""

from pathlib import Path
from typing import Any

import pytest

from infra.exchange.assembly import TapeOptions
from infra.exchange.tape_terms import load_tape
from infra.local.tape_report import proved_locks, tape_json
from kalshi_arb.domain.money import Count
from tests.tape_bench import TapeBench

BOOKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "books"
ONE_FILL_PER_LEVEL = Count(10**9)


def play(name: str, speed: float) -> tuple[TapeBench, dict[str, Any]]:
    path = BOOKS / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not on this machine")
    bench = TapeBench(TapeOptions(load_tape([str(path)]), speed, waits=False), smallest_fill=ONE_FILL_PER_LEVEL)
    bench.play()
    stats = bench.stats()
    return bench, tape_json(stats, proved_locks(stats["served"], bench.opportunities()))


def test_the_twentieth_shows_what_is_known_of_it_and_nothing_else() -> None:
    bench, told = play("weather/2026-07-20.jsonl.gz", 3_600)
    assert (told["passes"], told["rows"], told["events"]) == (4, 1_688, 100)
    assert told["raw"] == {"bids_over_1": 33, "asks_under_1": 6, "nested_crossed": 3}
    assert told["net"] == {"bids_over_1": 1, "asks_under_1": 0, "nested_crossed": 2}
    assert told["proved"] == 3
    assert told["locks"] == [
        {"event": "KXTEMPCHIH-26JUL1922", "at": "2026-07-20T01:00:22.073525+00:00", "profit": "0.002200"},
        {"event": "KXHIGHTNOLA-26JUL20", "at": "2026-07-20T04:00:12.274648+00:00", "profit": "0.012800"},
        {"event": "KXTEMPAUSH-26JUL2004", "at": "2026-07-20T07:01:05.815698+00:00", "profit": "0.002200"},
    ]
    assert told["proved_profit"] == "0.017200"
    assert bench.candidates < 100


@pytest.mark.parametrize(
    ("day", "raw", "net", "locks"),
    [
        (
            "2026-07-18",  # one of the locks stands for an hour, and is told for every pass
            (31, 7, 0),
            (6, 0, 0),
            [
                ("2026-07-18T00:27:54", "KXLOWTATL-26JUL18"),
                ("2026-07-18T01:03:25", "KXHIGHDEN-26JUL18"),
                ("2026-07-18T01:03:25", "KXLOWTATL-26JUL18"),
                ("2026-07-18T01:28:12", "KXHIGHDEN-26JUL18"),
                ("2026-07-18T01:28:12", "KXLOWTATL-26JUL18"),
            ],
        ),
        ("2026-07-22", (30, 3, 1), (2, 0, 0), [("2026-07-22T02:30:00", "KXHIGHAUS-26JUL22")]),
        ("2026-07-24", (21, 1, 0), (0, 0, 0), []),
    ],
)
def test_other_days_show_their_known_locks_too(
    day: str, raw: tuple[int, ...], net: tuple[int, ...], locks: list[tuple[str, str]]
) -> None:
    _, told = play(f"weather/{day}.jsonl.gz", 3_600)
    kinds = ("bids_over_1", "asks_under_1", "nested_crossed")
    assert told["raw"] == dict(zip(kinds, raw, strict=True))
    assert told["net"] == dict(zip(kinds, net, strict=True))
    assert sorted((lock["at"][:19], lock["event"]) for lock in told["locks"]) == locks


def test_a_tape_without_strikes_plays_to_its_end_and_proves_nothing() -> None:
    bench, told = play("mixed/2026-07-14.jsonl.gz", 3_600)
    assert (told["passes"], told["rows"], told["proved"]) == (6, 3_814, 0)
    assert bench.groups.all() == []
    assert told["missing_fields"]["strike_type"]["markets"] == told["events"] == 1_442
