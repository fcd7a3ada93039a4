"""`kalshi-arb scan`: what it says, and how it ends when nothing answers or something is asked wrongly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kalshi_arb.cli.main import cli
from kalshi_arb.cli.scan import Progress, as_text
from kalshi_arb.kalshi import client
from kalshi_arb.kalshi.hosts import HOSTS, Exchange


def scan(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["scan", *arguments])


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers every POST like this."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


FOUND = {
    "id": "f00d",
    "group": "KXONE-1:ladder",
    "grade": "conditional",
    "legs": [
        {"ticker": "A", "side": "yes", "price": "0.4000", "count": "5.00", "fee": "0.084000"},
        {"ticker": "BB", "side": "no", "price": "0.3050", "count": "5.00", "fee": "0.074200"},
    ],
    "cost": "3.525000",
    "fees": "0.158200",
    "worst_profit": "-3.683200",
    "worst_state": "neither",
    "capital": "3.683200",
    "skew_ms": 12,
}
SHOWN = {
    **FOUND,
    "event": "KXONE-1",
    "titles": {"A": "Above 1", "BB": "Above 2"},
    "found_ms": 1_795_600_000_000,
    "why": ["BB implies A.", "They belong to one event."],
    "assumptions": ["The texts are alike."],
    "breaking_state": "neither",
    "states": 3,
    "profit_on_books": "-3.683200",
    "age_ms": 40,
    "locked_until_ms": 1_795_600_060_000,
}
COUNTS = {"groups": 3, "screened": 2, "solved": 1, "proved": 0, "dropped": {"conditional": 1, "no_bundle": 2}}
MISS = {"group": "KXTWO-2:ladder", "event": "KXTWO-2", "edge": "-0.0000000005", "text": "a tick short"}
VIEW = {
    "mode": "paper",
    "scanned_ms": 1_795_600_000_000,
    "counts": COUNTS,
    "opportunities": [SHOWN],
    "near_misses": [MISS],
}


def test_a_find_is_shown_as_a_table_with_what_it_rests_on() -> None:
    assert as_text({"exchange": "http://x", **VIEW, "left_out": {"too_wide": 4}}) == [
        "exchange  http://x",
        "scanned   2026-11-25 09:46:40 UTC, 3 groups; nothing was traded",
        "judged    2 through the screen, 1 with a bundle after linear fees, 0 proved",
        "dropped   conditional (1), no bundle (2)",
        "left out  too wide (4)",
        "",
        "  1. conditional, -$3.6832 in the worst case: KXONE-1 at 11-25 09:46:40",
        "     buy         5 YES A   at $0.40 or less, fee $0.084  Above 1",
        "     buy         5 NO  BB  at $0.305 or less, fee $0.0742  Above 2",
        "     size      5 contracts a leg, costs $3.525 and fees $0.1582 at most",
        '     worst     -$3.6832 if "neither", of 3 ways to settle',
        "     breaks if neither",
        "     assumes   The texts are alike.",
        "     capital   $3.6832 tied up until 2026-11-25 09:47 UTC",
        "     books     at most 40 ms old, 12 ms apart",
        "     because   BB implies A.",
        "               They belong to one event.",
        "",
        "nearest misses",
        "KXTWO-2                       a tick short",
    ]


def test_a_scan_without_any_group_says_so() -> None:
    counts = {"groups": 0, "screened": 0, "solved": 0, "proved": 0, "dropped": {}}
    lines = as_text({"exchange": "x", "scanned_ms": 0, "counts": counts, "opportunities": [], "near_misses": []})
    assert "scanned   1970-01-01 00:00:00 UTC, 0 groups; nothing was traded" in lines
    assert lines[-1].startswith("no near misses")


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text("a-token-that-is-long-enough\n")
    return str(path)


def test_the_cloud_s_answer_is_handed_on(token: str) -> None:
    with answering(200, json.dumps(VIEW)) as url:
        result = scan("--cloud", "--api-url", url, "--token-file", token, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"opportunities": [FOUND], "near_misses": [MISS], "counts": COUNTS}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, "{}", "refuses the token (HTTP 401)"),
        (403, '{"message": "Forbidden"}', "refuses the token (HTTP 403)"),
        (400, '{"error": "the body must be empty"}', "the body must be empty (HTTP 400)"),
        (503, '{"error": "RetryableError: try again"}', "RetryableError: try again (HTTP 503)"),
        (500, '{"message": "Internal Server Error"}', "Internal Server Error (HTTP 500)"),
        (200, "<html>a login page</html>", "something that is no scan"),
        (200, '{"hello": 1}', "something that is no scan"),
    ],
)
def test_what_the_cloud_refuses_is_one_line(status: int, body: str, told: str, token: str) -> None:
    with answering(status, body) as url:
        result = scan("--cloud", "--api-url", url, "--token-file", token)
    assert result.exit_code == 1
    assert told in result.output
    assert len(result.output.splitlines()) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_ATTEMPTS", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("arguments", [("--url", "http://127.0.0.1:9/trade-api/v2"), ("--exchange", "prod")])
def test_an_exchange_that_does_not_answer_is_one_line(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No name server is asked in a test: production is somewhere nobody listens.
    monkeypatch.setitem(HOSTS, Exchange.PROD, type(HOSTS[Exchange.PROD])("http://127.0.0.1:9/trade-api/v2", ""))
    result = scan(*arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: http://127.0.0.1:9/trade-api/v2 does not answer a public read: ")
    assert len(result.output.splitlines()) == 1


def test_an_api_that_does_not_answer_is_one_line(token: str) -> None:
    result = scan("--cloud", "--api-url", "http://127.0.0.1:9", "--token-file", token)
    assert result.exit_code == 1
    assert result.output.startswith("Error: http://127.0.0.1:9 does not answer: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("--exchange", "embedded"), ("--cloud",)])
def test_without_a_run_it_says_what_else_can_be_scanned(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = scan(*arguments, "--folder", str(tmp_path))
    assert result.exit_code == 1
    assert "kalshi-arb run" in result.output
    assert "--api-url" in result.output or "--exchange demo|prod" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--exchange", "demo", "--url", "http://x/y"), "not both"),
        (("--cloud", "--exchange", "demo"), "leave --exchange and --url out"),
        (("--cloud", "--api-url", "http://x"), "--api-url and --token-file go together"),
        (("--tape", "x.jsonl", "--exchange", "demo"), "--tape scans recordings"),
        (("--tape", "x.jsonl", "--cloud"), "--tape scans recordings"),
        (("--cloud", "--series", "KXA"), "leave --series and --min-profit out"),
        (("--cloud", "--min-profit", "0.01"), "leave --series and --min-profit out"),
        (("--min-profit", "-1", "--exchange", "demo"), "--min-profit is -1, and must not be negative"),
        (("--min-profit", "1 cent", "--exchange", "demo"), "--min-profit: not a plain decimal"),
        (("--url", "nowhere"), "--url is 'nowhere', which is no address"),
        (("--exchange", "moon"), "'moon' is not one of"),
        (("--cloud", "--api-url", "http://x", "--token-file", "/no/such/file"), "does not exist"),
    ],
)
def test_wrong_use_ends_with_2(arguments: tuple[str, ...], told: str) -> None:
    result = scan(*arguments)
    assert result.exit_code == 2
    assert told in result.output


TWO_EVENTS = Path(__file__).resolve().parents[1] / "payloads" / "tapes" / "two_events.jsonl"


def test_a_tape_is_scanned_pass_by_pass() -> None:
    view = json.loads(scan("--tape", str(TWO_EVENTS), "--json").stdout)
    assert set(view) == {"opportunities", "near_misses", "counts", "tape"}
    passes = view["tape"]["passes"]
    assert len(passes) == len({one["at"] for one in passes}) > 1
    assert sum(one["groups"] for one in passes) == view["counts"]["groups"]
    assert sum(one["proved"] for one in passes) == view["counts"]["proved"] == len(view["opportunities"])
    counts = view["counts"]
    assert counts["groups"] == counts["proved"] + sum(counts["dropped"].values())
    text = scan("--tape", str(TWO_EVENTS)).stdout
    assert "contradict themselves" in text
    assert "not on tape" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tape", "/no/such.jsonl"), "/no/such.jsonl: no such file or folder"),
        (("--tape", str(TWO_EVENTS), "--series", "KXNOTHING"), "no market of the series KXNOTHING"),
        (("KXNOTHING-1", "--tape", str(TWO_EVENTS)), "holds no event KXNOTHING-1"),
    ],
)
def test_a_tape_that_says_nothing_of_what_was_asked_is_one_line(arguments: tuple[str, ...], told: str) -> None:
    result = scan(*arguments)
    assert result.exit_code == 1
    assert told in (result.output or str(result.exception))


def test_progress_is_a_line_now_and_then_when_nobody_watches_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress()
    for second in (101.0, 111.0, 112.0, 122.0):
        now[0] = second
        progress.tell(f"at {second}")
    progress.clear()
    assert capsys.readouterr().err.splitlines() == ["at 111.0", "at 122.0"]


def test_a_bar_is_drawn_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        progress = Progress()
        now[0] += 60.0
        progress.bar(1, 3, "groups judged")
        progress.bar(0, 0, "nothing")
    assert capsys.readouterr().err == "\r\x1b[K[##########....................] 1 of 3 groups judged"


def test_progress_on_a_terminal_is_one_line_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress()
    now[0] = 101.0
    progress.tell("judging")
    progress.tell("too soon to be drawn")
    progress.clear()
    assert capsys.readouterr().err == "\r\x1b[Kjudging\r\x1b[K"
