"""The stand-in for Slack refuses what Slack refuses."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.slack import FakeSlack, problem_of, unescaped_controls

PLAIN = {"type": "plain_text", "text": "x"}
MARK = {"type": "mrkdwn", "text": "x"}


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"text": "x"}, None),
        ({"blocks": [{"type": "header", "text": PLAIN}, {"type": "divider"}]}, None),
        ({"blocks": [{"type": "section", "text": MARK}, {"type": "context", "elements": [MARK, PLAIN]}]}, None),
        ([], "invalid_payload"),
        ({}, "no_text"),
        ({"text": ""}, "no_text"),
        ({"text": 7}, "invalid_payload"),
        ({"blocks": "x"}, "invalid_blocks_format"),
        ({"blocks": ["x"]}, "invalid_blocks_format"),
        ({"blocks": [{"type": "header", "text": MARK}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {**PLAIN, "text": "x" * 151}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {**PLAIN, "verbatim": True}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "text": {**MARK, "text": ""}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "text": {**MARK, "text": "x" * 3_001}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "context", "elements": []}]}, "invalid_blocks"),
        ({"blocks": [{"type": "context", "elements": [MARK] * 11}]}, "invalid_blocks"),
        ({"blocks": [{"type": "fireworks"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
    ],
)
def test_limits_of_block_kit(message: Any, problem: str | None) -> None:
    assert problem_of(message) == problem


@pytest.mark.parametrize("text", ["a & b", "<b>", "1 < 2", "2 > 1", "<!channel", "&quot;"])
def test_a_control_character_outside_markup_is_noticed(text: str) -> None:
    assert unescaped_controls({"text": text}) == [text]


@pytest.mark.parametrize("text", ["a &amp; b", "<!date^1^{date}|x>", "<https://example.org|x>", "<@U1>", "&lt;b&gt;"])
def test_markup_and_entities_are_fine(text: str) -> None:
    assert unescaped_controls({"text": text}) == []


def test_only_json_posts_are_taken_and_what_is_taken_is_kept(tmp_path: Path) -> None:
    record = tmp_path / "deep" / "slack.jsonl"
    fake = FakeSlack(record=record)
    try:
        assert httpx.get(fake.url).status_code == 405
        assert (
            httpx.post(fake.url, content=b"{", headers={"content-type": "application/json"}).text == "invalid_payload"
        )
        assert httpx.post(fake.url, content=b'{"text":"x"}').text == "invalid_payload", "no content type"
        for word in ("one", "two"):
            answer = httpx.post(fake.url, json={"text": word})
            assert (answer.status_code, answer.text) == (200, "ok")
        assert fake.received == 2
        assert [json.loads(line)["text"] for line in record.read_text().splitlines()] == ["one", "two"]
        assert fake.refused == ["invalid_payload", "invalid_payload"]
    finally:
        fake.stop()
