"""The journal: every decision and every movement of cash, chained by hashes so that no change of it goes unnoticed.

Each basket has a chain of its own, each market one for its settlement, the account one for the rest. A record carries
its place in the chain and the seal of the record before it; its seal is the SHA-256 of its canonical text, so that a
changed, missing, moved or added record breaks its chain at a place that can be named. The end of a chain cannot give
itself away like that: for it every chain has a head, and every day an anchor, which puts all that was written on the
day under one hash. Anchors form a chain themselves.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry

ACCOUNT_CHAIN = "account"
ANCHOR_CHAIN = "anchor"
DAY_MS = 86_400_000
"""Days of anchors are UTC days, counted from 1970."""
_VERSION = 1
_FIELDS = 18


class JournalError(DomainError):
    """A record that is not one, or a journal that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Record:
    """An entry in its place. ``number`` counts from 0, ``previous`` is the seal of the record before it, for the first
    that of the chain's name. ``written_ms`` (UTC milliseconds) never falls within a chain."""

    chain: str
    number: int
    previous: str
    written_ms: int
    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record as it is kept: under the id of its entry, its canonical text and the seal that was made of it."""

    key: str
    text: str
    seal: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the number, seal and time of its last record."""

    chain: str
    number: int
    seal: str
    written_ms: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the journal is not what was written: the chain, the record's number there, and what is wrong."""

    chain: str
    number: int
    problem: str

    def __str__(self) -> str:
        return f"{self.chain} record {self.number}: {self.problem}"


def chain_of(entry: LedgerEntry) -> str:
    """The chain that an entry belongs to."""
    if entry.kind is EntryKind.ANCHOR:
        return ANCHOR_CHAIN
    if entry.basket_id:
        return f"basket:{entry.basket_id}"
    return f"market:{entry.ticker}" if entry.ticker else ACCOUNT_CHAIN


