"""`kalshi-arb scan` and `kalshi-arb calc` on the embedded exchange, without a key."""

import json
from collections.abc import Iterator
from itertools import combinations

import pytest
from click.testing import CliRunner, Result

from infra.exchange.universe import UniverseConfig
from kalshi_arb.cli.main import cli
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.catalogue import build_groups
from tests.live_exchange import LiveExchange, live_exchange

WORLD = UniverseConfig(events=12, deltas_per_second=1, event_life_ms=(600_000, 900_000))


@pytest.fixture(scope="module")
def exchange() -> Iterator[LiveExchange]:
    with live_exchange(WORLD) as running:
        yield running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def ladders(exchange: LiveExchange) -> list[Group]:
    groups = build_groups(exchange.data.open_events(), now_ms=exchange.clock.now_ms()).groups
    return [group for group in groups if group.family is Family.LADDER]


def some_ladder(exchange: LiveExchange) -> Group:
    return ladders(exchange)[0]


def offered_pair(exchange: LiveExchange) -> tuple[Group, str, str]:
    """A ladder with two markets: YES of the easier one and NO of the harder one are offered."""
    for group in ladders(exchange):
        books = exchange.data.orderbooks(group.tickers)
        for easy, hard in combinations(group.tickers, 2):
            if books[easy].no_bids and books[hard].yes_bids:
                return group, easy, hard
    raise AssertionError("no ladder has such a pair")


def test_every_group_is_counted_once(exchange: LiveExchange) -> None:
    view = json.loads(run("scan", "--url", exchange.url, "--json").stdout)
    assert set(view) == {"opportunities", "near_misses", "counts"}
    counts = view["counts"]
    assert counts["groups"] > 5
    assert counts["groups"] == counts["proved"] + sum(counts["dropped"].values())
    assert counts["screened"] >= counts["solved"] >= counts["proved"]
    assert view["near_misses"]


def test_a_series_or_an_event_is_scanned_alone(exchange: LiveExchange) -> None:
    group = some_ladder(exchange)
    (series,) = {market.series_ticker for market in group.markets}
    one = json.loads(run("scan", "--url", exchange.url, "--series", series, "--json").stdout)
    whole = json.loads(run("scan", "--url", exchange.url, "--json").stdout)
    event = json.loads(run("scan", group.event_ticker, "--url", exchange.url, "--json").stdout)
    assert 0 < event["counts"]["groups"] <= one["counts"]["groups"] < whole["counts"]["groups"]
    assert {miss["event"] for miss in event["near_misses"]} <= {group.event_ticker}
    for wrong in (("KXNOTHING-1",), ("--series", "KXNOTHING")):
        result = run("scan", *wrong, "--url", exchange.url)
        assert result.exit_code == 1
        assert "KXNOTHING" in result.output
        assert len(result.output.splitlines()) == 1


def test_live_legs_rest_on_the_group_that_discovery_makes_of_them(exchange: LiveExchange) -> None:
    group, easy, hard = offered_pair(exchange)
    legs = ("--leg", f"{easy}:yes::0.01", "--leg", f"{hard}:no::0.01")
    view = json.loads(run("calc", "--url", exchange.url, *legs, "--json").stdout)
    assert [leg["market"] for leg in view["legs"]] == [easy, hard]
    assert {state["name"] for state in view["states"]} == {state.name for state in group.states}
    # Whatever they cost, one of them pays.
    assert min(state["payout"] for state in view["states"]) == "0.010000"
    typed = json.loads(
        run("calc", "--url", exchange.url, "--relation", f"implies:{hard},{easy}", *legs, "--json").stdout
    )
    assert len(typed["states"]) == 3
    assert typed["largest"] is not None


def test_live_markets_that_are_not_listed_or_not_related_are_refused(exchange: LiveExchange) -> None:
    group = some_ladder(exchange)
    unknown = run("calc", "--url", exchange.url, "--leg", "KXNOTHING-1:yes::1")
    assert (unknown.exit_code, "lists no market KXNOTHING-1" in unknown.output) == (2, True)
    others = [
        listed.market.ticker
        for event in exchange.data.open_events()
        for listed in event.markets
        if event.event_ticker != group.event_ticker
    ]
    apart = run("calc", "--url", exchange.url, "--leg", f"{group.tickers[0]}:yes::1", "--leg", f"{others[0]}:no::1")
    assert (apart.exit_code, "give a relation" in apart.output) == (2, True)


def test_an_exchange_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalshi_arb.kalshi.client.READ_ATTEMPTS", 1)
    result = run("calc", "--url", "http://127.0.0.1:9/trade-api/v2", "--leg", "A:yes::1")
    assert result.exit_code == 1
    assert "does not answer a public read" in result.output
