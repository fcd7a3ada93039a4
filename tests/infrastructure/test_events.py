"""The sample events are what the real triggers send, and our code reads them."""

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2, SNSEvent, SQSEvent
from aws_lambda_powertools.utilities.data_classes.api_gateway_authorizer_event import APIGatewayAuthorizerEventV2

from infra.checks.basket_machine import BASKET_MACHINE, EXECUTION_INPUT
from infra.checks.template import Template
from kalshi_arb import events, schemas
from kalshi_arb.alerts import AlertDelivery
from kalshi_arb.alerts import Outcome as Delivery
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.calc_view import answer
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.execution.control import read_stop
from kalshi_arb.fakes import ManualClock, MemoryAlertStore, MemoryMetrics, MemoryStatusStore
from kalshi_arb.ports import Alert, AlertKind

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "events"
TEMPLATE = Template.read(ROOT / "template.yaml")


def load(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return event


def test_there_is_one_for_each_trigger_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        "alarm.json",
        "alert.json",
        "api_call.json",
        "audit_message.json",
        "authorizer_request.json",
        "basket_step.json",
        "close_step.json",
        "wave_step.json",
        "calc_on_demand.json",
        "candidate_message.json",
        "journal_repair.json",
        "lifecycle_message.json",
        "scan_on_demand.json",
        "schedule_alerts.json",
        "schedule_detection.json",
        "schedule_discovery.json",
        "schedule_settlement.json",
        "schedule_sweeper.json",
    }


def test_the_candidate_is_one() -> None:
    event = load("candidate_message.json")
    assert events.is_queue_event(event)
    (record,) = SQSEvent(event).records
    assert record.queue_url.endswith("/kalshi-arb-simulated-candidates")
    candidate = schemas.decode(record.body, schemas.Candidate)
    assert schemas.encode(candidate) == record.body
    assert {book.ticker for book in candidate.books} == {"KXCPIYOY-26NOV-T3.0", "KXCPIYOY-26NOV-T3.1"}
    # Something is there to be found: the wider market bought, the narrower one sold, for less than a dollar.
    wide, narrow = candidate.books
    assert wide.asks(Outcome.YES)[0].price + narrow.asks(Outcome.NO)[0].price < ONE_DOLLAR
    assert candidate.edge > 0
    assert all(book.alive_ms <= candidate.sent_ms for book in candidate.books)


def test_the_lifecycle_message_is_one() -> None:
    event = load("lifecycle_message.json")
    assert events.is_queue_event(event)
    (record,) = SQSEvent(event).records
    assert record.queue_url.endswith("/kalshi-arb-simulated-lifecycle")
    message = schemas.decode(record.body, schemas.Lifecycle)
    assert schemas.encode(message) == record.body


def test_the_audit_message_is_one() -> None:
    event = load("audit_message.json")
    assert events.is_queue_event(event)
    (record,) = SQSEvent(event).records
    assert record.queue_url.endswith("/kalshi-arb-simulated-audits")
    message = schemas.decode(record.body, schemas.AuditRequest)
    assert schemas.encode(message) == record.body


@pytest.mark.parametrize("name", ["alerts", "detection", "discovery", "settlement", "sweeper"])
def test_schedules_send_what_the_template_says(name: str) -> None:
    schedules = dict(TEMPLATE.of_type("AWS::Scheduler::Schedule"))
    event = load(f"schedule_{name}.json")
    assert json.loads(schedules[f"{name.capitalize()}Schedule"]["Target"]["Input"]) == event
    assert not events.is_queue_event(event)
    assert events.is_scheduled(event)


def test_a_scan_on_demand_names_its_event() -> None:
    task = events.parse(load("scan_on_demand.json"), events.ScanTask)
    assert task.scan.event_ticker == "KXCPIYOY-26NOV"


def test_a_calculation_on_demand_can_be_answered() -> None:
    event = load("calc_on_demand.json")
    assert events.is_calculation(event)
    worked = answer(events.parse(event, events.CalcTask).calc, 0)
    assert (worked["answer"], worked["worst_profit"][0] != "-") == ("lock", True)


