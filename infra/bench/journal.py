"""What a journal of 100,000 entries costs: appending, checking, reporting, and keeping it.

    python -m infra.bench.journal [--entries N] [--json]

Baskets of the usual shape are written one after another: two fills, what was accepted and how it ended, what was
settled, and for each of their markets a result and a payment. Appending is timed without a table: sealing and chaining
alone, on the memory's store. Sizes are those of the items as the table holds them: names and values in UTF-8, and 100
bytes for each item that DynamoDB's storage counts beside (AWS documentation, item sizes). A transaction costs two write
units for each KB begun of each item; a strongly consistent scan one read unit for 4 KB.
"""

import json
import resource
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TypeVar

import click

from kalshi_arb.aws.dynamo import Item
from kalshi_arb.aws.journal import head_item, row_items
from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.journal import chain_of, in_order, unsealed, verify
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_entry,
    decision_entry,
    fill_entry,
    result_entry,
    settlement_entry,
)
from kalshi_arb.domain.positions import replay
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.journal_view import Names
from kalshi_arb.reports.figures import report
from kalshi_arb.reports.html import report_html
from kalshi_arb.reports.machine import lots_csv
from kalshi_arb.reports.period import Period, day_of

BEGIN = 1_790_000_000_000
APART_MS = 432_000
"""200 baskets a day."""
PER_BASKET = 9
_COUNT = Count(2_000)
_LOW, _HIGH, _FEE = Price(4_000), Price(5_000), Cash(336_000)
_PROOF = "0" * 64
Answer = TypeVar("Answer")
STORED_BESIDE = 100
"""Bytes that storage counts for each item beside its names and values."""
WRITES, READS, KEPT = 0.625, 0.125, 0.25
"""Dollars for a million write units, a million read units, and a GB kept for a month: on demand, us-east-1."""


