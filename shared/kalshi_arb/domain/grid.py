"""Tick grids: which prices an order may carry.

``price_ranges`` of a market is the only authority, never the name in ``price_level_structure``, and a grid may be
replaced while the market lives (Kalshi API documentation, "Fixed-Point Representation" and the lifecycle message
``price_level_structure_updated``). Grids are stated for YES prices.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from kalshi_arb.domain.errors import GridError
from kalshi_arb.domain.money import ONE_DOLLAR, Price, ceil_div, price_from_wire, price_to_wire


@dataclass(frozen=True, slots=True)
class Band:
    """Prices from ``start`` to ``end`` (both 1e-4 dollars, both included) in steps of ``step``."""

    start: Price
    end: Price
    step: Price


@dataclass(frozen=True, slots=True)
class PriceGrid:
    """The legal order prices of one market: contiguous ascending bands over 0 to 1 dollar, the two ends excluded.

    A price on the border of two bands is legal when it is on either band's steps.
    :raises GridError: bands that are empty, overlap, leave a gap or do not fit their step.
    """

    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        if not self.bands:
            raise GridError("a price grid needs at least one band")
        if self.bands[0].start != 0 or self.bands[-1].end != ONE_DOLLAR:
            raise GridError("a price grid must run from 0 to 1 dollar")
        for band in self.bands:
            if band.step <= 0 or band.end <= band.start or (band.end - band.start) % band.step:
                raise GridError(f"band {band.start}..{band.end} does not fit its step {band.step}")
        for left, right in pairwise(self.bands):
            if left.end != right.start:
                raise GridError(f"bands leave a gap or overlap between {left.end} and {right.start}")

    def is_valid(self, price: Price) -> bool:
        """Whether an order may carry this price. 0 and 1 dollar never are."""
        if not 0 < price < ONE_DOLLAR:
            return False
        return any(band.start <= price <= band.end and (price - band.start) % band.step == 0 for band in self.bands)

    def is_on_steps_of(self, step: Price) -> bool:
        """Whether every legal price is a whole multiple of ``step``."""
        return all(band.start % step == 0 and band.step % step == 0 for band in self.bands)

    def leaves_steps_of(self, limit: Price, step: Price) -> bool:
        """Whether a purchase of either outcome at ``limit`` or better can fill off the multiples of ``step``, which
        divides a dollar."""
        return limit % step > 0 or not self.is_on_steps_of(step)

    def at_or_below(self, price: Price) -> Price | None:
        """The highest legal price that is not above ``price``, or None."""
        for band in reversed(self.bands):
            if price < band.start:
                continue
            reach = min(price, band.end)
            snapped = Price(band.start + (reach - band.start) // band.step * band.step)
            while snapped >= ONE_DOLLAR:
                snapped = Price(snapped - band.step)
            if snapped >= band.start and snapped > 0:
                return snapped
        return None

    def at_or_above(self, price: Price) -> Price | None:
        """The lowest legal price that is not below ``price``, or None."""
        for band in self.bands:
            if price > band.end:
                continue
            reach = max(price, band.start)
            snapped = Price(band.start + ceil_div(reach - band.start, band.step) * band.step)
            while snapped <= 0:
                snapped = Price(snapped + band.step)
            if snapped <= band.end and snapped < ONE_DOLLAR:
                return snapped
        return None

    def next_above(self, price: Price) -> Price | None:
        """The next legal price above ``price``, or None at the top."""
        return self.at_or_above(Price(price + 1))

    def next_below(self, price: Price) -> Price | None:
        """The next legal price below ``price``, or None at the bottom."""
        return self.at_or_below(Price(price - 1))

    def require(self, price: Price) -> Price:
        """The price itself, if an order may carry it. :raises GridError: it may not; the message names neighbours."""
        if self.is_valid(price):
            return price
        neighbours = [legal for legal in (self.at_or_below(price), self.at_or_above(price)) if legal is not None]
        nearest = " or ".join(price_to_wire(legal) for legal in neighbours) or "none"
        raise GridError(f"an order cannot carry the price {price_to_wire(price)}; nearest legal: {nearest}")


def grid_from_wire(ranges: Iterable[Mapping[str, object]]) -> PriceGrid:
    """Build a grid from a market's ``price_ranges``: ``[{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]``.

    :raises AmountError: a bound is not a price.
    :raises GridError: a key is missing or the bands are no grid.
    """
    bands = []
    for entry in ranges:
        try:
            bands.append(
                Band(price_from_wire(entry["start"]), price_from_wire(entry["end"]), price_from_wire(entry["step"]))
            )
        except KeyError as missing:
            raise GridError(f"price range without {missing}") from missing
    return PriceGrid(tuple(bands))


def grid_to_wire(grid: PriceGrid) -> list[dict[str, str]]:
    """The inverse of :func:`grid_from_wire`."""
    return [
        {"start": price_to_wire(b.start), "end": price_to_wire(b.end), "step": price_to_wire(b.step)}
        for b in grid.bands
    ]


CENT_GRID = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(100)),))
"""``linear_cent``: whole cents."""
FINEST_GRID = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(1)),))
"""``center_centi_edge_centi_cent``: every price there is, 1e-4 dollars apart."""
