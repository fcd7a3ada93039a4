"""`kalshi-arb status` and `kalshi-arb stop`: look at a running system and end it in good order."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import click
import httpx

from kalshi_arb.cli.local_state import STATE_FOLDER, RunState, is_alive, read_run_state

STOP_SECONDS = 20.0

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where the local run keeps its state.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


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
    click.echo(f"mode     {state.mode} (process {state.pid})")
    click.echo(f"page     {state.page_url}")
    for name, value in health.items():
        text = json.dumps(value) if isinstance(value, dict | list) else str(value)
        click.echo(f"{name:<8} {text}")


@click.command()
@folder_option
@json_option
def stop(folder: Path, as_json: bool) -> None:
    """Stop the running system: no new orders, unwinds finish, then everything ends."""
    state = running(folder)
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while is_alive(state.pid):
        if time.monotonic() > deadline:
            raise click.ClickException(f"process {state.pid} did not end within {STOP_SECONDS:.0f} s; look at its log")
        time.sleep(0.1)
    if as_json:
        click.echo(json.dumps({"stopped": state.pid}))
    else:
        click.echo(f"stopped (process {state.pid})")
