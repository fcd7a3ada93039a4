"""Recorded quotes and books, grouped and judged by the product, against figures computed independently of it.

What is compared, recording by recording: groups by family, contradictions at the top of the books before and after
linear fees (the counting rule of :mod:`kalshi_arb.detection.survey`), and every bundle that detection finds. The table
in ``infra/docs/relations-on-recordings.md`` holds both sets of figures; its lines are computed here.

The answer key counts fills in steps of 0.01 contract with one fill per price level and everything paid at its level. A
declared smallest fill larger than every level makes our fee bound count one fill per level too. Two differences remain
and only ever lower our figure, where a leg takes two levels: the floor charges the limit for all of it, and the fee
bound rounds each fill up without what the exchange may give back. Profits are in 1e-6 dollars.

``KALSHI_ARB_RECORDINGS=full`` reads every recording; without it, those that hold a lock and one or two of each kind.
"""

import os
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, ONE_DOLLAR
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Family, Group
from tests.recordings import ASSUMED, DATA, days, moments
from tests.recordings_survey import Found, Lock, look_at, look_into, watched

DOCUMENT = Path(__file__).resolve().parents[2] / "infra" / "docs" / "relations-on-recordings.md"
FULL = "KALSHI_ARB_RECORDINGS"
NOBODY = "no market pays (the exchange's flag promises at most one, not one)"

# Seconds that fetching a book took when the tapes were recorded, on average and at most.
_FETCH_S, _SLOWEST_FETCH_S = 0.28, 0.44
_LADDER, _PARTITION, _GAME = Family.LADDER, Family.PARTITION, Family.GAME


@dataclass(frozen=True, slots=True)
class Key:
    """What the independent computation finds in a recording.

    ``counts`` are raw bids, asks, nested, nested pairs; net bids, asks, nested. ``moments`` are by its own kinds, of
    which "exclusive" and "not indexed" are one family here and "unrelated" is none.
    """

    events: int
    moments: int
    counts: tuple[int, ...]
    proved: int = 0
    loose: int = 0


