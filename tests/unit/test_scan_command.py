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


VIEW = {
    "mode": "paper",
    "scanned_ms": 1_795_600_000_000,
    "counts": {"groups": 3, "books": 9, "proved": 1, "no_bundle": 2},
    "opportunities": [
        {
            "grade": "proved",
            "event_ticker": "KXONE-1",
            "profit_at_least": "1.250000",
            "legs": ["Buy 5 YES of A at $0.40 or less", "Buy 5 NO of B at $0.30 or less"],
            "proof": "Pays at least $5.00 in each of 3 settlements.",
        }
    ],
    "misses": [{"event_ticker": "KXTWO-2", "edge": -5, "group_id": "KXTWO-2:ladder", "text": "a tick short"}],
}


def test_a_find_is_shown_with_its_legs_and_its_proof() -> None:
    assert as_text({"exchange": "http://x", **VIEW, "dropped": {"too_wide": 4}}) == [
        "exchange  http://x",
        "scanned   2026-11-25 09:46:40 UTC, 3 groups on 9 books; nothing was traded",
        "judged    1 proved, 2 no bundle",
        "left out  too wide (4)",
        "",
        "  1. proved, gains at least $1.25: KXONE-1",
        "     Buy 5 YES of A at $0.40 or less",
        "     Buy 5 NO of B at $0.30 or less",
        "     Pays at least $5.00 in each of 3 settlements.",
        "",
        "nearest misses",
        "KXTWO-2                       a tick short",
    ]


def test_a_scan_without_any_group_says_that_there_was_nothing_to_judge() -> None:
    view = {"exchange": "x", "scanned_ms": 0, "counts": {"groups": 0, "books": 0}, "opportunities": [], "misses": []}
    lines = as_text(view)
    assert "judged    nothing" in lines
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
    assert json.loads(result.stdout) == {"exchange": f"the one of {url}", **VIEW}


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
        (("--url", "nowhere"), "--url is 'nowhere', which is no address"),
        (("--exchange", "moon"), "'moon' is not one of"),
        (("--cloud", "--api-url", "http://x", "--token-file", "/no/such/file"), "does not exist"),
    ],
)
def test_wrong_use_ends_with_2(arguments: tuple[str, ...], told: str) -> None:
    result = scan(*arguments)
    assert result.exit_code == 2
    assert told in result.output


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
