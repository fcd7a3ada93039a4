"""A dashboard's body is judged by its documented structure."""

from typing import Any

import pytest

from infra.checks.dashboard import Shown, body_problems, shown_metrics

Json = dict[str, Any]


def metric(*rows: list[Any], **more: Any) -> Json:
    return {"title": "T", "region": "us-east-1", "metrics": list(rows), **more}


def widget(properties: Json, **more: Any) -> Json:
    return {"type": "metric", "x": 0, "y": 0, "width": 8, "height": 6, "properties": properties, **more}


GOOD = ["N", "M", "d", "v"]


def body(*widgets: Json, **more: Any) -> Json:
    return {"widgets": list(widgets), **more}


@pytest.mark.parametrize(
    "right",
    [
        body(widget(metric(GOOD))),
        body(widget({"markdown": "# T"}, type="text"), widget(metric(GOOD), x=8)),
        body(widget(metric(GOOD, ["...", "w", {"stat": "p99.9", "label": "l"}], [".", "M2", ".", "."]))),
        body(widget(metric(["N", "M"], [{"expression": "SUM(METRICS())", "id": "e1"}]))),
        body(widget(metric(GOOD), x=16), widget(metric(GOOD), y=6), start="-PT3H", periodOverride="inherit"),
        body(widget(metric(GOOD)), start="2026-01-31T12:00:00Z", end="2026-01-31T13:00:00.5Z"),
        body(widget(metric(GOOD, view="singleValue", period=30, stat="tm95"))),
    ],
)
def test_a_right_body_has_no_problem(right: Json) -> None:
    assert list(body_problems(right)) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "the body is no object"),
        ({}, "no list of widgets"),
        (body(), "no list of widgets"),
        (body(*[widget(metric(GOOD), y=6 * n) for n in range(501)]), "500 are the most"),
        (body(widget(metric(GOOD)), colour="red"), "the body has no field colour"),
        (body(widget(metric(GOOD)), start="3 hours"), "start is '3 hours'"),
        (body(widget(metric(GOOD)), periodOverride="never"), "periodOverride is 'never'"),
        (body(widget(metric(GOOD), z=1)), "a widget has no field z"),
        (body(widget(metric(GOOD), x="0")), "x is '0'"),
        (body(widget(metric(GOOD), x=24)), "x is 24"),
        (body(widget(metric(GOOD), x=True)), "x is True"),
        (body(widget(metric(GOOD), x=20)), "it ends in column 28"),
        (body(widget(metric(GOOD), width=0)), "width is 0"),
        (body(widget(metric(GOOD), height=1001)), "height is 1001"),
        (body(widget(metric(GOOD)), widget(metric(GOOD, title="U"), x=7, y=5)), "U: lies over T"),
        (body(widget(metric(GOOD), type="chart")), "type is 'chart'"),
        (body(widget({}, type="text")), "a text needs markdown"),
        (body(widget({"markdown": "a", "title": "b"}, type="text")), "a text has no property title"),
        (body({**widget(metric(GOOD)), "properties": None}), "it has no properties"),
        (body(widget(metric(GOOD, region=""))), "it needs a region"),
        (body(widget(metric(GOOD, name="x"))), "a metric widget has no property name"),
        (body(widget(metric(GOOD, view="lines"))), "view is 'lines'"),
        (body(widget(metric(GOOD, period=90))), "period is 90"),
        (body(widget(metric(GOOD, period="60"))), "period is '60'"),
        (body(widget(metric(GOOD, stat="median"))), "stat is 'median'"),
        (body(widget(metric())), "it shows no metric"),
        (body(widget(metric({"namespace": "N"}))), "metric 0 is no list"),  # type: ignore[arg-type]
        (body(widget(metric(["N"]))), "metric 0 needs namespace, name and pairs"),
        (body(widget(metric(["N", "M", "d"]))), "metric 0 needs namespace, name and pairs"),
        (body(widget(metric(["N", {"stat": "Sum"}, "M"]))), "neither a word nor"),
        (body(widget(metric(["N", "M", *["d", "v"] * 31]))), "more than 30 dimensions"),
        (body(widget(metric(["..."]))), "repeats with ... what is not there"),
        (body(widget(metric([".", "M"]))), "repeats with . what is not there"),
        (body(widget(metric([*GOOD, {"state": "Sum"}]))), "metric 0 has no option state"),
        (body(widget(metric([*GOOD, {"id": "Big"}]))), "has the id 'Big'"),
        (body(widget(metric([*GOOD, {"id": "a"}], [*GOOD, {"id": "a"}]))), "has the id 'a'"),
        (body(widget(metric(["N", "M", {"expression": "a+b"}]))), "is an expression and holds names besides"),
    ],
)
def test_a_wrong_one_is_told_what_is_wrong(wrong: object, told: str) -> None:
    problems = list(body_problems(wrong))
    assert any(told in problem for problem in problems), problems


def test_repetitions_are_written_out_and_searches_read() -> None:
    rows = metric(
        ["N", "M", "a", "1", "b", "2"],
        ["...", "3"],
        [".", "M2", ".", ".", ".", "."],
        [{"expression": "SEARCH('{N,a,b} MetricName=\"M3\" a=\"4\"', 'Sum', 300)"}],
    )
    assert list(shown_metrics(body(widget(rows)))) == [
        Shown("N", "M", {"a": "1", "b": "2"}),
        Shown("N", "M", {"a": "1", "b": "3"}),
        Shown("N", "M2", {"a": "1", "b": "3"}),
        Shown("N", "M3", {"a": "4", "b": None}),
    ]
    with pytest.raises(ValueError, match="no search"):
        list(shown_metrics(body(widget(metric([{"expression": "SUM(METRICS())"}])))))