KEY = {
    "books/mixed/2026-07-10": Key(227, 1_101, (0, 16, 0, 0, 0, 0, 0)),
    "books/mixed/2026-07-14": Key(156, 862, (4, 19, 0, 0, 0, 0, 0)),
    "books/mixed/2026-07-18": Key(292, 1_101, (9, 26, 0, 0, 0, 0, 0)),
    "books/weather/2026-07-16": Key(95, 340, (36, 0, 0, 0, 0, 0, 0)),
    "books/weather/2026-07-18": Key(95, 340, (31, 7, 0, 0, 6, 0, 0), proved=5),
    "books/weather/2026-07-20": Key(100, 268, (33, 6, 3, 4, 1, 0, 2), proved=3),
    "books/weather/2026-07-22": Key(95, 255, (30, 3, 1, 1, 2, 0, 0), proved=1),
    "books/weather/2026-07-24": Key(91, 144, (21, 1, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-04": Key(46, 90, (1, 0, 0, 0, 1, 0, 0), proved=1),
    "quotes/crypto_hourly/2026-07-06": Key(46, 91, (1, 0, 0, 0, 1, 0, 0), proved=1),
    "quotes/crypto_hourly/2026-07-08": Key(22, 46, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-10": Key(8, 14, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-12": Key(46, 88, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-14": Key(32, 52, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-16": Key(38, 48, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-18": Key(26, 30, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-20": Key(16, 16, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-22": Key(38, 50, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/crypto_hourly/2026-07-24": Key(6, 6, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-06": Key(24, 24, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-08": Key(24, 48, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-12": Key(24, 24, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-14": Key(24, 960, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-16": Key(21, 630, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-18": Key(21, 231, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-20": Key(21, 483, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/econ_prints/2026-07-22": Key(21, 126, (0, 0, 0, 0, 0, 0, 0)),
    "quotes/sports_pairs/2026-07-12": Key(193, 3_599, (25, 94, 0, 0, 1, 2, 0), proved=1, loose=2),
    "quotes/sports_pairs/2026-07-16": Key(292, 3_288, (39, 62, 0, 0, 0, 0, 0)),
    "quotes/sports_pairs/2026-07-20": Key(251, 1_871, (4, 19, 0, 0, 0, 0, 0)),
    "rest/combo_priced_markets": Key(12, 12, (0, 0, 0, 0, 0, 0, 0)),
    "rest/events_sports_nested": Key(32, 41, (0, 1, 0, 0, 0, 0, 0)),
    "rest/markets": Key(20, 20, (0, 0, 0, 0, 0, 0, 0)),
}

FAMILIES = {
    "books/mixed/2026-07-10": {_GAME: 1_093, _PARTITION: 8},
    "books/mixed/2026-07-14": {_GAME: 850, _PARTITION: 12},
    "books/mixed/2026-07-18": {_GAME: 1_093, _PARTITION: 8},
    "books/weather/2026-07-16": {_LADDER: 20, _PARTITION: 320},
    "books/weather/2026-07-18": {_LADDER: 20, _PARTITION: 320},
    "books/weather/2026-07-20": {_LADDER: 20, _PARTITION: 248},
    "books/weather/2026-07-22": {_LADDER: 15, _PARTITION: 240},
    # Three deadlines of one event, each with a closing time of its own and no event named: each stands alone.
    "books/weather/2026-07-24": {_LADDER: 10, _PARTITION: 128},
    # The markets of one leg's event form a ladder of their own, which the key leaves out.
    "rest/combo_priced_markets": {Family.COMBO: 12, _LADDER: 1},
    "rest/events_sports_nested": {_LADDER: 24, _GAME: 15, Family.EXCLUSIVE: 2},
}
_BY_FOLDER = {"quotes/crypto_hourly": _PARTITION, "quotes/econ_prints": _LADDER, "quotes/sports_pairs": _GAME,
              "rest": _PARTITION}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownLock:
    """A lock of the key: its profit, and ours, in 1e-6 dollars. ``rows_apart`` counts books of the event from the first
    fetched to the last; None where one reply held all. A conditional one is told by its profit if one market pays."""

    at: str
    event: str
    grade: Grade
    legs: int
    key: int
    ours: int
    rows_apart: int | None


_PROVED, _CONDITIONAL = Grade.PROVED, Grade.CONDITIONAL
LOCKS = {
    "books/weather/2026-07-18": [
        KnownLock("2026-07-18T00:27:54", "KXLOWTATL-26JUL18", _PROVED, 6, 900, 700, 5),
        KnownLock("2026-07-18T01:03:25", "KXHIGHDEN-26JUL18", _PROVED, 6, 500, 500, 229),
        KnownLock("2026-07-18T01:03:25", "KXLOWTATL-26JUL18", _PROVED, 6, 900, 700, 223),
        KnownLock("2026-07-18T01:28:12", "KXHIGHDEN-26JUL18", _PROVED, 6, 500, 500, 5),
        KnownLock("2026-07-18T01:28:12", "KXLOWTATL-26JUL18", _PROVED, 6, 900, 700, 5),
    ],
    "books/weather/2026-07-20": [
        KnownLock("2026-07-20T01:00:22", "KXTEMPCHIH-26JUL1922", _PROVED, 2, 2_200, 2_200, 9),
        KnownLock("2026-07-20T04:00:12", "KXHIGHTNOLA-26JUL20", _PROVED, 6, 12_800, 12_800, 5),
        KnownLock("2026-07-20T07:01:05", "KXTEMPAUSH-26JUL2004", _PROVED, 2, 2_200, 2_200, 158),
    ],
    "books/weather/2026-07-22": [
        KnownLock("2026-07-22T02:30:00", "KXHIGHAUS-26JUL22", _PROVED, 6, 3_300, 3_300, 5)
    ],
    "quotes/crypto_hourly/2026-07-04": [
        KnownLock("2026-07-04T04:55:09", "KXBTC-26JUL0401", _PROVED, 3, 1_011_300, 1_011_300, None)
    ],
    "quotes/crypto_hourly/2026-07-06": [
        KnownLock("2026-07-06T05:55:15", "KXETH-26JUL0602", _PROVED, 2, 2_401_500, 2_401_500, None)
    ],
    "quotes/sports_pairs/2026-07-12": [
        KnownLock("2026-07-12T00:57:08", "KXECULPGAME-26JUL11GUADSC", _CONDITIONAL, 3, 524_700, 524_700, None),
        KnownLock("2026-07-12T02:23:02", "KXUSLCUPGAME-26JUL11SANCHA", _PROVED, 3, 8_100, 8_100, None),
        KnownLock("2026-07-12T03:23:02", "KXMLBGAME-26JUL142000ALNL", _CONDITIONAL, 2, 619_000, 619_000, None),
    ],
}  # fmt: skip

NOTHING_LEFT = {
    "books/weather/2026-07-18": [("2026-07-18T00:27:54", "KXHIGHDEN-26JUL18")],
    "books/weather/2026-07-22": [("2026-07-22T00:28:43", "KXHIGHTOKC-26JUL22")],
}
"""Sets with an edge after fees at the top that rounding takes away."""

SHORT = [
    *LOCKS, "books/mixed/2026-07-10", "books/weather/2026-07-24", "quotes/crypto_hourly/2026-07-24",
    "quotes/econ_prints/2026-07-06", "quotes/econ_prints/2026-07-22", "rest/combo_priced_markets",
    "rest/events_sports_nested",
]  # fmt: skip
CHOSEN = sorted(KEY if os.environ.get(FULL) == "full" else SHORT)


@cache
def found_in(name: str) -> Found:
    return look_into(name)


def families_of(name: str) -> dict[Family, int]:
    return FAMILIES.get(name) or {_BY_FOLDER[name.rpartition("/")[0]]: KEY[name].moments}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_recording_gives_the_groups_and_the_counts_of_the_key(name: str) -> None:
    found, key = found_in(name), KEY[name]
    assert dict(found.families) == families_of(name)
    assert found.counts == key.counts
    assert (len(found.of(_PROVED)), len(found.of(_CONDITIONAL))) == (key.proved, key.loose)
    assert len(found.locks) == key.proved + key.loose
    assert table_line(name, found) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_recording_holds_the_known_locks_and_no_others(name: str) -> None:
    found = found_in(name)
    locks = sorted(found.locks, key=lambda lock: (lock.at, lock.event))
    assert [known_from(lock) for lock in locks] == [replace(known, key=0) for known in LOCKS.get(name, [])]
    for lock, known in zip(locks, LOCKS.get(name, []), strict=True):
        assert known.ours <= known.key
        assert lock_line(lock, known) in DOCUMENT.read_text(encoding="utf-8")
        assert lock.certificate.breaking_state == (NOBODY if lock.certificate.grade is _CONDITIONAL else None)
    assert [(lock.at, lock.event) for lock in found.nothing_left] == NOTHING_LEFT.get(name, [])


def known_from(lock: Lock) -> KnownLock:
    return KnownLock(
        lock.at, lock.event, lock.certificate.grade, len(lock.legs), 0, gain(lock), lock.rows_apart
    )  # fmt: skip


def gain(lock: Lock) -> int:
    """The floor; of a conditional bundle that buys a whole set, what is left when one market pays."""
    floor = lock.certificate.floor_profit
    if lock.certificate.grade is _PROVED:
        return floor
    (count,) = {leg.count for leg in lock.legs}
    assert {leg.outcome for leg in lock.legs} == {Outcome.YES}
    return floor + count * ONE_DOLLAR


def table_line(name: str, found: Found) -> str:
    """A recording's line of the table: our figure, then the key's."""
    key = KEY[name]
    by_family = ", ".join(
        f"{number:,} {family.value}"
        for family, number in sorted(found.families.items(), key=lambda item: item[0].value)
    )
    # A combo's listing holds the events of its legs too; the key counts the combos.
    events = found.families[Family.COMBO] or len(found.events)
    ours = (events, sum(found.families.values()), *found.counts, len(found.of(_PROVED)), len(found.of(_CONDITIONAL)))
    theirs = (key.events, key.moments, *key.counts, key.proved, key.loose)
    cells = [f"{own:,} / {other:,}" for own, other in zip(ours, theirs, strict=True)]
    return f"| {name} | {by_family} | {' | '.join(cells)} |"


def lock_line(lock: Lock, known: KnownLock) -> str:
    """A lock's line of the list. Legs share the stamp of their pass; what sets them apart is the order of fetching."""
    fetched = "all legs in one reply"
    if known.rows_apart is not None:
        places = [lock.moment.places[leg.ticker] + 1 for leg in lock.legs]
        apart = max(places) - min(places)
        seconds = f"about {apart * _FETCH_S:.1f} s, at most {apart * _SLOWEST_FETCH_S:.1f} s"
        fetched = f"books {', '.join(map(str, sorted(places)))} of the pass: {seconds} between the first and the last"
    profit = " / ".join(f"{Decimal(cash) / CASH_PER_DOLLAR:.4f}" for cash in (known.ours, known.key))
    return f"| {known.event} | {known.at} | {known.grade.value} | {known.legs} | {profit} | {fetched} |"


@pytest.mark.parametrize("name", ["books/weather/2026-07-18", "books/weather/2026-07-20"])
def test_fills_of_one_contract_cost_these_locks_nothing_more(name: str) -> None:
    """Our default smallest fill, on a few contracts, is one fill per level."""
    found = look_into(name, smallest_fill=ONE_CONTRACT)
    assert [(lock.at, lock.event, lock.certificate.floor_profit) for lock in found.of(_PROVED)] == [
        (known.at, known.event, known.ours) for known in LOCKS[name]
    ]


def test_two_locks_of_one_day_are_bought_leg_by_leg_as_the_key_buys_them() -> None:
    legs = {lock.event: lock.legs for lock in found_in("books/weather/2026-07-20").locks}
    assert [(leg.outcome, leg.count, leg.limit) for leg in legs["KXTEMPCHIH-26JUL1922"]] == [
        (Outcome.YES, 782, 9_200),
        (Outcome.NO, 782, 700),
    ]
    assert [(leg.outcome, leg.count, leg.limit) for leg in legs["KXTEMPAUSH-26JUL2004"]] == [
        (Outcome.YES, 44, 8_700),
        (Outcome.NO, 44, 1_100),
    ]
    assert {(leg.outcome, leg.count) for leg in legs["KXHIGHTNOLA-26JUL20"]} == {(Outcome.NO, 64)}


def test_quoted_locks_take_what_is_assumed_at_each_quote() -> None:
    for name in (
        "quotes/crypto_hourly/2026-07-04",
        "quotes/crypto_hourly/2026-07-06",
        "quotes/sports_pairs/2026-07-12",
    ):
        assert {leg.count for lock in found_in(name).locks for leg in lock.legs} == {ASSUMED}


def test_half_the_fee_on_baseball_makes_eight_proved_locks() -> None:
    """The fee multiplier decides this figure more than anything else does."""
    proved = 0
    for name in KEY:
        if not name.startswith("quotes/sports_pairs"):
            continue
        elsewhere = [lock for lock in LOCKS.get(name, []) if not lock.event.startswith("KXMLBGAME-")]
        proved += sum(lock.grade is _PROVED for lock in elsewhere)
        baseball = (one for one in moments(name) if one.listings[0].event_ticker.startswith("KXMLBGAME-"))
        halves: dict[Group, tuple[Group, ...]] = {}
        cheaper = (
            (one, tuple(group for whole in groups for group in halves.setdefault(whole, (halved(whole),))))
            for one, groups in watched(baseball)
        )
        proved += len(look_at(cheaper).of(_PROVED))
    assert proved == 8


def halved(group: Group) -> Group:
    fees = FeeSchedule(FeeType.QUADRATIC, 5_000)
    return replace(group, markets=tuple(replace(market, fees=fees) for market in group.markets))


def test_no_recording_is_left_out() -> None:
    """Every file that the key knows and that is there is in the table, and every file there is in the key."""
    if not DATA.exists():
        pytest.skip("the recordings are not on this machine")
    folders = {name.rpartition("/")[0] for name in KEY} - {"rest"}
    assert {name for folder in folders for name in days(folder)} == {
        name for name in KEY if not name.startswith("rest/")
    }
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"| {name} | " in text for name in KEY)


def test_the_totals_are_the_sums_of_the_table() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ")[3:] for line in lines if line.split(" | ")[0].removeprefix("| ") in KEY]
    assert len(rows) == len(KEY)
    sums = [[sum(int(cell.replace(",", "").split(" / ")[side]) for cell in column) for side in (0, 1)]
            for column in zip(*rows, strict=True)]  # fmt: skip
    assert f"| **total** | | | {' | '.join(f'{own:,} / {other:,}' for own, other in sums)} |" in lines


def test_the_short_form_holds_every_lock() -> None:
    assert {name for name, key in KEY.items() if key.proved or key.loose} == set(LOCKS) <= set(SHORT)
    for name, locks in LOCKS.items():
        graded = [lock.grade for lock in locks]
        assert (graded.count(_PROVED), graded.count(_CONDITIONAL)) == (KEY[name].proved, KEY[name].loose)
