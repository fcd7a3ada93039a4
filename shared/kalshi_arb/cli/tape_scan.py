"""Scanning tapes: the groups of a recording judged pass by pass, through the same steps as live books."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from kalshi_arb.cli.progress import Progress
from kalshi_arb.detection.scan import Tally
from kalshi_arb.detection.survey import Top, Violations, survey
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.tape import TapePass, TapeRow
from kalshi_arb.kalshi.tape_facts import Described, read_described
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.scan_view import scan_view

Json = dict[str, Any]


@dataclass(slots=True)
class _Violated:
    """Groups and passes that contradict themselves at the top of their books."""

    bids_over_1: int = 0
    asks_under_1: int = 0
    nested_crossed: int = 0

    def add(self, found: Violations) -> None:
        self.bids_over_1 += found.bids_over_1
        self.asks_under_1 += found.asks_under_1
        self.nested_crossed += found.nested_crossed

    @property
    def view(self) -> Json:
        return {
            "bids_over_1": self.bids_over_1,
            "asks_under_1": self.asks_under_1,
            "nested_crossed": self.nested_crossed,
        }


def scan_tapes(
    names: Sequence[str],
    *,
    event_ticker: str | None,
    series: Sequence[str],
    precision: Precision,
    smallest_fill: Count,
    min_profit: Cash,
    progress: Progress,
) -> Json:
    """Judge every pass of some tapes. Each is taken as it was recorded: its books are as old as its stamp says, and a
    market with a book is open. How far apart in time the books of a pass were read is on no tape.

    :returns: a scan's view, with ``tape`` beside: what contradicts itself before and after fees, and each pass
    :raises TapeError: a tape that cannot be used
    :raises click.ClickException: nothing on it is of the series or the event that was asked for
    """
    told = read_described(names)
    wanted = _wanted(told, event_ticker, series)
    tally = Tally(precision=precision, smallest_fill=smallest_fill, min_profit=min_profit)
    raw, net = _Violated(), _Violated()
    passes: list[Json] = []
    built: dict[tuple[str, ...], tuple[Group, ...]] = {}
    absent: set[str] = set()
    families: Counter[str] = Counter()
    for number, one in enumerate(told.recording.passes):
        rows = [row for row in one.rows if row.ticker in wanted]
        tickers = tuple(row.ticker for row in rows)
        if tickers not in built:
            listings = told.listings(tickers)
            absent.update(*(listing.absent for listing in listings))
            built[tickers] = build_groups(listings).groups
        books = {row.ticker: _book(row, one, number) for row in rows}
        before = tally.counts
        for done, group in enumerate(built[tickers]):
            progress.bar(
                number * len(built[tickers]) + done, len(told.recording.passes) * len(built[tickers]), "groups"
            )
            counted = survey(group, {ticker: _top(books[ticker]) for ticker in group.tickers})
            raw.add(counted.raw)
            net.add(counted.net)
            families[group.family.value] += 1
            tally.judge(group, books, one.ms)
        after = tally.counts
        passes.append(
            {
                "at": one.at,
                "ms": one.ms,
                "books": len(rows),
                "groups": after.groups - before.groups,
                "solved": after.solved - before.solved,
                "proved": after.proved - before.proved,
            }
        )
    report = tally.report(told.recording.passes[-1].ms)
    view = scan_view(report)
    for shown in view["opportunities"]:
        shown["skew_ms"] = None
    return {
        "exchange": f"{len(told.recording.files)} tapes" if len(told.recording.files) > 1 else str(names[0]),
        **view,
        "tape": {
            "files": [str(path) for path in told.recording.files],
            "passes": passes,
            "families": dict(sorted(families.items())),
            "raw": raw.view,
            "net": net.view,
            "absent": sorted(absent),
        },
    }


def _wanted(told: Described, event_ticker: str | None, series: Sequence[str]) -> set[str]:
    kept = set(told.facts)
    if series:
        kept = {ticker for ticker in kept if told.facts[ticker].get("series_ticker") in series}
        missing = set(series) - {str(told.facts[ticker].get("series_ticker")) for ticker in kept}
        if missing:
            raise click.ClickException(f"the tape holds no market of the series {', '.join(sorted(missing))}")
    if event_ticker is not None:
        kept = {ticker for ticker in kept if told.events[ticker] == event_ticker}
        if not kept:
            raise click.ClickException(f"the tape holds no event {event_ticker}")
    return kept


def _book(row: TapeRow, one: TapePass, number: int) -> BookSnapshot:
    def side(wanted: Outcome) -> tuple[Level, ...]:
        levels = (Level(price, count) for (outcome, price), count in row.levels.items() if outcome is wanted)
        return tuple(sorted(levels, reverse=True))

    # The version tells one pass from another, so that a find that lasts has an id in each.
    version = BookVersion(0, 0, number + 1)
    return BookSnapshot(row.ticker, version, one.ms, one.ms, side(Outcome.YES), side(Outcome.NO))


def _top(book: BookSnapshot) -> Top:
    def best(levels: Sequence[Level]) -> Price | None:
        return levels[0].price if levels else None

    return Top(best(book.yes_bids), best(book.no_bids))


def tape_text(tape: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    """What a tape's scan says beside its finds: how the contradictions dwindle, in all and pass by pass."""

    def violations(found: Mapping[str, int]) -> str:
        return (
            f"{sum(found.values()):>5}  (bids over a dollar {found['bids_over_1']}, asks under a dollar "
            f"{found['asks_under_1']}, nested crossed {found['nested_crossed']})"
        )

    lines = [
        f"tape      {len(tape['passes'])} passes; groups and passes that",
        f"  contradict themselves    {violations(tape['raw'])}",
        f"  still do after fees      {violations(tape['net'])}",
        f"  hold a bundle over depth {counts['solved']:>5}",
        f"  are proved               {counts['proved']:>5}",
    ]
    lines += [
        f"  {one['at'][:19]}  {one['books']:>5} books, {one['groups']:>4} groups, {one['solved']:>3} with a bundle, "
        f"{one['proved']:>3} proved"
        for one in tape["passes"]
    ]
    if tape["absent"]:
        lines.append(f"not on tape, whole cents and the standard taker fee stand in: {', '.join(tape['absent'])}")
    return lines
