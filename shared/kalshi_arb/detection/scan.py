"""The on-demand scan: judge groups on books read now, or recorded. It trades and stores nothing.

Every scan ends in one report, whoever asked for it: the command line, the HTTP API, a direct call, or a tape.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.detection.judge import Judgement, Verdict, judge, miss, opportunity
from kalshi_arb.detection.screen import Miss, Screen, near_miss
from kalshi_arb.detection.verify import MAX_AGE_MS, verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import SolverError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.opportunity import Certificate, Opportunity
from kalshi_arb.domain.state_space import Group
from kalshi_arb.ports import GroupStore, MarketData
from kalshi_arb.relations.approvals import judged

logger = logging.getLogger(__name__)

SHOWN_MISSES = 50
SUSPENDED = "suspended"
BELOW_MINIMUM = "below_min_profit"
SOLVER_FAILED = "solver_failed"
SOLVER_MISSING = "solver_not_installed"
SOLVER_PACKAGES = ("highspy", "numpy")
"""What only the function that detects carries with it; some groups cannot be searched without."""
_NO_MINIMUM = Cash(0)
_FINDS = (Verdict.PROVED, Verdict.NOT_APPROVED, Verdict.CONDITIONAL)


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle with the group it rests on and the highest fee of each of its legs (1e-6 dollars)."""

    opportunity: Opportunity
    group: Group
    leg_fees: tuple[Cash, ...]


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """How far the groups came: ``groups`` looked at, ``screened`` let through by the screen, ``solved`` with a bundle
    that gains after linear fees, ``proved``; ``dropped`` says by reason what became of all others."""

    groups: int
    screened: int
    solved: int
    proved: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScanReport:
    """``found`` are proved, proved but for an approval, or conditional, best first; ``misses`` nearest first.

    ``scanned_ms`` is when the last book was judged, UTC milliseconds.
    """

    scanned_ms: int
    found: tuple[Found, ...]
    misses: tuple[Miss, ...]
    counts: ScanCounts


class Tally:
    """Judges groups one after another and keeps count. For one scan.

    :param min_profit: bundles that certainly gain, but less than this (1e-6 dollars), are dropped
    :param netting: whether the account gets collateral back across the markets of an event
    """

    def __init__(
        self,
        *,
        precision: Precision,
        smallest_fill: Count,
        min_profit: Cash = _NO_MINIMUM,
        netting: Netting = Netting.OFF,
    ) -> None:
        self._precision = precision
        self._smallest_fill = smallest_fill
        self._min_profit = min_profit
        self._netting = netting
        self._found: list[Found] = []
        self._misses: list[tuple[Miss, Group, Mapping[str, BookSnapshot]]] = []
        self._dropped: Counter[str] = Counter()
        self._groups = self._screened = self._solved = 0

    def judge(self, group: Group, books: Mapping[str, BookSnapshot], now_ms: int) -> None:
        """Take one group through screen, search and verifier, as a candidate is taken. A search that fails leaves its
        group unjudged, which is counted as such.

        :param now_ms: when the books were read, UTC milliseconds
        """
        self._groups += 1
        self._screened += passes_screen(group, books)
        try:
            judgement = judge(
                group,
                books,
                precision=self._precision,
                smallest_fill=self._smallest_fill,
                now_ms=now_ms,
                max_age_ms=MAX_AGE_MS,
            )
        except SolverError:
            logger.exception("group %s is not judged", group.group_id)
            self._dropped[SOLVER_FAILED] += 1
        except ModuleNotFoundError as error:
            if error.name not in SOLVER_PACKAGES:
                raise
            self._dropped[SOLVER_MISSING] += 1
        else:
            self._take(group, books, judgement, now_ms)

    def _take(self, group: Group, books: Mapping[str, BookSnapshot], judgement: Judgement, now_ms: int) -> None:
        self._solved += bool(judgement.legs)
        certificate = judgement.certificate
        if certificate is not None and 0 < certificate.floor_profit < self._min_profit:
            self._dropped[BELOW_MINIMUM] += 1
            return
        if judgement.verdict is not Verdict.PROVED:
            self._dropped[judgement.verdict.value] += 1
        if certificate is not None and judgement.verdict in _FINDS:
            self._found.append(self._find(group, books, judgement, certificate, now_ms))
        else:
            near = miss(group, judgement)
            if near is not None:
                self._misses.append((near, group, books))

    def suspended(self) -> None:
        """Count a group that may not be judged now."""
        self._groups += 1
        self._dropped[SUSPENDED] += 1

    @property
    def counts(self) -> ScanCounts:
        """How far the groups have come by now."""
        proved = self._groups - sum(self._dropped.values())
        return ScanCounts(self._groups, self._screened, self._solved, proved, dict(sorted(self._dropped.items())))

    def report(self, now_ms: int) -> ScanReport:
        """Everything so far."""
        # A conditional bundle's floor is its loss in the breaking state, so proved ones come first.
        found = sorted(self._found, key=lambda one: -one.opportunity.certificate.floor_profit)
        nearest = sorted(self._misses, key=lambda one: -one[0].edge)[:SHOWN_MISSES]
        # What prices a group is only worth computing for those that are shown; a bundle that rounding ate has no price.
        misses = [near_miss(group, books) or near for near, group, books in nearest]
        return ScanReport(now_ms, tuple(found), tuple(misses), self.counts)

    def _find(
        self,
        group: Group,
        books: Mapping[str, BookSnapshot],
        judgement: Judgement,
        certificate: Certificate,
        now_ms: int,
    ) -> Found:
        # Orders are charged one by one, so the fee of a leg is that of the leg alone.
        fees = tuple(
            verify(
                group,
                (leg,),
                books,
                precision=self._precision,
                smallest_fill=self._smallest_fill,
                now_ms=now_ms,
            ).fee_bound
            for leg in judgement.legs
        )
        found = opportunity(
            group, books, judgement, certificate, found_ms=now_ms, candidate_ms=now_ms, netting=self._netting
        )
        return Found(found, group, fees)


def passes_screen(group: Group, books: Mapping[str, BookSnapshot]) -> bool:
    """Whether the feed's screen would hand this group on."""
    screen = Screen([group])
    screen.load(books[ticker] for ticker in group.tickers if ticker in books)
    return screen.gain(group.group_id) > 0


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
        min_profit: Cash = _NO_MINIMUM,
        netting: Netting = Netting.OFF,
    ) -> None:
        self._market_data = market_data
        self._groups = groups
        self._clock = clock
        self._precision = precision
        self._smallest_fill = smallest_fill
        self._min_profit = min_profit
        self._netting = netting

    def scan(self, event_ticker: str | None, progress: Callable[[int, int], None] = lambda *_: None) -> ScanReport:
        """Judge the groups of one event, or every accepted group.

        :param progress: is told how many groups of how many are judged
        :raises ExchangeError: books could not be read.
        """
        tally = Tally(
            precision=self._precision,
            smallest_fill=self._smallest_fill,
            min_profit=self._min_profit,
            netting=self._netting,
        )
        records = [
            record
            for record in self._groups.all()
            if event_ticker is None or event_ticker in record.group.event_tickers
        ]  # fmt: skip
        for number, record in enumerate(records):
            progress(number, len(records))
            if record.suspension is not None:
                tally.suspended()
                continue
            group = judged(record)
            books = self._market_data.orderbooks(group.tickers)
            tally.judge(group, books, self._clock.now_ms())
        return tally.report(self._clock.now_ms())
