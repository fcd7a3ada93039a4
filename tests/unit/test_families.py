"""Which markets become groups, every way they can settle, and why the others were left out."""

from dataclasses import replace
from decimal import Decimal

import pytest

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.relations.assembly import LARGEST_GROUP
from kalshi_arb.relations.intervals import describe, display_tick, line_states, strikes_of
from tests.market_samples import CLOSE_MS, FINE_GRID, formed, group, listing, market

WEATHER = ("< 93", "93 .. 94", "95 .. 96", "97 .. 98", "> 98")


def winners(found: Group, basis: Basis) -> dict[tuple[str, ...], str]:
    """Markets that pay YES in each state of a basis, with the state's name."""
    return {
        tuple(ticker for ticker, pays in zip(found.tickers, state.yes_payouts, strict=True) if pays): state.name
        for state in found.states
        if state.basis is basis
    }


def drops_of(
    *markets: Market | tuple[Market, MarketStatus], exclusive: bool = False, now_ms: int = 0
) -> dict[str, int]:
    groups, drops = formed(listing(markets, exclusive=exclusive), now_ms=now_ms)
    assert groups == []
    return drops


def test_thresholds_of_one_subject_are_a_ladder_from_the_most_inclusive_on() -> None:
    found = group("> 68.99", "> 66.99", "> 67.99")
    assert found.family is Family.LADDER
    assert found.tickers == ("> 66.99", "> 67.99", "> 68.99")
    assert set(winners(found, Basis.CERTAIN)) == {
        (),
        ("> 66.99",),
        ("> 66.99", "> 67.99"),
        ("> 66.99", "> 67.99", "> 68.99"),
    }
    assert winners(found, Basis.POSSIBLE) == {}
    assert [(relation.kind, relation.tickers) for relation in found.relations] == [
        (RelationKind.SUBSET, ("> 67.99", "> 66.99")),
        (RelationKind.SUBSET, ("> 68.99", "> 67.99")),
    ]
    assert found.relations[0].reason == "Every value above 67.99 is also above 66.99."


def test_a_ladder_downwards_begins_with_the_highest_cap() -> None:
    found = group("< 5", "<= 7", "< 7")
    assert found.tickers == ("<= 7", "< 7", "< 5")
    assert set(winners(found, Basis.CERTAIN)) == {("<= 7", "< 7", "< 5"), ("<= 7", "< 7"), ("<= 7",), ()}


def test_strict_and_inclusive_at_one_strike_differ_in_that_value_only() -> None:
    found = group("> 5", ">= 5")
    assert found.tickers == (">= 5", "> 5")
    assert winners(found, Basis.CERTAIN) == {(): "below 5", (">= 5",): "at 5", (">= 5", "> 5"): "above 5"}


def test_rungs_one_display_tick_apart_differ_only_in_a_sliver() -> None:
    found = group("> 67.99", ">= 68")
    assert winners(found, Basis.POSSIBLE) == {("> 67.99",): "between 67.99 and 68 (sliver between neighbouring values)"}


def test_a_weather_event_is_a_partition_whose_slivers_pay_nobody() -> None:
    found = group(*reversed(WEATHER))
    assert found.family is Family.PARTITION
    assert found.tickers == WEATHER
    assert set(winners(found, Basis.CERTAIN)) == {(ticker,) for ticker in WEATHER}
    possible = winners(found, Basis.POSSIBLE)
    assert set(possible) == {()}
    assert possible[()].startswith("between 94 and 95 (sliver between neighbouring values), or one of ")
    assert [relation.kind for relation in found.relations] == [RelationKind.EXCLUSIVE]


def test_crypto_brackets_leave_a_sliver_of_one_cent() -> None:
    found = group("< 52200", "52200 .. 52299.99", "52300 .. 52399.99", "> 52399.99")
    assert set(winners(found, Basis.CERTAIN)) == {(ticker,) for ticker in found.tickers}
    assert "between 52299.99 and 52300" in winners(found, Basis.POSSIBLE)[()]


def test_a_shared_end_may_pay_both_neighbours_or_none() -> None:
    found = group("0 .. 10", "10 .. 20")
    assert winners(found, Basis.POSSIBLE) == {
        ("0 .. 10", "10 .. 20"): "at 10, counted into 0 to 10 and 10 to 20",
    }
    # Beside the brackets, nobody is paid for certain.
    assert set(winners(found, Basis.CERTAIN)) == {("0 .. 10",), ("10 .. 20",), ()}
    assert found.relations == ()


