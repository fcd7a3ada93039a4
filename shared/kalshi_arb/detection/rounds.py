"""The scheduled sweep: accepted groups in turn on books read for the purpose, so that what the stream's screen never
saw is seen all the same.

A round takes up where the last one ended and stops when its time is spent, so a universe of any size is gone round in
as many calls as it needs. What passes the screen takes the way of every candidate.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kalshi_arb.clock import Clock
from kalshi_arb.detection.detect import Detector, Origin
from kalshi_arb.detection.scan import passes_screen
from kalshi_arb.domain.book import BookVersion
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.ports import GroupStore, MarketData, StatusStore
from kalshi_arb.relations.approvals import judged
from kalshi_arb.relations.mirror import GroupMirror
from kalshi_arb.schemas import Candidate

CURSOR_COMPONENT = "round"
"""Status item ``{"after": group_id}``: where the next round begins."""
ROUND_MS = 10_000
_TICKERS_PER_READ = 100


@dataclass(frozen=True, slots=True)
class RoundReport:
    """``groups`` of ``of`` accepted ones were looked at; ``screened`` passed the screen; ``outcomes`` says what became
    of those, an error among them being one that the next round meets again."""

    groups: int
    of: int
    screened: int
    outcomes: dict[str, int]


class GroupRound:
    """Goes round the accepted groups."""

    def __init__(
        self, *, market_data: MarketData, groups: GroupStore, detector: Detector, status: StatusStore, clock: Clock
    ) -> None:
        self._market_data = market_data
        self._mirror = GroupMirror(groups)
        self._detector = detector
        self._status = status
        self._clock = clock

    def run(self) -> RoundReport:
        """Look at as many groups as the time allows.

        :raises ExchangeError: books could not be read.
        :raises StoreError: groups, cursor or counters could not be read or written.
        """
        ends_ms = self._clock.now_ms() + ROUND_MS
        self._mirror.refresh()
        outcomes: Counter[str] = Counter()
        looked = screened = 0
        for part in _parts(self._in_turn()):
            if self._clock.now_ms() >= ends_ms:
                break
            candidates = self._candidates(part)
            looked += len(part)
            screened += len(candidates)
            for result in self._detector.handle_all(candidates, Origin.READ) if candidates else ():
                outcomes["error" if isinstance(result, KalshiArbError) else result.outcome] += 1
            self._status.put(CURSOR_COMPONENT, {"after": part[-1].group_id})
        return RoundReport(looked, len(self._mirror.records), screened, dict(outcomes))

    def _in_turn(self) -> list[GroupRecord]:
        after = (self._status.get(CURSOR_COMPONENT) or {}).get("after")
        records = sorted(self._mirror.records.values(), key=lambda record: record.group_id)
        first = next((place for place, one in enumerate(records) if one.group_id > str(after or "")), 0)
        return [one for one in records[first:] + records[:first] if one.suspension is None]

    def _candidates(self, records: Sequence[GroupRecord]) -> list[Candidate]:
        """Groups with something to be found on books read together now."""
        tickers = list(dict.fromkeys(ticker for record in records for ticker in record.group.tickers))
        read = self._market_data.orderbooks(tickers)
        now_ms = self._clock.now_ms()
        found = []
        for record in records:
            group = judged(record)
            # Books that are read carry no sequence: the moment of the reading tells one reading from another.
            books = {
                ticker: replace(read[ticker], version=BookVersion(0, 0, read[ticker].alive_ms))
                for ticker in group.tickers
                if ticker in read
            }
            if passes_screen(group, books):
                found.append(
                    Candidate(group.group_id, group.fingerprint, tuple(books.values()), 0, now_ms, now_ms)
                )  # fmt: skip
        return found


def _parts(records: Sequence[GroupRecord]) -> Iterator[list[GroupRecord]]:
    """Groups whose books are one read."""
    part: list[GroupRecord] = []
    size = 0
    for record in records:
        if part and size + len(record.group.tickers) > _TICKERS_PER_READ:
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record.group.tickers)
    if part:
        yield part
