"""The on-demand scan: judge accepted groups on books read now. It trades and stores nothing."""

from collections import Counter
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.detection.judge import Verdict, judge, miss, opportunity
from kalshi_arb.detection.screen import Miss
from kalshi_arb.detection.verify import MAX_AGE_MS
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.ports import GroupStore, MarketData
from kalshi_arb.relations.approvals import judged

SHOWN_MISSES = 50
_FINDS = (Verdict.PROVED, Verdict.NOT_APPROVED, Verdict.CONDITIONAL)


@dataclass(frozen=True, slots=True)
class ScanReport:
    """``opportunities`` are proved, proved but for an approval, or conditional, best first; ``misses`` nearest first;
    ``counts`` holds ``groups``, ``books``, how the groups were judged, by verdict, and how many were ``suspended``."""

    scanned_ms: int
    opportunities: tuple[Opportunity, ...]
    misses: tuple[Miss, ...]
    counts: dict[str, int]


class Scanner:
    """Reads each group's books in one call, so that the legs of a group are as close in time as reads can be."""

    def __init__(
        self,
        *,
        market_data: MarketData,
        groups: GroupStore,
        clock: Clock,
        precision: Precision,
        smallest_fill: Count,
    ) -> None:
        self._market_data = market_data
        self._groups = groups
        self._clock = clock
        self._precision = precision
        self._smallest_fill = smallest_fill

    def scan(self, event_ticker: str | None) -> ScanReport:
        """Judge the groups of one event, or every accepted group.

        :raises ExchangeError: books could not be read.
        """
        found: list[Opportunity] = []
        misses: list[Miss] = []
        counts: Counter[str] = Counter(groups=0, books=0)
        for record in self._groups.all():
            group = judged(record)
            if event_ticker is not None and event_ticker not in group.event_tickers:
                continue
            if record.suspension is not None:
                counts["suspended"] += 1
                continue
            books = self._market_data.orderbooks(group.tickers)
            now_ms = self._clock.now_ms()
            judgement = judge(
                group,
                books,
                precision=self._precision,
                smallest_fill=self._smallest_fill,
                now_ms=now_ms,
                max_age_ms=MAX_AGE_MS,
            )
            counts["groups"] += 1
            counts["books"] += len(books)
            counts[judgement.verdict.value] += 1
            certificate = judgement.certificate
            if certificate is not None and judgement.verdict in _FINDS:
                found.append(opportunity(group, books, judgement, certificate, found_ms=now_ms, candidate_ms=now_ms))
            else:
                near = miss(group, judgement)
                if near is not None:
                    misses.append(near)
        # A conditional bundle's floor is its loss in the breaking state, so proved ones come first.
        found.sort(key=lambda one: -one.certificate.floor_profit)
        misses.sort(key=lambda one: -one.edge)
        return ScanReport(self._clock.now_ms(), tuple(found), tuple(misses[:SHOWN_MISSES]), dict(counts))
