"""Alerts: told once, in one line that begins with the mode, and told again only if telling failed."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kalshi_arb import schemas
from kalshi_arb.alerts import AlertDelivery, HttpWebhook, WebhookError, line_of, webhook_url
from kalshi_arb.domain.errors import SchemaError, SettingsError
from kalshi_arb.fakes import ManualClock, MemoryAlertStore
from kalshi_arb.ports import Alert, AlertKind
from tests.cloud_samples import NOW, alert


class RecordingWebhook:
    def __init__(self) -> None:
        self.taken: list[Alert] = []
        self.refuse = False

    def post(self, alert: Alert) -> None:
        if self.refuse:
            raise WebhookError("the webhook answered 500")
        self.taken.append(alert)


class Desk:
    """A delivery with everything around it."""

    def __init__(self, *, with_webhook: bool = True) -> None:
        self.store = MemoryAlertStore()
        self.webhook = RecordingWebhook()
        self.lines: list[str] = []
        self.delivery = AlertDelivery(
            store=self.store,
            webhook=self.webhook if with_webhook else None,
            write_line=lambda _, line: self.lines.append(line),
            clock=ManualClock(NOW),
            mode="paper",
        )


def test_an_alert_is_told_once_however_often_it_comes() -> None:
    desk = Desk()
    message = schemas.encode(alert())
    assert [desk.delivery.deliver(message) for _ in range(3)] == [True, False, False]
    assert desk.lines == ["simulated basket: basket b1 locked: at least $2.90"]
    assert desk.webhook.taken == [alert()]
    assert desk.store.recent(10) == [alert()]


def test_without_a_webhook_the_log_and_the_record_remain() -> None:
    desk = Desk(with_webhook=False)
    assert desk.delivery.deliver(schemas.encode(alert()))
    assert len(desk.lines) == 1
    assert desk.store.recent(10) == [alert()]


def test_an_alert_that_the_webhook_refused_is_told_again() -> None:
    desk = Desk()
    desk.webhook.refuse = True
    message = schemas.encode(alert())
    with pytest.raises(WebhookError):
        desk.delivery.deliver(message)
    assert desk.store.recent(10) == []
    desk.webhook.refuse = False
    assert desk.delivery.deliver(message)
    assert not desk.delivery.deliver(message)
    assert desk.webhook.taken == [alert()]


@pytest.mark.parametrize("mode", ["simulated", "demo", "paper", "live"])
@pytest.mark.parametrize("kind", list(AlertKind))
def test_every_line_begins_with_its_mode_and_stays_one_line(mode: str, kind: AlertKind) -> None:
    line = line_of(replace(alert(), mode=mode, kind=kind, title="two\nlines", text="and\r\n\tmore"))
    assert line.split()[0] == mode
    assert line == f"{mode} {kind.value}: two lines: and more"


ALARM = {
    "AlarmName": "dead letters",
    "NewStateValue": "ALARM",
    "NewStateReason": "1 message",
    "StateChangeTime": "2027-01-15T08:00:00.000+0000",
    "Region": "US East",
}


def test_an_alarm_of_the_cloud_is_an_alert_in_the_stacks_own_mode() -> None:
    desk = Desk()
    assert desk.delivery.deliver(json.dumps(ALARM))
    assert not desk.delivery.deliver(json.dumps(ALARM))
    (told,) = desk.store.recent(10)
    assert (told.kind, told.mode, told.created_ms) == (AlertKind.ALARM, "paper", 1_800_000_000_000)
    assert desk.lines == ["paper alarm: alarm dead letters is ALARM: 1 message"]
    assert desk.delivery.deliver(json.dumps(ALARM | {"NewStateValue": "OK"})), "another state is another alert"


@pytest.mark.parametrize("time", ["yesterday", "2027-01-15T08:00:00"])
def test_an_alarm_without_a_usable_time_gets_ours(time: str) -> None:
    desk = Desk()
    desk.delivery.deliver(json.dumps(ALARM | {"StateChangeTime": time}))
    assert desk.store.recent(1)[0].created_ms == NOW


@pytest.mark.parametrize(
    "message",
    ["", "hello", "[]", "{}", json.dumps(ALARM | {"AlarmName": 7}), schemas.encode(alert()).replace('"v":1', '"v":2')],
)
def test_anything_else_is_refused_and_leaves_no_trace(message: str) -> None:
    desk = Desk()
    with pytest.raises(SchemaError):
        desk.delivery.deliver(message)
    assert desk.lines == []
    assert desk.store.recent(10) == []


class Sink(ThreadingHTTPServer):
    status = 200
    received: list[dict[str, Any]]


@pytest.fixture
def sink() -> Iterator[Sink]:
    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server = self.server
            assert isinstance(server, Sink)
            body = self.rfile.read(int(self.headers["content-length"]))
            server.received.append(json.loads(body))
            self.send_response(server.status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
            del format, args

    server = Sink(("127.0.0.1", 0), Take)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(sink: Sink) -> str:
    return f"http://127.0.0.1:{sink.server_address[1]}/hook-secret"


def test_a_webhook_gets_the_line_and_the_parts(sink: Sink) -> None:
    HttpWebhook(url_of(sink)).post(alert())
    assert sink.received == [
        {
            "text": "simulated basket: basket b1 locked: at least $2.90",
            "mode": "simulated",
            "kind": "basket",
            "title": "basket b1 locked",
            "alert_id": "a1",
            "created_ms": NOW,
        }
    ]


@pytest.mark.parametrize("status", [302, 404, 429, 500])
def test_only_a_success_counts_as_delivered(sink: Sink, status: int) -> None:
    sink.status = status
    with pytest.raises(WebhookError, match=str(status)) as caught:
        HttpWebhook(url_of(sink)).post(alert())
    assert "hook-secret" not in str(caught.value)
    assert len(sink.received) == 1, "a redirect is not followed"


def test_a_webhook_that_does_not_answer_is_an_error_without_its_address() -> None:
    for url in ("http://127.0.0.1:1/hook-secret", "http://[hook-secret"):
        with pytest.raises(WebhookError, match="did not answer") as caught:
            HttpWebhook(url, seconds=0.5).post(alert())
        assert "hook-secret" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_where_the_webhook_secret_points() -> None:
    assert webhook_url({"url": "https://hooks.example/x"}) == "https://hooks.example/x"
    assert webhook_url({"url": ""}) is None
    assert webhook_url({}) is None
    for wrong in (7, "hooks.example/x", "file:///etc/passwd"):
        with pytest.raises(SettingsError) as caught:
            webhook_url({"url": wrong})
        assert str(wrong) not in str(caught.value)