def seal_of(text: str) -> str:
    """The SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def fields_of(record: Record) -> list[Any]:
    """A record as plain values in a fixed order."""
    entry = record.entry
    return [
        _VERSION, record.chain, record.number, record.previous, record.written_ms,
        entry.entry_id, entry.kind.value, entry.basket_id, entry.ticker,
        None if entry.outcome is None else entry.outcome.value,
        entry.count, entry.price, entry.fee, entry.cash, entry.created_ms, entry.shard, entry.reference, entry.note,
    ]  # fmt: skip


def record_of(fields: Sequence[Any]) -> Record:
    """The record of the values that :func:`fields_of` gives."""
    (chain, number, previous, written_ms, entry_id, kind, basket_id, ticker, outcome, count, price, fee, cash,
     created_ms, shard, reference, note) = fields[1:]  # fmt: skip
    entry = LedgerEntry(
        entry_id, EntryKind(kind), basket_id, ticker, None if outcome is None else Outcome(outcome), Count(count),
        Price(price), Cash(fee), Cash(cash), created_ms, shard, reference, note,
    )  # fmt: skip
    return Record(chain, number, previous, written_ms, entry)


def canonical(record: Record) -> str:
    """The one way to write a record: JSON without spaces, ASCII only, all fields in a fixed order."""
    return json.dumps(fields_of(record), separators=(",", ":"))


def opened(text: str) -> Record:
    """The record of a canonical text.

    :raises JournalError: it is not what :func:`canonical` writes.
    """
    try:
        fields: list[Any] = json.loads(text)
        if not isinstance(fields, list) or len(fields) != _FIELDS or fields[0] != _VERSION:
            raise JournalError(f"no journal record of version {_VERSION}: {text[:80]}")
        record = record_of(fields)
        if canonical(record) != text:
            raise JournalError(f"not written canonically: {text[:80]}")
    except (ValueError, TypeError) as error:
        raise JournalError(f"no journal record: {text[:80]}") from error
    return record


def unsealed(row: Sealed) -> Record:
    """A kept record, if it is the one that was sealed.

    :raises JournalError: it is not.
    """
    if seal_of(row.text) != row.seal:
        raise JournalError(f"journal entry {row.key} is not what was written: run `kalshi-arb journal verify`")
    return opened(row.text)


def sealed(record: Record) -> Sealed:
    """A record with its seal."""
    text = canonical(record)
    return Sealed(record.entry.entry_id, text, seal_of(text))


def start_of(chain: str) -> Head:
    """The head of a chain without records."""
    return Head(chain, -1, seal_of(chain), 0)


def extended(head: Head, entries: Sequence[LedgerEntry], now_ms: int) -> tuple[list[Sealed], Head]:
    """Records for these entries after ``head``, and the head after them."""
    rows: list[Sealed] = []
    for entry in entries:
        record = Record(head.chain, head.number + 1, head.seal, max(now_ms, head.written_ms), entry)
        row = sealed(record)
        rows.append(row)
        head = Head(head.chain, record.number, row.seal, record.written_ms)
    return rows, head


def in_order(records: Iterable[Record]) -> list[LedgerEntry]:
    """The entries of records by the time of what they tell, of one moment in the order of their writing."""
    rows = sorted(records, key=lambda row: (row.entry.created_ms, row.written_ms, row.chain, row.number))
    return [row.entry for row in rows]


def day_of(written_ms: int) -> int:
    """The day of a moment, counted from 1970."""
    return written_ms // DAY_MS


def anchor_entry(day: int, records: Iterable[tuple[Record, str]]) -> LedgerEntry | None:
    """The anchor of a day: one hash over the last seal of every chain that was written to on it. None for a day without
    records.

    :param records: all records of the day, or more, with their seals
    """
    digest, chains = _digest(day, records)
    if not chains:
        return None
    return LedgerEntry(
        f"anchor-{day}", EntryKind.ANCHOR, "", "", None, Count(0), Price(0), Cash(0), Cash(0), day * DAY_MS,
        reference=digest, note=f"{chains} chains",
    )  # fmt: skip


def _digest(day: int, records: Iterable[tuple[Record, str]]) -> tuple[str, int]:
    last: dict[str, tuple[int, str]] = {}
    for record, seal in records:
        if day_of(record.written_ms) != day or record.chain == ANCHOR_CHAIN:
            continue
        if record.number > last.get(record.chain, (-1, ""))[0]:
            last[record.chain] = (record.number, seal)
    lines = (f"{chain} {number} {seal}" for chain, (number, seal) in sorted(last.items()))
    return seal_of("\n".join(lines)), len(last)


def anchors_due(records: Sequence[tuple[Record, str]], now_ms: int, margin_ms: int) -> list[LedgerEntry]:
    """Anchors of days that are over for ``margin_ms`` and have none yet, the oldest first."""
    have = {record.entry.entry_id for record, _ in records if record.chain == ANCHOR_CHAIN}
    days = sorted({day_of(record.written_ms) for record, _ in records if record.chain != ANCHOR_CHAIN})
    due = []
    for day in days:
        if (day + 1) * DAY_MS + margin_ms <= now_ms and f"anchor-{day}" not in have:
            entry = anchor_entry(day, records)
            if entry is not None:
                due.append(entry)
    return due


def verify(rows: Iterable[Sealed], heads: Mapping[str, Head]) -> list[Damage]:
    """Every place where the journal is not what was written, in the order of chains and numbers; empty when it is
    whole.

    :param rows: in any order
    :param heads: by chain
    """
    found: list[Damage] = []
    chains: dict[str, list[tuple[Record, str]]] = defaultdict(list)
    ids: dict[str, str] = {}
    for row in rows:
        try:
            record = opened(row.text)
        except JournalError as error:
            found.append(Damage(f"entry {row.key}", 0, str(error)))
            continue
        if record.entry.entry_id != row.key:
            found.append(Damage(record.chain, record.number, f"it is kept as {row.key}"))
        if seal_of(row.text) != row.seal:
            found.append(Damage(record.chain, record.number, "its text is not the one that was sealed"))
        if chain_of(record.entry) != record.chain:
            found.append(Damage(record.chain, record.number, f"its entry belongs to {chain_of(record.entry)}"))
        if record.entry.entry_id in ids:
            found.append(
                Damage(record.chain, record.number, f"{record.entry.entry_id} is in {ids[record.entry.entry_id]} too")
            )
        ids[record.entry.entry_id] = record.chain
        chains[record.chain].append((record, row.seal))
    for chain in sorted(chains.keys() | heads.keys()):
        found += _verify_chain(chain, chains.get(chain, []), heads.get(chain))
    found += _verify_anchors([record for chain in chains.values() for record in chain])
    return found


def _verify_chain(chain: str, records: list[tuple[Record, str]], head: Head | None) -> list[Damage]:
    found = []
    last = start_of(chain)
    for record, seal in sorted(records, key=lambda row: row[0].number):
        if record.number <= last.number:
            found.append(Damage(chain, record.number, "there are two records of this number"))
            continue
        if record.number > last.number + 1:
            found.append(Damage(chain, last.number + 1, f"missing up to record {record.number - 1}"))
        elif record.previous != last.seal:
            found.append(Damage(chain, record.number, "it does not follow from the record before it"))
        if record.written_ms < last.written_ms:
            found.append(Damage(chain, record.number, "it was written before the record before it"))
        last = Head(chain, record.number, seal, record.written_ms)
    if head is None:
        found.append(Damage(chain, last.number, "the chain has no head"))
    elif head.number > last.number:
        found.append(Damage(chain, last.number + 1, f"missing up to record {head.number}, the end of the chain"))
    elif head != last:
        found.append(Damage(chain, last.number, f"the chain's head names record {head.number} with another seal"))
    return found


def _verify_anchors(records: Sequence[tuple[Record, str]]) -> list[Damage]:
    found = []
    by_day: dict[int, list[tuple[Record, str]]] = defaultdict(list)
    for row in records:
        by_day[day_of(row[0].written_ms)].append(row)
    for record, _ in records:
        if record.chain != ANCHOR_CHAIN:
            continue
        day = day_of(record.entry.created_ms)
        digest, _ = _digest(day, by_day[day])
        if digest != record.entry.reference:
            found.append(Damage(ANCHOR_CHAIN, record.number, f"the records of day {day} are not those it was made of"))
    return found
