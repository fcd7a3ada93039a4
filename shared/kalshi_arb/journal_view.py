"""The journal for people: whether it is whole, what it tells of a basket, positions and results, a table for others.

Days are days of New York, as the exchange counts them. Nothing here writes.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Any

from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.carried import decoded, difference
from kalshi_arb.domain.eastern import local_day
from kalshi_arb.domain.journal import Damage, verify
from kalshi_arb.domain.money import Cash, Count, cash_to_wire, count_to_wire, dollars, price_to_wire
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, effective, is_bought
from kalshi_arb.domain.positions import Books, Holding, Line, lines, replay, shared_pairs
from kalshi_arb.execution.difference_lines import difference_lines
from kalshi_arb.execution.differences import Difference
from kalshi_arb.ports import LedgerStore

NOBODY = "(no basket)"
UNKNOWN = "(unknown)"
COLUMNS = (
    "time_utc", "day_new_york", "kind", "basket", "event", "ticker", "outcome", "contracts", "price_dollars",
    "fee_dollars", "cash_dollars", "shard", "reference", "note", "entry_id",
)  # fmt: skip


@unique
class By(StrEnum):
    """What positions and results are listed by."""

    BASKET = "basket"
    MARKET = "market"
    EVENT = "event"
    FAMILY = "family"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Names:
    """What the journal itself does not say: events and families of baskets, and when markets should have paid (UTC
    milliseconds)."""

    events: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    release_ms: Mapping[str, int] = field(default_factory=dict)


def names_of(baskets: Iterable[Basket]) -> Names:
    """The names of these baskets, and the dates of their legs' markets as they were when the newest of them was
    accepted. Rows outlive groups, so nothing here is asked of groups."""
    rows = sorted(baskets, key=lambda row: row.created_ms)
    return Names(
        {row.basket_id: row.event_ticker for row in rows},
        {row.basket_id: row.family for row in rows},
        {
            leg.ticker: own.paid_by_ms
            for row in rows
            if row.terms
            for leg, own in zip(row.legs, row.terms, strict=True)
            if own.paid_by_ms is not None
        },
    )


def damages(ledger: LedgerStore) -> tuple[int, list[Damage]]:
    """How many records there are, and every place where the journal is not what was written.

    It is read again before anything is called damaged: while somebody writes, one reading may hold a record without
    the one before it.
    """
    rows, heads = ledger.rows()
    found = verify(rows, heads)
    if found:
        rows, heads = ledger.rows()
        again = verify(rows, heads)
        found = [damage for damage in again if damage in found]
    return len(rows), found


def carried_problem(ledger: LedgerStore) -> str:
    """In words, what is wrong with the state carried forward, which decisions rest on; empty when nothing is. The
    journal itself must be whole."""
    text = ledger.carried()
    carried = None if text is None else decoded(text)
    return "" if carried is None else difference(carried, ledger.rows()[0])


def told(entry: LedgerEntry) -> str:
    """An entry in one line."""
    moment = _time(entry.created_ms)
    parts = [moment, f"{entry.kind.value:<10}"]
    if is_bought(entry) and entry.outcome is not None:
        parts.append(
            f"{count_to_wire(entry.count)} {entry.ticker} {entry.outcome.value} at {price_to_wire(entry.price)}, "
            f"fee {dollars(entry.fee)}"
        )
    elif entry.kind in (EntryKind.SETTLEMENT, EntryKind.RESULT):
        parts.append(f"{entry.ticker} pays {price_to_wire(entry.price)} a YES")
    elif entry.ticker:
        parts.append(entry.ticker)
    if entry.cash:
        parts.append(dollars(entry.cash))
    if entry.note:
        parts.append(entry.note)
    if entry.reference:
        parts.append(f"[{entry.reference}]")
    return "  ".join(parts)


def of_basket(entries: Iterable[LedgerEntry], basket_id: str) -> list[LedgerEntry]:
    """What a basket did and what became of its markets, by time."""
    rows = list(entries)
    tickers = {entry.ticker for entry in rows if entry.basket_id == basket_id and entry.ticker}
    of_market = (EntryKind.SETTLEMENT, EntryKind.RESULT)
    return [
        entry for entry in rows if entry.basket_id == basket_id or (entry.kind in of_market and entry.ticker in tickers)
    ]


def as_csv(entries: Iterable[LedgerEntry], names: Names) -> str:
    """One row for each entry, amounts as plain decimals of dollars and contracts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow(
            (
                _time(entry.created_ms), local_day(entry.created_ms).isoformat(), entry.kind.value, entry.basket_id,
                names.events.get(entry.basket_id, ""), entry.ticker,
                "" if entry.outcome is None else entry.outcome.value, count_to_wire(entry.count),
                price_to_wire(entry.price), cash_to_wire(entry.fee), cash_to_wire(entry.cash), entry.shard,
                entry.reference, entry.note, entry.entry_id,
            )
        )  # fmt: skip
    return out.getvalue()


