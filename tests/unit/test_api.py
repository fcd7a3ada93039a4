"""The API: proofs in words, silence explained, hostile input refused, and a page that runs nothing but itself."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from functions.api.handler import handler
from functions.detection.handler import handler as detection
from kalshi_arb import bootstrap
from kalshi_arb.api import Api, RequestError, price_text, proof_text, read_limit, read_scan
from kalshi_arb.detection.scan import Found, ScanCounts, ScanReport
from kalshi_arb.detection.screen import Miss
from kalshi_arb.domain.basket import BasketState, Finding
from kalshi_arb.domain.errors import DetectionError, StoreError
from kalshi_arb.domain.money import Cash, Price
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.fakes import (
    ManualClock,
    MemoryAlertStore,
    MemoryBasketStore,
    MemoryGroupStore,
    MemoryOpportunityStore,
    MemoryStatusStore,
)
from kalshi_arb.kalshi.errors import RetryableError
from tests.cloud_samples import HIGH, LOW, NOW, alert, basket, certificate, group, opportunity

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "functions" / "api" / "page.html").read_text(encoding="utf-8")


class AskedDetection:
    """The detection function's handler, called as Lambda calls it: what goes in and comes out is JSON."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.fails: Exception | None = None

    def scan(self, event_ticker: str | None) -> ScanReport:
        miss = Miss("g2", "KXOTHER-26", -25_000_000, "0.0025 short")
        found = Found(opportunity("o9"), group(), (Cash(1), Cash(2)))
        return ScanReport(NOW, (found,), (miss,), ScanCounts(2, 1, 1, 1, {"no_bundle": 1}))

    def ask(self, task: Mapping[str, object]) -> dict[str, Any]:
        self.asked.append(task)
        if self.fails is not None:
            raise self.fails
        answer: dict[str, Any] = json.loads(json.dumps(detection(json.loads(json.dumps(task)), None)))
        return answer


class World:
    """An API over stores that a test fills."""

    def __init__(self) -> None:
        self.status = MemoryStatusStore()
        self.opportunities = MemoryOpportunityStore()
        self.baskets = MemoryBasketStore()
        self.groups = MemoryGroupStore([group()])
        self.alerts = MemoryAlertStore()
        self.clock = ManualClock(NOW)
        self.detection = AskedDetection()
        self.api = Api(
            status=self.status,
            opportunities=self.opportunities,
            baskets=self.baskets,
            groups=self.groups,
            alerts=self.alerts,
            detection=self.detection,
            clock=self.clock,
            mode="simulated",
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("KALSHI_ARB_MODE", "simulated")
    monkeypatch.setenv("KALSHI_ARB_REST_URL", "http://127.0.0.1:9")
    bootstrap.reset()
    made = World()
    monkeypatch.setattr(bootstrap, "api", lambda: made.api)
    monkeypatch.setattr(bootstrap, "scanner", lambda: made.detection)
    yield made
    bootstrap.reset()


def call(
    method: str, path: str, *, body: str | None = None, query: dict[str, str] | None = None, encoded: bool = False
) -> tuple[int, Any, dict[str, str]]:
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"authorization": "Bearer x"},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default", "requestId": "r"},
        "isBase64Encoded": encoded,
    }
    if body is not None:
        event["body"] = body
    if query is not None:
        event["queryStringParameters"] = query
    answer = handler(event, None)
    headers = {name.lower(): str(value) for name, value in answer["headers"].items()}
    text = answer["body"]
    return answer["statusCode"], json.loads(text) if "json" in headers["content-type"] else text, headers


# Words


def test_a_proof_in_words_adds_up() -> None:
    """Costs at limits 120 x (0.43 + 0.52) = 114; fees at most 3; a floor of 2.90 means that 119.90 come back."""
    text = proof_text(opportunity().legs, certificate())
    assert text == (
        "Pays at least $119.90 in each of 3 settlements; costs at most $114.00; fees at most $3.00; "
        'worst of 3 settlements is "10 or below"; gains at least $2.90; books at most 12 ms old.'
    )


