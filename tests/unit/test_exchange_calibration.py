"""The simulated books and their stream look like the recorded ones, kind by kind, and the comparison can tell."""

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from infra.exchange.calibration import EXCEPTIONS, Row, Simulated, compare, main, measured, simulate
from infra.exchange.figures import POINTS, BookSample, Profile, Spread, rate_figures, spread_of
from infra.exchange.recordings import RecordingsError
from infra.exchange.targets import load_targets
from kalshi_arb.domain.money import ONE_CONTRACT, Count, Price

RECORDINGS = Path(__file__).parents[3] / "shared" / "data"
SECONDS = 100


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return simulate(SECONDS, seed=1)


def test_every_figure_of_the_universe_is_within_its_tolerance(simulated: Simulated) -> None:
    rows = compare(load_targets(), simulated)
    held = [row for row in rows if row.is_close is not None]
    assert [row for row in held if not row.is_close and not row.excuse] == []
    assert sum(row.is_close is True for row in held) > 140
    assert {row.kind for row in held} == {*(profile.value for profile in Profile), "all", "rhythm"}


def test_no_excuse_is_kept_that_excuses_nothing(simulated: Simulated) -> None:
    names = {(row.kind, row.name) for row in compare(load_targets(), simulated)}
    for kind, name in EXCEPTIONS:
        assert any(known == kind and figure.startswith(name) for known, figure in names), (kind, name)


def test_two_of_three_markets_have_both_sides_and_fractions_occur_at_the_top(simulated: Simulated) -> None:
    assert 0.55 < simulated.together.two_sided / 10_000 < 0.80
    assert simulated.together.fractional_top is not None
    assert simulated.together.fractional_top / 10_000 > 3_226 / 22_000


def test_a_distribution_drawn_from_its_percentiles_has_them() -> None:
    recorded = Spread(1_000, (100, 100, 100, 200, 400, 800, 1_400))
    random = Random(1)
    drawn = spread_of(recorded.draw(random) for _ in range(20_000))
    assert drawn is not None
    for point, left, right in zip(POINTS, recorded.at, drawn.at, strict=True):
        assert abs(left - right) <= 0.05 * left, point


def test_the_figures_of_two_books_are_what_one_counts_by_hand() -> None:
    sample = BookSample()
    whole, fraction = Count(5 * ONE_CONTRACT), Count(150)
    sample.add([(Price(4_000), whole), (Price(3_800), fraction)], [(Price(5_900), fraction)])
    sample.add([], [(Price(9_900), whole)])
    figures = sample.figures()
    assert (figures.books, figures.two_sided, figures.empty) == (2, 5_000, 0)
    assert (figures.fractional_top, figures.fractional_top_side, figures.fractional_level) == (5_000, 3_333, 5_000)
    assert figures.spread is not None
    assert figures.spread.median == 100
    assert figures.gap is not None
    assert figures.gap.median == 200
    assert figures.levels is not None
    assert figures.levels.at[-1] == 2


def test_a_stream_that_comes_in_one_burst_is_told_from_an_even_one() -> None:
    even = rate_figures(range(0, 10_000, 10))
    burst = rate_figures([0, *[5_000] * 998, 9_990])
    assert even is not None
    assert burst is not None
    assert (even.peak, even.quiet, even.milli_per_second) == (10, 0, 100_000)
    assert burst.peak == 998
    assert burst.quiet == 9_700
    assert rate_figures([1, 2, 3]) is None


def test_a_figure_twice_as_large_as_recorded_is_seen() -> None:
    assert Row("weather", "spread, 1e-4 dollars, p50", 200, 400).is_close
    assert not Row("weather", "spread, 1e-4 dollars, p50", 200, 500).is_close
    assert not Row("weather", "two-sided, 1e-4", 5_678, 8_700).is_close
    assert Row("weather", "books looked at", 1, 100).is_close is None


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project")
def test_the_kept_figures_are_those_of_the_recordings() -> None:
    found, kept = measured(RECORDINGS), load_targets()
    # More recordings may lie there than the figures were taken from, and fewer.
    for row in compare(found, Simulated(kept.books, next(iter(kept.books.values())), next(iter(kept.rates.values())))):
        if row.kind not in ("all", Profile.COMBO.value) and row.recorded is not None:
            assert row.is_close is not False, row


def test_a_folder_without_recordings_and_a_damaged_one_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RecordingsError, match="no recordings"):
        measured(tmp_path)
    (tmp_path / "books" / "weather").mkdir(parents=True)
    day = tmp_path / "books" / "weather" / "day.jsonl.gz"
    day.write_bytes(gzip.compress(b'{"orderbook_fp": {"yes_dollars": [["0.4", "x"]]}}\n'))
    assert main(["--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    day.write_bytes(gzip.compress(b'{"orderbook_fp": {"yes_dollars": [["0.40", "3.00"]], "no_dollars": null}}\n'))
    assert main(["--data", str(tmp_path), "--measure"]) == 0
    assert json.loads(capsys.readouterr().out)["books"]["weather"]["books"] == 1
