"""Recorded games, nested sports events and combos against figures that were computed independently of this project.

Quotes carry no sizes: 100 contracts are taken at each, as the answer key does, with one fill per level. They carry no
flag and no rules text either; the key reads every game as "at most one", which is what the exchange's flag says.
"""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kalshi_arb.detection.propose import best_edge, propose
from kalshi_arb.detection.screen import Screen
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import Book, BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, count_from_wire, price_from_wire
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.mapping import rules_text, to_listing
from kalshi_arb.kalshi.models.market import EventWire, MarketWire, SeriesWire
from kalshi_arb.kalshi.wire import convert
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.reviewed import REVIEWED
from kalshi_arb.relations.rules import read_clauses, rule_states
from tests.market_samples import formed

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ONE_FILL_PER_LEVEL = Count(10**9)
ASSUMED = Count(10_000)
FEES = FeeSchedule(FeeType.QUADRATIC)
ONE = 10**10


def unzipped(path: str) -> Any:
    file = DATA / path
    if not file.exists():
        pytest.skip(f"the recording {path} is not on this machine")
    return gzip.open(file, "rt")


class Moment(NamedTuple):
    """One group with its books."""

    at: str
    group: Group
    books: dict[str, BookSnapshot]


def book(ticker: str, yes: list[tuple[Price, Count]], no: list[tuple[Price, Count]]) -> BookSnapshot:
    def side(levels: list[tuple[Price, Count]]) -> tuple[Level, ...]:
        return tuple(sorted((Level(*level) for level in levels), reverse=True))

    return BookSnapshot(ticker, BookVersion(0, 0, 0), 0, 0, side(yes), side(no))


def plain_market(ticker: str, event: str, title: str = "") -> Market:
    return Market(
        ticker, event, event.partition("-")[0], StrikeType.OTHER, None, None, "", title, CENT_GRID, FEES, 0, 1, ""
    )


def exclusive(event: str, tickers: list[str]) -> EventListing:
    rows = tuple(ListedMarket(plain_market(ticker, event), MarketStatus.ACTIVE) for ticker in tickers)
    return EventListing(event, event.partition("-")[0], "", True, rows)


def quoted(price: float) -> list[tuple[Price, Count]]:
    """A bid of the assumed size; 0 and 1 mean an empty side."""
    exact = price_from_wire(f"{price:.4f}")
    return [(exact, ASSUMED)] if 0 < exact < ONE_DOLLAR else []


def games(day: str) -> Iterator[Moment]:
    with unzipped(f"quotes/sports_pairs/{day}.jsonl.gz") as lines:
        for line in lines:
            row = json.loads(line)
            outcomes = {one["ticker"]: one for one in row["outcomes"]}
            groups, drops = formed(exclusive(row["event_ticker"], list(outcomes)))
            assert drops == {}
            (group,) = groups
            books = {
                ticker: book(ticker, quoted(one["yes_bid"]), quoted(one["no_bid"])) for ticker, one in outcomes.items()
            }
            yield Moment(row["captured_at"][:19], group, books)


def effective(price: int, sign: int) -> int:
    """A price in 1e-10 dollars with the linear fee added or taken off: 0.07 p (1 - p)."""
    return price * 10**6 + sign * 7 * price * (ONE_DOLLAR - price)


def violations(one: Moment) -> Counter[str]:
    """Sets that contradict "one of them" at the top of the books, before and after linear fees."""
    counts: Counter[str] = Counter()
    for name, fee in (("raw", 0), ("net", 1)):
        bids = [effective(side[0].price, -fee) for side in (one.books[t].yes_bids for t in one.group.tickers) if side]
        asks = [
            effective(side[0].price, fee)
            for side in (one.books[t].asks(Outcome.YES) for t in one.group.tickers)
            if side
        ]
        counts[f"{name} bids"] = sum(bids) > ONE
        counts[f"{name} asks"] = len(asks) == len(one.group.tickers) and sum(asks) < ONE
    return counts


