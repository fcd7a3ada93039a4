"""`kalshi-arb relations`: the groups of a running system, why each holds, what became of it, and approvals."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import httpx

from kalshi_arb.cli.discover import BadInputError, Discovered, read_files, read_user_relations
from kalshi_arb.cli.exchange_choice import check_address
from kalshi_arb.cli.local_state import read_run_state
from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.domain.group_record import accept
from kalshi_arb.relations.discover import refusal_text
from kalshi_arb.relations_view import group_view

_SECONDS = 30.0
_SHOWN_STATES = 12
_SHOWN_HISTORY = 10

api_option = click.option("--api-url", help="Address of a deployed system's HTTP API; without it the local run's.")
token_option = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --api-url: file that holds the API's token.",
)


class System:
    """A running system as its owner reaches it: over its HTTP API.

    :raises click.ClickException: nothing runs, or it does not answer
    """

    def __init__(self, folder: Path, api_url: str | None, token_file: Path | None) -> None:
        check_address("--api-url", api_url)
        if bool(api_url) != bool(token_file):
            raise click.UsageError("--api-url and --token-file go together")
        if api_url and token_file:
            self._url, self._token = api_url.rstrip("/"), token_file.read_text().strip()
            return
        state = read_run_state(folder)
        if state is None:
            raise click.ClickException(
                f"nothing is running from {folder}: start it with `kalshi-arb run`, or give --api-url and --token-file"
            )
        self._url, self._token = state.api_url.rstrip("/"), state.api_token

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read a route."""
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        """Write to a route."""
        return self._call("POST", path, json=dict(body))

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._token}"}
        try:
            answer = httpx.request(method, f"{self._url}{path}", headers=headers, timeout=_SECONDS, **arguments)
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise click.ClickException(f"{self._url} does not answer: {error}") from error
        if not answer.is_success or not isinstance(body, dict):
            what = body.get("error", body.get("message")) if isinstance(body, dict) else body
            raise click.ClickException(f"{what} (HTTP {answer.status_code})")
        return body


@click.group()
def relations() -> None:
    """The groups of a running system: why each holds, what became of it, and a person's approval."""


@relations.command("list")
@folder_option
@api_option
@token_option
@json_option
def list_groups(folder: Path, api_url: str | None, token_file: Path | None, as_json: bool) -> None:
    """List the accepted groups, those that cannot be used first."""
    found = System(folder, api_url, token_file).get("/relations")
    if as_json:
        click.echo(json.dumps(found))
        return
    for row in found["groups"]:
        edges = f", {row['edge_states']} at an edge" if row["edge_states"] else ""
        click.echo(
            f"{row['standing'].replace('_', ' '):<14} {row['family']:<10} {row['id']}  {row['markets']} markets, "
            f"{row['states']} states{edges}, version {row['version']}"
        )
    click.echo(f"{len(found['groups'])} groups")