def basket_entries(number: int) -> list[list[LedgerEntry]]:
    """What one basket and its two markets leave behind, in the appends that write it."""
    name, ms = f"b{number:07d}-1790000000", BEGIN + number * APART_MS
    event = f"KXBENCH{number % 997}-26NOV{number % 28 + 1:02d}"
    tickers = f"{event}-T{number}", f"{event}-T{number + 1}"

    def fill(leg: int, price: Price) -> LedgerEntry:
        fill_id = f"{number:08d}-0000-4000-8000-00000000000{leg}"
        traded = Fill(fill_id, fill_id, tickers[leg], Outcome(("yes", "no")[leg]), _COUNT, price, _FEE, ms)
        return fill_entry(traded, name)

    paid = [
        settlement_entry(Settlement(ticker, payout, notional(ONE_DOLLAR, _COUNT), ms + APART_MS))
        for ticker, payout in zip(tickers, (ONE_DOLLAR, Price(0)), strict=True)
    ]
    results = [
        result_entry(ticker, 0, "determined", payout, ms + APART_MS // 2)
        for ticker, payout in zip(tickers, (ONE_DOLLAR, Price(0)), strict=True)
    ]
    ended = [
        decision_entry("accepted", name, _PROOF, "$1.53 expected, at most $9.90 lost", ms),
        decision_entry("end", name, _PROOF, "lock: complete", ms + 5_000),
    ]
    why = "$21.33 after settlement, $1.33 had been the worst case, $1.33 expected; the difference is settlement $20.00"
    settled = [decision_entry("settled", name, _PROOF, why, ms + APART_MS)]
    return [[fill(0, _LOW)], [fill(1, _HIGH)], ended, results, paid, settled]


def item_bytes(item: Item) -> int:
    """The size of an item by names and values."""
    return sum(
        len(name.encode()) + sum(len(str(part).encode()) for part in value.values()) for name, value in item.items()
    )


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """What it answers, and the seconds that it took."""
    began = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - began


def measure(entries: int) -> dict[str, object]:
    """All figures for a journal of about this many entries."""
    baskets = max(1, entries // PER_BASKET)
    clock = ManualClock(BEGIN)
    store = MemoryLedgerStore(clock)
    store.append([cash_entry(EntryKind.OPENING, "opening-cash-0", 0, Cash(10**11), BEGIN, "")])
    appends = [part for number in range(baskets) for part in basket_entries(number)]

    def write() -> None:
        for part in appends:
            clock.advance(max(0, part[0].created_ms - clock.now_ms()))
            store.append(part)

    _, writing = timed(write)
    (rows, heads), _ = timed(store.rows)
    damages, checking = timed(lambda: verify(rows, heads))
    if damages:
        raise RuntimeError(f"the journal of the benchmark is damaged: {damages[0]}")
    journal, reading = timed(store.all)
    last_ms = journal[-1].created_ms
    names = Names({f"b{number:07d}-1790000000": f"KXBENCH{number % 997}" for number in range(baskets)}, {}, {})
    none: list[Basket] = []
    day = Period(day_of(last_ms), day_of(last_ms))
    whole = Period(day_of(BEGIN), day_of(last_ms))
    _, of_day = timed(lambda: report(journal, none, names, day, mode="simulated", now_ms=last_ms))
    made, of_all = timed(lambda: report(journal, none, names, whole, mode="simulated", now_ms=last_ms))
    table, writing_table = timed(lambda: lots_csv(made, names))
    page, writing_page = timed(lambda: report_html(made))
    return {
        "entries": len(journal),
        "baskets": baskets,
        "appended_per_second": round((len(journal) - 1) / writing),
        "verify_seconds": round(checking, 2),
        "read_and_sort_seconds": round(reading, 2),
        "report_of_a_day_seconds": round(of_day, 2),
        "report_of_everything_seconds": round(of_all, 2),
        "csv": {"seconds": round(writing_table, 2), "rows": table.count("\n") - 1, "bytes": len(table)},
        "html": {"seconds": round(writing_page, 2), "bytes": len(page)},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "running": running(store, last_ms),
        "cost": cost([list(row_items(row)) for row in rows], list(map(head_item, heads.values())), appends, baskets),
    }


def running(store: MemoryLedgerStore, last_ms: int) -> dict[str, object]:
    """What deciding from the state carried forward costs beside reading everything; the baskets of three days are in it
    entry by entry."""
    clock = ManualClock(last_ms)
    journal = RunningJournal(store, clock)
    _, making = timed(journal.renew)
    text = store.carried() or ""
    packed = len(zlib.compress(text.encode()))
    entries, reading = timed(journal.entries)
    _, replaying = timed(lambda: replay(entries))
    whole, reading_all = timed(lambda: in_order(unsealed(row) for row in store.rows()[0]))
    _, replaying_all = timed(lambda: replay(whole))
    if cash_by_shard(entries) != cash_by_shard(whole):
        raise RuntimeError("the state carried forward is not the journal's")
    units = -(-packed // 4096)
    return {
        "entries": len(entries),
        "bytes": packed,
        "make_seconds": round(making, 2),
        "read_and_replay_seconds": round(reading + replaying, 3),
        "everything_instead_seconds": round(reading_all + replaying_all, 3),
        "read_units": units,
        "dollars_a_day_of_5_reads_a_minute": round(units * 5 * 1440 * READS / 10**6, 4),
    }


def cost(
    rows: list[list[Item]], heads: list[Item], appends: list[list[LedgerEntry]], baskets: int
) -> dict[str, object]:
    """What the table charges: each append writes its entries with their ids, and moves the head of each chain that it
    writes to."""
    sizes = [item_bytes(item) for items in rows for item in items]
    ends = sum(item_bytes(item) for item in heads)
    chains = sum(len({chain_of(entry) for entry in part}) for part in appends)
    # A head is a copy in the index by time too: where it moves, one is deleted there and one put, as plain writes.
    units = 2 * sum(-(-size // 1024) for size in sizes) + (2 + 2) * chains
    scanned = sum(sizes) + ends
    stored = scanned + ends + STORED_BESIDE * (len(sizes) + 2 * len(heads))
    return {
        "bytes_per_entry": round(sum(sizes) / len(rows)),
        "bytes_per_basket_with_heads": round(stored / baskets),
        "write_units_per_basket": round(units / baskets, 1),
        "dollars_to_write_a_basket": round(units / baskets * WRITES / 10**6, 8),
        "dollars_a_month_to_keep_a_basket": round(stored / baskets * KEPT / 10**9, 10),
        "dollars_a_month_to_keep_all": round(stored * KEPT / 10**9, 4),
        "read_units_of_one_scan": round(scanned / 4096),
        "dollars_of_one_scan": round(scanned / 4096 * READS / 10**6, 6),
    }


def lines(figures: Mapping[str, object], indent: str = "") -> list[str]:
    """The figures for a person."""
    made = []
    for name, value in figures.items():
        words = indent + name.replace("_", " ")
        if isinstance(value, dict):
            made += [f"{words}:", *lines(value, indent + "  ")]
        else:
            made.append(f"{words}: {value:,}" if isinstance(value, int) else f"{words}: {value}")
    return made


@click.command()
@click.option("--entries", default=100_000, show_default=True, type=click.IntRange(10, 5_000_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def main(entries: int, as_json: bool) -> None:
    """Measure a journal of this many entries."""
    figures = measure(entries)
    click.echo(json.dumps(figures, indent=1) if as_json else "\n".join(lines(figures)))


if __name__ == "__main__":
    main()