class Find(NamedTuple):
    """A certificate with the legs it is about."""

    one: Moment
    legs: tuple[Leg, ...]
    certificate: Certificate


def finds(moments: Iterator[Moment]) -> Iterator[Find]:
    """What is proved or conditional; along the way, the screen must let each of them through."""
    for one in moments:
        legs = propose(one.group, one.books, precision=Precision.DIRECT, smallest_fill=ONE_FILL_PER_LEVEL)
        if not legs:
            continue
        found = verify(
            one.group, legs, one.books, precision=Precision.DIRECT, smallest_fill=ONE_FILL_PER_LEVEL, now_ms=0
        )
        assert screened(one)
        if found.grade is not Grade.REFUSED:
            yield Find(one, legs, found)


def screened(one: Moment) -> bool:
    screen = Screen([one.group])
    for snapshot in one.books.values():
        live = Book(snapshot.ticker)
        live.yes.replace(snapshot.yes_bids)
        live.no.replace(snapshot.no_bids)
        screen.update(live)
    edge = screen.edge(one.group.group_id)
    return edge is not None and edge > 0


NOBODY = "no market pays (the exchange's flag promises at most one, not one)"
# (time, event, grade, outcome bought, limits by ticker's end, profit if one market pays or whatever happens)
LOCKS = {
    "2026-07-12": [
        ("2026-07-12T00:57:08", "KXECULPGAME-26JUL11GUADSC", Grade.CONDITIONAL, Outcome.YES,
         {"DSC": 100, "GUA": 9_600, "TIE": 200}, 524_700),
        ("2026-07-12T02:23:02", "KXUSLCUPGAME-26JUL11SANCHA", Grade.PROVED, Outcome.NO,
         {"CHA": 9_700, "SAN": 700, "TIE": 9_500}, 8_100),
        ("2026-07-12T03:23:02", "KXMLBGAME-26JUL142000ALNL", Grade.CONDITIONAL, Outcome.YES,
         {"AL": 3_900, "NL": 5_700}, 619_000),
    ],
    "2026-07-16": [],
    "2026-07-20": [],
}  # fmt: skip


@pytest.mark.parametrize("day", sorted(LOCKS))
def test_games_give_the_known_locks_and_no_others(day: str) -> None:
    found = list(finds(games(day)))
    assert [(f.one.at, f.one.group.event_ticker, f.certificate.grade) for f in found] == [row[:3] for row in LOCKS[day]]
    for find, (_, _, grade, outcome, limits, profit) in zip(found, LOCKS[day], strict=True):
        assert find.one.group.family is Family.GAME
        assert {leg.outcome for leg in find.legs} == {outcome}
        assert {leg.ticker.rpartition("-")[2]: leg.limit for leg in find.legs} == limits
        assert {leg.count for leg in find.legs} == {ASSUMED}
        if grade is Grade.PROVED:
            assert (find.certificate.floor_profit, find.certificate.breaking_state) == (profit, None)
        else:
            # The key's profit is what is left when exactly one market pays; the worst state here is that none does.
            assert find.certificate.floor_profit + ONE_DOLLAR * ASSUMED == profit
            assert find.certificate.breaking_state == NOBODY


@pytest.mark.parametrize(
    ("day", "snapshots", "expected"),
    [
        ("2026-07-12", 3_599, (25, 94, 1, 2)),
        ("2026-07-16", 3_288, (39, 62, 0, 0)),
        ("2026-07-20", 1_871, (4, 19, 0, 0)),
    ],
)
def test_violations_of_games_are_counted_as_the_key_counts_them(
    day: str, snapshots: int, expected: tuple[int, ...]
) -> None:
    total: Counter[str] = Counter()
    for one in games(day):
        total.update(violations(one))
        total["snapshots"] += 1
    assert total["snapshots"] == snapshots
    assert tuple(total[name] for name in ("raw bids", "raw asks", "net bids", "net asks")) == expected


