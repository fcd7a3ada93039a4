"""Delivers alerts: recognises repetitions, writes one line to the log, posts to the webhook if there is one."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from kalshi_arb import schemas
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import KalshiArbError, SchemaError, SettingsError
from kalshi_arb.ports import Alert, AlertKind, AlertStore

WEBHOOK_SECONDS = 5.0


class WebhookError(KalshiArbError):
    """The webhook did not take an alert. The message never holds its address, which is a secret."""


class Webhook(Protocol):
    """Where alerts are posted."""

    def post(self, alert: Alert) -> None:
        """Hand over one alert. :raises WebhookError: it was not taken."""
        ...


def line_of(alert: Alert) -> str:
    """An alert as one line; its mode is the first word, so that nobody takes a simulation for the real thing."""
    text = " ".join(f"{alert.title}: {alert.text}".split())
    return f"{alert.mode} {alert.kind.value}: {text}"


def webhook_url(secret: Mapping[str, object]) -> str | None:
    """Where the webhook secret, ``{"url": "..."}``, says to post; None for nowhere.

    :raises SettingsError: something that is no address; the message never repeats it.
    """
    url = secret.get("url", "")
    if url == "":
        return None
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise SettingsError('the webhook secret must be {"url": "https://..."}, or {"url": ""} for no webhook')
    return url


class HttpWebhook:
    """A webhook that takes ``{"text": "..."}`` (Slack, Mattermost and others), with the alert's parts beside it."""

    def __init__(self, url: str, seconds: float = WEBHOOK_SECONDS) -> None:
        self._url = url
        self._seconds = seconds

    def post(self, alert: Alert) -> None:
        """Post one alert. :raises WebhookError: no answer in time, or one that is not a success."""
        # Only this path needs an HTTP client, and loading one takes a tenth of a second.
        import httpx

        body = {
            "text": line_of(alert),
            "mode": alert.mode,
            "kind": alert.kind.value,
            "title": alert.title,
            "alert_id": alert.alert_id,
            "created_ms": alert.created_ms,
        }
        try:
            answer = httpx.post(self._url, json=body, timeout=self._seconds, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebhookError(f"the webhook did not answer ({type(error).__name__})") from None
        if not answer.is_success:
            raise WebhookError(f"the webhook answered {answer.status_code}")


class AlertDelivery:
    """Takes messages of the alerts topic: alerts of ours, and state changes of CloudWatch alarms."""

    def __init__(
        self,
        *,
        store: AlertStore,
        webhook: Webhook | None,
        write_line: Callable[[Alert, str], None],
        clock: Clock,
        mode: str,
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._write_line = write_line
        self._clock = clock
        self._mode = mode

    def deliver(self, message: str) -> bool:
        """Deliver one message; False when it was delivered before.

        An alert that the webhook refuses is forgotten again, so the topic's next try delivers it. A process that dies
        in between leaves it recorded: people see it on the page and in the log, the webhook misses it.

        :raises SchemaError: neither an alert nor an alarm.
        :raises WebhookError: the webhook did not take it.
        :raises StoreError: the record of delivered alerts cannot be reached.
        """
        alert = self._read(message)
        if not self._store.put(alert):
            return False
        self._write_line(alert, line_of(alert))
        if self._webhook is not None:
            try:
                self._webhook.post(alert)
            except WebhookError:
                self._store.forget(alert.alert_id)
                raise
        return True

    def _read(self, message: str) -> Alert:
        try:
            return schemas.decode(message, Alert)
        except SchemaError:
            alarm = _alarm_fields(message)
            if alarm is None:
                raise
        name, state, reason, changed = alarm
        digest = hashlib.sha256(f"{name} {state} {changed}".encode()).hexdigest()[:20]
        return Alert(
            alert_id=f"alarm-{digest}",
            kind=AlertKind.ALARM,
            mode=self._mode,
            title=f"alarm {name} is {state}",
            text=reason,
            created_ms=_milliseconds(changed, self._clock.now_ms()),
        )


def _alarm_fields(message: str) -> tuple[str, str, str, str] | None:
    """Name, new state, reason and time of change of a CloudWatch alarm notification, or None if it is not one."""
    try:
        body = json.loads(message)
    except ValueError:
        return None
    names = ("AlarmName", "NewStateValue", "NewStateReason", "StateChangeTime")
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in names):
        return None
    return body["AlarmName"], body["NewStateValue"], body["NewStateReason"], body["StateChangeTime"]


def _milliseconds(text: str, otherwise: int) -> int:
    """A time such as ``2026-01-31T12:00:00.000+0000`` in UTC milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return otherwise if moment.tzinfo is None else round(moment.timestamp() * 1000)
