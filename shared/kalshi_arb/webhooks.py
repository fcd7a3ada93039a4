"""Where alerts are posted: a Slack incoming webhook, or any receiver of JSON, and everything that can go wrong there.

WebhookError
+-- WebhookDownError      nobody took it now; the same post may work later (429, 408, 5xx, no answer)
+-- WebhookRefusedError   it will never be taken like this: the address is no webhook (any more) or refuses the message

An address is a secret: whoever knows it can post. It is in no message of an error and nothing here logs; the standard
library's client is used because httpx logs the address of every request.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from kalshi_arb.alert_text import line_of
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import KalshiArbError, SettingsError
from kalshi_arb.ports import Alert
from kalshi_arb.slack import message_of

WEBHOOK_SECONDS = 5.0
SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
# What one delivery may wait for a busy receiver in all; after that the topic delivers again, minutes later.
PATIENCE_S = 8.0
FIRST_PAUSE_S = 1.0
ATTEMPTS = 3
_LONGEST_ANSWER = 4_096

_NEW_ADDRESS = "create a new incoming webhook and put its address into the webhook secret"
_ADVICE = {
    "invalid_payload": "the receiver cannot read the message: report this as a defect",
    "invalid_blocks": "the receiver cannot read the message: report this as a defect",
    "no_text": "the receiver cannot read the message: report this as a defect",
    "too_many_attachments": "the receiver cannot read the message: report this as a defect",
    "user_not_found": f"the person it posts to does not exist: {_NEW_ADDRESS}",
    "channel_not_found": f"its channel does not exist: {_NEW_ADDRESS}",
    "channel_is_archived": f"its channel is archived: unarchive it, or {_NEW_ADDRESS}",
    "action_prohibited": "an administrator of the workspace forbids it: ask for permission, or post elsewhere",
    "posting_to_general_channel_denied": "it may not post to that channel: ask an administrator, or post elsewhere",
    "no_service": f"it was removed, switched off or never existed: {_NEW_ADDRESS}",
    "no_service_id": f"the address is incomplete: {_NEW_ADDRESS}",
    "no_team": f"its workspace does not exist: {_NEW_ADDRESS}",
    "team_disabled": f"its workspace is switched off: {_NEW_ADDRESS}",
    "invalid_token": f"its token is wrong, expired or revoked: {_NEW_ADDRESS}",
}
_STATUS_ADVICE = {
    HTTPStatus.BAD_REQUEST: "the receiver cannot read the message: check the kind of the webhook secret",
    HTTPStatus.UNAUTHORIZED: f"the address is not accepted (expired or revoked): {_NEW_ADDRESS}",
    HTTPStatus.FORBIDDEN: f"posting is forbidden there: {_NEW_ADDRESS}",
    HTTPStatus.NOT_FOUND: f"there is no webhook at the address: {_NEW_ADDRESS}",
    HTTPStatus.GONE: f"the webhook is gone for good: {_NEW_ADDRESS}",
}
_OTHER_ADVICE = f"the address is probably no webhook: {_NEW_ADDRESS}"
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class WebhookError(KalshiArbError):
    """The webhook did not take an alert. The message never holds its address."""


class WebhookDownError(WebhookError):
    """Nobody took it now. ``retry_after_s`` is how long the receiver asked to wait, if it did."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WebhookRefusedError(WebhookError):
    """It will never be taken like this; the message says what to do. ``code`` is the receiver's word, or its status."""

    def __init__(self, code: str, advice: str) -> None:
        super().__init__(f"the webhook refused ({code}): {advice}")
        self.code = code


@unique
class WebhookKind(Enum):
    """What a receiver understands."""

    SLACK = "slack"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """One receiver."""

    url: str = field(repr=False)
    kind: WebhookKind


class Webhook(Protocol):
    """Where alerts are posted."""

    def post(self, alert: Alert) -> None:
        """Hand over one alert.

        :raises WebhookDownError: not now.
        :raises WebhookRefusedError: never like this.
        """
        ...


