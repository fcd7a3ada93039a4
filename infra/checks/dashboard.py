"""The structure of a CloudWatch dashboard's body, which no deployment tool checks.

Source: Amazon CloudWatch API reference, "Dashboard body structure and syntax".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GRID = 24
MOST_WIDGETS = 500
MOST_DIMENSIONS = 30
_MOST_ROWS_HIGH = 1000
_BODY = {"start", "end", "periodOverride", "variables", "widgets"}
_WIDGET = {"type", "x", "y", "width", "height", "properties"}
_TEXT = {"markdown", "background"}
_METRIC = {
    *("region", "title", "metrics", "view", "stat", "period", "stacked", "yAxis", "annotations", "legend"),
    *("setPeriodToTimeRange", "sparkline", "timezone", "liveData", "table", "accountId"),
}
_OPTIONS = {"id", "label", "stat", "period", "color", "visible", "yAxis", "expression", "region", "accountId"}
_VIEWS = {"timeSeries", "singleValue", "gauge", "bar", "pie", "table"}
_START = re.compile(r"-P(\d+[YMWD])*(T(\d+[HMS])+)?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_STATISTIC = re.compile(r"Sum|Average|Minimum|Maximum|SampleCount|IQM|(p|tm|wm|tc|ts)\d{1,3}(\.\d{1,10})?")
_ID = re.compile(r"[a-z][A-Za-z0-9_]*")
_SEARCH = re.compile(r"SEARCH\('\{(?P<schema>[^}]+)\} (?P<query>[^']*)', '[A-Za-z0-9.]+', \d+\)")
_SEARCHED_NAME = re.compile(r'MetricName="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Shown:
    """A metric that a widget shows. A searched dimension has no value."""

    namespace: str
    name: str
    dimensions: Mapping[str, str | None]


def body_problems(body: object) -> Iterator[str]:
    """Everything about a parsed body that CloudWatch would refuse or show wrongly."""
    if not isinstance(body, Mapping):
        yield "the body is no object"
        return
    yield from (f"the body has no field {name}" for name in sorted(body.keys() - _BODY))
    for name in ("start", "end"):
        if name in body and not _matches(_START, body[name]):
            yield f"{name} is {body[name]!r}, neither a time nor a span such as -PT3H"
    if body.get("periodOverride", "auto") not in ("auto", "inherit"):
        yield f"periodOverride is {body['periodOverride']!r}"
    widgets = body.get("widgets")
    if not isinstance(widgets, list) or not widgets:
        yield "it has no list of widgets"
        return
    if len(widgets) > MOST_WIDGETS:
        yield f"it has {len(widgets)} widgets, {MOST_WIDGETS} are the most"
    taken: dict[tuple[int, int], str] = {}
    for place, widget in enumerate(widgets):
        name = title_of(widget, place)
        problems = list(_widget_problems(widget))
        yield from (f"{name}: {problem}" for problem in problems)
        if not problems:
            cells = [
                (x, y)
                for x in range(widget["x"], widget["x"] + widget["width"])
                for y in range(widget["y"], widget["y"] + widget["height"])
            ]
            covered = {taken[cell] for cell in cells if cell in taken}
            yield from (f"{name}: lies over {other}" for other in sorted(covered))
            taken |= dict.fromkeys(cells, name)


def title_of(widget: object, place: int) -> str:
    """How a widget is named in a message."""
    properties = widget.get("properties") if isinstance(widget, Mapping) else None
    title = properties.get("title") if isinstance(properties, Mapping) else None
    return title if isinstance(title, str) else f"widget {place}"


def _widget_problems(widget: object) -> Iterator[str]:
    if not isinstance(widget, Mapping):
        yield "it is no object"
        return
    yield from (f"a widget has no field {name}" for name in sorted(widget.keys() - _WIDGET))
    limits = {"x": (0, GRID - 1), "y": (0, None), "width": (1, GRID), "height": (1, _MOST_ROWS_HIGH)}
    whole = True
    for name, (low, high) in limits.items():
        value = widget.get(name)
        if type(value) is not int or value < low or (high is not None and value > high):
            whole = False
            yield f"{name} is {value!r}"
    if whole and widget["x"] + widget["width"] > GRID:
        yield f"it ends in column {widget['x'] + widget['width']}, the grid has {GRID}"
    properties = widget.get("properties")
    if not isinstance(properties, Mapping):
        yield "it has no properties"
    elif widget.get("type") == "text":
        yield from (f"a text has no property {name}" for name in sorted(properties.keys() - _TEXT))
        if not isinstance(properties.get("markdown"), str):
            yield "a text needs markdown"
    elif widget.get("type") == "metric":
        yield from _metric_problems(properties)
    else:
        yield f"type is {widget.get('type')!r}, which is not used here"


def _metric_problems(properties: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"a metric widget has no property {name}" for name in sorted(properties.keys() - _METRIC))
    for name in ("region", "title"):
        if not isinstance(properties.get(name), str) or not properties[name]:
            yield f"it needs a {name}"
    if properties.get("view", "timeSeries") not in _VIEWS:
        yield f"view is {properties['view']!r}"
    yield from _number_problems(properties)
    rows = properties.get("metrics")
    if not isinstance(rows, list) or not rows:
        yield "it shows no metric"
        return
    ids: set[str] = set()
    for place, row in enumerate(rows):
        if not isinstance(row, list) or not row:
            yield f"metric {place} is no list"
            continue
        words, options = _split(row)
        if any(not isinstance(word, str) or not word for word in words):
            yield f"metric {place} holds something that is neither a word nor, at its end, options"
            continue
        yield from (f"metric {place} has no option {name}" for name in sorted(options.keys() - _OPTIONS))
        yield from (f"metric {place}: {problem}" for problem in _number_problems(options))
        own = options.get("id")
        if own is not None and (not _matches(_ID, own) or own in ids):
            yield f"metric {place} has the id {own!r}, which is malformed or taken"
        ids.add(str(own))
        if "expression" in options:
            if words or not isinstance(options["expression"], str):
                yield f"metric {place} is an expression and holds names besides"
        elif "..." in words:
            if words[0] != "..." or place == 0:
                yield f"metric {place} repeats with ... what is not there"
        elif len(words) < 2 or len(words) % 2:
            yield f"metric {place} needs namespace, name and pairs of dimensions, it has {len(words)} words"
        elif len(words) > 2 + 2 * MOST_DIMENSIONS:
            yield f"metric {place} has more than {MOST_DIMENSIONS} dimensions"
        elif "." in words and place == 0:
            yield f"metric {place} repeats with . what is not there"


def _number_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    period = settings.get("period", 60)
    if type(period) is not int or not (period in (1, 5, 10, 30) or (period > 0 and period % 60 == 0)):
        yield f"period is {period!r}: 1, 5, 10, 30 or whole minutes in seconds"
    if "stat" in settings and not _matches(_STATISTIC, settings["stat"]):
        yield f"stat is {settings['stat']!r}"


def _split(row: list[Any]) -> tuple[list[Any], Mapping[str, Any]]:
    return (row[:-1], row[-1]) if isinstance(row[-1], Mapping) else (row, {})


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def shown_metrics(body: Mapping[str, Any]) -> Iterator[Shown]:
    """Every metric that a valid body shows, repetitions written out, searches included.

    :raises ValueError: an expression that is no search as this project writes them
    """
    for widget in body["widgets"]:
        before: list[str] = []
        for row in widget["properties"].get("metrics", ()):
            words, options = _split(row)
            if "expression" in options:
                yield _searched(options["expression"])
                continue
            if words[0] == "...":
                words = [*before[: len(before) - len(words) + 1], *words[1:]]
            words = [before[place] if word == "." else word for place, word in enumerate(words)]
            before = words
            yield Shown(words[0], words[1], dict(zip(words[2::2], words[3::2], strict=True)))


def _searched(expression: str) -> Shown:
    found = _SEARCH.fullmatch(expression)
    names = _SEARCHED_NAME.findall(found["query"]) if found is not None else []
    if found is None or len(names) != 1:
        raise ValueError(f"{expression} is no search for one metric by its schema")
    namespace, *dimensions = found["schema"].split(",")
    given = dict(re.findall(r'(\w+)="([^"]+)"', found["query"]))
    return Shown(namespace, names[0], {name: given.get(name) for name in dimensions})