def test_a_conditional_bundle_never_sounds_proved() -> None:
    broken = replace(
        certificate(), grade=Grade.CONDITIONAL, breaking_state="between the brackets", floor_profit=Cash(-114_000_000)
    )
    text = proof_text(opportunity().legs, broken)
    assert "Pays at least" not in text
    assert "gains at least" not in text
    assert text.startswith("Conditional: not safe to trade unattended")
    assert 'it breaks if "between the brackets" happens' in text
    assert "-$114.00" in text


@pytest.mark.parametrize(("price", "text"), [(4_300, "$0.43"), (4_350, "$0.435"), (4_351, "$0.4351"), (100, "$0.01")])
def test_prices_for_a_person(price: int, text: str) -> None:
    assert price_text(Price(price)) == text


# Reading


def test_health_before_anything_ran(world: World) -> None:
    status, body, _ = call("GET", "/health")
    assert status == 200
    assert body["mode"] == "simulated"
    assert body["feed"] == {"alive": False, "connected": False, "age_ms": None}
    assert body["alerts"] == []
    assert body["counters"] == {"detection": {}, "risk": {}, "execution": {}, "settlement": {}}


@pytest.mark.parametrize(("age", "alive"), [(0, True), (5_000, True), (5_001, False), (86_400_000, False)])
def test_a_feed_that_went_silent_is_not_called_connected(world: World, age: int, alive: bool) -> None:
    world.status.put("feed", {"updated_ms": NOW - age, "connected": True, "frames": 7})
    feed = call("GET", "/health")[1]["feed"]
    assert (feed["alive"], feed["connected"], feed["age_ms"], feed["frames"]) == (alive, alive, age, 7)


def test_health_shows_alerts_controls_and_the_account(world: World) -> None:
    world.alerts.put(alert())
    world.status.put("control", {"stop": True})
    world.status.put("account", {"matches": True})
    world.status.put("release", {"proposals": [{"text": "b1: sell"}]})
    world.status.count("detection", {"candidates": 3})
    body = call("GET", "/health")[1]
    assert body["alerts"][0]["title"] == "basket b1 locked"
    assert body["trading"]["stopped"] == "stopped: by a person"
    assert body["account"] == {"matches": True}
    assert body["release"] == ["b1: sell"]
    assert body["counters"]["detection"] == {"candidates": 3}


def test_opportunities_newest_first_with_titles(world: World) -> None:
    for number in range(3):
        world.opportunities.put(opportunity(f"o{number}", NOW + number))
    _, body, _ = call("GET", "/opportunities", query={"limit": "2"})
    assert [found["opportunity_id"] for found in body["opportunities"]] == ["o2", "o1"]
    first = body["opportunities"][0]
    assert first["legs"] == [
        f"Buy 120 YES of {LOW} (Above 10) at $0.43 or less",
        f"Buy 120 NO of {HIGH} (Above 20) at $0.52 or less",
    ]
    assert first["profit_at_least"] == "2.900000"
    assert first["grade"] == "proved"


def test_titles_of_a_group_that_changed_are_not_shown(world: World) -> None:
    world.groups.hold([group(fingerprint="f2")])
    world.opportunities.put(opportunity())
    legs = call("GET", "/opportunities")[1]["opportunities"][0]["legs"]
    assert legs[0] == f"Buy 120 YES of {LOW} at $0.43 or less"


def test_baskets_with_what_is_known_so_far(world: World) -> None:
    world.baskets.create(basket(), NOW)
    (row,) = call("GET", "/baskets")[1]["baskets"]
    assert (row["state"], row["mode"], row["expected_profit"]) == ("proposed", "simulated", "2.900000")
    assert (row["locked_profit"], row["settled_profit"], row["first_order_after_ms"]) == (None, None, None)
    assert row["legs"][0]["held"] == "0"
    assert row["legs"][0]["wanted"] == "120"
    assert row["legs"][0]["state"] == "new"
    saved = replace(basket(), state=BasketState.RESERVED, first_order_ms=NOW + 70)
    world.baskets.save(saved)
    assert call("GET", "/baskets")[1]["baskets"][0]["first_order_after_ms"] == 100


