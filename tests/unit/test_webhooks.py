"""Webhooks: what Slack can answer, what each answer means, and that nobody ever reads the address."""

import logging
import socket
import traceback
from collections.abc import Iterator

import pytest

from infra.local.slack import SERVICE, TEAM, TOKEN, FakeSlack, Fault
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.fakes import ManualClock
from kalshi_arb.slack import message_of
from kalshi_arb.webhooks import (
    PATIENCE_S,
    HttpWebhook,
    WebhookDownError,
    WebhookKind,
    WebhookRefusedError,
    WebhookTarget,
    generic_message_of,
    webhook_target,
)
from tests.cloud_samples import NOW, alert


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    fake = FakeSlack()
    yield fake
    fake.stop()


def webhook(url: str, clock: ManualClock | None = None, seconds: float = 2.0) -> HttpWebhook:
    return HttpWebhook(WebhookTarget(url, WebhookKind.SLACK), clock or ManualClock(NOW), seconds)


def test_slack_gets_the_message(slack: FakeSlack) -> None:
    webhook(slack.url).post(alert())
    assert slack.newest == [message_of(alert())]


REFUSALS = [
    (400, "invalid_payload", "defect"),
    (400, "invalid_blocks", "defect"),
    (400, "user_not_found", "new incoming webhook"),
    (403, "action_prohibited", "administrator"),
    (403, "invalid_token", "expired or revoked"),
    (404, "channel_not_found", "channel does not exist"),
    (404, "channel_is_archived", "archived"),
    (410, "channel_is_archived", "archived"),
    (404, "no_service", "removed, switched off"),
    (404, "no_team", "workspace does not exist"),
    (403, "team_disabled", "switched off"),
    (400, "something_new", "cannot read"),
    (401, "", "expired or revoked"),
    (403, "", "forbidden"),
    (404, "<html>nothing here</html>", "no webhook at the address"),
    (410, "", "gone for good"),
    (418, "", "probably no webhook"),
    (302, "", "probably no webhook"),
    (200, "<html>hello</html>", "did not answer as Slack does"),
]


@pytest.mark.parametrize(("status", "word", "advice"), REFUSALS)
def test_what_will_never_be_taken_is_refused_with_what_to_do(
    slack: FakeSlack, status: int, word: str, advice: str
) -> None:
    slack.faults.append(Fault(status, word))
    with pytest.raises(WebhookRefusedError, match=advice) as caught:
        webhook(slack.url).post(alert())
    assert str(status) in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert slack.received == 0
    assert len(slack.refused) == 1, "nothing is posted twice"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (f"/services/{TEAM}/{SERVICE}/{'Y' * 24}", "invalid_token"),
        (f"/services/{TEAM}/B99999999/{TOKEN}", "no_service"),
        (f"/services/T99999999/{SERVICE}/{TOKEN}", "no_team"),
        (f"/services/{TEAM}/{SERVICE}", "302"),
        ("/", "302"),
    ],
)
def test_a_wrong_address_is_refused(slack: FakeSlack, path: str, word: str) -> None:
    with pytest.raises(WebhookRefusedError, match=word):
        webhook(slack.url.replace(f"/services/{TEAM}/{SERVICE}/{TOKEN}", path)).post(alert())


def test_a_revoked_webhook_is_refused(slack: FakeSlack) -> None:
    webhook(slack.url).post(alert())
    slack.revoked = True
    with pytest.raises(WebhookRefusedError, match=r"no_service.*create a new incoming webhook"):
        webhook(slack.url).post(alert())


@pytest.mark.parametrize(("status", "word"), [(500, "rollup_error"), (502, ""), (503, ""), (408, "")])
def test_a_receiver_in_trouble_is_asked_again_later(slack: FakeSlack, status: int, word: str) -> None:
    slack.faults.append(Fault(status, word))
    with pytest.raises(WebhookDownError, match=str(status)):
        webhook(slack.url).post(alert())
    assert len(slack.refused) == 1, "the topic tries again, minutes later"


def test_a_rate_limit_is_honoured(slack: FakeSlack) -> None:
    clock = ManualClock(NOW)
    slack.faults.extend([Fault(429, "rate_limited", {"Retry-After": "3"}), Fault(429, "rate_limited")])
    webhook(slack.url, clock).post(alert())
    assert clock.now_ms() == NOW + 4_000, "three seconds as asked, one where nothing was asked"
    assert slack.received == 1


