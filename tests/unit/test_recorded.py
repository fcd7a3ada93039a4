"""Recorded payloads: every wrapping is read, what is not there is absent, and what cannot be read is named."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.kalshi.recorded import Recording, RecordingError, Unread
from tests.recorded_samples import EVENT, MARKET, SECOND, SERIES


def read(*documents: object) -> tuple[list[EventListing], list[Unread]]:
    recording = Recording()
    for number, document in enumerate(documents):
        recording.add(json.dumps(document).encode(), f"file{number}")
    return recording.listings()


def one(*documents: object) -> EventListing:
    listings, unread = read(*documents)
    assert (len(listings), unread) == (1, [])
    return listings[0]


WRAPPINGS = [
    [MARKET, SECOND],
    {"markets": [MARKET, SECOND], "cursor": ""},
    {"KXA-1-T5": MARKET, "KXA-1-T6": SECOND},
    {"note": "as it came", "captured_at": "2026-08-01", "queries": [{"series": "KXA"}], "markets": [MARKET, SECOND]},
    {"nested": MARKET, "single": {"market": SECOND}},
]


@pytest.mark.parametrize("document", WRAPPINGS)
def test_markets_without_their_event_form_it_by_its_ticker(document: object) -> None:
    listing = one(document)
    assert listing.event_ticker == "KXA-1"
    assert [listed.market.ticker for listed in listing.markets] == ["KXA-1-T5", "KXA-1-T6"]
    assert {"series_ticker", "mutually_exclusive", "settlement_sources", "fee_type"} <= listing.absent
    assert not {"status", "close_time", "price_ranges", "rules_primary", "exchange_index"} & listing.absent
    assert (listing.mutually_exclusive, listing.sources) == (None, None)
    assert str(listing.markets[1].market.floor) == "6.25"


@pytest.mark.parametrize("document", [EVENT, [EVENT], {"events": [EVENT], "cursor": "x"}, {"event": EVENT}])
def test_an_event_with_its_markets_says_what_it_says(document: object) -> None:
    listing = one(document, {"series": SERIES})
    assert (listing.series_ticker, listing.mutually_exclusive, listing.sources) == ("KXA", False, ("the office",))
    assert listing.absent.isdisjoint({"series_ticker", "mutually_exclusive", "settlement_sources", "fee_type"})
    assert {listed.market.fees.multiplier for listed in listing.markets} == {20_000}
    assert {listed.market.shard for listed in listing.markets} == {2}


def test_what_an_order_would_need_gets_a_stand_in_and_is_absent() -> None:
    bare = {"event_ticker": "KXB", "series": "KXBB", "close_time": "2026-12-31T00:00:00Z", "outcomes": [
        {"ticker": f"KXB-{strike}", "strike_type": "greater", "floor_strike": strike, "yes_ask": 0.5}
        for strike in (1, 2)
    ]}  # fmt: skip
    listing = one({"current": bare})
    assert {"status", "price_ranges", "rules_primary", "exchange_index", "fee_type"} <= listing.absent
    assert "close_time" not in listing.absent
    assert listing.series_ticker == "KXBB"
    for listed in listing.markets:
        assert (listed.status, listed.rules) == (MarketStatus.ACTIVE, None)
        assert listed.market.close_ms == 1_798_675_200_000


def test_lines_and_gzip_are_read_and_the_later_reading_counts() -> None:
    lines = "\n".join(json.dumps({"events": [{**EVENT, "markets": rows}]}) for rows in ([MARKET, SECOND], [SECOND]))
    recording = Recording()
    recording.add(gzip.compress(lines.encode()), "day.jsonl.gz")
    (listing,), _ = recording.listings()
    assert [listed.market.ticker for listed in listing.markets] == ["KXA-1-T6"]


def test_a_market_of_no_event_is_left_out_and_named() -> None:
    book = {"ticker": "KXA-1-T5", "orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
    listings, unread = read([book, {"ticker": "KXZ", "strike_type": "greater", "floor_strike": 1}])
    assert listings == []
    assert [(one.markets, one.reason) for one in unread] == [(("KXA-1-T5", "KXZ"), "event_not_recorded")]
    assert read([book], [MARKET])[1] == [], "another file says which event it belongs to"


def test_an_event_that_cannot_be_mapped_is_left_out_whole() -> None:
    listings, (unread,) = read([{**EVENT, "markets": [MARKET, {**SECOND, "market_type": "scalar"}]}])
    assert listings == []
    assert (unread.markets, unread.reason) == (("KXA-1-T5", "KXA-1-T6"), "unreadable")
    assert "scalar" in unread.words


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "f: "),
        (b"{", "f: "),
        (b"ticker,event\n1,2\n", "f: "),
        (b'{"a": 1}\n{broken\n', "f, line 2: "),
        (b"\x1f\x8bnope", "f: cannot be unpacked"),
        (gzip.compress(b'{"events": []}', mtime=0)[:-6], "f: cannot be unpacked"),
        (b"3", "f: holds '3'"),
        (b"[]", "f: holds no event and no market"),
        (b'{"events": [], "cursor": ""}', "f: holds no event and no market"),
        (b'{"grids": [{"example_ticker": "KXA"}]}', "f: holds no event and no market"),
    ],
)
def test_a_file_that_holds_no_listing_is_named_with_the_cause_in_one_line(content: bytes, cause: str) -> None:
    with pytest.raises(RecordingError) as caught:
        Recording().add(content, "f")
    assert str(caught.value).startswith(cause)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ticker", "event_ticker", "markets", "series", "fee_type", "strike_type", "status", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(json_values)
def test_no_document_breaks_the_reader(document: object) -> None:
    try:
        listings, _ = read(document)
    except RecordingError:
        return
    assert all(listing.markets for listing in listings)
