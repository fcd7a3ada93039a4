"""Reading tapes: what a recording says, what it lacks, and the one line that says why it cannot be played."""

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.tape_terms import SERVED, Tape, load_tape
from infra.exchange.terms import EventTerms, GridName, MarketTerms
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import Outcome, StrikeType
from kalshi_arb.domain.money import Count, Price, count_to_wire, price_to_wire
from kalshi_arb.kalshi.tape import Recording, TapeError, find_tapes, read_recording, time_ms
from kalshi_arb.kalshi.tape_facts import DESCRIPTION

TAPES = Path(__file__).resolve().parents[1] / "payloads" / "tapes"
TWO_EVENTS = TAPES / "two_events.jsonl"
HOUR_MS = 3_600_000
STAMP = "2026-03-01T14:00:00Z"


def row(ticker: str = "KXA-1", **fields: object) -> dict[str, object]:
    return {"captured_at": STAMP, "ticker": ticker, "orderbook_fp": {"yes_dollars": [], "no_dollars": []}, **fields}


def book(**sides: object) -> dict[str, object]:
    return row(orderbook_fp=sides)


def written(folder: Path, *lines: object, name: str = "tape.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def loaded(folder: Path, *lines: object) -> Tape:
    return load_tape([str(written(folder, *lines))])


def events(tape: Tape) -> dict[str, EventTerms]:
    return {event.ticker: event for event in tape.events}


def markets(tape: Tape) -> dict[str, MarketTerms]:
    return {terms.ticker: terms for event in tape.events for terms in event.markets}


# What a tape says


def test_books_that_share_a_stamp_are_one_pass_and_passes_run_in_time_order() -> None:
    recording = read_recording([TWO_EVENTS])
    assert [(one.at[11:16], [row.ticker[-3:] for row in one.rows]) for one in recording.passes] == [
        ("14:00", ["T10", "T20", "-T5", "-T4"]),
        ("15:00", ["T10", "T20"]),
        ("16:00", ["T10"]),
    ]
    assert recording.passes[1].ms - recording.passes[0].ms == HOUR_MS
    assert recording.rows == 7


def test_levels_are_exact_and_an_empty_side_is_no_level() -> None:
    recording = read_recording([TWO_EVENTS])
    first, easier = recording.passes[0].rows[0], recording.passes[1].rows[1]
    assert first.levels == {(Outcome.YES, 5_500): 1_000, (Outcome.YES, 5_400): 450, (Outcome.NO, 4_000): 2_000}
    assert easier.levels == {(Outcome.YES, 6_300): 200}


def test_a_gzipped_tape_reads_like_a_plain_one(tmp_path: Path) -> None:
    zipped = tmp_path / "two_events.jsonl.gz"
    zipped.write_bytes(gzip.compress(TWO_EVENTS.read_bytes()))
    assert read_recording([zipped]).passes == read_recording([TWO_EVENTS]).passes


def test_several_tapes_are_merged_by_time_and_stay_apart_by_file(tmp_path: Path) -> None:
    late, early = row("KXLATE-1", captured_at="2026-03-01T15:00:00Z"), row("KXEARLY-1")
    files = [written(tmp_path, late, early, name="a.jsonl"), written(tmp_path, row("KXSAME-1"), name="b.jsonl")]
    recording = read_recording(files)
    assert [[row.ticker for row in one.rows] for one in recording.passes] == [["KXEARLY-1"], ["KXSAME-1"], ["KXLATE-1"]]


def test_markets_are_listed_with_the_strikes_of_the_tape() -> None:
    tape = load_tape([str(TWO_EVENTS)])
    assert list(events(tape)) == ["KXMADELAD-26MAR01", "KXMADEPART-26MAR01"]
    easier, low = markets(tape)["KXMADELAD-26MAR01-T10"], markets(tape)["KXMADEPART-26MAR01-T5"]
    assert (easier.strike_type, easier.floor, easier.cap) == (StrikeType.GREATER, Decimal(10), None)
    assert (low.strike_type, low.floor, low.cap, low.sub_title) == (StrikeType.LESS, None, Decimal(5), "4 or below")
    assert low.close_ms == time_ms("2026-03-01T15:30:00Z", "close_time")
    assert {series.ticker: series.fees for series in tape.series} == dict.fromkeys(
        ("KXMADELAD", "KXMADEPART"), FeeSchedule(FeeType.QUADRATIC)
    )


def test_what_a_tape_lacks_is_listed_and_what_is_not_known_is_counted() -> None:
    tape = load_tape([str(TWO_EVENTS)])
    assert tape.missing_fields == dict.fromkeys(
        ("event_ticker", "exchange_index", "fee_multiplier", "fee_type", "mutually_exclusive", "open_time",
         "price_ranges", "result", "rules_primary", "title"), 4,
    )  # fmt: skip
    assert set(tape.missing_fields) <= set(SERVED)
    assert tape.recording.unknown_fields == {"weather_station": 1}


def test_a_market_without_its_strikes_has_no_strike_type(tmp_path: Path) -> None:
    tape = loaded(
        tmp_path,
        row("KXA-1"),
        row("KXA-2", strike_type="between", floor_strike=1, cap_strike=None),
        row("KXA-3", strike_type="custom"),
    )
    assert {terms.strike_type for terms in markets(tape).values()} == {StrikeType.OTHER}
    assert (tape.missing_fields["strike_type"], tape.missing_fields["cap_strike"]) == (1, 1)
    assert "floor_strike" not in tape.missing_fields


def test_without_series_and_closing_time_every_market_stands_alone(tmp_path: Path) -> None:
    tape = loaded(tmp_path, row("KXA-1-X"), row("KXA-1-Y"), row("KXA-1-Z", series_ticker="KXA"))
    assert list(events(tape)) == ["KXA-1-X", "KXA-1-Y", "KXA-1-Z"]


def test_one_name_with_two_closing_times_is_two_events(tmp_path: Path) -> None:
    facts = {"series_ticker": "KXA", "strike_type": "greater", "floor_strike": 1}
    tape = loaded(
        tmp_path,
        row("KXA-1-X", **facts, close_time="2026-03-01T20:00:00Z"),
        row("KXA-1-Y", **facts, close_time="2026-03-01T21:00:00Z"),
        row("KXA-1-Z", **facts, close_time="2026-03-01T21:00:00Z"),
    )
    members = {name: [terms.ticker for terms in event.markets] for name, event in events(tape).items()}
    assert members == {"KXA-1": ["KXA-1-X"], "KXA-1-2": ["KXA-1-Y", "KXA-1-Z"]}


def test_the_event_of_the_tape_counts_more_than_its_tickers(tmp_path: Path) -> None:
    told = {"event_ticker": "KXTOLD", "series_ticker": "KXA", "mutually_exclusive": True}
    tape = loaded(tmp_path, row("KXA-1-X", **told), row("KXB-2-Y", **told))
    (event,) = tape.events
    assert (event.ticker, event.mutually_exclusive, len(event.markets)) == ("KXTOLD", True, 2)
    assert "event_ticker" not in tape.missing_fields


_SIDE = st.dictionaries(st.integers(1, 98), st.integers(1, 10**7), max_size=6)


@given(st.lists(st.tuples(_SIDE, _SIDE), min_size=1, max_size=5))
def test_whatever_was_written_is_read_back(books: list[tuple[dict[int, int], dict[int, int]]]) -> None:
    written_books: list[Mapping[tuple[Outcome, int], int]] = []
    lines = []
    for number, (yes, no) in enumerate(books):
        highest = max(yes, default=0)
        uncrossed = {cents: count for cents, count in no.items() if cents + highest < 100}
        sides = {"yes_dollars": yes, "no_dollars": uncrossed}
        levels = {
            name: [[price_to_wire(Price(cents * 100)), count_to_wire(Count(count))] for cents, count in side.items()]
            for name, side in sides.items()
        }
        written_books.append(
            {(Outcome.YES, c * 100): n for c, n in yes.items()}
            | {(Outcome.NO, c * 100): n for c, n in uncrossed.items()}
        )
        lines.append(json.dumps(row(f"KXA-{number}", orderbook_fp=levels)))
    recording = _read_text("\n".join(lines))
    assert [one.levels for one in recording.passes[0].rows] == written_books


def _read_text(text: str) -> Recording:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "tape.jsonl"
        path.write_text(text)
        return read_recording([path])


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - the zone is added below
def test_times_keep_their_milliseconds(moment: datetime) -> None:
    stamp = moment.replace(tzinfo=UTC)
    assert time_ms(stamp.isoformat(), "it") == (stamp - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6 // 1e3


# Descriptions


def test_a_description_beside_the_tape_says_what_the_tape_does_not() -> None:
    tape = load_tape([str(TAPES / "described.jsonl")])
    event = events(tape)["KXBARE-1"]
    assert [(terms.ticker, terms.floor, terms.grid_name) for terms in event.markets] == [
        ("KXBARE-1-A", Decimal("1.5"), GridName.DECI_CENT),
        ("KXBARE-1-B", Decimal("2.5"), GridName.DECI_CENT),
    ]
    series = {one.ticker: one for one in tape.series}["KXBARE"]
    assert (series.fees, series.shard) == (FeeSchedule(FeeType.WITH_MAKER, 5_000), 2)
    assert tape.missing_fields["strike_type"] == tape.missing_fields["price_ranges"] == 1  # of the market left out


def test_a_fact_of_the_tape_counts_more_than_its_description(tmp_path: Path) -> None:
    description = {"version": 1, "markets": {"KXA-1": {"strike_type": "less", "cap_strike": 5, "title": "Told"}}}
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    terms = markets(loaded(tmp_path, row("KXA-1", strike_type="greater", floor_strike=1)))["KXA-1"]
    assert (terms.strike_type, terms.title) == (StrikeType.GREATER, "Told")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", '"version" must be 1'),
        ('{"version": 2}', '"version" must be 1'),
        ('{"version": 1, "games": {}}', "unknown: games"),
        ('{"version": 1, "markets": {"KXA-1": {"strike": 1}}}', "unknown: markets.KXA-1.strike"),
        ('{"version": 1, "events": []}', "events must hold an object"),
    ],
)
def test_a_description_that_cannot_be_read_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(TapeError) as failed:
        loaded(tmp_path, row())
    assert str(failed.value).startswith(str(tmp_path / DESCRIPTION))
    assert says in str(failed.value)


