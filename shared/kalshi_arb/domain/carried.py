"""The journal carried forward: what is done with is one sum of cash a shard, everything else stands entry by entry.

Baskets and the markets that they traded hang together. Where all of them are over and nothing moved for three days,
none of their entries can change a position, a result of today or a comparison with the exchange any more: what is left
of them is the cash. So whoever needs the present state reads this and what was written since, and not the journal from
its beginning. It is a copy: it can be made anew from the journal at any time, and is compared with it. Pure.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kalshi_arb.domain.journal import (
    ANCHOR_CHAIN,
    Head,
    JournalError,
    Record,
    Sealed,
    fields_of,
    in_order,
    record_of,
    seal_of,
    start_of,
    unsealed,
)
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_by_shard, cash_entry, effective, is_bought

CLOSED_AFTER_MS = 72 * 3_600_000
"""What is over is summed up when it is older than this: longer than any scheduled comparison looks back."""
MARGIN_MS = 600_000
"""How much older than the last reading a record may be that it did not show: clocks of writers, and slow writes."""
_VERSION = 1
_OVER = ("end-", "refused-", "settled-")


@dataclass(frozen=True, slots=True)
class Carried:
    """The state of the journal up to a moment.

    ``until_ms`` (UTC milliseconds): everything written up to ``MARGIN_MS`` before it is in here. ``heads`` are the ends
    of the chains of the ``records``, as far as they are in here; ``cash`` is what all others left on each shard (1e-6
    dollars). Anchors are not carried.
    """

    until_ms: int
    heads: Mapping[str, Head]
    records: tuple[Record, ...]
    cash: Mapping[int, Cash]

    @property
    def since_ms(self) -> int:
        """From which moment on records may be missing here (UTC milliseconds)."""
        return self.until_ms - MARGIN_MS

    def entries(self) -> list[LedgerEntry]:
        """What is open, by time, after what was brought forward: as good as the whole journal for positions, cash, and
        the results of the last days."""
        forward = [
            cash_entry(EntryKind.CASH, f"carried-{shard}", shard, amount, 0, "brought forward")
            for shard, amount in sorted(self.cash.items())
        ]
        return forward + in_order(self.records)

    def with_new(self, rows: Iterable[Sealed], now_ms: int) -> "Carried | None":
        """With the records written since, in any order; None when one of them belongs to what was summed up, so that
        everything has to be read again.

        :raises JournalError: a record is not what was written, or does not follow from the one before it.
        """
        heads, records = dict(self.heads), list(self.records)
        new = sorted(_opened(rows), key=lambda row: (row[0].chain, row[0].number))
        for record, seal in new:
            head = heads.get(record.chain)
            if head is None and (record.number > 0 or record.written_ms < self.since_ms):
                return None
            before = head or start_of(record.chain)
            if (record.number, record.previous) != (before.number + 1, before.seal):
                raise JournalError(
                    f"journal record {record.number} of {record.chain} does not follow from what was read before it: "
                    "run `kalshi-arb journal verify`"
                )
            heads[record.chain] = _head(record, seal)
            records.append(record)
        return Carried(max(now_ms, self.until_ms), heads, tuple(records), self.cash)

    def closed(self, now_ms: int) -> "Carried":
        """With everything summed up that has been over for long enough."""
        done = _done(self.records, now_ms - CLOSED_AFTER_MS)
        if not done:
            return self
        cash = dict(self.cash)
        for shard, amount in cash_by_shard(in_order(row for row in self.records if row.chain in done)).items():
            cash[shard] = Cash(cash.get(shard, 0) + amount)
        return Carried(
            self.until_ms,
            {chain: head for chain, head in self.heads.items() if chain not in done},
            tuple(row for row in self.records if row.chain not in done),
            cash,
        )


def from_journal(rows: Iterable[Sealed], now_ms: int) -> Carried:
    """The state that a whole journal gives.

    :param rows: all of them, read after ``now_ms`` (UTC milliseconds)
    :raises JournalError: a record is not what was written.
    """
    records = sorted(_opened(rows), key=lambda row: (row[0].chain, row[0].number))
    heads = {record.chain: _head(record, seal) for record, seal in records}
    return Carried(now_ms, heads, tuple(record for record, _ in records), {}).closed(now_ms)


def difference(carried: Carried, rows: Iterable[Sealed]) -> str:
    """In words, where the state is not what this journal gives; empty when it is, or when what was summed up has been
    written to since, so that it is going to be made anew.

    :param rows: the whole journal, read after the state
    """
    kept: dict[str, list[tuple[Record, str]]] = defaultdict(list)
    for record, seal in _opened(rows):
        kept[record.chain].append((record, seal))
    open_rows = {(row.chain, row.number): row for row in carried.records}
    summed: list[Record] = []
    for chain, found in kept.items():
        head = carried.heads.get(chain)
        if head is None:
            if min(record.written_ms for record, _ in found) >= carried.since_ms:
                continue
            if max(record.written_ms for record, _ in found) >= carried.since_ms:
                return ""
            summed += [record for record, _ in found]
            continue
        known = [(record, seal) for record, seal in found if record.number <= head.number]
        if any(open_rows.pop((chain, record.number), None) != record for record, _ in known):
            return f"{chain} is carried forward otherwise than it is written"
    if open_rows:
        return f"{min(open_rows)[0]} is carried forward and not written"
    cash = cash_by_shard(in_order(summed))
    if {shard: amount for shard, amount in cash.items() if amount} != {
        shard: amount for shard, amount in carried.cash.items() if amount
    }:
        return "the cash brought forward is not what the entries before it give"
    return ""


def encoded(carried: Carried) -> str:
    """As text, with its own seal in front."""
    body = json.dumps(
        [
            _VERSION,
            carried.until_ms,
            [[head.chain, head.number, head.seal, head.written_ms] for _, head in sorted(carried.heads.items())],
            sorted(carried.cash.items()),
            [fields_of(record) for record in carried.records],
        ],
        separators=(",", ":"),
    )
    return f"{seal_of(body)} {body}"


def decoded(text: str) -> Carried | None:
    """The state of a text; None when it is of another version or not what was written, so that it must be made anew."""
    seal, _, body = text.partition(" ")
    if seal_of(body) != seal:
        return None
    version, *rest = json.loads(body)
    if version != _VERSION:
        return None
    until_ms, heads, cash, records = rest
    return Carried(
        until_ms,
        {head[0]: Head(*head) for head in heads},
        tuple(map(record_of, records)),
        {shard: Cash(amount) for shard, amount in cash},
    )


def _opened(rows: Iterable[Sealed]) -> Iterable[tuple[Record, str]]:
    for row in rows:
        record = unsealed(row)
        if record.chain != ANCHOR_CHAIN:
            yield record, row.seal


def _head(record: Record, seal: str) -> Head:
    return Head(record.chain, record.number, seal, record.written_ms)


def _done(records: Iterable[Record], before_ms: int) -> frozenset[str]:
    """The chains of everything that hangs together, is over and older than this."""
    together = _Together()
    rows: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        entry = record.entry
        rows[record.chain].append(record)
        names = [f"basket {entry.basket_id}"] * bool(entry.basket_id) + [f"market {entry.ticker}"] * bool(entry.ticker)
        for name in names:
            together.join(record.chain, name)
        if not names:
            # The account's own movements belong to nothing that could be over.
            together.join(record.chain, "account")
    parts: dict[str, list[str]] = defaultdict(list)
    for chain in rows:
        parts[together.root(chain)].append(chain)
    done: set[str] = set()
    account = together.root("account")
    for root, chains in parts.items():
        part = [record for chain in chains for record in rows[chain]]
        old = all(max(record.written_ms, record.entry.created_ms) < before_ms for record in part)
        if root != account and old and _is_over(in_order(part)):
            done.update(chains)
    return frozenset(done)


def _is_over(entries: Sequence[LedgerEntry]) -> bool:
    """Whether nothing is open: every position paid or closed, and every basket's end recorded, its settlement too where
    it was held until then."""
    counting = effective(entries)
    paid = {entry.ticker for entry in counting if entry.kind is EntryKind.SETTLEMENT}
    traded = {entry.ticker for entry in counting if entry.kind is EntryKind.FILL}
    held: dict[tuple[str, str], int] = defaultdict(int)
    for entry in counting:
        if is_bought(entry):
            held[entry.basket_id, entry.ticker] += entry.count if entry.outcome is Outcome.YES else -entry.count
    # On which shard its pairs freed their dollars only a trade of the market says, which may still come.
    if any((count or ticker not in traded) and ticker not in paid for (_, ticker), count in held.items()):
        return False
    baskets = {entry.basket_id for entry in entries if entry.basket_id}
    to_settlement = {owner for (owner, _), count in held.items() if owner and count}
    decided = [entry for entry in entries if entry.kind is EntryKind.DECISION and entry.entry_id.startswith(_OVER)]
    settled = {entry.basket_id for entry in decided if entry.entry_id.startswith("settled-")}
    return baskets <= {entry.basket_id for entry in decided} and to_settlement <= settled


class _Together:
    """Names that hang together (union and find)."""

    def __init__(self) -> None:
        self._over: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (over := self._over.get(name, name)) != name:
            self._over[name] = self._over.get(over, over)
            name = over
        return name

    def join(self, one: str, other: str) -> None:
        self._over[self.root(one)] = self.root(other)
