"""`kalshi-arb book` on a still exchange over real HTTP: what people and machines read, and every refusal."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from infra.exchange.auth import KeyRing
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.testkit import EVENT, TICKERS, ManualTime, rest, still_core
from kalshi_arb.cli.book import as_text
from kalshi_arb.cli.main import cli
from kalshi_arb.domain.market import Outcome
from kalshi_arb.kalshi import client as rest_client

A, B, C = TICKERS


def book(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["book", *arguments])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A: bids 40 and 38, asks 45 and 46. B: nobody sells. C: empty."""
    core = still_core()
    for cents, contracts in ((40, 10), (38, 5)):
        rest(core, A, Outcome.YES, cents, contracts)
    for cents, contracts in ((55, 7), (54, 3)):
        rest(core, A, Outcome.NO, cents, contracts)
    rest(core, B, Outcome.YES, 20, 1)
    core.drain()
    ready, stop, found = threading.Event(), threading.Event(), [""]

    async def serve() -> None:
        server = ExchangeServer(core, KeyRing(), ServerConfig(), now_ms=ManualTime().now_ms)
        await server.start()
        found[0] = server.rest_url
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.01)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    stop.set()
    thread.join()


def test_a_machine_reads_every_level_in_yes_terms(url: str) -> None:
    result = book(A, "--url", url, "--json")
    assert result.exit_code == 0, result.output
    view = json.loads(result.stdout)
    read_ms, age_ms = view.pop("read_ms"), view.pop("age_ms")
    assert read_ms > 0
    assert age_ms >= 0
    assert view == {
        "exchange": url,
        "ticker": A,
        "event_ticker": EVENT,
        "status": "active",
        "best_bid": "0.4000",
        "best_ask": "0.4500",
        "spread": "0.0500",
        "crossed": False,
        "bids": [
            {"price": "0.4000", "size": "10.00", "cumulative": "10.00"},
            {"price": "0.3800", "size": "5.00", "cumulative": "15.00"},
        ],
        "asks": [
            {"price": "0.4500", "size": "7.00", "cumulative": "7.00"},
            {"price": "0.4600", "size": "3.00", "cumulative": "10.00"},
        ],
    }


def test_a_person_reads_a_ladder_with_asks_above_bids(url: str) -> None:
    result = book(A, "--url", url)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"market    {A} (active), event {EVENT}"
    assert lines[1] == f"exchange  {url}"
    assert "nothing was traded" in lines[2]
    assert lines[4:] == [
        "       YES price     contracts        in all",
        "   ask    0.4600          3.00         10.00",
        "   ask    0.4500          7.00          7.00",
        "-------------- spread 0.0500 ---------------",
        "   bid    0.4000         10.00         10.00",
        "   bid    0.3800          5.00         15.00",
    ]


def test_levels_that_are_not_shown_are_told(url: str) -> None:
    lines = book(A, "--url", url, "--depth", "1").stdout.splitlines()
    assert lines[5] == "        1 more above, 10.00 contracts in all"
    assert lines[-1] == "        1 more below, 15.00 contracts in all"


def test_a_side_without_anybody_says_so(url: str) -> None:
    one_sided, empty = book(B, "--url", url).stdout, book(C, "--url", url).stdout
    assert "nobody sells YES" in one_sided
    assert "nobody buys YES" not in one_sided
    assert "spread" not in one_sided
    assert "nobody sells YES" in empty
    assert "nobody buys YES" in empty
    view = json.loads(book(C, "--url", url, "--json").stdout)
    assert (view["best_bid"], view["best_ask"], view["spread"], view["bids"]) == (None, None, None, [])


def test_a_crossed_book_is_named() -> None:
    level = {"price": "0.5000", "size": "1.00", "cumulative": "1.00"}
    view = {
        "ticker": "A", "event_ticker": "E", "status": "active", "exchange": "x", "read_ms": 0, "age_ms": 0,
        "spread": "-0.0100", "crossed": True, "bids": [level], "asks": [level],
    }  # fmt: skip
    assert "spread -0.0100 (crossed)" in "\n".join(as_text(view, 10))


def refused(result: Result, code: int, told: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert told in line


def test_an_unknown_market_is_an_error_though_the_exchange_answers_its_book_empty(url: str) -> None:
    result = book("KXSTILL-1-T99", "--url", url)
    refused(result, 1, f"{url} knows no market KXSTILL-1-T99")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("ticker", ["kxstill-1-t10", "KXSTILL 1", "", "../x", "-A", "KXSTILL-1-T10?x=1"])
def test_what_no_ticker_can_be_is_wrong_use(ticker: str, url: str) -> None:
    refused(book("--url", url, "--", ticker), 2, "is no market ticker")


def test_an_exchange_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_client, "FIRST_BACKOFF_S", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/trade-api/v2"
        result = book(A, "--url", address)
    refused(result, 1, f"{address} does not answer a public read")
    assert len(result.stderr.splitlines()) == 1


def test_without_a_running_exchange_the_choices_are_named(tmp_path: object) -> None:
    refused(book(A, "--folder", str(tmp_path)), 1, "start it with `kalshi-arb run`, or give --exchange demo|prod")


def test_two_exchanges_at_once_are_wrong_use(url: str) -> None:
    refused(book(A, "--url", url, "--exchange", "demo"), 2, "not both")
    refused(book(A, "--url", "nonsense"), 2, "is no address")
