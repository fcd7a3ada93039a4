"""`kalshi-arb status` and `kalshi-arb end`: look at the local run and end it in good order."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import httpx

from kalshi_arb.cli.local_state import RunState, is_alive, read_run_state
from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.domain.money import cash_from_wire, dollars

END_SECONDS = 20.0


def running(folder: Path) -> RunState:
    """The live run, or one line saying that there is none."""
    state = read_run_state(folder)
    if state is None:
        raise click.ClickException(f"nothing is running from {folder}: start it with `kalshi-arb run`")
    return state


def ask(state: RunState, path: str) -> dict[str, Any]:
    """Read one route of the running system's API."""
    try:
        answer = httpx.get(
            state.api_url + path, headers={"authorization": f"Bearer {state.api_token}"}, timeout=httpx.Timeout(10)
        )
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise click.ClickException(f"process {state.pid} runs, but its API does not answer: {error}") from error
    return body


@click.command()
@folder_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say how the running system does: mode, feed, what was found and what became of it."""
    state = running(folder)
    health = ask(state, "health")
    if as_json:
        click.echo(json.dumps({"pid": state.pid, "page": state.page_url, **health}))
        return
    click.echo("\n".join(status_lines(state, health)))


def status_lines(state: RunState, health: Mapping[str, Any]) -> list[str]:
    """The health answer for a person, one fact a line."""
    feed, account = health.get("feed") or {}, health.get("account") or {}
    groups = (health.get("discovery") or {}).get("groups") or {}
    lines = [
        f"mode        {state.mode} (process {state.pid})",
        f"page        {state.page_url}",
        f"feed        {'connected' if feed.get('connected') else 'NOT CONNECTED'}, {feed.get('frames', 0)} frames, "
        f"{feed.get('books', 0)} books, {feed.get('stale_books', 0)} stale, {feed.get('gaps', 0)} gaps",
        f"groups      {_counts(groups)}",
        f"buying      {(health.get('trading') or {}).get('stopped') or 'allowed'}",
        f"ledger      {_BALANCE.get(account.get('matches'), 'not compared yet')}{_returned(account)}",
    ]
    for component, counters in sorted((health.get("counters") or {}).items()):
        lines.append(f"{component:<11} {_counts(counters)}")
    lines += [f"alert       {alert.get('title', '')}" for alert in (health.get("alerts") or [])[:3]]
    return lines


_BALANCE: dict[object, str] = {True: "equals the exchange's account", False: "DIFFERS from the exchange's account"}


def _returned(account: Mapping[str, Any]) -> str:
    """What is in it only for a time; said where netting is on."""
    amount = account.get("returned")
    return "" if amount is None else f", {dollars(cash_from_wire(str(amount)))} of returned collateral in both"


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


@click.command()
@folder_option
@json_option
def end(folder: Path, as_json: bool) -> None:
    """End the local run: no new orders, unwinds finish, then its processes end. To stop trading alone: `stop`."""
    state = running(folder)
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while is_alive(state.pid):
        if time.monotonic() > deadline:
            raise click.ClickException(f"process {state.pid} did not end within {END_SECONDS:.0f} s; look at its log")
        time.sleep(0.1)
    if as_json:
        click.echo(json.dumps({"ended": state.pid}))
    else:
        click.echo(f"ended (process {state.pid})")