def test_half_the_fee_on_baseball_makes_eight_proved_locks() -> None:
    """The key names this as the figure that the fee multiplier decides."""
    half = FeeSchedule(FeeType.QUADRATIC, 5_000)
    proved = 0
    for day in LOCKS:
        cheaper = (
            one._replace(group=with_fees(one.group, half)) if one.group.event_ticker.startswith("KXMLBGAME-") else one
            for one in games(day)
        )
        proved += sum(find.certificate.grade is Grade.PROVED for find in finds(cheaper))
    assert proved == 8


def with_fees(group: Group, fees: FeeSchedule) -> Group:
    return replace(group, markets=tuple(replace(market, fees=fees) for market in group.markets))


def mixed(day: str) -> Iterator[Moment]:
    """Every book by the beginning of its ticker, read as "at most one": the recording has tickers and nothing else."""
    events: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with unzipped(f"books/mixed/{day}.jsonl.gz") as lines:
        for line in lines:
            row = json.loads(line)
            events[row["captured_at"], row["ticker"].rpartition("-")[0]].append(row)
    for (captured, event), rows in events.items():
        (group,), drops = formed(exclusive(event, [row["ticker"] for row in rows]))
        assert drops == {}
        books = {row["ticker"]: book(row["ticker"], *recorded_sides(row["orderbook_fp"])) for row in rows}
        yield Moment(captured[:19], group, books)


def recorded_sides(levels: dict[str, list[list[str]]]) -> list[list[tuple[Price, Count]]]:
    return [
        [(price_from_wire(price), count_from_wire(count)) for price, count in levels.get(side) or []]
        for side in ("yes_dollars", "no_dollars")
    ]


@pytest.mark.parametrize(
    ("day", "events", "snapshots", "expected"),
    [
        ("2026-07-10", 227, 1_101, (0, 16, 0, 0)),
        ("2026-07-14", 156, 862, (4, 19, 0, 0)),
        ("2026-07-18", 292, 1_101, (9, 26, 0, 0)),
    ],
)
def test_mixed_books_hold_no_lock(day: str, events: int, snapshots: int, expected: tuple[int, ...]) -> None:
    moments = list(mixed(day))
    total: Counter[str] = Counter()
    for one in moments:
        total.update(violations(one))
    assert len({one.group.event_ticker for one in moments}) == events
    assert len(moments) == snapshots
    assert tuple(total[name] for name in ("raw bids", "raw asks", "net bids", "net asks")) == expected
    assert list(finds(iter(moments))) == []


def read_json(path: str) -> Any:
    with unzipped(path) as text:
        return json.load(text, parse_float=Decimal)


def wire_book(wire: dict[str, Any]) -> BookSnapshot:
    """The best quotes of a listed market: the size of the YES ask is that of the best NO bid."""

    def side(name: str, size: str) -> list[tuple[Price, Count]]:
        count = count_from_wire(wire[size])
        return [(price_from_wire(wire[name]), count)] if count else []

    return book(wire["ticker"], side("yes_bid_dollars", "yes_bid_size_fp"), side("no_bid_dollars", "yes_ask_size_fp"))


def listed(event: dict[str, Any]) -> EventListing:
    """As the REST client maps it. The recording lacks the series, and the key charges all alike."""
    wire = convert(event, EventWire, event["event_ticker"])
    series = SeriesWire(ticker=event["series_ticker"], fee_type="quadratic", fee_multiplier=Decimal(1))
    return to_listing(wire, FeeReads((), (), 0).of(wire, series))


def nested() -> Iterator[tuple[EventListing, Moment]]:
    for event in read_json("rest/events_sports_nested.json.gz"):
        listing = listed(event)
        groups, _ = formed(listing)
        books = {wire["ticker"]: wire_book(wire) for wire in event["markets"]}
        for group in groups:
            yield listing, Moment("", group, books)


