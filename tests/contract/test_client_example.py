"""The example of README runs as it stands, against the embedded exchange."""

import pytest

from kalshi_arb.domain.errors import SettingsError
from tests.contract.client_example import run
from tests.live_exchange import KEY_ID, PEM, live_exchange


def test_the_example_rests_an_order_and_takes_it_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KALSHI_KEY_ID", KEY_ID)
    monkeypatch.setenv("KALSHI_PRIVATE_KEY", PEM.replace("\n", "\\n"))
    with live_exchange() as exchange:
        run(exchange.url)
        assert list(exchange.kalshi.orders.orders(status="resting")) == []
        (order,) = exchange.kalshi.orders.orders()
        assert order.status == "canceled"
    shown = capsys.readouterr().out
    assert "resting 100 filled 0" in shown
    assert "cash by shard" in shown


def test_without_a_key_it_says_so_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KALSHI_KEY_ID", raising=False)
    with live_exchange() as exchange, pytest.raises(SettingsError, match="needs an API key"):
        run(exchange.url)
