"""The screen in examples: which groups are let through, which are not judged, and how near the rest came."""

from dataclasses import replace

from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, Group, State
from tests.market_samples import NO_FEES, group

CENT = 10**8


def live(ticker: str, bid: int | None = None, ask: int | None = None) -> Book:
    """A book by its best YES bid and YES ask in cents."""
    book = Book(ticker)
    book.yes.replace([(Price(bid * 100), ONE_CONTRACT)] if bid is not None else [])
    book.no.replace([(Price(ONE_DOLLAR - ask * 100), ONE_CONTRACT)] if ask is not None else [])
    return book


def screen_of(one: Group, *books: Book) -> Screen:
    screen = Screen([one])
    for book in books:
        screen.update(book)
    return screen


def edge_of(one: Group, *books: Book) -> int | None:
    return screen_of(one, *books).edge(one.group_id)


LADDER = group("> 70", "> 72", "> 74", fees=NO_FEES)
QUIET = live("> 72", 52, 65)


def test_a_harder_bid_above_an_easier_ask_is_let_through() -> None:
    assert edge_of(LADDER, live("> 70", 50, 55), QUIET, live("> 74", 58, 60)) == 3 * CENT


def test_the_order_comes_from_the_states_not_from_the_list() -> None:
    backwards = replace(
        LADDER,
        markets=LADDER.markets[::-1],
        states=tuple(replace(state, yes_payouts=state.yes_payouts[::-1]) for state in LADDER.states),
    )
    assert edge_of(backwards, live("> 70", 50, 55), QUIET, live("> 74", 58, 60)) == 3 * CENT


def test_an_easier_bid_above_a_harder_ask_is_how_ladders_are() -> None:
    assert edge_of(LADDER, live("> 70", 90, 95), QUIET, live("> 74", 5, 10)) == -43 * CENT


def test_fees_decide_on_thin_edges() -> None:
    # Bought at 0.50 and 0.48: a cent a set and 0.0175 + 0.0175 of fees.
    charged = group("> 70", "> 72")
    books = live("> 70", None, 50), live("> 72", 52, None)
    assert edge_of(charged, *books) == 2 * CENT - 175_000_000 - 174_720_000
    assert edge_of(group("> 70", "> 72", fees=NO_FEES), *books) == 2 * CENT


def test_one_contract_of_an_unsettled_fee_cannot_be_a_leg() -> None:
    unknown = replace(LADDER, markets=tuple(replace(m, fees=FeeSchedule(FeeType.FLAT)) for m in LADDER.markets))
    assert edge_of(unknown, live("> 70", 50, 55), QUIET, live("> 74", 58, 60)) is None


BRACKETS = group("< 10", "10 .. 20", "> 20", fees=NO_FEES)


def test_bids_of_a_partition_above_a_dollar() -> None:
    # A market without a bid is simply not sold.
    assert edge_of(BRACKETS, live("< 10", 60, 70), live("10 .. 20", 45, 50), live("> 20", None, 90)) == 5 * CENT


def test_asks_of_a_covering_partition_below_a_dollar() -> None:
    assert edge_of(BRACKETS, live("< 10", 10, 30), live("10 .. 20", 10, 30), live("> 20", 10, 38)) == 2 * CENT


def test_without_one_ask_the_whole_cannot_be_bought() -> None:
    # What remains is selling: 30 cents of bids are 70 short.
    assert edge_of(BRACKETS, live("< 10", 10, 30), live("10 .. 20", 10, 30), live("> 20", 10, None)) == -70 * CENT


def test_a_partition_without_tails_is_never_bought_whole() -> None:
    open_ended = group("10 .. 20", "20 .. 30", fees=NO_FEES)
    assert edge_of(open_ended, live("10 .. 20", None, 1), live("20 .. 30", None, 1)) is None
    assert edge_of(open_ended, live("10 .. 20", 60, 61), live("20 .. 30", 50, 51)) == 10 * CENT


def test_crossed_locked_missing_and_stale_books_are_not_judged() -> None:
    fine = live("> 70", 50, 55), QUIET, live("> 74", 58, 60)
    assert edge_of(LADDER, *fine[:2]) is None
    screen = screen_of(LADDER, *fine)
    for bid, ask in ((60, 60), (61, 60)):
        screen.update(live("> 74", bid, ask))
        assert screen.edge(LADDER.group_id) is None
    screen.update(fine[2])
    assert screen.edge(LADDER.group_id) == 3 * CENT
    screen.forget("> 74")
    screen.forget("> 74")
    assert screen.edge(LADDER.group_id) is None
    screen.update(fine[2])
    assert screen.edge(LADDER.group_id) == 3 * CENT


def test_a_crossed_book_that_goes_stale_is_counted_out_once() -> None:
    screen = screen_of(LADDER, live("> 70", 50, 55), QUIET, live("> 74", 61, 60))
    screen.forget("> 74")
    screen.update(live("> 74", 58, 60))
    assert screen.edge(LADDER.group_id) == 3 * CENT


def test_nothing_on_either_side_is_no_edge() -> None:
    assert edge_of(LADDER, live("> 70"), live("> 72"), live("> 74")) is None


def test_unknown_tickers_and_groups_are_nothing() -> None:
    screen = screen_of(LADDER, live("ELSEWHERE", 1, 2))
    screen.forget("ELSEWHERE")
    assert screen.edge("ELSEWHERE") is None
    assert screen.group("ELSEWHERE") is None
    assert screen.groups_of("ELSEWHERE") == ()


