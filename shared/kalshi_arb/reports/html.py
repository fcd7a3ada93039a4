"""A report as one HTML file: nothing is loaded from anywhere, no script runs, light and dark as the reader's system."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from kalshi_arb.domain.money import Cash, cash_to_wire, dollars
from kalshi_arb.execution.explain import Part
from kalshi_arb.journal_view import Result
from kalshi_arb.reports.charts import Bar, Span, bars, spans, steps
from kalshi_arb.reports.figures import BasketLine, Report
from kalshi_arb.reports.text import mode_words, refused_rows, release_text, signed

_MOST_BARS = 15
_MOST_SPANS = 40
_MOST_ROWS = 1_000

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --fore: #1c1f24; --soft: #5d6672; --rule: #dfe3e8; --card: #f6f7f9;
  --gain: #2f7d4f; --loss: #c2452d; --mark: #2d62c2; --band: #fff3d6; --bandtext: #6b4a00; }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --fore: #e6e9ed; --soft: #9aa4b1; --rule: #2c323a;
  --card: #1b1f25; --gain: #5cc08a; --loss: #f0795f; --mark: #7aa7ff; --band: #3a2f10; --bandtext: #ffd98a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--fore); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 0 20px 48px; }
.mode { background: var(--band); color: var(--bandtext); padding: 8px 20px; text-align: center; font-weight: 600; }
.mode.live { background: var(--loss); color: #fff; }
h1 { font-size: 26px; margin: 28px 0 2px; } h2 { font-size: 17px; margin: 36px 0 8px; }
p { margin: 4px 0; color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.figure { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; }
.figure b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 13px; }
svg { width: 100%; max-width: 860px; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg .label { fill: var(--soft); } svg .value { fill: var(--fore); font-variant-numeric: tabular-nums; }
svg .gain { fill: var(--gain); } svg .loss { fill: var(--loss); } svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .span { stroke: var(--soft); stroke-opacity: 0.45; stroke-width: 3; } svg .locked { fill: var(--soft); }
svg .settled { fill: var(--mark); }
svg .expected { fill: none; stroke: var(--fore); stroke-width: 1.5; }
svg .line { fill: none; stroke: var(--mark); stroke-width: 2; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--rule); text-align: left; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; }
tr.sum td { font-weight: 600; border-top: 2px solid var(--soft); } .neg { color: var(--loss); }
"""


def report_html(report: Report) -> str:
    """The page. The mode stands above everything and in the title."""
    words = mode_words(report.mode)
    live = " live" if report.mode == "live" else ""
    sections = (_figures, _cash, _results, _differences, _baskets, _open, _proposals, _refused, _lots)
    content = "".join(section(report) for section in sections)
    made = datetime.fromtimestamp(report.made_ms // 1_000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Report of {report.period}, {escape(report.mode)}</title><style>{_STYLE}</style></head><body>"
        f'<div class="mode{live}">Mode {escape(report.mode)}: {escape(words)}</div>'
        f"<main><h1>Report of {report.period}</h1>"
        f"<p>Days of New York, as of the end of the period. Made {made} of {report.entries} journal entries.</p>"
        f"{content}</main></body></html>\n"
    )


def _figures(report: Report) -> str:
    cash = report.cash
    gain = Cash(sum(row.gain for row in report.lots))
    figures = (
        ("realised after fees", cash.profit), ("fees", Cash(-cash.fees)), ("change of cash", cash.change),
        ("cash at the end", report.cash_after), ("locked at the end", report.locked_capital),
        ("gain of closed lots", gain),
    )  # fmt: skip
    told = "".join(f'<div class="figure"><b>{dollars(amount)}</b><span>{name}</span></div>' for name, amount in figures)
    return f'<div class="figures">{told}</div>'


def _cash(report: Report) -> str:
    cash = report.cash
    rows = [
        ("before", cash_to_wire(report.cash_before)),
        *((name, signed(amount)) for name, amount in cash.parts()),
        ("change", signed(cash.change)),
    ]
    after = ("after", cash_to_wire(report.cash_after))
    chart = bars([Bar(name, amount) for name, amount in (*cash.parts(), ("= change", cash.change))], "Change of cash")
    return f"<h2>Cash: the parts are the change</h2>{chart}{_table(('', 'dollars'), rows, after, numbers=(1,))}"


def _results(report: Report) -> str:
    made = []
    if len(report.by_day) > 1:
        days = [Bar(row.name, row.profit) for row in report.by_day]
        made.append(f"<h2>Profit after fees, added up by day</h2>{steps(days, 'Profit added up by day')}")
    for name, rows in (("day", report.by_day), ("family", report.by_family), ("event", report.by_event)):
        if not rows:
            continue
        shown = _largest(rows)
        head = (name, "realised", "fees", "profit")
        cells = [(row.name, signed(row.realised), signed(Cash(-row.fees)), signed(row.profit)) for row in rows]
        cash = report.cash
        whole = ("all", signed(cash.realised), signed(cash.fees), signed(cash.profit))
        made.append(
            f"<h2>Profit after fees by {name}</h2>{bars(shown, f'Profit by {name}')}"
            f"{_table(head, cells, whole, numbers=(1, 2, 3))}"
        )
    return "".join(made)


