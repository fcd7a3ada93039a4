"""A stack of one mode cannot be deployed against the exchange of another: the template itself refuses."""

from pathlib import Path

import pytest
from ministack.services.cloudformation import engine

from infra.checks.template import Template
from kalshi_arb.settings import Mode

ROOT = Path(__file__).resolve().parents[2]
REAL = ("https://external-api.kalshi.com/trade-api/v2", "wss://external-api-ws.kalshi.com/trade-api/ws/v2")
REAL_OLDER = ("https://api.elections.kalshi.com/trade-api/v2", "wss://api.elections.kalshi.com/trade-api/ws/v2")
DEMO = ("https://external-api.demo.kalshi.co/trade-api/v2", "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2")
DEMO_OLDER = ("https://demo-api.kalshi.co/trade-api/v2", "wss://demo-api.kalshi.co/trade-api/ws/v2")
EMBEDDED = ("http://127.0.0.1:8001/trade-api/v2", "ws://127.0.0.1:8001/trade-api/ws/v2")
ALLOWED = {
    Mode.SIMULATED: [EMBEDDED],
    Mode.DEMO: [DEMO, DEMO_OLDER],
    Mode.PAPER: [REAL, REAL_OLDER],
    Mode.LIVE: [REAL, REAL_OLDER],
}
EXCHANGES = [REAL, REAL_OLDER, DEMO, DEMO_OLDER, EMBEDDED]
BODY = dict(Template.read(ROOT / "template.yaml").body)
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/kalshi-arb-feed:1"


def accept(mode: Mode, rest_url: str, ws_url: str, image: str | None = IMAGE) -> None:
    """Judge parameters as CloudFormation does. :raises ValueError: a rule of the template refuses them."""
    given = {"Mode": mode.value, "ExchangeRestUrl": rest_url, "ExchangeWsUrl": ws_url}
    if image is not None:
        given["FeedImageUri"] = image
    provided = [{"Key": key, "Value": value} for key, value in given.items()]
    parameters = engine._resolve_parameters(BODY, provided)
    engine._evaluate_rules(BODY, parameters, {})


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("rest", EXCHANGES, ids=lambda exchange: exchange[0])
@pytest.mark.parametrize("stream", EXCHANGES, ids=lambda exchange: exchange[1])
def test_only_the_mode_s_own_exchange_is_taken(mode: Mode, rest: tuple[str, str], stream: tuple[str, str]) -> None:
    if rest in ALLOWED[mode] and stream in ALLOWED[mode]:
        accept(mode, rest[0], stream[1])
    else:
        with pytest.raises(ValueError, match=r"rule \w+ failed: Modes? \w+"):
            accept(mode, rest[0], stream[1])


@pytest.mark.parametrize("mode", [Mode.DEMO, Mode.PAPER, Mode.LIVE])
def test_a_real_feed_needs_an_image(mode: Mode) -> None:
    with pytest.raises(ValueError, match="Build and push"):
        accept(mode, *ALLOWED[mode][0], image=None)


def test_the_local_run_needs_none() -> None:
    accept(Mode.SIMULATED, *EMBEDDED, image=None)


def test_an_address_that_is_not_the_api_is_refused() -> None:
    with pytest.raises(ValueError, match="ExchangeRestUrl"):
        accept(Mode.SIMULATED, "http://127.0.0.1:8001/", EMBEDDED[1])
