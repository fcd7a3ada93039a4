"""Drawings of benchmarks."""

from io import BytesIO

import pytest
from PIL import Image

from infra.bench.plot import Line, draw


def pixels(*lines: Line) -> Image.Image:
    image = Image.open(BytesIO(draw("A title", "across", "up", lines)))
    assert image.format == "PNG"
    return image.convert("RGB")


def test_a_line_is_drawn_in_its_colour_from_its_first_point_to_its_last() -> None:
    image = pixels(Line("rising", [(0, 0), (10, 5)]))
    colour = (0x1B, 0x6C, 0xA8)
    assert image.getpixel((2 * 70, 2 * 370)) == colour, "the origin"
    assert image.getpixel((2 * 570, 2 * 50)) == colour, "both axes end at the highest point"
    assert image.getpixel((2 * 320, 2 * 210)) == colour, "half way"
    assert image.getpixel((2 * 320, 2 * 100)) == (255, 255, 255)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw("A title", "across", "up", [Line("empty", [])])
