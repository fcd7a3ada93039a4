"""`kalshi-arb journal`, `positions` and `pnl`: what was decided, bought, paid and earned."""

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kalshi_arb import journal_view as view
from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.cli.stack import stack_of, stack_option
from kalshi_arb.domain.journal import JournalError
from kalshi_arb.domain.money import cash_from_wire, cash_to_wire, dollars
from kalshi_arb.domain.portfolio import LedgerEntry, cash_change, net_positions
from kalshi_arb.execution.audit import ACCOUNT, RETURNED
from kalshi_arb.journal_view import By, Names

if TYPE_CHECKING:
    from kalshi_arb.bootstrap import DeployedStack

EVERY_ROW = 100_000
"""Of baskets: more than a table of them will hold."""


def entries_of(stack: "DeployedStack") -> list[LedgerEntry]:
    """Every entry of a whole journal. :raises JournalError: it is damaged, so no total of it would be true."""
    _, found = view.damages(stack.ledger)
    if found:
        raise JournalError(f"the journal is damaged, {found[0]}: see `kalshi-arb journal verify`")
    return stack.ledger.all()


def names_of(stack: "DeployedStack") -> Names:
    """Events, families and dates from the stack's baskets."""
    return view.names_of(stack.baskets.recent(EVERY_ROW))


def _day(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no day: write it as 2026-11-22") from None


@click.group()
def journal() -> None:
    """Look at the journal: every decision and cash movement, chained so that nothing changes unnoticed."""


@journal.command("verify")
@stack_option
@folder_option
@json_option
def verify_command(stack: str | None, folder: Path, as_json: bool) -> None:
    """Check every record, chain and daily anchor, and the state carried forward from them; name each place that is not
    what was written. Exit code 1 then."""
    ledger = stack_of(stack, folder).ledger
    count, found = view.damages(ledger)
    carried = "" if found else view.carried_problem(ledger)
    if as_json:
        damages = [str(damage) for damage in found]
        click.echo(json.dumps({"records": count, "damages": damages, "carried_forward": carried or "whole"}))
    else:
        for damage in found:
            click.echo(f"DAMAGED  {damage}")
        if carried:
            click.echo(f"CARRIED  {carried}; `kalshi-arb journal repair` makes the state anew from the journal")
        click.echo(f"{count} records, {len(found)} damaged places" if found else f"{count} records, whole")
    if found or carried:
        raise click.exceptions.Exit(1)


@journal.command()
@click.argument("basket_id", metavar="BASKET")
@stack_option
@folder_option
@json_option
def show(basket_id: str, stack: str | None, folder: Path, as_json: bool) -> None:
    """Everything the journal tells of one basket, by time."""
    rows = view.of_basket(entries_of(stack_of(stack, folder)), basket_id)
    if not rows:
        raise click.ClickException(f"the journal tells nothing of a basket {basket_id}")
    if as_json:
        click.echo(json.dumps({"basket": basket_id, "entries": [view.told(row) for row in rows]}))
    else:
        click.echo("\n".join(view.told(row) for row in rows))


@journal.command()
@click.option("--csv", "target", required=True, type=click.Path(dir_okay=False, writable=True, path_type=Path))
@stack_option
@folder_option
def export(target: Path, stack: str | None, folder: Path) -> None:
    """Write all entries to a CSV file, one a row, amounts in dollars."""
    found = stack_of(stack, folder)
    rows = entries_of(found)
    target.write_text(view.as_csv(rows, names_of(found)))
    click.echo(f"{len(rows)} entries written to {target}")


@journal.command()
@stack_option
@folder_option
@json_option
def repair(stack: str | None, folder: Path, as_json: bool) -> None:
    """Record what the exchange says wherever it differs from the journal, as entries of their own."""
    answer = stack_of(stack, folder).repair()
    differences = answer.get("differences")
    if differences is None:
        raise click.ClickException("something of ours moves at this moment: try again in some seconds")
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in differences:
        click.echo(line)
    click.echo(f"{answer['found']} differences, {answer['recorded']} entries recorded")


@click.command()
@click.option("--by", type=click.Choice([one.value for one in By if one is not By.DAY]), default=By.BASKET.value)
@stack_option
@folder_option
@json_option
def positions(by: str, stack: str | None, folder: Path, as_json: bool) -> None:
    """What is held, what it cost, what it would bring now (before fees), and when it should pay; with netting on also
    how much of what it cost has come back already."""
    found = stack_of(stack, folder)
    rows = entries_of(found)
    lines = view.positions(rows, By(by), names_of(found), found.books.get(sorted(net_positions(rows))))
    returned = (found.status.get(ACCOUNT) or {}).get(RETURNED)
    if as_json:
        back = {} if returned is None else {RETURNED: returned}
        click.echo(json.dumps({"positions": [view.line_json(line) for line in lines], **back}))
        return
    click.echo("\n".join(view.line_text(line) for line in lines) or "nothing is held")
    if returned is not None:
        click.echo(f"{dollars(cash_from_wire(str(returned)))} of it had come back as collateral at the last comparison")


@click.command()
@click.option("--by", type=click.Choice([one.value for one in By]), default=By.DAY.value)
@click.option("--day", callback=_day, help="One day of New York only, as 2026-11-22.")
@stack_option
@folder_option
@json_option
def pnl(by: str, day: str | None, stack: str | None, folder: Path, as_json: bool) -> None:
    """What was realised, what it cost in fees, and how it adds up to the change of cash."""
    found = stack_of(stack, folder)
    rows = entries_of(found)
    made = view.results(rows, By(by), names_of(found), day)
    parts = view.balance(rows, cash_change(rows))
    if as_json:
        named = [
            {"name": one.name, "realised": cash_to_wire(one.realised), "fees": cash_to_wire(one.fees),
             "profit": cash_to_wire(one.profit)}
            for one in made
        ]  # fmt: skip
        whole = {
            "change": cash_to_wire(parts.change),
            "profit": cash_to_wire(parts.profit),
            "locked": cash_to_wire(parts.open_cost),
            "freed": cash_to_wire(parts.freed),
            "moved": cash_to_wire(parts.moved),
        }
        click.echo(json.dumps({"results": named, "balance": whole}))
        return
    for one in made:
        click.echo(f"{one.name}  {dollars(one.profit)} ({dollars(one.realised)} less {dollars(one.fees)} fees)")
    click.echo(
        f"cash changed by {dollars(parts.change)}: {dollars(parts.profit)} realised after fees, "
        f"{dollars(parts.open_cost)} locked in what is held, {dollars(parts.freed)} freed by pairs of two baskets, "
        f"{dollars(parts.moved)} moved without a trade"
    )
