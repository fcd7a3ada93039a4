"""Delivers alerts: recognises repetitions, writes one line to the log, posts to the webhook if there is one, and
gathers what comes in storms. An alarm whose description says so stops trading first."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique
from functools import partial

from kalshi_arb import schemas
from kalshi_arb.alert_digest import Admission, admit, flush, group_of, reopened, restored
from kalshi_arb.alert_text import line_of
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import SchemaError, SettingsError, StoreError
from kalshi_arb.execution.control import set_stop
from kalshi_arb.metrics_names import Metric
from kalshi_arb.ports import Alert, AlertDigest, AlertKind, AlertStore, Metrics, StatusStore
from kalshi_arb.webhooks import Webhook, WebhookDownError, WebhookRefusedError

# Other writers of the digest are other alerts of the same moment: a few.
_SAVES = 8
STOPS_TRADING = "Stops trading: "
"""An alarm whose description begins so sets the stop when it goes off."""


@unique
class Outcome(Enum):
    """What became of one message of the topic."""

    DELIVERED = "delivered"
    HELD_BACK = "held_back"  # counted; a summary will tell it
    GIVEN_UP = "given_up"  # the webhook will never take it; the log and the page have it
    REPEATED = "repeated"  # delivered before


class AlertDelivery:
    """Takes messages of the alerts topic: alerts of ours, and state changes of CloudWatch alarms.

    :param status: where an alarm that stops trading sets the stop
    :param webhook: builds the webhook from its secret when an alert is there; None for none
    :param write_line: takes an alert and its line
    :param write_problem: takes a line for the operator about a webhook that cannot be used
    """

    def __init__(
        self,
        *,
        store: AlertStore,
        status: StatusStore,
        webhook: Callable[[], Webhook | None],
        write_line: Callable[[Alert, str], None],
        write_problem: Callable[[str], None],
        metrics: Metrics,
        clock: Clock,
        mode: str,
    ) -> None:
        self._store = store
        self._status = status
        self._webhook = webhook
        self._write_line = write_line
        self._write_problem = write_problem
        self._metrics = metrics
        self._clock = clock
        self._mode = mode

    def deliver(self, message: str) -> Outcome:
        """Deliver one message.

        An alert that the webhook cannot take now is forgotten again, so the topic's next try delivers it. A process
        that dies in between leaves it recorded: people see it on the page and in the log, the webhook misses it.

        :raises SchemaError: neither an alert nor an alarm.
        :raises WebhookDownError: the webhook cannot take it now.
        :raises StoreError: a record or the webhook's secret cannot be reached.
        """
        alert = self._read(message)
        self._stop_for(message)
        if not self._store.put(alert):
            return Outcome.REPEATED
        self._write_line(alert, line_of(alert))
        try:
            outcome = self._tell(alert)
        except (WebhookDownError, StoreError) as error:
            self._store.forget(alert.alert_id)
            self._write_problem(str(error))
            raise
        self._metrics.count(_METRICS[outcome])
        return outcome

    def flush(self) -> int:
        """Send the summaries that are due; returns how many were delivered.

        :raises StoreError: a record or the webhook's secret cannot be reached.
        """
        digest = self._store.digest()
        if flush(digest, self._clock.now_ms()).digest == digest:
            return 0
        try:
            webhook = self._webhook()
        except SettingsError as error:
            self._write_problem(str(error))
            return 0
        if webhook is None:
            return 0
        return self._summarise(webhook, self._claim(flush))

    def _tell(self, alert: Alert) -> Outcome:
        try:
            webhook = self._webhook()
        except SettingsError as error:
            self._write_problem(f"alert {alert.alert_id} reached nobody: {error}")
            return Outcome.GIVEN_UP
        if webhook is None:
            return Outcome.DELIVERED
        admission = self._claim(lambda digest, now_ms: admit(digest, alert, now_ms))
        outcome = self._post_own(webhook, alert) if admission.tell else Outcome.HELD_BACK
        self._summarise(webhook, admission)
        return outcome

    def _post_own(self, webhook: Webhook, alert: Alert) -> Outcome:
        try:
            return self._post(webhook, alert)
        except WebhookDownError:
            group = group_of(alert)
            if group is not None:
                self._change(lambda digest: reopened(digest, group, self._clock.now_ms()))
            raise

    def _summarise(self, webhook: Webhook, admission: Admission) -> int:
        told = 0
        for place, (_, summary) in enumerate(admission.due):
            try:
                outcome = self._post(webhook, summary)
            except WebhookDownError as error:
                self._write_problem(str(error))
                # Each try may cost the whole time limit, and the function's own time is limited too.
                for window, _ in admission.due[place:]:
                    self._change(partial(restored, window=window))
                break
            self._metrics.count(_METRICS[outcome])
            told += outcome is Outcome.DELIVERED
        return told

    def _post(self, webhook: Webhook, alert: Alert) -> Outcome:
        try:
            webhook.post(alert)
        except WebhookRefusedError as error:
            self._write_problem(f"alert {alert.alert_id} reached nobody: {error}")
            return Outcome.GIVEN_UP
        return Outcome.DELIVERED

    def _claim(self, decide: Callable[[AlertDigest, int], Admission]) -> Admission:
        """Decide, and save what was decided before anything is sent: of two deliveries at once one tells."""
        for _ in range(_SAVES):
            digest = self._store.digest()
            admission = decide(digest, self._clock.now_ms())
            if admission.digest == digest or self._store.save_digest(admission.digest):
                return admission
        raise StoreError("the digest of alerts changes faster than it can be saved; the alert is delivered again later")

    def _change(self, change: Callable[[AlertDigest], AlertDigest]) -> None:
        self._claim(lambda digest, _now_ms: Admission(change(digest), tell=False, due=()))

    def _stop_for(self, message: str) -> None:
        """Stop trading when the message is an alarm that asks for it. Before anything else, and at every repetition:
        a stop too many costs less than one that was lost."""
        alarm = _alarm_fields(message)
        if alarm is None or alarm.state != "ALARM" or not alarm.description.startswith(STOPS_TRADING):
            return
        set_stop(self._status, by=f"alarm {alarm.name}", reason=alarm.reason, now_ms=self._clock.now_ms())

    def _read(self, message: str) -> Alert:
        try:
            return schemas.decode(message, Alert)
        except SchemaError:
            alarm = _alarm_fields(message)
            if alarm is None:
                raise
        digest = hashlib.sha256(f"{alarm.name} {alarm.state} {alarm.changed}".encode()).hexdigest()[:20]
        return Alert(
            alert_id=f"alarm-{digest}",
            kind=AlertKind.ALARM,
            mode=self._mode,
            title=f"alarm {alarm.name} is {alarm.state}",
            text=alarm.reason,
            created_ms=_milliseconds(alarm.changed, self._clock.now_ms()),
        )


_METRICS = {
    Outcome.DELIVERED: Metric.ALERTS_DELIVERED,
    Outcome.HELD_BACK: Metric.ALERTS_HELD_BACK,
    Outcome.GIVEN_UP: Metric.ALERTS_GIVEN_UP,
}


@dataclass(frozen=True, slots=True)
class _Alarm:
    """A CloudWatch alarm notification. ``changed`` is the time of the change as it is told."""

    name: str
    state: str
    reason: str
    changed: str
    description: str


def _alarm_fields(message: str) -> _Alarm | None:
    """The alarm that a message tells of, or None if it is another."""
    try:
        body = json.loads(message)
    except ValueError:
        return None
    names = ("AlarmName", "NewStateValue", "NewStateReason", "StateChangeTime")
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in names):
        return None
    name, state, reason, changed = (body[name] for name in names)
    return _Alarm(name, state, reason, changed, description=str(body.get("AlarmDescription") or ""))


def _milliseconds(text: str, otherwise: int) -> int:
    """A time such as ``2026-01-31T12:00:00.000+0000`` in UTC milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return otherwise if moment.tzinfo is None else round(moment.timestamp() * 1000)
