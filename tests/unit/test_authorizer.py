"""The authorizer: the right token and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from functions.authorizer.handler import handler
from kalshi_arb import bootstrap
from kalshi_arb.domain.errors import SettingsError, StoreError

TOKEN = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KALSHI_ARB_MODE", "simulated")
    monkeypatch.setenv("KALSHI_ARB_REST_URL", "http://127.0.0.1:9")
    bootstrap.reset()
    monkeypatch.setattr(bootstrap, "api_token", lambda: {"token": TOKEN})
    yield
    bootstrap.reset()


def request(authorization: object, name: str = "authorization") -> dict[str, Any]:
    return {"version": "2.0", "type": "REQUEST", "routeKey": "GET /health", "headers": {name: authorization}}


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_right_token_is_let_in(name: str, scheme: str) -> None:
    assert handler(request(f"{scheme} {TOKEN}", name), None) == {"isAuthorized": True}


@pytest.mark.parametrize(
    "event",
    [
        {}, {"headers": None}, {"headers": {}}, {"headers": []}, [], None, request(None), request([TOKEN]),
        request(""), request("Bearer"), request("Bearer "), request(TOKEN), request(f"Basic {TOKEN}"),
        request(f"Bearer {TOKEN}x"), request(f"Bearer {TOKEN[:-1]}"), request(f"Bearer {TOKEN.upper()}"),
        request("Bearer \ud800"), request(f"Bearer {TOKEN}", "x-authorization"),
    ],
)  # fmt: skip
def test_everything_else_is_kept_out(event: Any) -> None:
    assert handler(event, None) == {"isAuthorized": False}


@pytest.mark.parametrize(
    "secret", [{}, {"token": ""}, {"token": None}, {"token": "short"}, {"token": 1234567890123456}]
)
def test_a_token_that_could_be_guessed_lets_nobody_in(
    secret: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "api_token", lambda: secret)
    for given in (str(secret.get("token")), ""):
        with pytest.raises(SettingsError):
            handler(request(f"Bearer {given}"), None)


def test_a_secret_that_cannot_be_read_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> dict[str, object]:
        raise StoreError("read secret: no answer")

    monkeypatch.setattr(bootstrap, "api_token", unreachable)
    with pytest.raises(StoreError):
        handler(request(f"Bearer {TOKEN}"), None)


def test_no_token_is_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    handler(request("Bearer not-the-right-token"), None)
    logged = "".join(str(record.__dict__) for record in caplog.records)
    assert "without the right token was refused" in logged
    assert "not-the-right-token" not in logged
    assert TOKEN not in logged
