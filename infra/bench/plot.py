"""Line drawings for benchmarks, as SVG text: no drawing library is needed to make or to see them."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 50, 50
_COLOURS = ("#1b6ca8", "#c8553d", "#3c7a3b", "#7b4b94", "#8a6d1d", "#444444")
_TICKS = 5


class Line(NamedTuple):
    """A name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(title: str, across: str, up: str, lines: Sequence[Line]) -> str:
    """A drawing with both axes from zero.

    :raises ValueError: there are no points.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("nothing to draw")
    most_x, most_y = max(x for x, _ in points) or 1, max(y for _, y in points) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + x / most_x * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - y / most_y * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="28" font-size="16">{escape(title)}</text>',
        _text(*at(most_x / 2, 0), 38, across),
        f'<text x="14" y="{_TOP - 10}">{escape(up)}</text>',
    ]
    for step in range(_TICKS + 1):
        x, y = most_x * step / _TICKS, most_y * step / _TICKS
        left, low = at(0, y)
        parts.append(f'<path d="M{left} {low}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{low + 4}" text-anchor="end">{y:,.0f}</text>')
        parts.append(_text(*at(x, 0), 18, f"{x:,.0f}"))
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(*point) for point in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 12}" y="{_TOP + 18 * number}" fill="{colour}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, below: int, words: str) -> str:
    return f'<text x="{x}" y="{y + below}" text-anchor="middle">{escape(words)}</text>'