def test_a_market_of_two_groups_moves_both() -> None:
    other = replace(group("> 70", "> 75", fees=NO_FEES), group_id="OTHER")
    screen = Screen([LADDER, other])
    assert screen.groups_of("> 70") == (LADDER.group_id, "OTHER")
    for book in (live("> 70", 50, 55), QUIET, live("> 74", 40, 60), live("> 75", 56, 60)):
        screen.update(book)
    assert (screen.edge(LADDER.group_id), screen.edge("OTHER")) == (-3 * CENT, CENT)


def settling(one: Group, *rows: tuple[int, ...]) -> Group:
    """The group with other certain states: who pays in each."""
    states = (State(f"s{n}", tuple(Price(ONE_DOLLAR * x) for x in row), Basis.CERTAIN) for n, row in enumerate(rows))
    return replace(one, states=tuple(states))


# At least one of three pays, never all of them.
ODD = settling(LADDER, (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_states_of_no_known_structure_are_judged_by_a_price_vector() -> None:
    dear = live("> 70", 71, 74), live("> 72", 70, 74), live("> 74", 64, 66)
    # NO of all three pays a dollar at least, and costs 0.29 + 0.30 + 0.36.
    assert edge_of(ODD, *dear) == 5 * CENT
    # YES of all three pays a dollar at least as well.
    assert edge_of(ODD, live("> 70", 10, 33), live("> 72", 10, 33), live("> 74", 10, 33)) == CENT
    miss = screen_of(ODD, *dear[:2], live("> 74", 58, 66)).nearest(1)[0]
    assert miss.edge == -CENT
    assert miss.legs == ("buy NO > 70 at 0.2900", "buy NO > 72 at 0.3000", "buy NO > 74 at 0.4200")


def test_thresholds_and_brackets_joined_hold_bundles_that_no_pair_shows() -> None:
    """Above 10 costs .50, above 20 brings .30 and 10 to 20 brings .25."""
    line = settling(group("> 10", "> 20", "> 30", fees=NO_FEES), (0, 0, 0), (1, 0, 1), (1, 1, 0))
    quotes = live("> 10", 49, 50), live("> 20", 30, 31), live("> 30", 25, 26)
    assert edge_of(line, *quotes) == 5 * CENT
    assert edge_of(line, *quotes[:2], live("> 30", 19, 26)) == -CENT


def test_a_certain_range_of_payouts_only_lets_more_through() -> None:
    """It is left out like every state that is not all or nothing: read as "nobody pays" it would hide a purchase."""
    anything = State("any", (Price(0),) * 3, Basis.CERTAIN, highest=(ONE_DOLLAR,) * 3)
    loose = replace(BRACKETS, states=(*BRACKETS.states, anything))
    asks = live("< 10", 10, 30), live("10 .. 20", 10, 30), live("> 20", 10, 38)
    assert edge_of(loose, *asks) == edge_of(BRACKETS, *asks) == 2 * CENT


def test_where_no_state_is_certain_the_possible_ones_count() -> None:
    """What gains in all of them is proved."""
    loose = replace(LADDER, states=tuple(replace(state, basis=Basis.POSSIBLE) for state in LADDER.states))
    quotes = live("> 70", 50, 55), QUIET, live("> 74", 58, 60)
    assert edge_of(loose, *quotes) == edge_of(LADDER, *quotes) == 3 * CENT


def test_the_nearest_misses_come_first_with_what_is_missing() -> None:
    near = replace(group("> 1", "> 2", fees=NO_FEES), group_id="NEAR", event_ticker="NEAR-EVENT")
    screen = Screen([LADDER, near, BRACKETS])
    for book in (
        live("> 70", 50, 55), live("> 72", 52, 54), live("> 74", 30, 60), live("> 1", 50, 51), live("> 2", 50, 52),
        live("< 10", 20, 30), live("10 .. 20", 30, 40), live("> 20", 40, 50),
    ):  # fmt: skip
        screen.update(book)
    misses = screen.nearest(2)
    assert [(miss.group_id, miss.edge) for miss in misses] == [("NEAR", -CENT), (LADDER.group_id, -3 * CENT)]
    assert misses[0].event_ticker == "NEAR-EVENT"
    assert misses[0].text == ("buy YES > 1 at 0.5100 and buy NO > 2 at 0.5000: -0.0100000000 dollars a set after fees")
    assert [miss.group_id for miss in screen.nearest(9)] == ["NEAR", LADDER.group_id, BRACKETS.group_id]
    assert "bids 0.9000 in all" in screen.nearest(9)[2].text


def test_a_candidate_is_no_miss() -> None:
    screen = screen_of(LADDER, live("> 70", 50, 55), QUIET, live("> 74", 58, 60))
    assert screen.nearest(5) == []


def test_an_absurd_multiplier_counts_as_ten() -> None:
    """Beyond about fourteen the price with its fee no longer rises with the price; a lower fee is still a bound."""

    def edge(multiplier: int) -> int | None:
        fees = FeeSchedule(FeeType.QUADRATIC, multiplier)
        return edge_of(group("> 70", "> 72", fees=fees), live("> 70", None, 3), live("> 72", 98, None))

    assert edge(100_000) == edge(150_000) == edge(10**9)
    assert edge(99_999) != edge(100_000)