@relations.command()
@click.argument("group")
@click.option(
    "--input",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recorded payloads to find the group in, instead of a running system. May be repeated.",
)
@click.option(
    "--relations",
    "relations_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --input: relations of your own (relations.yaml).",
)
@folder_option
@api_option
@token_option
@json_option
def show(
    group: str,
    files: tuple[Path, ...],
    relations_file: Path | None,
    folder: Path,
    api_url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Show why GROUP holds: markets, states, certificate, edge states, history, and what was refused nearby.

    \b
    Examples:
      kalshi-arb relations show KXHIGHNY-26NOV22:partition
      kalshi-arb relations show KXBTC-26JUL0921:partition --input markets.json.gz
    """
    if files and (api_url or token_file):
        raise click.UsageError("--input reads files: leave --api-url and --token-file out")
    if relations_file and not files:
        raise click.UsageError("--relations goes with --input: a running system has its own")
    if files:
        view = show_recorded(read_files(files, read_user_relations(relations_file)), group)
    else:
        view = System(folder, api_url, token_file).get("/relations/group", id=group)
    click.echo(json.dumps(view) if as_json else "\n".join(as_text(view)))


def show_recorded(found: Discovered, group_id: str) -> dict[str, Any]:
    """A group as a recording forms it. :raises BadInputError: it does not."""
    for group in found.built.groups:
        if group.group_id == group_id:
            nearby = tuple(map(refusal_text, found.catalogue.refusals_near(group)))
            after = accept(group, read_ms=0, now_ms=0, nearby=nearby).after
            if after is not None:
                return {"mode": "recorded", **group_view(after, ())}
    raise BadInputError(f"{found.source} forms no group {group_id}: `kalshi-arb discover --input` lists those it forms")


@relations.command()
@click.argument("group")
@folder_option
@api_option
@token_option
@json_option
def history(group: str, folder: Path, api_url: str | None, token_file: Path | None, as_json: bool) -> None:
    """Show what became of GROUP, newest first: versions, suspensions, approvals, with what changed."""
    found = System(folder, api_url, token_file).get("/relations/history", id=group)
    if as_json:
        click.echo(json.dumps(found))
        return
    for row in found["history"]:
        click.echo("\n".join(_history_lines(row)))


@relations.command()
@click.argument("group")
@click.option("--reason", required=True, help="Why what the group assumes is true.")
@click.option("--fingerprint", help="The fingerprint that you looked at; without it the one it has now.")
@folder_option
@api_option
@token_option
@json_option
def approve(
    group: str,
    reason: str,
    fingerprint: str | None,
    folder: Path,
    api_url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Take what GROUP assumes for true, for as long as its fingerprint stays what it is.

    Refused when the group assumes nothing, is suspended, is approved already, or is not what you looked at.
    """
    system = System(folder, api_url, token_file)
    seen = fingerprint or system.get("/relations/group", id=group)["fingerprint"]
    view = system.post("/relations/approve", {"group_id": group, "fingerprint": seen, "reason": reason})
    if as_json:
        click.echo(json.dumps(view))
        return
    click.echo(f"approved {group} as version {view['version']}, fingerprint {view['fingerprint'][:12]}: {reason}")


def as_text(view: Mapping[str, Any]) -> list[str]:
    """A group for a person."""
    lines = [
        f"group        {view['id']}, {view['family']}",
        f"standing     {_standing(view)}",
        f"version      {view['version']}, fingerprint {view['fingerprint'][:12]}",
        "",
        "markets",
    ]
    for market in view["markets"]:
        strikes = " to ".join(text for text in (market["floor"], market["cap"]) if text is not None)
        lines.append(f"  {market['ticker']:<32} {market['strike_type']} {strikes}  {market['title']}")
    lines += ["", f"certificate: why these {view['states']} states are all there are"]
    lines += [f"  {number}. {text}" for number, text in enumerate(view["certificate"], start=1)] or ["  none"]
    if view["assumptions"]:
        lines += ["", "assumed: nothing is proved before a person approves this"]
        lines += [f"  {text}" for text in view["assumptions"]]
    lines += ["", f"states       {view['states']}, of which {len(view['edge_states'])} are at an edge"]
    shown = [state for state in view["states_shown"] if state["basis"] == "certain"][:_SHOWN_STATES]
    lines += [f"  {state['name']}: {_paid(state)}" for state in shown]
    certain = view["states"] - len(view["edge_states"])
    if certain > len(shown):
        lines.append(f"  and {certain - len(shown)} more")
    if view["edge_states"]:
        lines += ["", "edge states: a bundle that breaks only there is conditional"]
        lines += [f"  {name}" for name in view["edge_states"][:_SHOWN_STATES]]
        if len(view["edge_states"]) > _SHOWN_STATES:
            lines.append(f"  and {len(view['edge_states']) - _SHOWN_STATES} more")
    lines += ["", "relations"]
    lines += [
        f"  {one['kind']}: {', '.join(one['members'][:4])}{' ...' if len(one['members']) > 4 else ''}: {one['reason']}"
        for one in view["relations"][:_SHOWN_STATES]
    ]
    if len(view["relations"]) > _SHOWN_STATES:
        lines.append(f"  and {len(view['relations']) - _SHOWN_STATES} more")
    if view["absent"]:
        lines += ["", f"absent       the input does not say: {', '.join(view['absent'])}"]
    lines += ["", "refused nearby"]
    lines += [f"  {text}" for text in view["nearby"]] or ["  nothing"]
    if view["history"]:
        lines += ["", "history"]
        lines += [f"  {line}" for row in view["history"][:_SHOWN_HISTORY] for line in _history_lines(row)]
    return lines


def _standing(view: Mapping[str, Any]) -> str:
    if view["suspension"] is not None:
        return f"SUSPENDED since {_time(view['suspension']['since_ms'])}: {view['suspension']['words']}"
    if view["approval"] is not None:
        return f"active, approved {_time(view['approval']['approved_ms'])}: {view['approval']['reason']}"
    return "NEEDS APPROVAL" if view["standing"] == "needs_approval" else str(view["standing"])


def _paid(state: Mapping[str, Any]) -> str:
    if state["at_a_price"]:
        return "each at a price of its own"
    paid = state["pays"]
    return f"YES pays in {', '.join(paid[:4])}{f' and {len(paid) - 4} more' if len(paid) > 4 else ''}" if paid else (
        "no YES pays"
    )  # fmt: skip


def _history_lines(row: Mapping[str, Any]) -> list[str]:
    head = f"{_time(row['at_ms'])}  {row['what']:<10} version {row['version']}, fingerprint {row['fingerprint'][:12]}"
    return [head, *(f"    {text}" for text in row["words"])]


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
