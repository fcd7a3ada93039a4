"""What a person reads of differences: fills of one order are one line, whatever each of them needs to be repaired."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, fill_entry
from kalshi_arb.execution.difference_lines import difference_lines
from kalshi_arb.execution.differences import Difference, DifferenceKind

MISSING, UNKNOWN = DifferenceKind.MISSING_FILL, DifferenceKind.UNKNOWN_FILL


def bought(trade: int, order: str = "o1", price: int = 4_400, basket: str = "b1") -> LedgerEntry:
    """A hundred contracts."""
    return fill_entry(
        Fill(f"t{trade}", order, "KXM", Outcome.YES, Count(10_000), Price(price), Cash(102_500), 1), basket
    )


def missing(entry: LedgerEntry) -> Difference:
    return Difference(MISSING, entry.entry_id, f"of {entry.entry_id}", (entry,), entry)


def unknown(entry: LedgerEntry) -> Difference:
    return Difference(UNKNOWN, entry.entry_id, f"of {entry.entry_id}", (entry,), entry)


def test_twelve_missing_fills_of_an_order_are_one_line() -> None:
    found = [missing(bought(trade, price=4_400 + 100 * (trade % 3))) for trade in range(12)]
    assert difference_lines(found) == [
        "missing fills of order o1: 12 fills, 1200.00 KXM yes at 0.4400 to 0.4600, fees $1.23, of basket b1, are at "
        "the exchange and not in the journal"
    ]
    assert all(len(one.repair) == 1 for one in found)


def test_one_price_and_no_basket_are_told_as_such() -> None:
    assert difference_lines([unknown(bought(trade, basket="")) for trade in (1, 2)]) == [
        "unknown fills of order o1: 2 fills, 200.00 KXM yes at 0.4400, fees $0.205, of no basket, are in the journal "
        "and not at the exchange"
    ]


def test_a_single_fill_and_other_differences_keep_their_own_words_and_places() -> None:
    cash = Difference(DifferenceKind.CASH, "shard 0", "$1.00 have no cause")
    alone = missing(bought(9, "o9"))
    told = difference_lines([alone, missing(bought(1)), cash, missing(bought(2)), cash])
    assert told[0] == str(alone)
    assert told[1].startswith("missing fills of order o1: 2 fills")
    assert told[2:] == [str(cash), str(cash)]


def test_what_differs_otherwise_is_not_told_together() -> None:
    first = bought(1)
    apart = [missing(first), unknown(bought(2)), missing(bought(3, "o2")), missing(replace(bought(4), basket_id="b2"))]
    assert difference_lines(apart) == [str(one) for one in apart]


ONE = st.tuples(st.sampled_from((MISSING, UNKNOWN)), st.sampled_from(("o1", "o2")), st.sampled_from(("b1", "")))


@settings(max_examples=30)
@given(st.lists(ONE, max_size=12))
def test_every_fill_is_told_once(kinds: list[tuple[DifferenceKind, str, str]]) -> None:
    found = [
        (missing if kind is MISSING else unknown)(bought(number, order, basket=basket))
        for number, (kind, order, basket) in enumerate(kinds)
    ]
    told = difference_lines(found)
    assert len(told) == len(set(kinds))
    counts = [int(line.partition(": ")[2].split()[0]) if "fills of order" in line else 1 for line in told]
    assert sum(counts) == len(found)