def test_a_shared_end_inside_a_tiled_line_may_pay_nobody() -> None:
    found = group("<= 0", "0 .. 10", "10 .. 20", "> 20")
    assert set(winners(found, Basis.CERTAIN)) == {(ticker,) for ticker in found.tickers}
    assert set(winners(found, Basis.POSSIBLE)) == {("<= 0", "0 .. 10"), ("0 .. 10", "10 .. 20"), ()}
    assert found.relations == ()


def test_a_true_gap_certainly_pays_nobody() -> None:
    found = group("< 93", "93 .. 94", "97 .. 98", "> 98")
    assert winners(found, Basis.CERTAIN)[()] == "between 94 and 97"
    assert winners(found, Basis.POSSIBLE) == {}


def test_a_missing_tail_certainly_pays_nobody() -> None:
    found = group("93 .. 94", "95 .. 96", "> 96")
    assert winners(found, Basis.CERTAIN)[()] == "below 93"


def test_two_complementary_tails_cover_the_line() -> None:
    found = group("< 50", ">= 50")
    assert found.family is Family.PARTITION
    assert [relation.kind for relation in found.relations] == [
        RelationKind.EXCLUSIVE,
        RelationKind.EXHAUSTIVE,
        RelationKind.PARTITION,
    ]
    assert found.relations[2].reason == "The 2 stretches from below 50 to 50 or above hold every value exactly once."


def test_a_point_where_every_reading_differs_from_both_sides_keeps_a_certain_state() -> None:
    # At 5 both tails pay besides the bracket that may end there: no neighbouring interval looks like that.
    states = line_states([market("<= 5"), market("5 .. 6"), market(">= 5")])
    at_five = [state for state in states if state.name.startswith("at 5")]
    assert Basis.CERTAIN in {state.basis for state in at_five}


def test_subjects_of_one_event_never_mix() -> None:
    markets = [market(f"> {points}", ticker=f"{team}{points}", subject=team) for team in "AB" for points in (1, 2)]
    groups, drops = formed(listing(markets))
    assert drops == {}
    assert {found.tickers for found in groups} == {("A1", "A2"), ("B1", "B2")}
    assert len({found.group_id for found in groups}) == 2


def test_a_paused_market_leaves_a_smaller_group() -> None:
    groups, drops = formed(listing([market("> 1"), (market("> 2"), MarketStatus.INACTIVE), market("> 3")]))
    assert [found.tickers for found in groups] == [("> 1", "> 3")]
    assert drops == {"not_active": 1}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (MarketStatus.INITIALIZED, "not_active"),
        (MarketStatus.CLOSED, "already_closed"),
        (MarketStatus.DETERMINED, "already_closed"),
        (MarketStatus.FINALIZED, "already_closed"),
    ],
)
def test_only_active_markets_count(status: MarketStatus, reason: str) -> None:
    assert drops_of((market("> 1"), status), market("> 2")) == {reason: 1, "single_market": 1}


def test_a_market_past_its_close_is_dropped() -> None:
    assert drops_of(market("> 1"), market("> 2"), now_ms=CLOSE_MS) == {"already_closed": 2}


def test_strikes_without_structure_are_dropped() -> None:
    # A structured market may carry a floor: its strike type still says nothing about a line.
    named = [replace(market(f"> {number}"), strike_type=StrikeType.OTHER) for number in (1, 2)]
    assert drops_of(*named) == {"no_structured_strike": 2}


def test_missing_and_unusable_strikes_are_dropped() -> None:
    missing = replace(market("> 1"), floor=None)
    half = replace(market("1 .. 2"), cap=None)
    infinite = replace(market("> 3"), floor=Decimal("Infinity"))
    assert drops_of(missing, half, infinite) == {"missing_strike": 3}
    assert drops_of(market("5 .. 4"), market("6 .. 6")) == {"empty_bracket": 2}


def test_two_markets_on_one_strike_hide_a_difference() -> None:
    # Two teams without subjects: neither ladder can be trusted.
    markets = [market("> 1", ticker="A1"), market("> 1.0", ticker="B1"), market("> 2", ticker="A2")]
    assert drops_of(*markets) == {"duplicate_strikes": 3}


def test_fees_that_cannot_be_computed_are_dropped() -> None:
    flat = FeeSchedule(FeeType.FLAT)
    assert drops_of(market("> 1", fees=flat), market("> 2", fees=flat)) == {"fees_not_computable": 2}


def test_different_closing_times_are_dropped() -> None:
    assert drops_of(market("> 1"), market("> 2", close_ms=CLOSE_MS + 1)) == {"different_close_times": 2}


