"""A report for machines: JSON, and a table of closed lots for a tax office.

The table has one row for each closed lot, payment or correction of a fee (:mod:`kalshi_arb.reports.lots`):

===================  ==================================================================================================
``mode``             of the stack: only ``live`` is real money
``kind``             sale, payment or fee_correction
``date_acquired``    day of New York on which the contracts were bought; empty where that was before the journal began,
                     and for a row without contracts
``date_closed``      day of New York on which they were sold or paid
``acquired_utc``     the same moments to the millisecond, UTC
``closed_utc``
``market``           the exchange's ticker
``event``            of the basket that opened the lot
``side``             yes or no: what was held
``contracts``        decimal, two places
``cost``             dollars without fees, six places, like all amounts
``proceeds``         dollars: a payment, or what netting freed less the price of the other side
``fees``             dollars charged for opening and closing
``gain``             proceeds less cost less fees
``acquired_by``      the basket that bought
``closed_by``        the basket whose purchase closed it; empty for a payment
``entry``            id of the journal's entry that closed it
===================  ==================================================================================================
"""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime

from kalshi_arb.domain.money import Cash, cash_to_wire, count_to_wire
from kalshi_arb.journal_view import Names, Result, line_json
from kalshi_arb.reports.figures import BasketLine, Report
from kalshi_arb.reports.lots import TaxRow
from kalshi_arb.reports.period import day_of

COLUMNS = (
    "mode", "kind", "date_acquired", "date_closed", "acquired_utc", "closed_utc", "market", "event", "side",
    "contracts", "cost", "proceeds", "fees", "gain", "acquired_by", "closed_by", "entry",
)  # fmt: skip


def lots_csv(report: Report, names: Names) -> str:
    """The table of closed lots."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lot(row, report.mode, names) for row in report.lots)
    return out.getvalue()


def _lot(row: TaxRow, mode: str, names: Names) -> tuple[str, ...]:
    acquired = row.acquired_ms
    return (
        mode, row.how.value, "" if acquired is None else day_of(acquired).isoformat(),
        day_of(row.closed_ms).isoformat(), "" if acquired is None else _utc(acquired), _utc(row.closed_ms), row.ticker,
        names.events.get(row.opened_by, ""), "" if row.side is None else row.side.value, count_to_wire(row.contracts),
        cash_to_wire(row.cost), cash_to_wire(row.proceeds), cash_to_wire(row.fees), cash_to_wire(row.gain),
        row.opened_by, row.closed_by, row.entry_id,
    )  # fmt: skip


def report_json(report: Report) -> dict[str, object]:
    """The report as JSON: dollars and contracts as decimals in strings, times as UTC milliseconds."""
    cash = report.cash
    return {
        "mode": report.mode,
        "first_day": report.period.first.isoformat(),
        "last_day": report.period.last.isoformat(),
        "made_ms": report.made_ms,
        "entries": report.entries,
        "cash": {
            "before": cash_to_wire(report.cash_before),
            "after": cash_to_wire(report.cash_after),
            "change": cash_to_wire(cash.change),
            "realised": cash_to_wire(cash.realised),
            "fees": cash_to_wire(cash.fees),
            "opened": cash_to_wire(cash.opened),
            "freed": cash_to_wire(cash.freed),
            "moved": cash_to_wire(cash.moved),
        },
        "profit": cash_to_wire(cash.profit),
        "by_day": _results(report.by_day),
        "by_event": _results(report.by_event),
        "by_family": _results(report.by_family),
        "accepted": report.accepted,
        "ends": [
            {
                "end": one.end,
                "baskets": one.baskets,
                "expected": cash_to_wire(one.expected),
                "locked": cash_to_wire(one.locked),
                "settled": cash_to_wire(one.settled),
                "parts": {part.value: cash_to_wire(amount) for part, amount in one.parts},
            }
            for one in report.ends
        ],
        "baskets": [_basket(line) for line in report.baskets],
        "open": [line_json(line) for line in report.open],
        "locked_capital": cash_to_wire(report.locked_capital),
        "refused": dict(report.refused),
        "proposals": list(report.proposals),
        "closed_lots": len(report.lots),
        "closed_lots_gain": cash_to_wire(Cash(sum(row.gain for row in report.lots))),
    }


def _results(rows: Iterable[Result]) -> list[dict[str, str]]:
    return [
        {"name": row.name, "realised": cash_to_wire(row.realised), "fees": cash_to_wire(row.fees),
         "profit": cash_to_wire(row.profit)}
        for row in rows
    ]  # fmt: skip


def _basket(line: BasketLine) -> dict[str, object]:
    return {
        "basket_id": line.basket_id,
        "event": line.event,
        "family": line.family,
        "end": line.end,
        "expected": cash_to_wire(line.expected),
        "locked": _amount(line.locked),
        "settled": _amount(line.settled),
        "provisional": _amount(line.provisional),
        "parts": {part.value: cash_to_wire(amount) for part, amount in line.parts},
        "unexplained": _amount(line.unexplained),
        "problem": line.problem or None,
    }


def _amount(cash: Cash | None) -> str | None:
    return None if cash is None else cash_to_wire(cash)


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1_000:03d}Z"