# What cannot be played


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"captured_at": "2026-03-01T14:0', "cut off in the middle"),
        ("[1, 2]", "the line has no captured_at, ticker, orderbook_fp"),
        ({"captured_at": STAMP, "ticker": "KXA-1"}, "the line has no orderbook_fp"),
        (row(captured_at="yesterday"), "captured_at must be a time with its zone"),
        (row(captured_at="2026-03-01T14:00:00"), "captured_at must be a time with its zone"),
        (row(ticker=""), "ticker must be a text"),
        (row(ticker="KXGOOD-1"), "KXGOOD-1 is there twice in the pass"),
        (book(yes_dollars=[["0.5", "1"]], yes_cents=[]), "yes_dollars and no_dollars only"),
        (book(yes_dollars="0.5"), "must be a list of levels"),
        (book(yes_dollars=[["0.5"]]), "must be [price, contracts]"),
        (book(yes_dollars=[[0.5, "1"]]), "must be [price, contracts]"),
        (book(yes_dollars=[["0.50001", "1"]]), "finer than"),
        (book(yes_dollars=[["1.2", "1"]]), "outside 0 to 1"),
        (book(yes_dollars=[["0.0", "1"]]), "cannot have 1 contracts resting at 0.0"),
        (book(yes_dollars=[["0.5", "0.00"]]), "cannot have 0.00 contracts"),
        (book(yes_dollars=[["0.5", "-3"]]), "cannot have -3 contracts"),
        (book(yes_dollars=[["0.5", "1"], ["0.50", "2"]]), "the level 0.50 twice"),
        (book(yes_dollars=[["0.6", "1"]], no_dollars=[["0.4", "1"]]), "is crossed"),
    ],
)
def test_a_line_that_is_no_book_is_named_with_its_number(tmp_path: Path, bad: object, says: str) -> None:
    path = written(tmp_path, row("KXGOOD-1"), bad)
    with pytest.raises(TapeError) as failed:
        read_recording([path])
    assert str(failed.value).startswith(f"{path} line 2: ")
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_gzip_that_ends_in_the_middle_is_named_with_the_line_it_ends_in(tmp_path: Path) -> None:
    whole = gzip.compress(TWO_EVENTS.read_bytes())
    path = tmp_path / "cut.jsonl.gz"
    for length in (len(whole) - 4, len(whole) // 2, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(TapeError, match=r"cut\.jsonl\.gz line \d+: .*(damaged or cut off|cut off in the middle)"):
            read_recording([path])


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    damaged = bytearray(gzip.compress(TWO_EVENTS.read_bytes()))
    damaged[60] ^= 0xFF
    path = tmp_path / "damaged.jsonl.gz"
    path.write_bytes(bytes(damaged))
    with pytest.raises(TapeError, match=r"damaged\.jsonl\.gz line \d+: "):
        read_recording([path])


def test_an_empty_file_is_no_tape(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="the file is empty"):
        read_recording([written(tmp_path)])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [row(floor_strike=1), row(floor_strike=2, captured_at="2026-03-01T15:00:00Z")],
            "floor_strike of KXA-1 was 1 before and is 2 here",
        ),
        ([row(floor_strike=True, strike_type="greater")], "floor_strike cannot be True"),
        ([row(close_time="soon")], "close_time cannot be 'soon'"),
        ([row(fee_type="free")], "fee_type cannot be 'free'"),
        ([row(exchange_index=-1)], "exchange_index cannot be -1"),
        ([row(price_ranges=[{"start": "0", "end": "1", "step": "0.25"}])], "the embedded exchange lists linear_cent"),
        ([book(yes_dollars=[["0.415", "1"]])], "the price 0.4150 is off its grid"),
        (
            [row("KXA-1", event_ticker="KXE", mutually_exclusive=True), row("KXA-2", event_ticker="KXE")],
            "mutually_exclusive is False but True in another market of the event KXE",
        ),
    ],
)
def test_facts_that_cannot_be_true_are_named_with_a_line(tmp_path: Path, rows: list[Any], says: str) -> None:
    with pytest.raises(TapeError) as failed:
        loaded(tmp_path, *rows)
    assert f"{tmp_path / 'tape.jsonl'} line " in str(failed.value)
    assert says in str(failed.value)


# Which files


def test_a_folder_a_glob_and_several_files_name_tapes(tmp_path: Path) -> None:
    first, second = (written(tmp_path, row(), name=name).resolve() for name in ("a.jsonl", "b.jsonl"))
    (tmp_path / DESCRIPTION).write_text("{}")
    assert find_tapes([str(tmp_path)]) == (first, second)
    assert find_tapes([str(tmp_path / "*.jsonl")]) == (first, second)
    assert find_tapes([str(second), str(first), str(tmp_path)]) == (second, first)


@pytest.mark.parametrize(
    ("name", "says"), [("none.jsonl", "no such file or folder"), ("*.gz", "file matches"), ("", "the folder holds no")]
)
def test_a_name_without_a_tape_is_named(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(TapeError, match=says):
        find_tapes([str(tmp_path / name)])
