"""Composition: late, once, with what the environment says; metrics and logs that carry their mode."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kalshi_arb import bootstrap
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.money import Cash
from kalshi_arb.fakes import MemoryBasketStore, MemoryMetrics, MemoryStatusStore
from kalshi_arb.kalshi.rate_limit import Caller
from kalshi_arb.metering import MeteredBasketStore, MeteredStatusStore
from kalshi_arb.metrics_names import DIMENSIONS, NAMESPACE, Metric
from kalshi_arb.observability import EmfMetrics
from kalshi_arb.settings import Settings
from tests.cloud_samples import basket

TABLES = (
    "books", "groups", "group_history", "opportunities", "baskets", "ledger", "reservations", "status", "alerts",
    "paper",
)  # fmt: skip
ENVIRONMENT = {
    "KALSHI_ARB_MODE": "paper",
    "KALSHI_ARB_REST_URL": "http://127.0.0.1:9/trade-api/v2",
    **{f"KALSHI_ARB_{name.upper()}_TABLE": f"kalshi-arb-paper-{name}" for name in TABLES},
    "KALSHI_ARB_CANDIDATES_QUEUE_URL": "http://127.0.0.1:9/q/candidates",
    "KALSHI_ARB_LIFECYCLE_QUEUE_URL": "http://127.0.0.1:9/q/lifecycle",
    "KALSHI_ARB_AUDITS_QUEUE_URL": "http://127.0.0.1:9/q/audits",
    "KALSHI_ARB_BASKET_MACHINE_ARN": "arn:aws:states:us-east-1:000000000000:stateMachine:basket",
    "KALSHI_ARB_DETECTION_FUNCTION": "kalshi-arb-paper-detection",
    "KALSHI_ARB_ALERTS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:alerts",
    "KALSHI_ARB_READ_KEY_SECRET": "read-key",
    "KALSHI_ARB_TRADE_KEY_SECRET": "trade-key",
    "KALSHI_ARB_API_TOKEN_SECRET": "token",
    "KALSHI_ARB_WEBHOOK_SECRET": "webhook",
    "KALSHI_ARB_LIMITS_PARAMETER": "/limits",
    "KALSHI_ARB_RELATIONS_PARAMETER": "/relations",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
LIMITS = {
    "max_outlay_per_basket": "250.00", "max_exposure_per_market": "250.00", "max_exposure_per_event": "500.00",
    "max_open_outlay": "1000.00", "max_open_baskets": 5, "max_loss_per_basket": "25.00", "min_profit": "0.01",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    bootstrap.reset()
    yield monkeypatch
    bootstrap.reset()


class Secrets:
    """Secrets Manager and SSM in one."""

    def __init__(self, key: str) -> None:
        self.documents: dict[str, object] = {
            "read-key": {"key_id": "r", "private_key": key},
            "trade-key": {"key_id": "t", "private_key": key}, "token": {"token": "t" * 32}, "webhook": {"url": ""},
            "/limits": LIMITS, "/relations": {"relations": []},
        }  # fmt: skip

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - the API's own names
        return {"SecretString": json.dumps(self.documents[SecretId])}

    def get_parameter(self, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803
        assert WithDecryption
        return {"Parameter": {"Value": json.dumps(self.documents[Name])}}


@pytest.fixture
def clients(environment: pytest.MonkeyPatch, private_key: str) -> list[str]:
    """The services that clients were built for."""
    built: list[str] = []
    secrets = Secrets(private_key)

    def client(service: str) -> object:
        built.append(service)
        return secrets if service in ("secretsmanager", "ssm") else object()

    environment.setattr(bootstrap, "aws_client", client)
    return built


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


USE_CASES = {
    "discovery": "Discovery",
    "detector": "Detector",
    "scanner": "Scanner",
    "risk_check": "RiskCheck",
    "wave_executor": "WaveExecutor",
    "unwinder": "WaveExecutor",
    "assessor": "Assessor",
    "closer": "Closer",
    "settler": "Settler",
    "sweeper": "Sweeper",
    "api": "Api",
    "relations_desk": "RelationsDesk",
}
PORTS = (
    "status_store", "group_store", "book_store", "opportunity_store", "basket_store", "ledger_store",
    "reservation_store", "alert_store", "candidates_queue", "lifecycle_queue", "audits_queue", "workflow",
    "detection", "notifier",
)  # fmt: skip


@pytest.mark.parametrize(("builder", "kind"), USE_CASES.items())
def test_every_use_case_is_composed_once(clients: list[str], builder: str, kind: str) -> None:
    built = getattr(bootstrap, builder)()
    assert type(built).__name__ == kind
    assert getattr(bootstrap, builder)() is built
    bootstrap.reset()
    assert getattr(bootstrap, builder)() is not built


@pytest.mark.parametrize("port", PORTS)
def test_every_port_is_built_once(clients: list[str], port: str) -> None:
    settings = bootstrap.settings()
    assert getattr(bootstrap, port)(settings) is getattr(bootstrap, port)(settings)


@pytest.mark.parametrize(
    ("mode", "netting", "asks"), [("live", "on", True), ("live", "off", False), ("paper", "on", False)]
)
def test_events_are_asked_what_they_give_back_only_where_they_do(
    environment: pytest.MonkeyPatch, mode: str, netting: str, asks: bool
) -> None:
    environment.setenv("KALSHI_ARB_MODE", mode)
    environment.setenv("KALSHI_ARB_NETTING", netting)
    bootstrap.reset()
    reads = bootstrap.collateral_reads(bootstrap.settings(), Caller.SETTLEMENT)
    assert (reads is not None) is asks
    assert bootstrap.collateral_reads(bootstrap.settings(), Caller.SETTLEMENT) is reads


def test_each_caller_has_one_client_within_its_share(clients: list[str]) -> None:
    settings = bootstrap.settings()
    for port in (bootstrap.market_data, bootstrap.trading):
        assert port(settings, Caller.RISK) is port(settings, Caller.RISK)
        assert port(settings, Caller.RISK) is not port(settings, Caller.SETTLEMENT)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("simulated", "KalshiTrading"), ("demo", "KalshiTrading"), ("paper", "PaperTrading"), ("live", "KalshiTrading")],
)
def test_the_mode_alone_decides_who_trades(
    clients: list[str], environment: pytest.MonkeyPatch, mode: str, kind: str
) -> None:
    environment.setenv("KALSHI_ARB_MODE", mode)
    assert type(bootstrap.trading(bootstrap.settings(), Caller.EXECUTION)).__name__ == kind
    assert ("secretsmanager" in clients) is (kind == "KalshiTrading"), "on paper no key is read"


def test_clients_are_built_for_what_is_used_only(clients: list[str]) -> None:
    bootstrap.detector()
    assert set(clients) == {"dynamodb", "stepfunctions", "sns"}
    clients.clear()
    bootstrap.alert_delivery()
    assert set(clients) == {"dynamodb"}
    assert bootstrap.webhook_of(bootstrap.settings()) is None
    assert set(clients) == {"dynamodb", "secretsmanager"}


def test_limits_credentials_and_token_come_from_their_stores(clients: list[str]) -> None:
    settings = bootstrap.settings()
    assert bootstrap.limits(settings).max_open_baskets == 5
    assert {bootstrap.read_key(settings).key_id, bootstrap.trade_key(settings).key_id} == {"r", "t"}
    assert bootstrap.api_token() == {"token": "t" * 32}
    assert bootstrap.user_relations(settings).relations == ()


def test_settings_are_read_late_and_once(environment: pytest.MonkeyPatch) -> None:
    first = bootstrap.settings()
    assert first.mode.value == "paper"
    environment.setenv("KALSHI_ARB_MODE", "live")
    assert bootstrap.settings() is first
    bootstrap.reset()
    assert bootstrap.settings().mode.value == "live"


def test_a_missing_name_says_which(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("KALSHI_ARB_BASKETS_TABLE")
    with pytest.raises(SettingsError, match="KALSHI_ARB_BASKETS_TABLE"):
        bootstrap.basket_store(bootstrap.settings())


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_one_client_a_service_in_the_region_of_the_process(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv("AWS_REGION")
    environment.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(SettingsError, match="AWS_REGION"):
        bootstrap.aws_client("dynamodb")
    environment.setenv(name, "eu-west-1")
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client = bootstrap.aws_client("dynamodb")
    assert client is bootstrap.aws_client("dynamodb")
    assert client.meta.region_name == "eu-west-1"
    assert client.meta.endpoint_url == "http://127.0.0.1:9"


def test_stores_of_two_stacks_in_one_process(environment: pytest.MonkeyPatch) -> None:
    """The local runner reads a stack's tables without being one of its functions."""
    one = Settings(mode=bootstrap.settings().mode, rest_url="http://127.0.0.1:9", status_table="one")
    made: list[str] = []

    def client(service: str) -> object:
        made.append(service)
        return object()

    stores = bootstrap.Stores(one, client)
    assert made == []
    assert stores.status is stores.status
    assert made == ["dynamodb"]
    with pytest.raises(SettingsError, match="BASKETS_TABLE"):
        _ = stores.baskets


