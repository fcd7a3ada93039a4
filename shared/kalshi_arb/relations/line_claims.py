"""What is claimed of markets on one line, and what is not, with the reason.

A claim must hold wherever the value falls, edges included: a relation states no exceptions.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.relations.assembly import SMALLEST_GROUP, Reason
from kalshi_arb.relations.intervals import (
    Cell,
    describe,
    display_tick,
    first_strike,
    is_cap,
    is_floor,
    needed_strikes,
    print_strike,
)

Key = tuple[Decimal, bool]


def inclusiveness(market: Market) -> Key:
    """Sort key, most inclusive first: low floors and high caps, at the same strike the one that includes it."""
    if is_floor(market):
        return first_strike(market), market.strike_type is StrikeType.GREATER
    return -first_strike(market), market.strike_type is StrikeType.LESS


def position(market: Market) -> tuple[int, Decimal, bool]:
    """Sort key up the line: caps, the brackets, floors."""
    strike = first_strike(market)
    if is_cap(market):
        return 0, strike, market.strike_type is StrikeType.LESS_OR_EQUAL
    if is_floor(market):
        return 2, strike, market.strike_type is StrikeType.GREATER
    return 1, strike, False


def ladder_relations(members: Sequence[ListedMarket], open_ends: Sequence[bool]) -> list[Relation]:
    """Each rung implies the next easier one. ``members`` run from the easiest to the hardest."""
    found = []
    for (easier, open_easier), (harder, open_harder) in pairwise(zip(members, open_ends, strict=True)):
        same = first_strike(easier.market) == first_strike(harder.market)
        if same and (open_easier or open_harder):
            continue
        if same and easier.market.strike_type is harder.market.strike_type:
            kind, reason = RelationKind.EQUAL, f"Both pay {describe(easier.market)}."
        else:
            kind = RelationKind.SUBSET
            reason = f"Every value {describe(harder.market)} is also {describe(easier.market)}."
        found.append(Relation(kind, (harder.market.ticker, easier.market.ticker), reason))
    return found


def partition_relations(markets: Sequence[Market], cells: Sequence[Cell]) -> list[Relation]:
    """What holds of the whole set, by how many of it pay at each place."""
    tickers = tuple(market.ticker for market in markets)
    stretches = f"The {len(markets)} stretches from {describe(markets[0])} to {describe(markets[-1])}"
    winners = {cell.payers.bit_count() for cell in cells}
    found = []
    if winners <= {0, 1}:
        found.append(
            Relation(RelationKind.EXCLUSIVE, tickers, f"{stretches} share no value, so at most one market pays.")
        )
    if 0 not in winners:
        found.append(
            Relation(RelationKind.EXHAUSTIVE, tickers, f"{stretches} leave no value out, so at least one market pays.")
        )
    if winners == {1}:
        found.append(Relation(RelationKind.PARTITION, tickers, f"{stretches} hold every value exactly once."))
    return found


class Note(NamedTuple):
    """Why "exactly one" is not claimed of a partition: the markets at the places concerned, and the first in words."""

    reason: Reason
    tickers: tuple[str, ...]
    words: str


def partition_notes(markets: Sequence[Market], cells: Sequence[Cell]) -> list[Note]:
    """Everything that keeps a partition from paying exactly once, one note a reason. ``markets`` run up the line."""
    if all(cell.payers.bit_count() == 1 for cell in cells):
        return []
    found: dict[Reason, list[Note]] = {}
    for note in _places(markets, uncovered=any(cell.payers == 0 for cell in cells)):
        found.setdefault(note.reason, []).append(note)
    return [
        Note(
            reason,
            tuple(dict.fromkeys(ticker for note in notes for ticker in note.tickers)),
            notes[0].words + (f" (and so at {len(notes) - 1} more places)" if len(notes) > 1 else ""),
        )
        for reason, notes in found.items()
    ]


def _places(markets: Sequence[Market], *, uncovered: bool) -> Iterator[Note]:
    first, last = markets[0], markets[-1]
    if not is_cap(first):
        low = print_strike(needed_strikes(first)[0])
        yield Note(Reason.MISSING_TAIL, (first.ticker,), f"no market pays below {low}")
    if not is_floor(last):
        high = print_strike(needed_strikes(last)[-1])
        yield Note(Reason.MISSING_TAIL, (last.ticker,), f"no market pays above {high}")
    strikes = [needed_strikes(market) for market in markets]
    tick = display_tick([strike for own in strikes for strike in own])
    strict = {StrikeType.LESS, StrikeType.GREATER}
    for place, (lower, upper) in enumerate(pairwise(markets)):
        end, begin = strikes[place][-1], strikes[place + 1][0]
        pair = (lower.ticker, upper.ticker)
        if begin == end:
            if StrikeType.BETWEEN in (lower.strike_type, upper.strike_type):
                words = f"no field says which of them pays at {print_strike(end)}, or whether both do"
                yield Note(Reason.ENDS, pair, words)
            elif uncovered and {lower.strike_type, upper.strike_type} == strict:
                yield Note(Reason.GAP, pair, f"the value {print_strike(end)} itself pays no market")
            continue
        between = f"between {print_strike(end)} and {print_strike(begin)}"
        if begin - end > tick:
            yield Note(Reason.GAP, pair, f"a value {between} pays no market")
        elif uncovered:
            words = f"a value that is not rounded may fall {between} and pay no market"
            yield Note(Reason.SLIVER, pair, words)


def line_relations(
    members: Sequence[ListedMarket], open_ends: Sequence[bool], cells: Sequence[Cell]
) -> list[Relation]:  # fmt: skip
    """Chains of thresholds, brackets within them and beside each other, and caps against floors of the same strike:
    enough to imply every relation of two markets of the line, without listing them all."""
    rows = list(zip(members, open_ends, strict=True))
    floors = sorted((row for row in rows if is_floor(row[0].market)), key=lambda row: inclusiveness(row[0].market))
    caps = sorted((row for row in rows if is_cap(row[0].market)), key=lambda row: inclusiveness(row[0].market))
    brackets = [row[0].market for row in rows if row[0].market.strike_type is StrikeType.BETWEEN]
    found = []
    for chain in (floors, caps):
        found += ladder_relations([member for member, _ in chain], [is_open for _, is_open in chain])
    known = [[member.market for member, is_open in chain if not is_open] for chain in (floors, caps)]
    keys = [[inclusiveness(market) for market in chain] for chain in known]
    for bracket in brackets:
        low, high = needed_strikes(bracket)
        found += _within(bracket, low, known[0], keys[0])
        found += _within(bracket, -high, known[1], keys[1])
    found += _beside(members, brackets, cells)
    by_strike = {first_strike(member.market): member.market for member, is_open in floors if not is_open}
    for member, is_open in caps:
        floor = by_strike.get(first_strike(member.market))
        if floor is not None and not is_open:
            found.append(_against(member.market, floor))
    return found


def _within(bracket: Market, edge: Decimal, chain: Sequence[Market], keys: Sequence[Key]) -> Iterator[Relation]:
    """The hardest threshold of a chain (easiest first) that holds the whole bracket, both ends included.

    :param edge: the bracket's end that the chain's keys are compared with: its low end, or its high end negated
    """
    # At the edge itself an inclusive threshold still holds it and a strict one does not.
    held = bisect_left(keys, (edge, True))
    if held:
        easier = chain[held - 1]
        reason = f"Every value from {describe(bracket)}, ends included, is also {describe(easier)}."
        yield Relation(RelationKind.SUBSET, (bracket.ticker, easier.ticker), reason)


def _beside(members: Sequence[ListedMarket], brackets: Sequence[Market], cells: Sequence[Cell]) -> Iterator[Relation]:
    if len(brackets) < SMALLEST_GROUP:
        return
    places = {member.market.ticker: place for place, member in enumerate(members)}
    bits = sum(1 << places[bracket.ticker] for bracket in brackets)
    if all((cell.payers & bits).bit_count() <= 1 for cell in cells):
        tickers = tuple(bracket.ticker for bracket in brackets)
        yield Relation(RelationKind.EXCLUSIVE, tickers, f"The {len(brackets)} brackets share no value.")


def _against(cap: Market, floor: Market) -> Relation:
    strict_cap, strict_floor = cap.strike_type is StrikeType.LESS, floor.strike_type is StrikeType.GREATER
    tickers = (cap.ticker, floor.ticker)
    words = f"A value is {describe(cap)} or {describe(floor)}"
    if strict_cap and strict_floor:
        return Relation(RelationKind.DISJOINT, tickers, f"{words} or neither, never both.")
    if strict_cap or strict_floor:
        return Relation(RelationKind.COMPLEMENT, tickers, f"{words}, and never both.")
    return Relation(RelationKind.EXHAUSTIVE, tickers, f"{words} or both.")
