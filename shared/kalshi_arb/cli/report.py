"""`kalshi-arb report`: what was earned on a day or in a range of days, and why."""

import json
from pathlib import Path

import click

from kalshi_arb.cli.journal import EVERY_ROW, entries_of
from kalshi_arb.cli.options import folder_option, json_option
from kalshi_arb.cli.stack import stack_of, stack_option
from kalshi_arb.clock import SystemClock
from kalshi_arb.execution.review import RELEASE, proposals_of
from kalshi_arb.journal_view import names_of
from kalshi_arb.reports.figures import report as make
from kalshi_arb.reports.html import report_html
from kalshi_arb.reports.machine import lots_csv, report_json
from kalshi_arb.reports.period import Period, PeriodError, day_of, read_day, read_range
from kalshi_arb.reports.text import report_text

_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


def _day(_context: click.Context, _option: click.Parameter, text: str | None) -> Period | None:
    try:
        return None if text is None else Period(read_day(text), read_day(text))
    except PeriodError as error:
        raise click.BadParameter(str(error)) from None


def _range(_context: click.Context, _option: click.Parameter, text: str | None) -> Period | None:
    try:
        return None if text is None else read_range(text)
    except PeriodError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--day", callback=_day, metavar="DAY", help="One day of New York, as 2026-11-22; today is the default.")
@click.option("--range", "span", callback=_range, metavar="FIRST:LAST", help="Days from and to, both included.")
@click.option("--csv", "table", type=_FILE, help="Write the closed lots to this file, one a row, as taxes need them.")
@click.option("--html", "page", type=_FILE, help="Write the report with charts to this file.")
@stack_option
@folder_option
@json_option
def report(
    day: Period | None,
    span: Period | None,
    table: Path | None,
    page: Path | None,
    stack: str | None,
    folder: Path,
    as_json: bool,
) -> None:
    """What was earned and why: cash with all its causes, every basket from expected to settled, what is still open.

    \b
    Columns of --csv: mode, kind (sale, payment, fee_correction), date_acquired and date_closed (days of New York;
    no date for what was held before the journal began), acquired_utc, closed_utc, market, event, side, contracts,
    cost, proceeds, fees, gain (dollars; proceeds less cost less fees), acquired_by and closed_by (baskets), entry.
    """
    if day is not None and span is not None:
        raise click.UsageError("give --day or --range, not both")
    found = stack_of(stack, folder)
    now_ms = SystemClock().now_ms()
    period = day or span or Period(day_of(now_ms), day_of(now_ms))
    entries, baskets = entries_of(found), found.baskets.recent(EVERY_ROW)
    names = names_of(baskets)
    proposals = proposals_of(found.status.get(RELEASE))
    made = make(entries, baskets, names, period, mode=found.mode, now_ms=now_ms, proposals=proposals)
    if table is not None:
        _write(table, lots_csv(made, names))
    if page is not None:
        _write(page, report_html(made))
    click.echo(json.dumps(report_json(made)) if as_json else report_text(made))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