def webhook_target(secret: Mapping[str, object]) -> WebhookTarget | None:
    """What the webhook secret, ``{"url": "https://...", "kind": "slack" | "generic"}``, points to; None for nowhere.

    Without a kind, Slack's own hosts are Slack and everything else is generic.

    :raises SettingsError: it is something else; the message never repeats it.
    """
    url = secret.get("url", "")
    if url == "":
        return None
    wrong = SettingsError(
        'the webhook secret must be {"url": "https://...", "kind": "slack" or "generic"}, or {"url": ""} for no webhook'
    )
    if not isinstance(url, str) or any(character.isspace() or not character.isprintable() for character in url):
        raise wrong
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("https", "http") or not host or not url.isascii():
        raise wrong
    named = secret.get("kind")
    if named is None:
        return WebhookTarget(url, WebhookKind.SLACK if host in SLACK_HOSTS else WebhookKind.GENERIC)
    for kind in WebhookKind:
        if kind.value == named:
            return WebhookTarget(url, kind)
    raise wrong


def generic_message_of(alert: Alert) -> dict[str, object]:
    """The body for receivers of ``{"text": "..."}`` (Mattermost and others), with the alert's parts beside it."""
    return {
        "text": line_of(alert),
        "mode": alert.mode,
        "kind": alert.kind.value,
        "title": alert.title,
        "alert_id": alert.alert_id,
        "created_ms": alert.created_ms,
    }


_MESSAGES = {WebhookKind.SLACK: message_of, WebhookKind.GENERIC: generic_message_of}


class HttpWebhook:
    """Posts alerts to one receiver; waits a little for a busy one, as long as it asks to but never for long."""

    def __init__(self, target: WebhookTarget, clock: Clock, seconds: float = WEBHOOK_SECONDS) -> None:
        self._target = target
        self._clock = clock
        self._seconds = seconds

    def post(self, alert: Alert) -> None:
        """As the protocol says."""
        content = json.dumps(_MESSAGES[self._target.kind](alert)).encode()
        left = PATIENCE_S
        for attempt in range(ATTEMPTS):
            try:
                return self._post(content)
            except WebhookDownError as error:
                # Only a receiver that names a time is waited for: one that hangs has already cost its time limit.
                pause = error.retry_after_s
                if pause is None or pause > left or attempt + 1 == ATTEMPTS:
                    raise
                left -= pause
                self._clock.sleep(pause)
        return None

    def _post(self, content: bytes) -> None:
        status, reason, retry_after = self._exchange(content)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            if self._target.kind is WebhookKind.SLACK and reason != "ok":
                raise WebhookRefusedError(str(status), f"it did not answer as Slack does. {_OTHER_ADVICE}")
            return
        if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = _seconds(retry_after)
            if status == HTTPStatus.TOO_MANY_REQUESTS and wait is None:
                wait = FIRST_PAUSE_S
            asked = "" if wait is None else f" and asks to wait {wait:g} s"
            raise WebhookDownError(f"the webhook answered {status}{asked}; the alert is delivered again later", wait)
        if reason in _ADVICE:
            raise WebhookRefusedError(f"{status} {reason}", _ADVICE[reason])
        raise WebhookRefusedError(str(status), _STATUS_ADVICE.get(HTTPStatus(status), _OTHER_ADVICE))

    def _exchange(self, content: bytes) -> tuple[int, str, str | None]:
        """Post once: status, the answer's word, and what ``Retry-After`` says."""
        parts = urlsplit(self._target.url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection = _connection(parts.scheme, str(parts.hostname), parts.port, self._seconds)
        try:
            connection.request("POST", path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read(_LONGEST_ANSWER)
            return answer.status, _word(body), answer.getheader("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            # Without the cause and its text: either may repeat the address.
            raise WebhookDownError(
                f"the webhook did not answer ({type(error).__name__}): check that its host is right and up"
            ) from None
        finally:
            connection.close()


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=seconds)


def _word(body: bytes) -> str:
    """Slack answers with one word, some receivers with JSON or a page: only a word is looked up."""
    return body.decode("utf-8", errors="replace").strip()


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds; the form with a date is not used by receivers of webhooks."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return None
    return float(retry_after)