@pytest.mark.parametrize(
    "strikes",
    [
        ("> 1", "> 2", "3 .. 4"),
        ("< 5", "> 3"),
        ("0 .. 10", "5 .. 15"),
        ("0 .. 10", "0 .. 5"),
        ("<= 5", ">= 5"),
    ],
)
def test_markets_that_pay_together_are_a_line_and_no_partition(strikes: tuple[str, ...]) -> None:
    found = group(*strikes)
    assert found.family is Family.LINE
    assert any(len(payers) > 1 for payers in winners(found, Basis.CERTAIN))
    assert drops_of(*map(market, strikes), exclusive=True) == {"ladder_declared_exclusive": len(strikes)}


def test_many_brackets_with_one_open_end_leave_too_much_open() -> None:
    assert drops_of(*(market(f"0 .. {high}") for high in range(1, 9))) == {"too_many_brackets_at_one_value": 8}


def test_a_ladder_declared_exclusive_contradicts_itself() -> None:
    assert drops_of(market("> 1"), market("> 2"), exclusive=True) == {"ladder_declared_exclusive": 2}


def test_a_partition_does_not_need_the_flag() -> None:
    for exclusive in (False, True):
        groups, drops = formed(listing(map(market, WEATHER), exclusive=exclusive))
        assert len(groups) == 1
        assert drops == {}


def test_a_group_beyond_what_can_be_stored_is_dropped() -> None:
    count = LARGEST_GROUP + 1
    assert drops_of(*(market(f"> {number}") for number in range(count))) == {"too_large": count}


def test_the_largest_listed_partition_is_built() -> None:
    strikes = ["< 50000", *(f"{low} .. {low + 99}.99" for low in range(50_000, 68_600, 100)), "> 68599.99"]
    found = group(*strikes)
    assert len(found.markets) == 188
    assert len(found.states) == 189


def test_ids_are_stable_and_the_order_of_the_listing_does_not_matter() -> None:
    one, other = group("> 1", "> 2"), group("> 2", "> 1")
    assert one == other
    assert one.group_id == "EVENT:ladder"
    subject = formed(listing([market("> 1", subject="s"), market("> 2", subject="s")]))[0][0]
    assert subject.group_id.startswith("EVENT:ladder:")


def test_the_fingerprint_changes_with_everything_a_proof_rests_on() -> None:
    first, second = market("> 1"), market("> 2")

    def mark(changed: Market) -> str:
        groups, drops = formed(listing([first, changed]))
        assert drops == {}
        return groups[0].fingerprint

    base = mark(second)
    assert mark(replace(second, floor=Decimal("2.0"))) == base
    assert mark(replace(second, title="another title", shard=3)) == base
    changes = [
        replace(second, floor=Decimal(3)),
        replace(second, strike_type=StrikeType.GREATER_OR_EQUAL),
        replace(second, ticker="other"),
        replace(second, series_ticker="other"),
        replace(second, rules_fingerprint="other"),
        replace(second, grid=FINE_GRID),
        replace(second, fees=FeeSchedule(FeeType.QUADRATIC, 5_000)),
        replace(second, fees=FeeSchedule(FeeType.WITH_MAKER)),
    ]
    assert len({base, *map(mark, changes)}) == len(changes) + 1
    later = formed(listing([replace(one, close_ms=CLOSE_MS + 1) for one in (first, second)]))[0][0]
    assert later.fingerprint != base


def test_display_ticks_follow_the_finest_strike() -> None:
    assert display_tick([Decimal(76), Decimal(77)]) == 1
    assert display_tick([Decimal("1E+2"), Decimal("55799.99")]) == Decimal("0.01")
    assert display_tick([Decimal("93.0")]) == 1


def test_strikes_are_shown_without_needless_digits() -> None:
    assert describe(market("<= 1E+2")) == "100 or below"
    assert describe(market("93.50 .. 94.0")) == "93.5 to 94"


def test_states_need_strikes_and_markets() -> None:
    unstructured = replace(market("> 1"), strike_type=StrikeType.OTHER)
    assert strikes_of(unstructured) is None
    with pytest.raises(ProofError, match="no strikes"):
        line_states([unstructured])
    with pytest.raises(ProofError, match="no markets"):
        line_states([])


def test_every_payout_is_a_whole_dollar_or_nothing() -> None:
    payouts = {payout for state in group(*WEATHER).states for payout in state.yes_payouts}
    assert payouts == {0, ONE_DOLLAR}
