"""The scheduled sweep: every group in its turn, on books read for it, by the way of every candidate."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kalshi_arb.detection.detect import Handled, Origin
from kalshi_arb.detection.rounds import CURSOR_COMPONENT, ROUND_MS, GroupRound, RoundReport
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.errors import KalshiArbError, StoreError
from kalshi_arb.domain.group_record import SuspensionReason, suspend
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import ManualClock, MemoryGroupStore, MemoryStatusStore
from kalshi_arb.schemas import Candidate
from tests.market_samples import NOW_MS, book, group


@dataclass
class Reads:
    """Books of an exchange, each read taking its time."""

    clock: ManualClock
    books: dict[str, BookSnapshot] = field(default_factory=dict)
    read_ms: int = 0
    asked: list[list[str]] = field(default_factory=list)

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        self.clock.advance(self.read_ms)
        self.asked.append(list(tickers))
        return {ticker: self.books[ticker] for ticker in tickers if ticker in self.books}


@dataclass
class Judge:
    given: list[Candidate] = field(default_factory=list)
    results: list[Handled | KalshiArbError] = field(default_factory=list)

    def handle_all(self, candidates: Sequence[Candidate], origin: Origin) -> list[Handled | KalshiArbError]:
        assert origin is Origin.READ
        self.given += candidates
        return [self.results.pop(0) if self.results else Handled("started") for _ in candidates]


def ladder(number: int, markets: int = 2) -> Group:
    """A ladder of an event of its own."""
    found = group(*(f"> {strike}" for strike in range(1, markets + 1)), event=f"E{number}")
    renamed = tuple(replace(one, ticker=f"E{number}{one.ticker}") for one in found.markets)
    return replace(found, markets=renamed, group_id=f"E{number}:ladder")


@dataclass
class Bench:
    found: list[Group]
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))
    status: MemoryStatusStore = field(default_factory=MemoryStatusStore)
    judge: Judge = field(default_factory=Judge)

    def __post_init__(self) -> None:
        self.groups = MemoryGroupStore(self.found)
        self.reads = Reads(self.clock)
        self.round = GroupRound(
            market_data=self.reads,  # type: ignore[arg-type]  # the one read it needs
            groups=self.groups,
            detector=self.judge,  # type: ignore[arg-type]  # the one call it needs
            status=self.status,
            clock=self.clock,
        )

    def misprice(self, one: Group) -> None:
        """The first two markets contradict each other."""
        easier, harder = one.tickers[:2]
        self.reads.books |= {easier: book(easier, no=[(60, 10)]), harder: book(harder, yes=[(50, 10)])}


def test_what_passes_the_screen_is_judged_on_the_books_of_the_reading() -> None:
    groups = [ladder(1), ladder(2)]
    bench = Bench(groups)
    bench.misprice(groups[1])
    assert bench.round.run() == RoundReport(groups=2, of=2, screened=1, outcomes={"started": 1})
    (candidate,) = bench.judge.given
    assert (candidate.group_id, candidate.fingerprint) == (groups[1].group_id, groups[1].fingerprint)
    assert {one.version for one in candidate.books} == {BookVersion(0, 0, NOW_MS)}
    assert bench.reads.asked == [["E1> 1", "E1> 2", "E2> 1", "E2> 2"]]


def test_groups_come_in_turn_as_many_as_the_time_allows() -> None:
    groups = [ladder(number, markets=60) for number in range(1, 5)]
    bench = Bench(groups)
    bench.reads.read_ms = ROUND_MS * 2 // 3
    assert bench.round.run().groups == 2
    assert bench.status.get(CURSOR_COMPONENT) == {"after": "E2:ladder"}
    bench.round.run()
    assert [asked[0][:2] for asked in bench.reads.asked] == ["E1", "E2", "E3", "E4"]
    bench.round.run()
    assert bench.reads.asked[4][0][:2] == "E1"


def test_suspended_groups_are_left_out_and_changes_are_seen() -> None:
    groups = [ladder(1), ladder(2)]
    bench = Bench(groups)
    bench.round.run()
    record = bench.groups.get("E1:ladder")
    assert record is not None
    bench.groups.write([suspend(record, SuspensionReason.ANNOUNCED, "a strike changed", now_ms=NOW_MS)])
    assert bench.round.run().groups == 1
    assert bench.reads.asked[-1] == ["E2> 1", "E2> 2"]
    bench.groups.hold([])
    assert bench.round.run() == RoundReport(0, 0, 0, {})


def test_an_error_is_counted_and_met_again_in_the_next_round() -> None:
    groups = [ladder(1), ladder(2)]
    bench = Bench(groups)
    for one in groups:
        bench.misprice(one)
    bench.judge.results = [StoreError("no"), Handled("group_busy")]
    assert bench.round.run().outcomes == {"error": 1, "group_busy": 1}