def test_nested_sports_events_hold_no_lock() -> None:
    moments = [one for _, one in nested()]
    assert Counter(one.group.family for one in moments) == {Family.LADDER: 24, Family.GAME: 15, Family.EXCLUSIVE: 2}
    total: Counter[str] = Counter()
    for one in moments:
        if one.group.family is not Family.LADDER:
            total.update(violations(one))
    assert (total["raw bids"], total["raw asks"], total["net bids"], total["net asks"]) == (0, 1, 0, 0)
    assert list(finds(iter(moments))) == []


def test_every_listed_game_may_settle_at_a_price_by_its_reviewed_rules() -> None:
    for listing, one in nested():
        if one.group.family is Family.GAME:
            edges = [state for state in one.group.states if state.highest is not None]
            assert [state.name for state in edges] == [
                f"each market settles at a price of its own (rules text of {listing.series_ticker}, read in full)"
            ]


def test_selling_a_whole_listed_game_is_conditional_and_names_its_rules() -> None:
    """Bids far above a dollar: without the text it would be proved, as it is on the tapes."""
    checked = 0
    for listing, one in nested():
        if one.group.family is not Family.GAME:
            continue
        rich = {ticker: book(ticker, [(Price(9_000), ASSUMED)], []) for ticker in one.group.tickers}
        bare = tuple(replace(listed, rules=None) for listed in listing.markets)
        (silent,), _ = formed(replace(listing, markets=bare))
        (with_text,) = finds(iter([one._replace(books=rich)]))
        (without,) = finds(iter([Moment("", silent, rich)]))
        assert (with_text.certificate.grade, without.certificate.grade) == (Grade.CONDITIONAL, Grade.PROVED)
        assert "read in full" in (with_text.certificate.breaking_state or "")
        checked += 1
    assert checked == 15


def combos() -> list[tuple[Group, dict[str, BookSnapshot]]]:
    recorded = read_json("rest/combo_priced_markets.json.gz")
    nested: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for wire in recorded["legs"].values():
        nested[wire["event_ticker"]].append(wire)
    legs = [
        listed({"event_ticker": event, "series_ticker": event.partition("-")[0], "mutually_exclusive": False,
                "markets": markets})
        for event, markets in nested.items()
    ]  # fmt: skip
    found = []
    for wire in recorded["combos"]:
        event = {"event_ticker": wire["event_ticker"], "series_ticker": wire["mve_collection_ticker"]}
        built = build_groups([listed({**event, "mutually_exclusive": False, "markets": [wire]}), *legs])
        groups = [group for group in built.groups if group.family is Family.COMBO]
        books = {one["ticker"]: wire_book(one) for one in (wire, *recorded["legs"].values())}
        found += [(group, books) for group in groups]
    return found


def test_no_recorded_combo_is_priced_against_its_legs() -> None:
    found = combos()
    assert len(found) == 12
    for group, books in found:
        assert group.family is Family.COMBO
        assert sum(state.basis is Basis.CERTAIN for state in group.states) == 2 ** (len(group.markets) - 1)
        # Every combo has a YES ask, so how near it is can be told.
        edge = best_edge(group, books)
        assert edge is not None
        assert edge < 0
        assert propose(group, books) == ()


def test_the_recorded_texts_are_all_reviewed_or_silent() -> None:
    """What the free reading finds in the recordings, the registry knows: so its hashes are those of the wire's text."""
    texts = [
        (event["series_ticker"], wire)
        for event in read_json("rest/events_sports_nested.json.gz")
        for wire in event["markets"]
    ]
    texts += [
        (wire["event_ticker"].partition("-")[0], wire)
        for wire in read_json("rest/combo_priced_markets.json.gz")["legs"].values()
    ]
    names: set[str] = set()
    for series, wire in texts:
        text = rules_text(convert(wire, MarketWire, wire["ticker"]))
        market = replace(plain_market(wire["ticker"], series), series_ticker=series)
        states = rule_states([ListedMarket(market, MarketStatus.ACTIVE, text)] * 2, REVIEWED).states
        assert bool(states) is bool(read_clauses(text))
        names |= {state.name for state in states}
    assert len(names) == 13
    assert all("read in full" in name for name in names)
