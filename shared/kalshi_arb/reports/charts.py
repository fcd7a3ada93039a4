"""Charts as inline SVG, drawn in whole pixels from exact amounts; colours are the page's own variables."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kalshi_arb.domain.money import Cash, dollars

WIDTH = 720
_LABEL = 210
_VALUE = 110
_ROW = 26
_BAR = 14
_CHARACTERS = 30


@dataclass(frozen=True, slots=True)
class Bar:
    """One amount (1e-6 dollars, signed) under its name."""

    name: str
    amount: Cash


@dataclass(frozen=True, slots=True)
class Span:
    """What one basket was expected to earn, had locked in its worst state, and was left with; None where unknown."""

    name: str
    expected: Cash
    locked: Cash | None
    settled: Cash | None


def bars(rows: Sequence[Bar], title: str) -> str:
    """Horizontal bars from a common zero line, gains to the right and losses to the left."""
    least, most = min(0, *(row.amount for row in rows)), max(0, *(row.amount for row in rows))
    room = WIDTH - _LABEL - 2 * _VALUE
    zero = _LABEL + _VALUE + _scaled(-least, most - least, room)
    drawn = []
    for place, row in enumerate(rows):
        top, length = place * _ROW, _scaled(abs(row.amount), most - least, room)
        left = zero - length if row.amount < 0 else zero
        end, anchor = (left - 6, "end") if row.amount < 0 else (zero + length + 6, "start")
        kind = "loss" if row.amount < 0 else "gain"
        drawn.append(
            f'<g><title>{escape(row.name)}: {dollars(row.amount)}</title>{_label(row.name, top)}'
            f'<rect class="{kind}" x="{left}" y="{top + 6}" width="{max(1, length)}" height="{_BAR}" rx="2"/>'
            f'<text class="value" x="{end}" y="{top + 17}" text-anchor="{anchor}">{_short(row.amount)}</text></g>'
        )  # fmt: skip
    height = len(rows) * _ROW + 4
    axis = f'<line class="axis" x1="{zero}" x2="{zero}" y1="0" y2="{height}"/>'
    return _svg(height, title, axis + "".join(drawn))


def spans(rows: Sequence[Span], title: str) -> str:
    """One line a basket on a common scale: a ring where it was expected, a bar's end where it is locked, a dot where it
    settled."""
    amounts = [amount for row in rows for amount in (row.expected, row.locked, row.settled) if amount is not None]
    least, most = min(0, *amounts), max(0, *amounts)
    room = WIDTH - _LABEL - _VALUE - 20

    def across(amount: int) -> int:
        return _LABEL + 10 + _scaled(amount - least, most - least, room)

    drawn = []
    for place, row in enumerate(rows):
        middle = place * _ROW + 13
        known = [across(one) for one in (row.expected, row.locked, row.settled) if one is not None]
        last = row.locked if row.settled is None else row.settled
        marks = [f'<line class="span" x1="{min(known)}" x2="{max(known)}" y1="{middle}" y2="{middle}"/>']
        if row.locked is not None:
            marks.append(f'<rect class="locked" x="{across(row.locked) - 2}" y="{middle - 7}" width="4" height="14"/>')
        if row.settled is not None:
            marks.append(f'<circle class="settled" cx="{across(row.settled)}" cy="{middle}" r="5"/>')
        marks.append(f'<circle class="expected" cx="{across(row.expected)}" cy="{middle}" r="6"/>')
        told = "" if last is None else _short(last)
        drawn.append(
            f"<g><title>{escape(row.name)}: expected {dollars(row.expected)}, locked {_known(row.locked)}, settled "
            f"{_known(row.settled)}</title>{_label(row.name, place * _ROW)}{''.join(marks)}"
            f'<text class="value" x="{WIDTH - 4}" y="{middle + 4}" text-anchor="end">{told}</text></g>'
        )
    height = len(rows) * _ROW + 4
    axis = f'<line class="axis" x1="{across(0)}" x2="{across(0)}" y1="0" y2="{height}"/>'
    return _svg(height, title, axis + "".join(drawn))


def steps(rows: Sequence[Bar], title: str) -> str:
    """A running sum over days, from nothing: one step a day."""
    sums, total = [Cash(0)], 0
    for row in rows:
        total += row.amount
        sums.append(Cash(total))
    least, most, height, foot = min(sums), max(sums), 180, 22
    room = WIDTH - 2 * _VALUE // 2 - 20

    def high(amount: int) -> int:
        return 12 + _scaled(most - amount, most - least, height - foot - 24)

    points, width = [], room // len(rows)
    for place, amount in enumerate(sums[1:]):
        points += [f"{10 + place * width},{high(amount)}", f"{10 + (place + 1) * width},{high(amount)}"]
    right = 10 + len(rows) * width
    first, last = escape(rows[0].name), escape(rows[-1].name)
    return _svg(
        height, title,
        f'<line class="axis" x1="10" x2="{right}" y1="{high(0)}" y2="{high(0)}"/>'
        f'<polyline class="line" points="10,{high(0)} {" ".join(points)}"/>'
        f'<text class="value" x="{right + 8}" y="{high(sums[-1]) + 4}">{_short(sums[-1])}</text>'
        f'<text class="label" x="10" y="{height - 4}">{first}</text>'
        f'<text class="label" x="{right}" y="{height - 4}" text-anchor="end">{last}</text>',
    )  # fmt: skip


def _scaled(part: int, whole: int, room: int) -> int:
    return part * room // whole if whole else 0


def _label(name: str, top: int) -> str:
    short = name if len(name) <= _CHARACTERS else f"{name[: _CHARACTERS - 1]}…"
    return f'<text class="label" x="{_LABEL - 8}" y="{top + 17}" text-anchor="end">{escape(short)}</text>'


def _short(amount: Cash) -> str:
    """To the cent, for a label; the exact figure stands in the tables."""
    cents = (abs(amount) + 5_000) // 10_000
    return f"{'-' if amount < 0 else ''}${cents // 100:,}.{cents % 100:02d}"


def _known(amount: Cash | None) -> str:
    return "not yet known" if amount is None else dollars(amount)


def _svg(height: int, title: str, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'preserveAspectRatio="xMinYMin meet">{content}</svg>'
    )
