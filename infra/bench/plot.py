"""Line drawings for benchmarks, as PNG. Pillow, which draws them, is part of the development environment alone."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 50, 50
_COLOURS = ("#1b6ca8", "#c8553d", "#3c7a3b", "#7b4b94", "#8a6d1d", "#444444")
_TICKS = 5
_FINE = 2
"""Pixels for each unit of length, so that the drawing stays sharp when it is enlarged."""


class Line(NamedTuple):
    """A name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(title: str, across: str, up: str, lines: Sequence[Line]) -> bytes:
    """A PNG with both axes from zero.

    :raises ValueError: there are no points.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("nothing to draw")
    most_x, most_y = max(x for x, _ in points) or 1, max(y for _, y in points) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + x / most_x * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y / most_y * (_HEIGHT - _TOP - _BOTTOM),
        )

    sheet = _Sheet()
    sheet.text((_LEFT, 16), title, size=16)
    sheet.text((_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, _HEIGHT - 22), across, anchor="ma")
    sheet.text((14, _TOP - 22), up)
    for step in range(_TICKS + 1):
        x, y = most_x * step / _TICKS, most_y * step / _TICKS
        left, low = at(0, y)
        sheet.path([(left, low), (_WIDTH - _RIGHT, low)], "#dddddd", 1)
        sheet.text((_LEFT - 8, low), f"{y:,.0f}", anchor="rm")
        sheet.text((at(x, 0)[0], _HEIGHT - _BOTTOM + 6), f"{x:,.0f}", anchor="ma")
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(*point) for point in line.points]
        sheet.path(places, colour, 2)
        for place in places:
            sheet.dot(place, colour)
        sheet.text((_WIDTH - _RIGHT + 12, _TOP + 18 * number - 10), line.name, colour=colour)
    return sheet.png()


class _Sheet:
    """White paper that is drawn on in units of length."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), "white")
        self._pen = ImageDraw.Draw(self._image)

    def text(
        self, place: tuple[float, float], words: str, *, size: int = 12, anchor: str = "la", colour: str = "black"
    ) -> None:
        self._pen.text(_fine(place), words, colour, ImageFont.load_default(size * _FINE), anchor)

    def path(self, places: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        self._pen.line([_fine(place) for place in places], colour, width * _FINE, joint="curve")

    def dot(self, place: tuple[float, float], colour: str) -> None:
        self._pen.circle(_fine(place), 3 * _FINE, colour)

    def png(self) -> bytes:
        written = BytesIO()
        self._image.save(written, "PNG", optimize=True)
        return written.getvalue()


def _fine(place: tuple[float, float]) -> tuple[float, float]:
    return place[0] * _FINE, place[1] * _FINE
