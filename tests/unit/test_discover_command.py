"""`kalshi-arb discover` and `relations show --input`: what a person and a machine see of recorded payloads."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kalshi_arb.cli.main import cli
from tests.recorded_samples import CLOSED, EVENT, MARKET, SECOND, write

GROUP = "KXA-1:ladder"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def payload(tmp_path: Path) -> str:
    return write(tmp_path / "events.json", {"events": [{**EVENT, "markets": [MARKET, SECOND, CLOSED]}]})


def test_the_json_is_exactly_what_is_promised(payload: str) -> None:
    done = invoke("discover", "--input", payload, "--json")
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.output)
    assert found.keys() == {"groups", "refused", "counts"}
    (group,) = found["groups"]
    assert group["id"] == GROUP
    assert group["family"] == "ladder"
    assert group["markets"] == ["KXA-1-T5", "KXA-1-T6"]
    assert group["relations"] == [{"kind": "subset", "a": "KXA-1-T6", "b": "KXA-1-T5"}]
    assert (group["states"], group["edge_states"]) == (3, [])
    assert len(group["fingerprint"]) == 64
    assert "fee_type" in group["absent"]
    assert group.keys() == {
        "id", "family", "markets", "relations", "states", "edge_states", "fingerprint", "absent",
    }  # fmt: skip
    assert found["refused"] == [{"markets": ["KXA-1-X"], "family": "market", "reason": "already_closed"}]
    assert found["counts"]["refused"] == {"already_closed": 1}
    assert (found["counts"]["markets"], found["counts"]["groups"]) == (3, 1)


def test_a_person_reads_families_reasons_and_what_is_absent(payload: str) -> None:
    text = invoke("discover", "--input", payload).output
    assert "1 events, 3 markets; nothing was kept" in text
    assert "ladder" in text
    assert "already closed: it is closed (exchange: status, close_time) (KXA-1-X)" in text
    assert "events without fee_type" in text
    assert "Fees are taken as quadratic" in text


@pytest.mark.parametrize(
    ("content", "cause"), [("{", "bad.json: "), ("[]", "bad.json: holds no event"), ('{"a": 1}', "holds no event")]
)
def test_a_malformed_file_is_one_line_and_exit_code_2(tmp_path: Path, content: str, cause: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    done = invoke("discover", "--input", str(path), "--json")
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert cause in line


def test_several_files_may_follow_one_option(payload: str, tmp_path: Path) -> None:
    other = write(tmp_path / "series.json", {"series": {"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 1}})
    (group,) = json.loads(invoke("discover", "--input", payload, other, "--json").output)["groups"]
    assert "fee_type" not in group["absent"]
    assert invoke("discover", payload).exit_code == 2
    assert invoke("discover", "--input", payload, "--exchange", "demo").exit_code == 2


def test_own_relations_are_read_and_their_errors_named(payload: str, tmp_path: Path) -> None:
    path = tmp_path / "relations.yaml"
    path.write_text("relations:\n  - kind: complement\n    members: [KXA-1-T5, KXA-1-T6]\n    reason: so it is said\n")
    found = json.loads(invoke("discover", "--input", payload, "--relations", str(path), "--json").output)
    assert [one["reason"] for one in found["refused"]][-1] == "user_relation_contradicted"
    path.write_text("relations:\n  - kind: subset\n    members: [KXA-1-T5, NOWHERE]\n    reason: x\n")
    done = invoke("discover", "--input", payload, "--relations", str(path))
    assert done.exit_code == 2
    assert done.output == f"Error: {path}, line 2: no market NOWHERE is listed\n"


def test_a_group_of_a_recording_is_shown_with_its_reasons(payload: str) -> None:
    text = invoke("relations", "show", GROUP, "--input", payload).output
    for part in ("certificate: why these 3 states", "subset: KXA-1-T6, KXA-1-T5", "refused nearby", "already_closed"):
        assert part in text
    view = json.loads(invoke("relations", "show", GROUP, "--input", payload, "--json").output)
    assert (view["id"], view["standing"], view["mode"]) == (GROUP, "active", "recorded")
    done = invoke("relations", "show", "NOTHING", "--input", payload)
    assert (done.exit_code, "forms no group NOTHING" in done.output) == (2, True)
