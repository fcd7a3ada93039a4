"""Options and amounts that several commands share."""

from pathlib import Path

import click

from kalshi_arb.cli.exchange_choice import CHOICES
from kalshi_arb.cli.local_state import STATE_FOLDER

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where the local run keeps its state.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
exchange_option = click.option(
    "--exchange",
    type=click.Choice(CHOICES),
    help="Whose public REST API is read; embedded, the local run's own, is the default.",
)
url_option = click.option("--url", help="Address of another exchange's REST API, with its root.")


def show_contracts(wire: str) -> str:
    """A count of the wire for a person: whole contracts without decimals."""
    return wire.removesuffix(".00")


def show_dollars(wire: str) -> str:
    """An amount of the wire for a person, with as many decimals as it needs, two at least."""
    whole, _, decimals = wire.partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}${whole.removeprefix('-')}.{decimals.rstrip('0').ljust(2, '0')}"