def _largest(rows: Sequence[Result]) -> list[Bar]:
    """The largest, and the rest under one name."""
    if len(rows) <= _MOST_BARS:
        return [Bar(row.name, row.profit) for row in rows]
    by_size = sorted(rows, key=lambda row: -abs(row.profit))
    rest = Cash(sum(row.profit for row in by_size[_MOST_BARS:]))
    return [
        *(Bar(row.name, row.profit) for row in by_size[:_MOST_BARS]),
        Bar(f"{len(rows) - _MOST_BARS} others", rest),
    ]


def _differences(report: Report) -> str:
    parts = {part: sum(dict(end.parts).get(part, 0) for end in report.ends) for part in Part}
    rows = [Bar(part.value, Cash(amount)) for part, amount in parts.items() if amount]
    if not rows:
        return ""
    head = ("end", "baskets", "expected", "locked", "settled", *(part.value for part in Part))
    cells = [
        (
            one.end, str(one.baskets), cash_to_wire(one.expected), cash_to_wire(one.locked), cash_to_wire(one.settled),
            *(signed(dict(one.parts).get(part, Cash(0))) for part in Part),
        )
        for one in report.ends
    ]  # fmt: skip
    table = _table(head, cells, None, numbers=range(1, len(head)))
    return f"<h2>Why results differ from what was expected</h2>{bars(rows, 'Difference by cause')}{table}"


def _baskets(report: Report) -> str:
    known = [line for line in report.baskets if line.result is not None]
    if not report.baskets:
        return ""
    largest = sorted(known, key=lambda line: -abs(line.difference or 0))[:_MOST_SPANS]
    chart = ""
    if largest:
        rows = [Span(line.basket_id, line.expected, line.locked, line.settled) for line in largest]
        left = f" The {_MOST_SPANS} with the largest difference." if len(known) > len(largest) else ""
        chart = (
            "<p>Ring: expected before anything was sent. Bar: locked in the worst state. Dot: settled, or left when "
            f"nothing was held.{left}</p>{spans(rows, 'Expected, locked and settled by basket')}"
        )
    head = ("basket", "event", "end", "expected", *(part.value for part in Part), "result", "left", "")
    cells = [_basket(line) for line in report.baskets[:_MOST_ROWS]]
    more = len(report.baskets) - len(cells)
    note = f"<p>{more} more are in the JSON form.</p>" if more else ""
    table = _table(head, cells, None, numbers=range(3, len(head) - 1))
    return f"<h2>Baskets: expected, locked, settled</h2>{chart}{table}{note}"


def _basket(line: BasketLine) -> tuple[str, ...]:
    parts = dict(line.parts)
    notes = [line.problem] if line.problem else []
    if line.provisional is not None:
        notes.append(f"provisional {dollars(line.provisional)}")
    return (
        line.basket_id, line.event, line.end, cash_to_wire(line.expected),
        *(signed(parts.get(part, Cash(0))) for part in Part),
        "" if line.result is None else cash_to_wire(line.result),
        "?" if line.unexplained is None else cash_to_wire(line.unexplained), "; ".join(notes),
    )  # fmt: skip


def _open(report: Report) -> str:
    if not report.open:
        return ""
    by_release: dict[str, int] = {}
    for line in sorted(report.open, key=lambda line: (line.release_ms is None, line.release_ms or 0)):
        by_release[release_text(line)] = by_release.get(release_text(line), 0) + line.open_cost
    rows = [Bar(name, Cash(amount)) for name, amount in by_release.items()][:_MOST_SPANS]
    cells = [(line.name, cash_to_wire(line.open_cost), release_text(line)) for line in report.open[:_MOST_ROWS]]
    whole = ("all", cash_to_wire(report.locked_capital), "")
    table = _table(("basket", "capital locked", "pays by"), cells, whole, numbers=(1,))
    return f"<h2>Open at the end: capital by the day it should be paid</h2>{bars(rows, 'Capital locked')}{table}"


def _proposals(report: Report) -> str:
    if not report.proposals:
        return ""
    items = "".join(f"<p>{escape(text)}</p>" for text in report.proposals)
    return f"<h2>Better sold now: proposed by the last settlement run, nothing is sold by itself</h2>{items}"


def _refused(report: Report) -> str:
    if not report.refused:
        return ""
    rows = refused_rows(report)
    return f"<h2>Refused, by the first reason</h2>{_table(('reason', 'baskets'), rows, None, numbers=(1,))}"


def _lots(report: Report) -> str:
    if not report.lots:
        return ""
    return (
        f"<h2>Closed lots</h2><p>{len(report.lots)} lots were closed, first in, first out; "
        "<code>kalshi-arb report --csv</code> writes them for a tax office.</p>"
    )


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], last: Sequence[str] | None, *, numbers: Iterable[int]
) -> str:
    right = set(numbers)

    def row(cells: Sequence[str], tag: str) -> str:
        made = []
        for place, cell in enumerate(cells):
            kinds = ["n"] if place in right else []
            if place in right and cell.startswith("-"):
                kinds.append("neg")
            kind = f' class="{" ".join(kinds)}"' if kinds else ""
            made.append(f"<{tag}{kind}>{escape(cell)}</{tag}>")
        return "".join(made)

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    foot = "" if last is None else f'<tr class="sum">{row(last, "td")}</tr>'
    return f'<div class="wide"><table><tr>{row(head, "th")}</tr>{body}{foot}</table></div>'
