"""`kalshi-arb stop`, `arm` and `abandon`: what a person does to a system that trades."""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.cli.stack import person, stack_of, stack_option, terms_of, trading_key
from kalshi_arb.clock import SystemClock
from kalshi_arb.execution.arming import COMPONENT as ARMING
from kalshi_arb.execution.arming import LONGEST_MS, new_arming
from kalshi_arb.execution.control import read_stop, set_stop
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.risk.breaker import COMPONENT as BREAKER
from kalshi_arb.risk.breaker import read_trip
from kalshi_arb.settings import Mode
from kalshi_arb.stop_desk import ArmOrder, Json, StopDesk, StopOrder, trading_view

if TYPE_CHECKING:
    from kalshi_arb.bootstrap import DeployedStack

LONGEST_HOURS = LONGEST_MS // 3_600_000
ABANDON_MS = 60_000
"""How long the exchange goes on cancelling what is placed after a cancel-all (Kalshi API documentation)."""
_MARGIN_MS = 15_000  # the exchange's clock and ours, and the time the call takes

_yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@click.command()
@click.option("--reason", default="", help="Why, for whoever finds it stopped.")
@click.option(
    "--hard",
    is_flag=True,
    help="Also take calling the function that buys away from the state machine (needs iam:AttachRolePolicy).",
)
@stack_option
@folder_option
@json_option
def stop(reason: str, hard: bool, stack: str | None, folder: Path, as_json: bool) -> None:
    """Stop trading: nothing new is bought, unwinds run. `kalshi-arb arm` allows it again.

    \b
    Examples:
      kalshi-arb stop
      kalshi-arb stop --stack live --hard --reason "fills look wrong"
    """
    target = stack_of(stack, folder)
    try:
        _desk(target).stop(StopOrder(by=person(), reason=reason))
    finally:
        # Each is a stop by itself: the one is set even if the other cannot be.
        if hard:
            target.deny()
    _report(target, as_json)


@click.command()
@click.option("--hours", type=click.IntRange(1, LONGEST_HOURS), help="Mode live: for how long, in hours.")
@click.option("--reset-breaker", is_flag=True, help="Reset the breaker too; first find out why it tripped.")
@_yes_option
@stack_option
@folder_option
@json_option
def arm(hours: int | None, reset_breaker: bool, yes: bool, stack: str | None, folder: Path, as_json: bool) -> None:
    """Allow trading again: take back the stop and the denial of `stop --hard`, and in mode live arm for some hours.

    An arming is made for what is deployed now. It ends with its time, and when the template, the limits or the
    trading key change.

    \b
    Examples:
      kalshi-arb arm
      kalshi-arb arm --stack live --hours 8
    """
    target = stack_of(stack, folder)
    live = target.mode == Mode.LIVE.value
    if live and hours is None:
        raise click.UsageError("mode live is armed for a time: give --hours")
    if not live and hours is not None:
        raise click.UsageError(f"--hours belongs to mode live; {target.mode} moves no real money and needs no arming")
    status, now = target.status, SystemClock().now_ms()
    stopped, trip, denied = read_stop(status), read_trip(status.get(BREAKER)), target.is_denied()
    steps = []
    arming: Json | None = None
    if hours is not None:
        terms = terms_of(target)
        arming = new_arming(terms, hours=hours, by=person(), now_ms=now)
        steps.append(
            f"arm real money until {_time(now + hours * 3_600_000)}, for template {terms.template[:12]}, limits "
            f"{terms.limits[:12]} and key {terms.key_id}"
        )
    if trip is not None and reset_breaker:
        steps.append(f"reset the breaker, which tripped at {_time(trip.at_ms)}: {trip.text}")
    if stopped.stopped:
        steps.append(
            f"take back the stop by {stopped.by or 'a person'}{f' ({stopped.reason})' if stopped.reason else ''}"
        )
    if denied:
        steps.append(f"detach the denial from the role {target.output('BasketMachineRole')}")
    _confirm(target, steps, yes=yes or not (live or denied or trip))
    if arming is not None:
        status.put(ARMING, arming)
    _desk(target).lift(ArmOrder(by=person(), reset_breaker=reset_breaker))
    if denied:
        target.allow()
    _report(target, as_json)


@click.command()
@_yes_option
@stack_option
@folder_option
@json_option
def abandon(yes: bool, stack: str | None, folder: Path, as_json: bool) -> None:
    """Stop, have the exchange cancel every order on all shards, and send none for a minute: not even unwinds.

    The exchange also cancels what is placed in the minute after. What is held stays held and unprotected so long;
    afterwards unwinds run, and nothing is bought until `kalshi-arb arm`. Nothing of this system ever rests on the
    exchange: this is for orders that somebody or something else left there.
    """
    target = stack_of(stack, folder)
    if target.mode == Mode.PAPER.value:
        raise click.UsageError("mode paper has no orders at the exchange: use `kalshi-arb stop`")
    key, url = trading_key(target), target.output("ExchangeRestUrl")
    steps = [
        f"cancel every order of the key {key.key_id} at {url}",
        f"send no order at all for {(ABANDON_MS + _MARGIN_MS) // 1000} s, unwinds included",
        "buy nothing afterwards until `kalshi-arb arm`",
    ]
    _confirm(target, steps, yes=yes)
    clock = SystemClock()
    _forbid(target, clock.now_ms())
    with closing(RestClient(base_url=url, credentials=key, clock=clock)) as client:
        Orders(client).cancel_all()
    _forbid(target, clock.now_ms())
    _report(target, as_json)


def _forbid(target: "DeployedStack", now_ms: int) -> None:
    until = now_ms + ABANDON_MS + _MARGIN_MS
    set_stop(target.status, by=person(), reason="abandoned", now_ms=now_ms, no_orders_until_ms=until)


def _desk(target: "DeployedStack") -> StopDesk:
    return StopDesk(status=target.status, clock=SystemClock(), mode=target.mode)


def _confirm(target: "DeployedStack", steps: Sequence[str], *, yes: bool) -> None:
    if yes:
        return
    click.echo(f"stack {target.name}, mode {target.mode}. This will:", err=True)
    for step in steps:
        click.echo(f"  - {step}", err=True)
    click.confirm("Go on?", abort=True, err=True)


def _report(target: "DeployedStack", as_json: bool) -> None:
    denied = target.is_denied()
    trading = trading_view(target.status, SystemClock().now_ms(), target.mode)
    if as_json:
        click.echo(json.dumps({"stack": target.name, "mode": target.mode, "denied": denied, "trading": trading}))
        return
    why = [str(trading["stopped"])] if trading["stopped"] is not None else []
    why += ["denied: the state machine may not call the function that buys"] if denied else []
    if why:
        click.echo(f"{target.mode}: nothing new is bought, unwinds run ({'; '.join(why)})")
        return
    until = trading["armed_until_ms"]
    click.echo(f"{target.mode}: buying is allowed{f' until {_time(until)}' if isinstance(until, int) else ''}")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