# Metrics and logs


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


def test_metrics_have_service_and_mode_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = EmfMetrics("feed", "paper")
    metrics.count(Metric.FRAMES, 10)
    metrics.count(Metric.FRAMES, 5)
    metrics.observe(Metric.FEED_LAG_MS, 7)
    metrics.observe(Metric.FEED_LAG_MS, 9)
    metrics.flush()
    (line,) = emitted(capsys)
    assert (line["service"], line["mode"], line["Frames"], line["FeedLagMs"]) == ("feed", "paper", [15], [7, 9])
    (definition,) = line["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == NAMESPACE
    assert [set(names) for names in definition["Dimensions"]] == [set(DIMENSIONS)]
    assert {metric["Name"]: metric["Unit"] for metric in definition["Metrics"]} == {
        "Frames": "Count",
        "FeedLagMs": "Milliseconds",
    }


def test_a_detail_is_published_beside_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = EmfMetrics("detection", "paper")
    for detail in ("stale_books", "group_busy", "group_busy"):
        metrics.count(Metric.DROPPED, detail=detail)
    metrics.count(Metric.OPPORTUNITIES, 2, "proved")
    for _ in (1, 2):
        metrics.flush()
    whole, *parts = emitted(capsys)
    assert (whole["Dropped"], whole["Opportunities"]) == ([3], [2])
    assert "reason" not in whole
    assert "grade" not in whole
    assert [(part.get("reason"), part.get("Dropped")) for part in parts[:2]] == [
        ("stale_books", [1]),
        ("group_busy", [2]),
    ]
    assert (parts[2]["grade"], parts[2]["Opportunities"]) == ("proved", [2])
    for part, detail in zip(parts, ("reason", "reason", "grade"), strict=True):
        (definition,) = part["_aws"]["CloudWatchMetrics"]
        assert [set(names) for names in definition["Dimensions"]] == [{*DIMENSIONS, detail}]
        assert len(definition["Metrics"]) == 1


def test_a_flush_publishes_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = EmfMetrics("feed", "paper")
    metrics.flush()
    assert emitted(capsys) == []
    for round_ in (1, 2):
        metrics.count(Metric.FRAMES, round_)
        metrics.flush()
        (line,) = emitted(capsys)
        assert line["Frames"] == [round_]
        assert line["mode"] == "paper", "dimensions outlive a flush"


def test_many_observed_values_lose_none(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = EmfMetrics("feed", "paper")
    for value in range(250):
        metrics.observe(Metric.FEED_LAG_MS, value)
    metrics.flush()
    lines = emitted(capsys)
    assert sorted(value for line in lines for value in line["FeedLagMs"]) == list(range(250))
    assert all(len(line["FeedLagMs"]) <= 100 for line in lines)


def test_two_services_in_one_process_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = EmfMetrics("assess", "paper"), EmfMetrics("sweeper", "paper")
    one.count(Metric.BASKETS_ENDED)
    two.count(Metric.BASKETS_ENDED, 2)
    one.flush()
    two.flush()
    assert [(line["service"], line["BasketsEnded"]) for line in emitted(capsys)] == [("assess", [1]), ("sweeper", [2])]


def test_an_invocations_lines_carry_its_ids_and_its_metrics_are_always_published(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = bootstrap.observability("only-here")
    assert bootstrap.observability("only-here") is watched
    context = type("Context", (), {"aws_request_id": "r1"})()

    def invoke() -> None:
        with watched.invocation(context, basket_id="b1") as log:
            log.info("inside")
            watched.metrics.count(Metric.DROPPED)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        invoke()
    watched.logger.info("outside")
    output = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines = {line["message"]: line for line in output if "message" in line}
    assert [line.get("Dropped") for line in output if "_aws" in line] == [[1]]
    for message in ("inside", "the invocation failed"):
        assert (lines[message]["basket_id"], lines[message]["request_id"]) == ("b1", "r1")
    assert "basket_id" not in lines["outside"]
    assert {line["mode"] for line in lines.values()} == {"paper"}
    assert lines["the invocation failed"]["exception_name"] == "ValueError"


def test_what_the_library_logs_looks_like_what_handlers_log(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import logging

    watched = bootstrap.observability("library-test")
    with watched.invocation(None, basket_id="b2"):
        logging.getLogger("kalshi_arb.somewhere").warning("careful")
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["message"], line["mode"], line["basket_id"]) == ("careful", "paper", "b2")


def test_counters_become_metrics() -> None:
    metrics = MemoryMetrics()
    status = MeteredStatusStore(MemoryStatusStore(), metrics)
    status.count("detection", {"candidates": 5, "opportunity.proved": 1, "opportunity.conditional": 2, "drop.busy": 3})
    status.count("execution", {"end.lock": 1, "unknown_orders": 2, "resolved_orders": 7})
    status.count("risk", {"accepted": 4, "refused.depth": 1})
    status.count("settlement", {"drop.x": 1, "end.y": 1})
    assert metrics.counted == {
        Metric.OPPORTUNITIES: 3,
        Metric.DROPPED: 4,
        Metric.BASKETS_ENDED: 2,
        Metric.UNKNOWN_ORDERS: 2,
    }
    assert metrics.detailed == {
        (Metric.OPPORTUNITIES, "proved"): 1,
        (Metric.OPPORTUNITIES, "conditional"): 2,
        (Metric.DROPPED, "busy"): 3,
        (Metric.DROPPED, "depth"): 1,
        (Metric.BASKETS_ENDED, "lock"): 1,
        (Metric.BASKETS_ENDED, "refused"): 1,
    }
    assert status.counters("detection")["candidates"] == 5
    status.put("feed", {"frames": 1})
    assert status.get("feed") == {"frames": 1}


def test_the_profit_of_a_lock_is_published_once() -> None:
    metrics = MemoryMetrics()
    baskets = MeteredBasketStore(MemoryBasketStore(), metrics)
    row = basket()
    assert baskets.create(row, row.created_ms)
    for state in (BasketState.RESERVED, BasketState.EXECUTING):
        row = baskets.save(replace(row, state=state, locked_profit=Cash(5)))
    assert metrics.counted == {}
    row = baskets.save(replace(row, state=BasketState.LOCK, locked_profit=Cash(2_900_000)))
    assert metrics.counted == {Metric.LOCKED_PROFIT_MICRODOLLARS: 2_900_000}
    baskets.save(replace(row, state=BasketState.SETTLED))
    assert metrics.counted == {Metric.LOCKED_PROFIT_MICRODOLLARS: 2_900_000}
    assert baskets.get(row.basket_id) == baskets.recent(1)[0] == baskets.in_states([BasketState.SETTLED], 1)[0]
