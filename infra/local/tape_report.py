"""What a run on a tape has to say of it: how far it was played, what contradicted itself, and what was really proved.

The contradictions are counted by the exchange on the books it served (:mod:`kalshi_arb.detection.survey`). What was
proved comes from the opportunities that detection stored, never from a second computation: each is put to the pass
whose books it rests on by the exchange's time of those books.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from kalshi_arb.domain.money import Cash, cash_to_wire, dollars
from kalshi_arb.domain.opportunity import Grade, Opportunity

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Lock:
    """An event with a proved bundle in one pass: ``at`` as recorded, ``profit`` of the best proof (1e-6 dollars)."""

    event: str
    at: str
    profit: Cash


class TapeDesk:
    """The tape's controls at the embedded exchange."""

    def __init__(self, exchange_url: str) -> None:
        self._url = f"{exchange_url}/admin/tape"

    def start(self) -> None:
        """Let the tape begin. :raises httpx.HTTPError: the exchange does not answer."""
        httpx.post(self._url, timeout=_TIMEOUT_S).raise_for_status()

    def read(self) -> dict[str, Any]:
        """How far it is. :raises httpx.HTTPError: the exchange does not answer."""
        answer = httpx.get(self._url, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        stats: dict[str, Any] = answer.json()
        return stats


def proved_locks(served: Iterable[Mapping[str, Any]], opportunities: Iterable[Opportunity]) -> list[Lock]:
    """One lock for each event and pass in which detection proved a bundle, in the order of the tape.

    :param served: ``{"event", "at", "ms"}`` of every event's books, in the order in which they were set
    """
    passes: dict[str, list[tuple[int, str]]] = {}
    for one in served:
        passes.setdefault(one["event"], []).append((one["ms"], one["at"]))
    best: dict[tuple[int, str, str], Cash] = {}
    for found in opportunities:
        if found.certificate.grade is not Grade.PROVED:
            continue
        moment = max(book.exchange_ms for book in found.certificate.books)
        before = [row for row in passes.get(found.event_ticker, ()) if row[0] <= moment]
        if before:
            ms, at = before[-1]
            key = (ms, found.event_ticker, at)
            best[key] = max(best.get(key, found.certificate.floor_profit), found.certificate.floor_profit)
    return [Lock(event, at, profit) for (_, event, at), profit in sorted(best.items())]


def tape_json(stats: Mapping[str, Any], locks: Sequence[Lock]) -> dict[str, Any]:
    """The key ``tape`` of ``run --json``."""
    told = {name: value for name, value in stats.items() if name != "served"}
    return {
        **told,
        "proved": len(locks),
        "proved_profit": cash_to_wire(_total(locks)),
        "locks": [{"event": lock.event, "at": lock.at, "profit": cash_to_wire(lock.profit)} for lock in locks],
    }


def began_text(stats: Mapping[str, Any]) -> str:
    """What is being played and what it lacks, in one line."""
    lacking = ", ".join(stats["missing_fields"])
    unknown = ", ".join(stats["unknown_fields"])
    return (
        f"tape: {stats['passes_recorded']} passes, {stats['rows']:,} books of {stats['events']} events; "
        f"not on tape: {lacking}; fields not known: {unknown or 'none'}"
    )


def tape_text(stats: Mapping[str, Any], locks: Sequence[Lock]) -> list[str]:
    """The same for a person."""
    lines = [
        f"tape        {stats['passes']} of {stats['passes_recorded']} passes seen, {stats['rows']:,} books of "
        f"{stats['events']} events in {len(stats['files'])} files",
        f"raw         {_violations(stats['raw'])}",
        f"after fees  {_violations(stats['net'])}",
        f"proved      {len(locks)} in an event and pass, {dollars(_total(locks))} in all",
    ]
    lines += [f"            {lock.event} at {lock.at}: {dollars(lock.profit)}" for lock in locks]
    return lines + missing_text(stats)


def missing_text(stats: Mapping[str, Any]) -> list[str]:
    """What the tape lacks, and what was not understood in it."""
    lines = [
        f"not on tape {name} ({fact['markets']} markets): served is {fact['served']}"
        for name, fact in stats["missing_fields"].items()
    ]
    lines += [f"not known   the field {name}, in {rows} rows" for name, rows in stats["unknown_fields"].items()]
    return lines


def _total(locks: Iterable[Lock]) -> Cash:
    return Cash(sum(lock.profit for lock in locks))


def _violations(counts: Mapping[str, int]) -> str:
    return (
        f"bids above a dollar {counts['bids_over_1']}, asks below a dollar {counts['asks_under_1']}, "
        f"nested crossed {counts['nested_crossed']} (events and passes)"
    )
