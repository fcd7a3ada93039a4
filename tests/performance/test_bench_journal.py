"""The journal's bench measures a whole journal, and its costs are those of the items that the table holds."""

import json

from click.testing import CliRunner

from infra.bench.journal import PER_BASKET, READS, WRITES, basket_entries, main, measure


def test_it_measures_a_whole_journal() -> None:
    told = CliRunner().invoke(main, ["--entries", "90", "--json"])
    assert told.exit_code == 0, told.output
    figures = json.loads(told.output)
    assert (figures["baskets"], figures["entries"]) == (10, 10 * PER_BASKET + 1)
    assert figures["csv"]["rows"] == 2 * 10, "both legs of every basket are paid"
    assert figures["appended_per_second"] > 0
    assert figures["running"]["entries"] == figures["entries"], "nothing is over for three days yet"
    assert "report of a day seconds" in CliRunner().invoke(main, ["--entries", "90"]).output


def test_what_is_over_is_not_read_again_and_again() -> None:
    running = measure(9_000)["running"]
    assert isinstance(running, dict)
    assert running["entries"] < 6_000, "three days at 200 baskets a day"


def test_a_basket_is_what_the_figures_are_per() -> None:
    assert sum(len(part) for part in basket_entries(7)) == PER_BASKET


def test_costs_follow_from_units() -> None:
    cost = measure(900)["cost"]
    assert isinstance(cost, dict)
    # Nine entries with their ids. The heads of the basket's own chain in four appends, of each of two markets in two; a
    # head moves in the index too.
    assert abs(cost["write_units_per_basket"] - (2 * (9 + 9) + (2 + 2) * (4 + 2 + 2))) < 0.2
    assert abs(cost["dollars_to_write_a_basket"] - cost["write_units_per_basket"] * WRITES / 10**6) < 1e-7
    assert abs(cost["dollars_of_one_scan"] - cost["read_units_of_one_scan"] * READS / 10**6) < 1e-6
