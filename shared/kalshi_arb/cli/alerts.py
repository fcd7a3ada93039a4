"""`kalshi-arb alerts`: see that people can be told, and what they are told."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from kalshi_arb import bootstrap
from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.cli.slack_page import page_of
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.ports import Alert, AlertKind
from kalshi_arb.settings import PREFIX, Mode, read_settings
from kalshi_arb.slack import message_of
from kalshi_arb.webhooks import HttpWebhook, WebhookError, WebhookTarget, webhook_target

RECEIVED_FILE = "slack.jsonl"
_TEXTS = {
    AlertKind.OPPORTUNITY: (
        "Proved opportunity in KXTEST-26NOV22",
        "3 legs for at most $2.86 gain at least $0.11 in each of 4 settlements. Basket b0000test was started.",
    ),
    AlertKind.BASKET: (
        "Basket ended: lock, $0.11 in the worst state",
        "b0000test on KXTEST-26NOV22 (YES KXTEST-26NOV22-T1 10 of 10 & NO KXTEST-26NOV22-T2 10 of 10): complete.",
    ),
    AlertKind.SETTLEMENT: (
        "Basket settled: $0.13",
        "b0000test on KXTEST-26NOV22: $0.13 after settlement, $0.11 had been the worst case.",
    ),
    AlertKind.RELATION: (
        "Group KXTEST-26NOV22:ladder suspended",
        "Floor strike of KXTEST-26NOV22-T1 changed from 1 to 1.5. As it is now it is active as version 2.",
    ),
    AlertKind.REPORT: (
        "Day 2026-11-21: $1.24 after fees",
        "$1.24 realised after $0.31 fees; cash changed by $0.88 to $1000.88. Baskets: 2 lock, 9 settled.",
    ),
    AlertKind.ERROR: (
        "Basket b0000test cannot be accounted for",
        "The exchange has not shown 1 order for 60 s. Nothing new is sent for it: books < 5 s & > 0 levels were there.",
    ),
    AlertKind.ALARM: (
        "alarm kalshi-arb-test-feed-silent is ALARM",
        "Threshold Crossed: no datapoints were received for 3 periods.",
    ),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one test message."""

    kind: str
    delivered: bool
    problem: str = ""


def samples(mode: str, now_ms: int) -> list[Alert]:
    """One test alert of each kind."""
    return [
        Alert(f"test-{kind.value}-{now_ms}", kind, mode, f"TEST {title}", f"This is only a test. {text}", now_ms)
        for kind, (title, text) in _TEXTS.items()
    ]


@click.group()
def alerts() -> None:
    """See that people can be told, and what they are told."""


@alerts.command()
@click.option(
    "--webhook-url-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='File with the address, or with {"url": "...", "kind": "slack"|"generic"}; without it the stack\'s secret.',
)
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=None,
    help=f"Mode that the messages name; without it {PREFIX}MODE, or simulated.",
)
@click.option(
    "--render",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Send nothing: write the messages to this HTML file, as Slack would show them.",
)
@json_option
def test(webhook_url_file: Path | None, mode: str | None, render: Path | None, as_json: bool) -> None:
    """Send one test message of each kind to the webhook.

    The webhook is the one in the stack's secret (KALSHI_ARB_WEBHOOK_SECRET names it) or in --webhook-url-file. The exit
    code is 1 when a message was not taken: the line says why and what to do.

    \b
    Examples:
      kalshi-arb alerts test --webhook-url-file slack-url.txt
      kalshi-arb alerts test --render alerts.html
    """
    if render is not None and webhook_url_file is not None:
        raise click.UsageError("--render sends nothing: leave out --webhook-url-file, or --render")
    named = mode or os.environ.get(f"{PREFIX}MODE") or Mode.SIMULATED.value
    messages = samples(named, time.time_ns() // 1_000_000)
    if render is not None:
        _render([message_of(alert) for alert in messages], f"Test alerts, mode {named}", render, as_json)
        return
    target = _target_in(webhook_url_file) if webhook_url_file is not None else _target_of_stack()
    webhook = HttpWebhook(target, SystemClock())
    results = [_send(webhook, alert) for alert in messages]
    delivered = all(result.delivered for result in results)
    if as_json:
        rows = [asdict(result) for result in results]
        click.echo(json.dumps({"delivered": delivered, "webhook": target.kind.value, "messages": rows}))
    else:
        for result in results:
            click.echo(f"{'ok ' if result.delivered else 'BAD'}  {result.kind:<12} {result.problem or 'delivered'}")
    if not delivered:
        raise click.exceptions.Exit(1)


@alerts.command()
@folder_option
@click.option(
    "--render",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write them to this HTML file, as Slack would show them.",
)
@json_option
def received(folder: Path, render: Path | None, as_json: bool) -> None:
    """Show what the local run's stand-in for Slack has received, oldest first."""
    path = folder / RECEIVED_FILE
    try:
        messages = [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise click.ClickException(f"nothing was received in {folder}: start a run with `kalshi-arb run`") from None
    except ValueError:
        raise click.ClickException(f"{path} is not a list of messages: remove it") from None
    if render is not None:
        _render(messages, f"{len(messages)} alerts received by the stand-in for Slack", render, as_json)
    elif as_json:
        click.echo(json.dumps({"received": len(messages), "messages": messages}))
    else:
        for message in messages:
            click.echo(message["text"])


def _render(messages: Sequence[dict[str, Any]], title: str, path: Path, as_json: bool) -> None:
    try:
        path.write_text(page_of(messages, title))
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    click.echo(json.dumps({"rendered": str(path), "messages": len(messages)}) if as_json else f"written to {path}")


def _target_in(path: Path) -> WebhookTarget:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {path}: {type(error).__name__}") from None
    secret: object = {"url": text}
    if text.startswith("{"):
        try:
            secret = json.loads(text)
        except ValueError:
            secret = None
    try:
        target = webhook_target(secret) if isinstance(secret, dict) else None
    except SettingsError:
        target = None
    if target is None:
        # Without what was read: it may be an address with a typing error, which is a secret still.
        raise click.UsageError(
            f'{path} must hold an address (https://...) or {{"url": "https://...", "kind": "slack"}}'
        )
    return target


def _target_of_stack() -> WebhookTarget:
    settings = read_settings(os.environ) if f"{PREFIX}WEBHOOK_SECRET" in os.environ else None
    if settings is None:
        raise click.UsageError(
            f"there is no webhook to test: give --webhook-url-file FILE, or set {PREFIX}WEBHOOK_SECRET and the "
            "other settings of a deployed stack, or only look at the messages with --render FILE"
        )
    target = bootstrap.webhook_of(settings)
    if target is None:
        raise click.ClickException("the stack's webhook secret holds no address: put one in, then test again")
    return target


def _send(webhook: HttpWebhook, alert: Alert) -> Sent:
    try:
        webhook.post(alert)
    except WebhookError as error:
        return Sent(alert.kind.value, False, str(error))
    return Sent(alert.kind.value, True)