def test_a_refused_basket_is_shown_with_every_reason(world: World) -> None:
    reasons = (Finding("stopped", "by the page"), Finding("depth", "EV-0 yes shows 1.00 up to 0.3000, 10.00 is needed"))
    world.baskets.create(replace(basket(), findings=reasons, reason="stopped"), NOW)
    (row,) = call("GET", "/baskets")[1]["baskets"]
    assert row["reason"] == "stopped"
    assert row["findings"] == [{"code": one.code, "text": one.text} for one in reasons]


def test_misses_of_screen_and_detection_nearest_first(world: World) -> None:
    far = {"group_id": "g1", "event_ticker": "E1", "edge": -900, "text": "far"}
    near = {"group_id": "g2", "event_ticker": "E2", "edge": -5, "text": "near"}
    world.status.put("feed", {"updated_ms": NOW, "misses": [far]})
    world.status.put("detection", {"updated_ms": NOW, "misses": [near, "nonsense"]})
    body = call("GET", "/misses")[1]
    assert [(miss["text"], miss["seen_by"]) for miss in body["misses"]] == [("near", "detection"), ("far", "feed")]


def test_drops_of_every_stage_and_what_they_mean(world: World) -> None:
    world.status.put("feed", {"updated_ms": NOW, "connected": True, "candidates": 9, "drops": {"stale": 4}})
    world.status.put(
        "discovery", {"groups": {"ladder": 3, "partition": 2}, "dropped": {"one market": 8, "flat fee": 1}}
    )
    world.status.count("detection", {"candidates": 9, "started": 2, "drop.fee_rounding": 6, "drop.group_busy": 1})
    world.status.count("risk", {"accepted": 1, "refused.depth": 1})
    body = call("GET", "/drops")[1]
    assert {stage["stage"]: (stage["passed"], stage["drops"]) for stage in body["stages"]} == {
        "discovery": (5, {"one market": 8, "flat fee": 1}),
        "feed": (9, {"stale": 4}),
        "detection": (2, {"fee_rounding": 6, "group_busy": 1}),
        "risk": (1, {"depth": 1}),
    }
    assert body["explanation"] == [
        "Discovery accepted 5 groups and dropped 9, mostly one market (8), flat fee (1).",
        "The screen let 9 candidates through and dropped 4, mostly stale (4).",
        "Detection started 2 baskets and dropped 7, mostly fee rounding (6), group busy (1).",
        "The risk check accepted 1 and refused 1, mostly depth (1).",
    ]


@pytest.mark.parametrize(
    ("feed", "sentence"),
    [
        (None, "never reported"),
        ({"updated_ms": NOW - 60_000, "connected": True}, "silent"),
        ({"updated_ms": NOW, "connected": False}, "not connected"),
    ],
)
def test_silence_is_explained(world: World, feed: dict[str, object] | None, sentence: str) -> None:
    if feed is not None:
        world.status.put("feed", feed)
    assert sentence in call("GET", "/drops")[1]["explanation"][0]


def test_odd_statuses_do_not_break_the_page(world: World) -> None:
    """A status is written by another process, perhaps of another version."""
    world.status.put("feed", {"updated_ms": "now", "connected": "yes", "misses": 7, "drops": [1], "candidates": None})
    world.status.put("discovery", {"groups": 3, "dropped": {"x": "many"}})
    for path in ("/health", "/misses", "/drops"):
        assert call("GET", path)[0] == 200
    assert call("GET", "/health")[1]["feed"]["connected"] is False


# Asking


