"""Every case of ``tests/payloads/relations`` on the real path: what is accepted, what is refused and why, and what the
verifier makes of a bundle."""

import pytest

from infra.bench.relation_cases import Case, group_json, judge_bundle, read_cases, refusal_json, run, sorted_json
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.kalshi.wire import time_ms
from kalshi_arb.relations.assembly import Reason

CASES = read_cases()
FEWEST_CASES = 40
# Reasons that need another input than one payload: groups beyond the largest size, and users' relations of dozens of
# markets. They are tested beside the code that gives them.
ELSEWHERE = {Reason.TOO_LARGE, Reason.USER_UNKNOWN, Reason.USER_STATES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_payload_gives_the_expected_groups_grades_and_refusals(case: Case) -> None:
    found = run(case)
    expected = case.expected
    assert found.user_error == expected.get("user_error")
    assert found.unreadable.keys() == expected.get("unreadable", {}).keys()
    for event, words in expected.get("unreadable", {}).items():
        assert words in found.unreadable[event]
    plain = [{name: value for name, value in one.items() if name != "certificate"} for one in expected["groups"]]
    assert sorted_json(map(group_json, found.groups.values())) == sorted_json(plain)
    for one in expected["groups"]:
        assert set(one.get("certificate", ())) <= set(found.groups[one["id"]].certificate)
    assert sorted_json(map(refusal_json, found.refusals)) == sorted_json(expected["refused"])
    assert found.changes == expected.get("changes", [])
    for bundle in expected.get("bundles", ()):
        judged = judge_bundle(found.groups[bundle["group"]], bundle, time_ms(case.content["now"]))
        if "error" in bundle:
            assert bundle["error"] in judged["error"], bundle["name"]
        else:
            wanted = {name: bundle[name] for name in ("grade", "breaking_state") if name in bundle}
            assert judged == wanted, bundle["name"]


def test_the_cases_reach_every_family_every_grade_and_every_reason() -> None:
    assert len(CASES) >= FEWEST_CASES
    groups = [group for case in CASES for group in case.expected["groups"]]
    families = {group["family"] for group in groups}
    assert families == {"ladder", "partition", "line", "exclusive", "game", "deadline", "combo", "user"}
    grades = {bundle.get("grade") for case in CASES for bundle in case.expected.get("bundles", ())}
    assert grades >= {grade.value for grade in Grade}
    reasons = {refusal["reason"] for case in CASES for refusal in case.expected["refused"]}
    assert reasons == {reason.value for reason in set(Reason) - ELSEWHERE}
