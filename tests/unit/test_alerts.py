"""Alerts: told once, in one line that begins with the mode, told again only if telling failed, and never in floods."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from kalshi_arb import schemas
from kalshi_arb.alert_digest import WINDOW_MS
from kalshi_arb.alert_text import line_of
from kalshi_arb.alerts import STOPS_TRADING, AlertDelivery, Outcome
from kalshi_arb.domain.errors import SchemaError, SettingsError, StoreError
from kalshi_arb.execution.control import buying_stopped
from kalshi_arb.fakes import ManualClock, MemoryAlertStore, MemoryMetrics, MemoryStatusStore
from kalshi_arb.metrics_names import Metric
from kalshi_arb.ports import Alert, AlertDigest, AlertKind
from kalshi_arb.webhooks import Webhook, WebhookDownError, WebhookError, WebhookRefusedError
from tests.cloud_samples import NOW, alert


class RecordingWebhook:
    def __init__(self) -> None:
        self.taken: list[Alert] = []
        self.problem: WebhookError | None = None
        self.only_summaries = False

    def post(self, alert: Alert) -> None:
        if self.problem is not None and (not self.only_summaries or alert.alert_id.startswith("summary-")):
            raise self.problem
        self.taken.append(alert)


class Desk:
    """A delivery with everything around it."""

    def __init__(self, *, with_webhook: bool = True, store: MemoryAlertStore | None = None) -> None:
        self.store = store or MemoryAlertStore()
        self.status = MemoryStatusStore()
        self.webhook = RecordingWebhook()
        self.lines: list[str] = []
        self.problems: list[str] = []
        self.metrics = MemoryMetrics()
        self.clock = ManualClock(NOW)
        self.find: Callable[[], Webhook | None] = lambda: self.webhook if with_webhook else None
        self.delivery = AlertDelivery(
            store=self.store,
            status=self.status,
            webhook=lambda: self.find(),
            write_line=lambda _, line: self.lines.append(line),
            write_problem=self.problems.append,
            metrics=self.metrics,
            clock=self.clock,
            mode="paper",
        )

    def deliver(self, alert: Alert) -> Outcome:
        return self.delivery.deliver(schemas.encode(alert))


def error(number: int) -> Alert:
    return replace(
        alert(f"e{number}", NOW + number),
        kind=AlertKind.ERROR,
        title=f"Basket b{number} is stuck",
        text=f"text {number}",
    )


def test_an_alert_is_told_once_however_often_it_comes() -> None:
    desk = Desk()
    assert [desk.deliver(alert()) for _ in range(3)] == [Outcome.DELIVERED, Outcome.REPEATED, Outcome.REPEATED]
    assert desk.lines == ["simulated basket: basket b1 locked: at least $2.90"]
    assert desk.webhook.taken == [alert()]
    assert desk.store.recent(10) == [alert()]
    assert desk.metrics.counted == {Metric.ALERTS_DELIVERED: 1}


def test_without_a_webhook_the_log_and_the_record_remain() -> None:
    desk = Desk(with_webhook=False)
    assert [desk.deliver(error(number)) for number in range(3)] == [Outcome.DELIVERED] * 3
    assert len(desk.lines) == 3
    assert len(desk.store.recent(10)) == 3
    assert desk.delivery.flush() == 0


def test_an_alert_that_the_webhook_cannot_take_now_is_told_again() -> None:
    desk = Desk()
    for told in (alert(), error(1)):
        desk.webhook.problem = WebhookDownError("the webhook answered 503")
        with pytest.raises(WebhookDownError):
            desk.deliver(told)
        assert told not in desk.store.recent(10)
        desk.webhook.problem = None
        assert desk.deliver(told) is Outcome.DELIVERED
        assert desk.deliver(told) is Outcome.REPEATED
    assert desk.webhook.taken == [alert(), error(1)]
    assert desk.problems == ["the webhook answered 503"] * 2


def test_an_alert_that_will_never_be_taken_is_given_up_counted_and_named() -> None:
    desk = Desk()
    desk.webhook.problem = WebhookRefusedError("404 no_service", "create a new one")
    assert desk.deliver(alert()) is Outcome.GIVEN_UP
    assert desk.store.recent(10) == [alert()], "the page still has it"
    assert desk.metrics.counted == {Metric.ALERTS_GIVEN_UP: 1}
    assert desk.problems == ["alert a1 reached nobody: the webhook refused (404 no_service): create a new one"]
    assert desk.deliver(alert()) is Outcome.REPEATED, "nobody tries again for nothing"


def test_a_malformed_secret_loses_no_record_and_is_named() -> None:
    desk = Desk()

    def malformed() -> Webhook | None:
        raise SettingsError("the webhook secret must be ...")

    desk.find = malformed
    assert desk.deliver(alert()) is Outcome.GIVEN_UP
    assert desk.store.recent(10) == [alert()]
    assert desk.problems == ["alert a1 reached nobody: the webhook secret must be ..."]


def test_a_secret_that_cannot_be_read_is_tried_again() -> None:
    desk = Desk()

    def unreachable() -> Webhook | None:
        raise StoreError("read secret webhook: throttled")

    desk.find = unreachable
    with pytest.raises(StoreError):
        desk.deliver(alert())
    assert desk.store.recent(10) == []


def test_a_storm_is_one_message_at_once_and_one_summary() -> None:
    desk = Desk()
    outcomes = [desk.deliver(error(number)) for number in range(20)]
    assert outcomes == [Outcome.DELIVERED, *[Outcome.HELD_BACK] * 19]
    assert len(desk.lines) == 20, "the log has all of them"
    assert desk.webhook.taken == [error(0)]
    assert desk.delivery.flush() == 0
    desk.clock.sleep(WINDOW_MS / 1000)
    assert desk.delivery.flush() == 1
    assert desk.delivery.flush() == 0
    assert [told.title for told in desk.webhook.taken[1:]] == ["19 more within a minute: Basket * is stuck"]
    assert desk.metrics.counted == {Metric.ALERTS_DELIVERED: 2, Metric.ALERTS_HELD_BACK: 19}


def test_a_summary_that_cannot_be_sent_does_not_hold_up_the_alert_and_comes_later() -> None:
    desk = Desk()
    for number in range(3):
        desk.deliver(error(number))
    desk.clock.sleep(WINDOW_MS / 1000)
    desk.webhook.problem, desk.webhook.only_summaries = WebhookDownError("busy"), True
    assert desk.deliver(alert()) is Outcome.DELIVERED
    assert desk.problems == ["busy"]
    desk.webhook.problem = None
    assert desk.delivery.flush() == 1
    assert desk.webhook.taken[-1].title.startswith("2 more")


def test_a_webhook_that_is_down_is_tried_once_for_all_summaries() -> None:
    desk = Desk()
    for number in range(3):
        desk.deliver(error(number))
        desk.deliver(replace(error(10 + number), title="The ledger does not match"))
    desk.clock.sleep(WINDOW_MS / 1000)
    desk.webhook.problem = WebhookDownError("busy")
    assert desk.delivery.flush() == 0
    assert desk.problems == ["busy"]
    desk.webhook.problem = None
    assert desk.delivery.flush() == 2
    assert {told.title.split(":")[0] for told in desk.webhook.taken[2:]} == {"2 more within a minute"}


def test_a_summary_that_will_never_be_taken_is_given_up() -> None:
    desk = Desk()
    for number in range(3):
        desk.deliver(error(number))
    desk.clock.sleep(WINDOW_MS / 1000)
    desk.webhook.problem = WebhookRefusedError("410", "gone")
    assert desk.delivery.flush() == 0
    assert desk.metrics.counted[Metric.ALERTS_GIVEN_UP] == 1
    assert desk.delivery.flush() == 0
    assert len(desk.problems) == 1
    desk.find = lambda: None
    desk.deliver(error(7))
    desk.clock.sleep(WINDOW_MS / 1000)
    assert desk.delivery.flush() == 0


class Contended(MemoryAlertStore):
    """Another writer of the digest is faster, ``times`` times."""

    times = 0

    def save_digest(self, digest: AlertDigest) -> bool:
        if self.times:
            self.times -= 1
            super().save_digest(replace(self.digest()))
        return super().save_digest(digest)


def test_two_deliveries_at_once_are_sorted_out() -> None:
    store = Contended()
    desk = Desk(store=store)
    store.times = 3
    assert desk.deliver(error(0)) is Outcome.DELIVERED
    store.times = 100
    with pytest.raises(StoreError, match="again later"):
        desk.deliver(error(1))
    assert error(1) not in desk.store.recent(10)


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
    assert desk.delivery.deliver(json.dumps(ALARM)) is Outcome.DELIVERED
    assert desk.delivery.deliver(json.dumps(ALARM)) is Outcome.REPEATED
    (told,) = desk.store.recent(10)
    assert (told.kind, told.mode, told.created_ms) == (AlertKind.ALARM, "paper", 1_800_000_000_000)
    assert desk.lines == ["paper alarm: alarm dead letters is ALARM: 1 message"]
    again = desk.delivery.deliver(json.dumps(ALARM | {"NewStateValue": "OK"}))
    assert again is Outcome.DELIVERED, "another state is another alert"


@pytest.mark.parametrize("time", ["yesterday", "2027-01-15T08:00:00"])
def test_an_alarm_without_a_usable_time_gets_ours(time: str) -> None:
    desk = Desk()
    desk.delivery.deliver(json.dumps(ALARM | {"StateChangeTime": time}))
    assert desk.store.recent(1)[0].created_ms == NOW


STOPPING = ALARM | {"AlarmDescription": f"{STOPS_TRADING}an execution failed."}


def test_an_alarm_that_says_so_stops_trading_and_is_told_as_well() -> None:
    desk = Desk()
    assert desk.delivery.deliver(json.dumps(STOPPING)) is Outcome.DELIVERED
    stopped = buying_stopped(desk.status, NOW, "paper")
    assert stopped == "stopped: by alarm dead letters, 1 message"


@pytest.mark.parametrize(
    "change", [{"NewStateValue": "OK"}, {"AlarmDescription": "1 message"}, {"AlarmDescription": None}]
)
def test_other_alarms_and_their_end_stop_nothing(change: dict[str, object]) -> None:
    desk = Desk()
    desk.delivery.deliver(json.dumps(STOPPING | change))
    assert buying_stopped(desk.status, NOW, "paper") is None


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