def test_a_scan_of_one_event_and_of_everything(world: World) -> None:
    status, body, _ = call("POST", "/scan", body='{"event_ticker": "KXTEST-26"}')
    assert status == 200
    assert body["opportunities"][0]["legs"][0]["ticker"] == LOW
    assert body["opportunities"][0]["titles"][LOW] == "Above 10"
    assert body["near_misses"][0]["text"] == "0.0025 short"
    assert body["counts"] == {"groups": 2, "screened": 1, "solved": 1, "proved": 1, "dropped": {"no_bundle": 1}}
    for everything in (None, "", "{}", '{"event_ticker": null}'):
        assert call("POST", "/scan", body=everything)[0] == 200
    encoded = base64.b64encode(b'{"event_ticker": "KXB"}').decode()
    assert call("POST", "/scan", body=encoded, encoded=True)[0] == 200
    everything_asked = {"scan": {}}
    assert world.detection.asked == [
        {"scan": {"event_ticker": "KXTEST-26"}}, *[everything_asked] * 4, {"scan": {"event_ticker": "KXB"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "x", "[]", "null", "7", '"KX"', '{"event_ticker": 7}', '{"event_ticker": ""}', '{"event_ticker": "kx"}',
        '{"event_ticker": "KX/../.."}', '{"event_ticker": "KX\\n"}', '{"event_ticker": "' + "K" * 129 + '"}',
        '{"event": "KX"}', '{"event_ticker": "KX", "buy": true}', "[" * 5_000, '{"event_ticker":' * 60, " " * 1_001,
        '{"event_ticker": "<script>"}',
    ],
)  # fmt: skip
def test_a_malformed_scan_is_refused_before_anything_runs(world: World, body: str) -> None:
    status, answer, _ = call("POST", "/scan", body=body)
    assert status == 400
    assert "event_ticker" in answer["error"]
    assert world.detection.asked == []


CALCULATION = """{"relations": [{"kind": "implies", "members": ["A", "B"]}], "legs": [
    {"market": "A", "side": "no", "price": "0.40", "count": "10"},
    {"market": "B", "side": "yes", "price": "0.50", "count": "10"}]}"""


def test_a_calculation_is_answered_without_reading_anything(world: World) -> None:
    status, body, _ = call("POST", "/calc", body=CALCULATION)
    assert status == 200
    assert (body["answer"], body["worst_profit"]) == ("lock", "0.656800")
    assert body["rests_on"][0] == {"text": "A implies B", "carries": True, "without_it": "-9.343200"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (None, "the body must hold a calculation"),
        ("{}", "there is nothing to calculate"),
        ("[]", "Expected `object`"),
        ("[" * 5_000, "the calculation cannot be read"),
        (CALCULATION.replace("implies", "likes"), "'likes' is no relation"),
        (CALCULATION.replace("0.40", "0.405"), "nearest legal"),
        (CALCULATION.replace('"10"', '"0"'), "at least 0.01 contracts"),
        (CALCULATION.replace('"price"', '"limit"'), "unknown field `limit`"),
        (
            '{"books": {"A": {"yes_dollars": [["0.6", "1"]], "no_dollars": [["0.4", "1"]]}}, "strikes": {"A": "> 1"}}',
            "",
        ),
        (" " * 200_001, "at most 200000 characters"),
    ],
)
def test_a_calculation_that_cannot_be_judged_is_refused_with_the_reason(
    world: World, body: str | None, told: str
) -> None:
    status, answer, _ = call("POST", "/calc", body=body)
    assert status == 400
    assert set(answer) == {"error"}
    assert told in answer["error"]


@pytest.mark.parametrize("body", ["%%%", base64.b64encode(b"\xff\xfe").decode()])
def test_a_body_that_cannot_be_decoded_is_refused(world: World, body: str) -> None:
    assert call("POST", "/scan", body=body, encoded=True)[0] == 400
    assert world.detection.asked == []


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "", "ten", "\u0661", "1e2", "99999999999", "1 "])
def test_a_malformed_limit_is_refused(world: World, limit: str) -> None:
    for path in ("/opportunities", "/baskets"):
        status, body, _ = call("GET", path, query={"limit": limit})
        assert status == 400
        assert "1 to 100" in body["error"]
    with pytest.raises(RequestError):
        read_limit(limit)


