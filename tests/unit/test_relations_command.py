"""`kalshi-arb relations` and the routes behind it: list, show, history, approve, and every refusal in one line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from functions.api.handler import handler
from kalshi_arb import bootstrap
from kalshi_arb.cli.main import cli
from kalshi_arb.domain.group_record import SuspensionReason, suspend
from kalshi_arb.fakes import ManualClock, MemoryGroupStore
from kalshi_arb.relations_view import RelationsDesk
from tests.cloud_samples import NOW, group

PLAIN = group("g:plain")
ASSUMED = replace(group("g:assumed", "f2"), assumptions=("the rules say so",), certificate=("Three states.",))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGroupStore]:
    """A running system: requests go straight to the API's handler."""
    monkeypatch.setenv("KALSHI_ARB_MODE", "simulated")
    monkeypatch.setenv("KALSHI_ARB_REST_URL", "http://127.0.0.1:9")
    bootstrap.reset()
    store = MemoryGroupStore([PLAIN, ASSUMED])
    desk = RelationsDesk(groups=store, clock=ManualClock(NOW), mode="simulated")
    monkeypatch.setattr(bootstrap, "relations_desk", lambda: desk)

    def request(method: str, url: str, *, headers: dict[str, str], **arguments: Any) -> httpx.Response:
        path = url.removeprefix("http://api.test")
        event: dict[str, Any] = {
            "version": "2.0", "routeKey": f"{method} {path}", "rawPath": path, "rawQueryString": "", "headers": headers,
            "requestContext": {"http": {"method": method, "path": path}, "stage": "$default", "requestId": "r"},
            "isBase64Encoded": False,
        }  # fmt: skip
        if arguments.get("json") is not None:
            event["body"] = json.dumps(arguments["json"])
        if arguments.get("params"):
            event["queryStringParameters"] = arguments["params"]
        answer = handler(event, None)
        return httpx.Response(answer["statusCode"], text=answer["body"])

    monkeypatch.setattr(httpx, "request", request)
    yield store
    bootstrap.reset()


@pytest.fixture
def run(groups: MemoryGroupStore, tmp_path: Path) -> Callable[..., Result]:
    token = tmp_path / "token"
    token.write_text("t" * 32)

    def call(*arguments: str) -> Result:
        where = ("--api-url", "http://api.test", "--token-file", str(token))
        return CliRunner().invoke(cli, ["relations", *arguments, *where])

    return call


def test_groups_are_listed_with_those_that_cannot_be_used_first(run: Callable[..., Result]) -> None:
    text = run("list").output.splitlines()
    assert text[0].startswith("needs approval")
    assert text[-1] == "2 groups"
    rows = json.loads(run("list", "--json").output)["groups"]
    assert [(row["id"], row["standing"]) for row in rows] == [("g:assumed", "needs_approval"), ("g:plain", "active")]


def test_a_group_is_shown_sentence_by_sentence(run: Callable[..., Result]) -> None:
    text = run("show", "g:assumed").output
    for part in ("NEEDS APPROVAL", "1. Three states.", "the rules say so", "refused nearby", "accepted"):
        assert part in text
    view = json.loads(run("show", "g:assumed", "--json").output)
    assert (view["fingerprint"], view["assumptions"], view["approval"]) == ("f2", ["the rules say so"], None)


def test_an_approval_is_bound_to_the_fingerprint_that_was_looked_at(
    run: Callable[..., Result], groups: MemoryGroupStore
) -> None:
    assert run("approve", "g:assumed", "--reason", "read  the rules").exit_code == 0
    record = groups.get("g:assumed")
    assert record is not None
    assert record.approval is not None
    assert (record.approval.fingerprint, record.approval.reason) == ("f2", "read the rules")
    view = json.loads(run("show", "g:assumed", "--json").output)
    assert (view["standing"], view["assumptions"]) == ("active", [])
    assert "approved by a person: read the rules" in view["certificate"][-1]
    assert "approved" in run("history", "g:assumed").output


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("approve", "g:plain", "--reason", "x"), "g:plain rests on nothing that needs approval (HTTP 400)"),
        (("approve", "g:assumed", "--reason", "  "), "needs a reason"),
        (("approve", "g:assumed", "--reason", "x", "--fingerprint", "f1"), "has changed: its fingerprint is f2"),
        (("approve", "nothing", "--reason", "x"), "no group nothing is accepted"),
        (("show", "nothing"), "no group nothing is accepted; its history may say why (HTTP 404)"),
        (("history", "nothing"), "nothing is known of a group nothing (HTTP 404)"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Callable[..., Result], arguments: tuple[str, ...], cause: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert cause in line


def test_a_suspended_group_takes_no_approval_and_says_so(run: Callable[..., Result], groups: MemoryGroupStore) -> None:
    record = groups.get("g:assumed")
    assert record is not None
    groups.write([suspend(record, SuspensionReason.CHANGED, "a strike changed", now_ms=NOW)])
    assert "SUSPENDED since" in run("show", "g:assumed").output
    assert "is suspended: a strike changed" in run("approve", "g:assumed", "--reason", "x").output


def test_a_change_between_looking_and_saying_is_noticed(run: Callable[..., Result], groups: MemoryGroupStore) -> None:
    groups.hold([PLAIN, replace(ASSUMED, fingerprint="f3")])
    done = run("approve", "g:assumed", "--reason", "x", "--fingerprint", "f2")
    assert "has changed" in done.output
    assert "look at it again" in done.output


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"group_id": "g", "fingerprint": "f"}', "x" * 5_000])
def test_a_body_that_is_no_approval_is_refused(groups: MemoryGroupStore, body: str) -> None:
    event: dict[str, Any] = {
        "version": "2.0", "routeKey": "POST /relations/approve", "rawPath": "/relations/approve", "rawQueryString": "",
        "headers": {}, "isBase64Encoded": False, "body": body,
        "requestContext": {"http": {"method": "POST", "path": "/relations/approve"}, "stage": "$default"},
    }  # fmt: skip
    answer = handler(event, None)
    assert answer["statusCode"] == 400
    assert "group_id" in json.loads(answer["body"])["error"]


def test_nothing_runs_is_said_and_so_is_half_an_address(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["relations", "list", "--folder", str(tmp_path)])
    assert (done.exit_code, "nothing is running from" in done.output) == (1, True)
    assert CliRunner().invoke(cli, ["relations", "list", "--api-url", "http://x"]).exit_code == 2
