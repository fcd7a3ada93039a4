"""`kalshi-arb scan --tape` on recorded weather books against figures that were computed independently of this project:
how many groups and passes contradict themselves, still do after fees, hold a bundle over depth, and are proved."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalshi_arb.cli.main import cli

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "books" / "weather"
KINDS = ("bids_over_1", "asks_under_1", "nested_crossed")


def scanned(day: str) -> dict[str, Any]:
    path = RECORDINGS / f"{day}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recording of {day} is not on this machine")
    result = CliRunner().invoke(cli, ["scan", "--tape", str(path), "--json"])
    assert result.exit_code == 0, result.output
    view: dict[str, Any] = json.loads(result.stdout)
    return view


@pytest.mark.parametrize(
    ("day", "families", "raw", "net", "locks"),
    [
        (
            "2026-07-18",
            {"ladder": 20, "partition": 320},
            (31, 7, 0),
            (6, 0, 0),
            # The key's profits are at the levels; a leg of two levels costs its limit in the worst case.
            {"KXLOWTATL-26JUL18": (3, 900, 200), "KXHIGHDEN-26JUL18": (2, 500, 0)},
        ),
        (
            "2026-07-20",
            {"ladder": 20, "partition": 248},
            (33, 6, 3),
            (1, 0, 2),
            {
                "KXHIGHTNOLA-26JUL20": (1, 12_800, 0),
                "KXTEMPCHIH-26JUL1922": (1, 2_200, 0),
                "KXTEMPAUSH-26JUL2004": (1, 2_200, 0),
            },
        ),
        ("2026-07-22", {"ladder": 15, "partition": 240}, (30, 3, 1), (2, 0, 0), {"KXHIGHAUS-26JUL22": (1, 3_300, 0)}),
        ("2026-07-24", {"ladder": 10, "partition": 128}, (21, 1, 0), (0, 0, 0), {}),
    ],
)
def test_contradictions_dwindle_to_the_known_locks(
    day: str,
    families: dict[str, int],
    raw: tuple[int, ...],
    net: tuple[int, ...],
    locks: dict[str, tuple[int, int, int]],
) -> None:
    view = scanned(day)
    tape, counts = view["tape"], view["counts"]
    assert tape["families"] == families
    assert tuple(tape["raw"][kind] for kind in KINDS) == raw
    assert tuple(tape["net"][kind] for kind in KINDS) == net
    assert counts["groups"] == sum(families.values())
    # After fees nothing is left but what the screen lets through and the search finds a bundle in.
    assert counts["screened"] == counts["solved"] == sum(net)
    assert counts["proved"] == sum(number for number, _, _ in locks.values()) == len(view["opportunities"])
    assert counts["dropped"].get("fee_rounding", 0) == counts["solved"] - counts["proved"]
    assert len({one["id"] for one in view["opportunities"]}) == counts["proved"]
    found: dict[str, list[int]] = {}
    for one in view["opportunities"]:
        assert one["grade"] == "proved"
        assert one["skew_ms"] is None
        event = one["legs"][0]["ticker"].rpartition("-")[0]
        found.setdefault(event, []).append(int(one["worst_profit"].replace(".", "")))
    assert {event: len(profits) for event, profits in found.items()} == {
        event: number for event, (number, _, _) in locks.items()
    }
    for event, profits in found.items():
        _, profit, at_limit = locks[event]
        assert all(profit - at_limit <= one <= profit for one in profits)
