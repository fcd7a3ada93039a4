"""Entry point of ``kalshi-arb``. Commands of a development machine join through the ``kalshi_arb.commands`` group."""

import sys
from importlib.metadata import entry_points

import click

from kalshi_arb import __version__
from kalshi_arb.cli.alerts import alerts
from kalshi_arb.cli.book import book
from kalshi_arb.cli.calc import calc
from kalshi_arb.cli.control import end, status
from kalshi_arb.cli.discover import discover
from kalshi_arb.cli.doctor import doctor
from kalshi_arb.cli.fee import fee
from kalshi_arb.cli.journal import journal, pnl, positions
from kalshi_arb.cli.relations import relations
from kalshi_arb.cli.report import report
from kalshi_arb.cli.scan import scan
from kalshi_arb.cli.stops import abandon, arm, stop
from kalshi_arb.domain.errors import KalshiArbError

EXIT_CODES = """\b
Exit codes: 0 done, 1 it did not work out (the last line says why), 2 wrong use or bad input, 130 interrupted.
"""


class CommandGroup(click.Group):
    """Built-in commands plus those that installed packages offer, loaded only when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        offered = {point.name for point in entry_points(group="kalshi_arb.commands")}
        return sorted(offered | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, or None when nobody offers it."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        for point in entry_points(group="kalshi_arb.commands", name=cmd_name):
            command: click.Command = point.load()
            return command
        return None


@click.group(cls=CommandGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kalshi-arb")
def cli() -> None:
    """Find, prove and trade riskless bundles of related Kalshi markets.

    Nothing real moves by default: `kalshi-arb run` starts the whole system on this machine, with an exchange and a
    cloud of its own. Every command takes --json for machines.
    """


cli.add_command(abandon)
cli.add_command(alerts)
cli.add_command(arm)
cli.add_command(book)
cli.add_command(calc)
cli.add_command(discover)
cli.add_command(doctor)
cli.add_command(end)
cli.add_command(fee)
cli.add_command(journal)
cli.add_command(pnl)
cli.add_command(positions)
cli.add_command(relations)
cli.add_command(report)
cli.add_command(scan)
cli.add_command(status)
cli.add_command(stop)


def main() -> None:
    """Run ``kalshi-arb``."""
    run(cli, None)


def run(command: click.Command, name: str | None) -> None:
    """Run a command under a name; an error that we raise on purpose becomes one line on standard error."""
    try:
        # Outside standalone mode click returns the code of an early exit, and None when a command simply ends.
        code = command(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        raise SystemExit(130) from None
    except KalshiArbError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    sys.exit(code or 0)