def positions(entries: Iterable[LedgerEntry], by: By, names: Names, books: Mapping[str, BookSnapshot]) -> list[Line]:
    """What is held and what it costs, marked to executable prices: by market as the exchange nets it, otherwise as the
    baskets hold it. Lines without anything open are left out.

    :raises ValueError: by day; a holding has none.
    """
    state = replay(entries)
    grouped: dict[str, list[tuple[str, Holding]]] = defaultdict(list)
    if by is By.MARKET:
        for ticker, held in state.net.items():
            grouped[ticker].append((ticker, held))
    else:
        name = _namer(by, names)
        for (basket_id, ticker), held in state.virtual.items():
            grouped[name(basket_id)].append((ticker, held))
    return [line for line in lines(dict(sorted(grouped.items())), books, names.release_ms) if line.contracts]


@dataclass(frozen=True, slots=True)
class Result:
    """Realised gain before fees, fees, and both together, of one day, basket, market, event or family."""

    name: str
    realised: Cash
    fees: Cash

    @property
    def profit(self) -> Cash:
        """After fees."""
        return Cash(self.realised - self.fees)


def results(entries: Iterable[LedgerEntry], by: By, names: Names, day: str | None = None) -> list[Result]:
    """What was realised, by name, of one day of New York or of all."""
    state = replay(entries)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for gain in state.gains:
        when = local_day(gain.ms).isoformat()
        if day is not None and when != day:
            continue
        if by is By.DAY:
            name = when
        elif by is By.MARKET:
            name = gain.ticker
        else:
            name = _namer(by, names)(gain.basket_id)
        sums[name][0] += gain.realised
        sums[name][1] += gain.fee
    return [Result(name, Cash(realised), Cash(fees)) for name, (realised, fees) in sorted(sums.items())]


@dataclass(frozen=True, slots=True)
class Balance:
    """The change of cash since the journal began and what it comes from: ``profit`` realised after fees, less the cost
    of what is open, dollars that pairs of two baskets freed, and cash that came or went without a trade."""

    change: Cash
    profit: Cash
    open_cost: Cash
    freed: Cash
    moved: Cash

    @property
    def unexplained(self) -> Cash:
        """Always 0: what the parts leave of the change."""
        return Cash(self.change - self.profit + self.open_cost - self.freed - self.moved)


def balance(entries: Iterable[LedgerEntry], change: Cash) -> Balance:
    """The parts of a change of cash (1e-6 dollars, :func:`kalshi_arb.domain.portfolio.cash_change`)."""
    rows = list(entries)
    state: Books = replay(rows)
    return Balance(
        change,
        Cash(sum(held.profit for held in state.virtual.values())),
        Cash(sum(held.cost for held in state.virtual.values())),
        Cash(sum(shared_pairs(state).values())),
        Cash(sum(entry.cash for entry in effective(rows) if entry.kind is EntryKind.CASH)),
    )


def line_text(line: Line) -> str:
    """A position in one line."""
    value = "no book" if line.value is None else f"{dollars(line.value)} now"
    unrealised = "" if line.unrealised is None else f" ({dollars(line.unrealised)})"
    release = "" if line.release_ms is None else f", pays by {_time(line.release_ms)}"
    return (
        f"{line.name}  {count_to_wire(line.contracts)} contracts, {dollars(line.open_cost)} locked, {value}{unrealised}"
        f"{release}"
    )


def line_json(line: Line) -> dict[str, object]:
    """A position for machines: dollars and contracts as decimals."""
    return {
        "name": line.name,
        "contracts": count_to_wire(Count(line.contracts)),
        "locked": cash_to_wire(line.open_cost),
        "realised": cash_to_wire(line.realised),
        "fees": cash_to_wire(line.fees),
        "value": None if line.value is None else cash_to_wire(line.value),
        "unrealised": None if line.unrealised is None else cash_to_wire(line.unrealised),
        "release_ms": line.release_ms,
    }


def _namer(by: By, names: Names) -> Callable[[str], str]:
    if by is By.BASKET:
        return lambda basket_id: basket_id or NOBODY
    if by is By.EVENT:
        return lambda basket_id: names.events.get(basket_id, UNKNOWN if basket_id else NOBODY)
    if by is By.FAMILY:
        return lambda basket_id: names.families.get(basket_id, UNKNOWN if basket_id else NOBODY)
    raise ValueError(f"nothing is listed by {by.value} here")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def repair_view(found: Sequence[Difference] | None) -> dict[str, Any]:
    """What a repair found and recorded: ``differences`` in words (None when something moved), ``found`` how many they
    are, ``recorded`` how many entries the journal got."""
    return {
        "differences": None if found is None else difference_lines(found),
        "found": len(found or ()),
        "recorded": sum(len(one.repair) for one in found or ()),
    }