@pytest.mark.parametrize("asked", ["9", "3600", "1000000000000"])
def test_patience_with_a_rate_limit_is_bounded(slack: FakeSlack, asked: str) -> None:
    clock = ManualClock(NOW)
    slack.faults.append(Fault(429, "rate_limited", {"Retry-After": asked}))
    with pytest.raises(WebhookDownError, match="asks to wait") as caught:
        webhook(slack.url, clock).post(alert())
    assert caught.value.retry_after_s == float(asked)
    assert clock.now_ms() == NOW
    slack.faults.extend([Fault(429, "rate_limited", {"Retry-After": "3"})] * 10)
    with pytest.raises(WebhookDownError):
        webhook(slack.url, clock).post(alert())
    assert clock.now_ms() - NOW <= PATIENCE_S * 1000
    assert slack.received == 0


def test_the_stand_in_limits_the_rate_as_slack_does() -> None:
    fake = FakeSlack(per_second=1)
    try:
        clock = ManualClock(NOW)
        webhook(fake.url, clock).post(alert())
        with pytest.raises(WebhookDownError, match="429 and asks to wait 1 s"):
            webhook(fake.url, clock).post(alert())  # the clock is ours: no real second passes
        assert fake.received == 1
        assert set(fake.refused) == {"rate_limited"}
    finally:
        fake.stop()


def test_silence_ends_at_the_time_limit(slack: FakeSlack) -> None:
    slack.faults.append(Fault(200, "ok", hang_s=5.0))
    with pytest.raises(WebhookDownError, match="did not answer"):
        webhook(slack.url, seconds=0.1).post(alert())


def test_an_address_that_nobody_listens_at_is_an_error_without_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/hook-secret", "https://no-such-host.invalid/hook-secret"):
        with pytest.raises(WebhookDownError, match="did not answer") as caught:
            webhook(url, seconds=0.5).post(alert())
        assert "hook-secret" not in str(caught.value)
        assert "hook-secret" not in "".join(traceback.format_exception(caught.value)), "nor when it is logged"


def test_a_generic_receiver_gets_the_parts_and_may_answer_anything(slack: FakeSlack) -> None:
    slack.faults.append(Fault(204, ""))
    HttpWebhook(WebhookTarget(slack.url, WebhookKind.GENERIC), ManualClock(NOW)).post(alert())
    HttpWebhook(WebhookTarget(slack.url, WebhookKind.GENERIC), ManualClock(NOW)).post(alert())
    assert slack.newest == [generic_message_of(alert())]
    assert slack.newest[0] == {
        "text": "simulated basket: basket b1 locked: at least $2.90",
        "mode": "simulated",
        "kind": "basket",
        "title": "basket b1 locked",
        "alert_id": "a1",
        "created_ms": NOW,
    }


def test_no_log_of_any_library_holds_the_address(slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    slack.faults.append(Fault(404, "no_service"))
    with pytest.raises(WebhookRefusedError):
        webhook(slack.url).post(alert())
    webhook(slack.url).post(alert())
    assert slack.received == 1
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(WebhookTarget(slack.url, WebhookKind.SLACK))


def test_where_the_webhook_secret_points() -> None:
    slack_url = f"https://hooks.slack.com/services/{TEAM}/{SERVICE}/{TOKEN}"
    assert webhook_target({"url": slack_url}) == WebhookTarget(slack_url, WebhookKind.SLACK)
    assert webhook_target({"url": slack_url, "kind": "generic"}) == WebhookTarget(slack_url, WebhookKind.GENERIC)
    assert webhook_target({"url": "https://hooks.example/x"}) == WebhookTarget(
        "https://hooks.example/x", WebhookKind.GENERIC
    )
    assert webhook_target({"url": "http://127.0.0.1:1/x", "kind": "slack"}) == WebhookTarget(
        "http://127.0.0.1:1/x", WebhookKind.SLACK
    )
    assert webhook_target({"url": ""}) is None
    assert webhook_target({}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": 7},
        {"url": "hooks.example/x-secret"},
        {"url": "file:///etc/x-secret"},
        {"url": "https://"},
        {"url": "https://[x-secret"},
        {"url": "https://host:99999/x-secret"},
        {"url": "https://host/x-secret\r\nHost: other"},
        {"url": "https://host/x secret"},
        {"url": "https://höst/x-secret"},
        {"url": "https://host/x-secret", "kind": "teams"},
        {"url": "https://host/x-secret", "kind": 1},
    ],
)
def test_a_secret_that_is_no_webhook_is_refused_and_not_repeated(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r'must be \{"url"') as caught:
        webhook_target(wrong)
    assert "secret" not in str(caught.value).replace("webhook secret", "")
