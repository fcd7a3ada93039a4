"""Slack messages: within every limit, free of markup that nobody meant, and the mode first."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.slack import problem_of, unescaped_controls
from kalshi_arb.alert_text import letter_of
from kalshi_arb.cli.slack_page import page_of
from kalshi_arb.ports import Alert, AlertKind
from kalshi_arb.slack import escaped, message_of
from tests.cloud_samples import NOW, alert


def header(message: dict[str, Any]) -> str:
    text: str = message["blocks"][0]["text"]["text"]
    return text


def test_a_message_says_the_mode_the_kind_the_text_the_time_and_the_id() -> None:
    message = message_of(alert())
    assert message["text"] == "simulated basket: basket b1 locked: at least $2.90"
    assert header(message) == "simulated basket: basket b1 locked"
    assert message["blocks"][1]["text"]["text"] == "at least $2.90"
    (context,) = message["blocks"][2]["elements"]
    assert context["text"].startswith("*simulated*: embedded exchange, no real money | basket | <!date^1800000000^")
    assert context["text"].endswith("|2027-01-15 08:00:00 UTC> | a1")
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "context"]


def test_live_is_unmistakable() -> None:
    message = message_of(replace(alert(), mode="live"))
    assert header(message).split()[0] == "live"
    assert "REAL MONEY" in message["blocks"][2]["elements"][0]["text"]
    assert "REAL MONEY" in letter_of(replace(alert(), mode="live"))
    assert "REAL MONEY" not in str(message_of(replace(alert(), mode="paper")))


@pytest.mark.parametrize("control", ["<!channel>", "<@U123>", "a & b", "1 < 2 > 0", "&lt;", "<https://x|click>"])
def test_nothing_in_an_alert_becomes_markup(control: str) -> None:
    message = message_of(Alert(f"id {control}", AlertKind.ERROR, "demo", f"title {control}", f"text {control}", NOW))
    assert unescaped_controls(message) == []
    assert control not in str([message["text"], message["blocks"][:2]]) or control == "&lt;"
    assert (
        control.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in message["blocks"][1]["text"]["text"]
    )


texts = st.one_of(st.text(max_size=40), st.text(alphabet="&<>x \n*_é🚀", max_size=4_000))


@given(texts, texts, texts, st.sampled_from(["simulated", "demo", "paper", "live"]), st.sampled_from(AlertKind))
def test_every_alert_is_a_message_that_slack_takes(
    title: str, text: str, name: str, mode: str, kind: AlertKind
) -> None:
    message = message_of(Alert(name, kind, mode, title, text, NOW))
    assert problem_of(message) is None
    assert unescaped_controls(message) == []
    assert header(message).split()[0] == mode
    assert message["text"].split()[0] == mode


@given(st.text(alphabet="&<>ab", max_size=60), st.integers(5, 60))
def test_a_cut_keeps_whole_characters_and_shows_itself(text: str, length: int) -> None:
    cut = escaped(text, length)
    whole = escaped(text, 10_000)
    assert len(cut) <= length
    assert cut == whole or (cut.endswith("…") and whole.startswith(cut[:-1]))
    for entity in ("&amp;", "&lt;", "&gt;"):
        cut = cut.replace(entity, "")
    assert "&" not in cut


def test_a_letter_is_readable_text() -> None:
    assert letter_of(alert()).splitlines() == [
        "simulated basket: basket b1 locked",
        "",
        "at least $2.90",
        "",
        "Mode: simulated (embedded exchange, no real money)",
        "Time: 2027-01-15 08:00:00 UTC",
        "Alert: a1",
    ]


def test_the_page_shows_what_slack_would_show_and_runs_nothing() -> None:
    hostile = replace(alert(), title="<script>alert(1)</script>", text="a < b & c > d")
    page = page_of([message_of(hostile), {"text": "plain *only*"}, {"blocks": [{"type": "divider"}]}], "Alerts <1>")
    assert "<script" not in page
    assert "simulated basket: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &lt; b &amp; c &gt; d" in page
    assert "2027-01-15 08:00:00 UTC" in page
    assert "<b>simulated</b>" in page
    assert "plain *only*" in page
    assert "<title>Alerts &lt;1&gt;</title>" in page
    assert "http" not in page, "nothing is loaded from elsewhere"
