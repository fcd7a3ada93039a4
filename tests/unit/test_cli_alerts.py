"""`kalshi-arb alerts`: test messages reach the webhook or the line says why not, and no output holds the address."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.local.slack import TOKEN, FakeSlack, Fault, problem_of, unescaped_controls
from kalshi_arb import bootstrap
from kalshi_arb.cli.alerts import RECEIVED_FILE, alerts, samples
from kalshi_arb.ports import AlertKind
from kalshi_arb.slack import message_of
from kalshi_arb.webhooks import WebhookTarget, webhook_target
from tests.cloud_samples import NOW


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(alerts, list(arguments), prog_name="alerts")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODE", "WEBHOOK_SECRET", "REST_URL"):
        monkeypatch.delenv(f"KALSHI_ARB_{name}", raising=False)


@pytest.fixture
def slack(tmp_path: Path) -> Iterator[FakeSlack]:
    fake = FakeSlack(record=tmp_path / RECEIVED_FILE)
    yield fake
    fake.stop()


def url_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "url"
    path.write_text(text)
    return str(path)


def test_samples_are_one_of_each_kind_and_say_that_they_are_tests() -> None:
    told = samples("paper", NOW)
    assert [alert.kind for alert in told] == list(AlertKind)
    assert all(alert.title.startswith("TEST ") and alert.mode == "paper" for alert in told)
    assert len({alert.alert_id for alert in told}) == len(told)
    for alert in told:
        assert problem_of(message_of(alert)) is None
        assert unescaped_controls(message_of(alert)) == []


def test_one_message_of_each_kind_arrives(slack: FakeSlack, tmp_path: Path) -> None:
    secret = json.dumps({"url": slack.url, "kind": "slack"})
    done = invoke("test", "--webhook-url-file", url_file(tmp_path, secret), "--mode", "demo")
    assert done.exit_code == 0, done.output
    assert done.output.count("ok ") == len(AlertKind)
    assert [message["text"].split()[:3] for message in slack.newest] == [
        ["demo", f"{kind.value}:", "TEST"] for kind in AlertKind
    ]
    assert TOKEN not in done.output


def test_an_address_alone_is_enough(slack: FakeSlack, tmp_path: Path) -> None:
    done = invoke("test", "--webhook-url-file", url_file(tmp_path, slack.url + "\n"), "--json")
    assert done.exit_code == 0
    answer = json.loads(done.output)
    assert answer["delivered"]
    assert answer["webhook"] == "generic", "loopback is not Slack's own host"
    assert slack.newest[0]["kind"] == "opportunity"


def test_what_is_refused_ends_with_1_and_what_to_do(slack: FakeSlack, tmp_path: Path) -> None:
    slack.faults.extend([Fault(403, "invalid_token"), Fault(500, "rollup_error")])
    secret = json.dumps({"url": slack.url, "kind": "slack"})
    done = invoke("test", "--webhook-url-file", url_file(tmp_path, secret))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith("BAD  opportunity")
    assert "create a new incoming webhook" in lines[0]
    assert lines[1].startswith("BAD  basket")
    assert lines[2] == "ok   settlement   delivered"
    assert TOKEN not in done.output


@pytest.mark.parametrize(
    "text", ["", "hooks.example/T-secret", '{"url": ', "[]", '{"url": ""}', '{"url": "ftp://T-secret"}']
)
def test_a_file_without_an_address_ends_with_2_and_is_not_repeated(tmp_path: Path, text: str) -> None:
    done = invoke("test", "--webhook-url-file", url_file(tmp_path, text))
    assert done.exit_code == 2
    assert "must hold an address" in done.output
    assert "T-secret" not in done.output


def test_without_any_webhook_the_line_says_what_to_give() -> None:
    done = invoke("test")
    assert done.exit_code == 2
    assert "--webhook-url-file" in done.output
    assert invoke("test", "--webhook-url-file", "/no/such/file").exit_code == 2


@pytest.mark.parametrize("configured", [True, False])
def test_the_stacks_own_webhook_is_tested(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, configured: bool) -> None:
    target: WebhookTarget | None = webhook_target({"url": slack.url, "kind": "slack"}) if configured else None
    monkeypatch.setattr(bootstrap, "webhook_of", lambda _: target)
    monkeypatch.setenv("KALSHI_ARB_MODE", "paper")
    monkeypatch.setenv("KALSHI_ARB_REST_URL", "https://exchange.example/trade-api/v2")
    monkeypatch.setenv("KALSHI_ARB_WEBHOOK_SECRET", "webhook")
    done = invoke("test")
    assert done.exit_code == (0 if configured else 1)
    if configured:
        assert slack.newest[0]["text"].startswith("paper opportunity: TEST")
    else:
        assert "holds no address" in done.output


def test_messages_can_be_looked_at_without_sending(tmp_path: Path) -> None:
    page = tmp_path / "alerts.html"
    done = invoke("test", "--render", str(page), "--json")
    assert done.exit_code == 0
    assert json.loads(done.output) == {"rendered": str(page), "messages": len(AlertKind)}
    text = page.read_text()
    for kind in AlertKind:
        assert f"simulated {kind.value}: TEST" in text
    assert "books &lt; 5 s &amp; &gt; 0 levels" in text
    assert invoke("test", "--render", str(tmp_path / "no" / "page.html")).exit_code == 1
    assert invoke("test", "--render", str(page), "--webhook-url-file", url_file(tmp_path, "x")).exit_code == 2


def test_what_the_stand_in_received_can_be_shown(slack: FakeSlack, tmp_path: Path) -> None:
    assert json.loads(invoke("received", "--folder", str(tmp_path), "--json").output)["received"] == 0
    secret = json.dumps({"url": slack.url, "kind": "slack"})
    invoke("test", "--webhook-url-file", url_file(tmp_path, secret))
    shown = invoke("received", "--folder", str(tmp_path))
    assert [line.split()[1] for line in shown.output.splitlines()] == [f"{kind.value}:" for kind in AlertKind]
    assert json.loads(invoke("received", "--folder", str(tmp_path), "--json").output)["messages"] == slack.newest
    page = tmp_path / "page.html"
    assert invoke("received", "--folder", str(tmp_path), "--render", str(page)).exit_code == 0
    assert f"{len(AlertKind)} alerts received by the stand-in for Slack" in page.read_text()


def test_nothing_received_is_said_in_one_line(tmp_path: Path) -> None:
    done = invoke("received", "--folder", str(tmp_path))
    assert (done.exit_code, "kalshi-arb run" in done.output) == (1, True)
    (tmp_path / RECEIVED_FILE).write_text("nonsense")
    assert invoke("received", "--folder", str(tmp_path)).exit_code == 1
