"""A report as a person reads it in a terminal, and as a few lines of a message."""

from collections.abc import Callable, Iterable, Sequence

from kalshi_arb.domain.money import Cash, cash_to_wire, dollars
from kalshi_arb.domain.positions import Line
from kalshi_arb.execution.explain import Part
from kalshi_arb.journal_view import Result
from kalshi_arb.reports.figures import BasketLine, Report
from kalshi_arb.reports.period import day_of

_MODES = {
    "simulated": "an exchange of our own, no real money",
    "demo": "Kalshi's demo exchange, no real money",
    "paper": "real prices, assumed fills, no real money",
    "live": "real money",
}


def mode_words(mode: str) -> str:
    """What the money of a mode is, so that no figure is taken for another's."""
    return _MODES[mode]


def signed(cash: Cash) -> str:
    """An amount whose sign is always said, to 1e-6 dollars; a dot for nothing."""
    return f"{'+' if cash > 0 else ''}{cash_to_wire(cash)}" if cash else "."


def report_text(report: Report) -> str:
    """The whole report, amounts in dollars."""
    sections = (_head, _cash, _results, _ends, _baskets, _open, _proposals, _refused, _lots)
    return "\n\n".join("\n".join(lines) for lines in (section(report) for section in sections) if lines)


def digest_lines(report: Report) -> list[str]:
    """The same in a few lines."""
    cash = report.cash
    ends = ", ".join(f"{one.baskets} {one.end}" for one in report.ends) or "none"
    lines = [
        f"{dollars(cash.profit)} realised after {dollars(Cash(-cash.fees))} fees; cash changed by "
        f"{dollars(cash.change)} to {dollars(report.cash_after)}.",
        f"Baskets: {ends}.",
        f"{dollars(report.locked_capital)} locked in {len(report.open)} open positions.",
    ]
    if report.refused:
        reasons = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in report.refused)
        lines.append(f"Refused, by the first reason: {reasons}.")
    problems = [line.basket_id for line in report.baskets if line.problem and line.end != "trading"]
    if problems:
        lines.append(f"Without an explanation: {', '.join(problems)}.")
    return lines


def _head(report: Report) -> list[str]:
    return [
        f"Report of {report.period}, mode {report.mode}: {mode_words(report.mode)}",
        f"Days of New York, amounts in dollars; {report.entries} journal entries, as of the end of the period",
    ]


def _cash(report: Report) -> list[str]:
    cash = report.cash
    rows = [
        ("cash before", cash_to_wire(report.cash_before)),
        *((f"  {name}", signed(amount)) for name, amount in cash.parts()),
        ("= change of cash", signed(cash.change)),
        ("cash after", cash_to_wire(report.cash_after)),
    ]
    return ["CASH", *table(rows, "lr")]


def _results(report: Report) -> list[str]:
    lines = []
    for by, rows in (("DAY", report.by_day), ("FAMILY", report.by_family), ("EVENT", report.by_event)):
        if rows:
            lines += table([(by, "REALISED", "FEES", "PROFIT"), *map(_result, rows)], "lrrr")
    return ["RESULTS", *lines] if lines else []


def _result(row: Result) -> tuple[str, ...]:
    return row.name, signed(row.realised), signed(Cash(-row.fees)), signed(row.profit)


def _ends(report: Report) -> list[str]:
    if not report.ends:
        return []
    head = ("END", "BASKETS", "EXPECTED", "LOCKED", "SETTLED")
    rows = [
        (one.end, str(one.baskets), cash_to_wire(one.expected), cash_to_wire(one.locked), cash_to_wire(one.settled))
        for one in report.ends
    ]
    return [f"BASKETS BY END ({report.accepted} accepted in the period)", *table([head, *rows], "lrrrr")]


def _baskets(report: Report) -> list[str]:
    if not report.baskets:
        return []
    head = ("BASKET", "EVENT", "END", "EXPECTED", *(part.value.upper() for part in Part), "RESULT", "LEFT", "")
    return [
        "EXPECTED TO RESULT (locked in the worst state, or what settlement left)",
        *table([head, *map(_basket, report.baskets)], "lll" + "r" * (len(Part) + 3) + "l"),
    ]


def _basket(line: BasketLine) -> tuple[str, ...]:
    parts = dict(line.parts)
    amounts = [signed(parts.get(part, Cash(0))) for part in Part]
    left = "?" if line.unexplained is None else cash_to_wire(line.unexplained)
    notes = [line.problem] if line.problem else []
    if line.provisional is not None:
        notes.append(f"provisional {dollars(line.provisional)}")
    return (
        line.basket_id, line.event, line.end, cash_to_wire(line.expected), *amounts,
        "" if line.result is None else cash_to_wire(line.result), left, "; ".join(notes),
    )  # fmt: skip


def _open(report: Report) -> list[str]:
    if not report.open:
        return []
    rows = [(line.name, cash_to_wire(line.open_cost), release_text(line)) for line in report.open]
    whole = ("all", cash_to_wire(report.locked_capital), "")
    return ["OPEN AT THE END", *table([("BASKET", "CAPITAL LOCKED", "PAYS BY"), *rows, whole], "lrl")]


def release_text(line: Line) -> str:
    """The day by which a position should have paid."""
    return "unknown" if line.release_ms is None else day_of(line.release_ms).isoformat()


def _proposals(report: Report) -> list[str]:
    return (
        ["BETTER SOLD NOW (proposed by the last settlement run; nothing is sold by itself)", *report.proposals]
        if (report.proposals)
        else []
    )


def _refused(report: Report) -> list[str]:
    return ["REFUSED, BY THE FIRST REASON", *table(refused_rows(report), "lr")] if report.refused else []


def refused_rows(report: Report) -> list[tuple[str, str]]:
    """Refused baskets by reason, and all of them."""
    rows = [(code.replace("_", " "), str(count)) for code, count in report.refused]
    return [*rows, ("all", str(sum(count for _, count in report.refused)))]


def _lots(report: Report) -> list[str]:
    if not report.lots:
        return []
    gain = Cash(sum(row.gain for row in report.lots))
    return [f"CLOSED LOTS (first in, first out): {len(report.lots)}, gain {dollars(gain)} after fees"]


def table(rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """Rows in columns as wide as their widest cell; ``sides`` says l or r for each column."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(sides))]
    pads: dict[str, Callable[[str, int], str]] = {"l": str.ljust, "r": str.rjust}
    return [
        "  ".join(pads[side](cell, width) for cell, width, side in zip(row, widths, sides, strict=True)).rstrip()
        for row in cells
    ]