def test_limits_from_end_to_end() -> None:
    assert (read_limit(None), read_limit("1"), read_limit("100")) == (20, 1, 100)
    assert read_scan(None) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("POST", "/health"), ("GET", "/scan"), ("GET", "/page.html"), ("PUT", "/")],
)
def test_what_is_no_route_is_not_found(world: World, method: str, path: str) -> None:
    assert call(method, path)[0] == 404


@pytest.mark.parametrize("error", [RetryableError("timed out at 10.0.0.7"), StoreError("AccessDenied arn:aws:secret")])
def test_what_fails_behind_us_says_so_without_details(world: World, error: Exception) -> None:
    world.detection.fails = error
    status, body, _ = call("POST", "/scan")
    assert status == 503
    assert type(error).__name__ in body["error"]
    assert "10.0.0.7" not in body["error"]
    assert "arn" not in body["error"]


def test_what_detection_could_not_answer_is_told_as_it_is(world: World) -> None:
    world.detection.fails = DetectionError("detection ran out of time: ask for one event, or for less")
    for path, body in (("/scan", None), ("/calc", CALCULATION)):
        status, answer, _ = call("POST", path, body=body)
        assert (status, answer) == (503, {"error": "detection ran out of time: ask for one event, or for less"})


def test_a_process_that_answers_requests_does_not_load_the_search() -> None:
    code = "import sys, functions.api.handler as h; h.bootstrap.api; from kalshi_arb import api; "
    code += "print([name for name in sys.modules if name.startswith('kalshi_arb.detection')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# The page


class Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def markup() -> list[tuple[str, dict[str, str | None]]]:
    parser = Markup()
    parser.feed(PAGE)
    return parser.found


def blocks(tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)


def test_the_page_comes_with_a_policy_that_allows_itself_only(world: World) -> None:
    status, text, headers = call("GET", "/")
    assert status == 200
    assert text == PAGE
    assert headers["content-type"].startswith("text/html")
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("script", "style"):
        (block,) = blocks(tag)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_every_answer_forbids_storing_framing_and_sniffing(world: World) -> None:
    for method, path in [("GET", "/"), ("GET", "/health"), ("GET", "/nothing"), ("POST", "/scan")]:
        headers = call(method, path)[2]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert call("GET", "/health")[2]["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_the_page_loads_nothing_from_anywhere() -> None:
    for tag, attributes in markup():
        assert "src" not in attributes, tag
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        if "href" in attributes:
            assert attributes["href"] == "data:,"
    assert re.findall(r"url\(|@import|https?://", PAGE) == []


def test_the_page_never_turns_data_into_markup_or_code() -> None:
    (script,) = blocks("script")
    dangerous = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|setTimeout\(['\"]|srcdoc"
    assert re.findall(dangerous, script) == []


def test_the_page_asks_relative_routes_that_exist(world: World) -> None:
    """A path prefix before the stage must not matter."""
    (script,) = blocks("script")
    routes = re.findall(r'\["(\w+)", show', script)
    assert sorted(routes) == ["baskets", "drops", "health", "misses", "opportunities"]
    for route in routes:
        assert call("GET", f"/{route}")[0] == 200


def test_the_page_can_be_read_by_everybody() -> None:
    found = markup()
    assert ("html", {"lang": "en"}) in found
    inputs = [attributes for tag, attributes in found if tag == "input"]
    labels = {attributes.get("for") for tag, attributes in found if tag == "label"}
    assert all(attributes["id"] in labels for attributes in inputs)
    assert {"alert", "status"} <= {attributes.get("role") for _, attributes in found}


def test_the_page_has_words_for_every_mode_and_state() -> None:
    (script,) = blocks("script")
    for word in ("simulated", "demo", "paper", "live", *(state.value for state in BasketState)):
        assert re.search(rf"\b{word}: \"", script), word