def test_the_api_call_is_for_a_route_of_the_template() -> None:
    event = APIGatewayProxyEventV2(load("api_call.json"))
    (function,) = (body for name, body in TEMPLATE.functions() if name == "ApiFunction")
    declared = {
        f"{route['Properties']['Method']} {route['Properties']['Path']}" for route in function["Events"].values()
    }
    assert event.version == "2.0"
    assert event.route_key in declared
    assert event.query_string_parameters == {"limit": "5"}


def test_the_authorizer_reads_the_token() -> None:
    raw = load("authorizer_request.json")
    event = APIGatewayAuthorizerEventV2(raw)
    token = events.bearer_token(raw)
    assert token is not None
    assert event.identity_source == [f"Bearer {token}"]
    assert events.is_authorized(token, {"token": token})
    assert not events.is_authorized(token, {"token": token + "x"})


def delivered(name: str) -> Alert:
    """What an SNS event becomes when it is delivered."""
    (record,) = events.parse(load(name), events.NotificationEvent).Records
    assert next(iter(SNSEvent(load(name)).records)).sns.message == record.Sns.Message
    store = MemoryAlertStore()
    lines: list[str] = []
    delivery = AlertDelivery(
        store=store,
        status=MemoryStatusStore(),
        webhook=lambda: None,
        write_line=lambda _alert, line: lines.append(line),
        write_problem=lines.append,
        metrics=MemoryMetrics(),
        clock=ManualClock(),
        mode="simulated",
    )
    assert delivery.deliver(record.Sns.Message) is Delivery.DELIVERED
    assert len(lines) == 1
    (alert,) = store.recent(10)
    return alert


def test_an_alert_is_delivered() -> None:
    alert = delivered("alert.json")
    assert (alert.kind, alert.mode) == (AlertKind.BASKET, "simulated")


def test_an_alarm_is_delivered_and_is_one_of_the_template() -> None:
    alert = delivered("alarm.json")
    assert alert.kind is AlertKind.ALARM
    names = {body["AlarmName"]["Fn::Sub"] for _, body in TEMPLATE.of_type("AWS::CloudWatch::Alarm")}
    message = json.loads(load("alarm.json")["Records"][0]["Sns"]["Message"])
    assert message["AlarmName"].replace("simulated", "${Mode}") in names


def test_a_step_is_what_an_execution_starts_with() -> None:
    event = load("basket_step.json")
    assert set(event) == EXECUTION_INPUT
    task = events.parse(event, events.BasketTask)
    assert (task.basket_id, task.attempt) == (event["basket_id"], event["attempt"])


@pytest.mark.parametrize(
    ("name", "state", "task"),
    [
        ("wave_step", "ExecuteWave", events.WaveTask),
        ("wave_step", "Unwind", events.WaveTask),
        ("wave_step", "Assess", events.WaveTask),
        ("close_step", "HandOver", events.CloseTask),
    ],
)
def test_a_later_step_is_what_the_machine_hands_its_function(name: str, state: str, task: type) -> None:
    machine = json.loads((ROOT / BASKET_MACHINE).read_text())
    event = load(f"{name}.json")
    payload = machine["States"][state]["Parameters"]["Payload"]
    assert {field.removesuffix(".$") for field in payload} == set(event)
    parsed = events.parse(event, task)
    assert {field: getattr(parsed, field) for field in event} == event


def test_nothing_in_them_is_real() -> None:
    """The account and every address are reserved for examples."""
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert "PRIVATE KEY" not in text
        if "arn:aws" in text:
            assert ":000000000000:" in text


def test_the_runbook_s_stop_is_obeyed() -> None:
    """The command a person copies in a hurry writes an item that every function reads as a stop."""
    (item,) = re.findall(r"--item '(.+)'", (ROOT / "infra" / "RUNBOOK.md").read_text())
    table = Mock(**{"get.return_value": json.loads(item)})
    assert read_stop(DynamoStatusStore(table)).stopped
    table.get.assert_called_once_with("control")
