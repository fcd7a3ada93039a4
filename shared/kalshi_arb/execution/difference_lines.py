"""Differences between the journal and the exchange as a person reads them: one line for each cause.

An order that filled against many others is many fills, and each missing one is a difference with a repair of its own.
To a person they are one thing.
"""

from collections.abc import Iterable, Sequence

from kalshi_arb.domain.money import Cash, Count, count_to_wire, dollars, price_to_wire
from kalshi_arb.domain.portfolio import LedgerEntry
from kalshi_arb.execution.differences import Difference, DifferenceKind

_WHERE = {
    DifferenceKind.MISSING_FILL: "are at the exchange and not in the journal",
    DifferenceKind.UNKNOWN_FILL: "are in the journal and not at the exchange",
}


def difference_lines(found: Iterable[Difference]) -> list[str]:
    """One line for each difference, but a single one for all fills of an order that are missing or unknown alike; it
    stands where the first of them stood."""
    together: dict[object, list[Difference]] = {}
    for number, difference in enumerate(found):
        fill = difference.fill
        key = number if fill is None else (difference.kind, fill.reference, fill.basket_id)
        together.setdefault(key, []).append(difference)
    return [str(alike[0]) if len(alike) == 1 else _line(alike) for alike in together.values()]


def _line(alike: Sequence[Difference]) -> str:
    kind, fills = alike[0].kind, [one.fill for one in alike if one.fill is not None]
    whose = f"basket {fills[0].basket_id}" if fills[0].basket_id else "no basket"
    return (
        f"{kind.value}s of order {fills[0].reference}: {len(fills)} fills, {_what(fills)}, fees "
        f"{dollars(Cash(sum(fill.fee for fill in fills)))}, of {whose}, {_WHERE[kind]}"
    )


def _what(fills: Sequence[LedgerEntry]) -> str:
    """How much of what at which prices. An order is on one market and one side of it."""
    first, prices = fills[0], sorted(fill.price for fill in fills)
    side = "" if first.outcome is None else f" {first.outcome.value}"
    span = " to ".join(price_to_wire(price) for price in sorted({prices[0], prices[-1]}))
    return f"{count_to_wire(Count(sum(fill.count for fill in fills)))} {first.ticker}{side} at {span}"
