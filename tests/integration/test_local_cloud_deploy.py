"""What the template declares is what is there: routes, layers, settings, and a list of what is not."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local.cloud import EmbeddedCloud
from infra.local.compare import Comparison
from infra.local.errors import DeployError, EndpointError, TemplateError
from infra.local.package import Packager, read_template
from infra.local.template import deploy
from infra.local.translate import Plan, translate
from tests.integration.local_cloud_support import PARAMETERS, TEMPLATE, Deployed, deployed

PROJECT_TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def request(
    stack: Deployed, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    parts = urlsplit(stack.report.api_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, parts.path + path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None, dict(answer.getheaders())
    finally:
        connection.close()


def test_everything_declared_was_created(stack: Deployed) -> None:
    report = stack.report
    assert report.missing == []
    assert report.declared == report.created > 25
    assert report.not_emulated == ["AWS::Budgets::Budget", "AWS::Logs::QueryDefinition"]
    assert "Mailbox" not in report.resources  # its condition does not hold
    assert set(report.outputs) == {"Queue", "DeadLetters", "Topic", "Machine", "Table", "Alarm"}


def test_a_public_route_answers_without_a_token(stack: Deployed) -> None:
    status, body, _ = request(stack, "GET", "/?a=1&b=two%20words")
    assert status == 200
    assert body["route"] == "GET /"
    assert body["version"] == "2.0"
    assert body["query"] == {"a": "1", "b": "two words"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 403), ({"Authorization": "Bearer right"}, 200)],
)
def test_every_other_route_asks_the_authorizer(stack: Deployed, headers: dict[str, str], status: int) -> None:
    found, body, _ = request(stack, "GET", "/items/seven", headers)
    assert found == status
    if status == 200:
        assert body["parameters"] == {"id": "seven"}


def test_what_is_not_a_route_is_not_found(stack: Deployed) -> None:
    headers = {"Authorization": "Bearer right"}
    assert request(stack, "GET", "/nothing", headers)[0] == 404
    assert request(stack, "POST", "/items/seven", headers)[0] == 404


def test_cors_is_set_as_declared(stack: Deployed) -> None:
    status, _, headers = request(
        stack, "OPTIONS", "/", {"Origin": "https://example.org", "Access-Control-Request-Method": "GET"}
    )
    assert status in (200, 204)
    assert {name.lower(): value for name, value in headers.items()}[
        "access-control-allow-origin"
    ] == "https://example.org"


def test_table_settings_that_cloudformation_drops_are_set(stack: Deployed) -> None:
    dynamodb, table = stack.client("dynamodb"), stack.report.outputs["Table"]
    assert dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    assert dynamodb.describe_table(TableName=table)["Table"]["SSEDescription"]["Status"] == "ENABLED"


def test_what_cloudformation_believes_in_and_nobody_has_is_missing(tmp_path: Path) -> None:
    with deployed(tmp_path) as own:
        ask, report = own.client, own.report
        template = Packager(ask("s3"), TEMPLATE.parent).package(read_template(TEMPLATE))
        plan = translate(template, {"Stage": "small", "Email": ""}, ask.session)
        assert Comparison(ask, plan, report.resources).missing() == {}
        ask("sqs").delete_queue(QueueUrl=report.outputs["DeadLetters"])
        ask("cloudwatch").delete_alarms(AlarmNames=[report.outputs["Alarm"]])
        ask("dynamodb").update_time_to_live(
            TableName=report.outputs["Table"],
            TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": False},
        )
        routes = ask("apigatewayv2").get_routes(ApiId=report.resources["Api"])["Items"]
        page = next(route for route in routes if route["RouteKey"] == "GET /")
        ask("apigatewayv2").delete_route(ApiId=report.resources["Api"], RouteId=page["RouteId"])
        missing = Comparison(ask, plan, report.resources).missing()
    assert "it lacks the routes GET /" in missing.pop("Api")
    assert "time to live is off" in missing.pop("Table")
    assert "does not exist" in missing.pop("DeadLetters")
    assert "not there" in missing.pop("Alarm")
    (route,) = missing
    assert route.startswith("ApiGET")


def test_a_type_nobody_can_ask_about_is_missing() -> None:
    plan = Plan({"Resources": {"Odd": {"Type": "AWS::Odd::Thing"}}}, [])

    def no_clients(service: str) -> Any:
        raise AssertionError(service)

    missing = Comparison(no_clients, plan, {"Odd": "odd-1"}).missing()
    assert "nothing here can ask" in missing["Odd"]


def test_a_type_the_embedded_aws_does_not_know_is_refused_by_name(stack: Deployed, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {Ring: {Type: AWS::CloudTrail::Trail, Properties: {IsLogging: true}}}")
    with pytest.raises(DeployError, match="CloudTrail"):
        deploy(stack.cloud.url, template, {}, "refused")


def test_a_stack_that_fails_names_the_resource_and_the_reason(stack: Deployed, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {Bell: {Type: AWS::CloudWatch::Alarm, Properties: {Threshold: 1}}}")
    with pytest.raises(DeployError, match="Bell"):
        deploy(stack.cloud.url, template, {}, "failing")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [({}, "Stage needs a value"), ({"Stage": "huge"}, "allowed are small, large"), ({"Stage": "small", "X": "1"}, "X")],
)
def test_parameters_are_checked_before_anything_is_created(
    stack: Deployed, parameters: dict[str, str], told: str
) -> None:
    with pytest.raises(TemplateError, match=told):
        deploy(stack.cloud.url, TEMPLATE, parameters)


def test_no_template_goes_to_another_machine() -> None:
    with pytest.raises(EndpointError, match="not a loopback address"):
        deploy("https://cloudformation.us-east-1.amazonaws.com", TEMPLATE, PARAMETERS)


@pytest.mark.skipif(not PROJECT_TEMPLATE.is_file(), reason="the project's template is not there")
def test_the_projects_template_is_created_whole(tmp_path: Path) -> None:
    parameters = {
        "Mode": "simulated",
        "ExchangeRestUrl": "http://127.0.0.1:9/trade-api/v2",
        "ExchangeWsUrl": "ws://127.0.0.1:9/trade-api/ws/v2",
    }
    with EmbeddedCloud(state_dir=tmp_path / "state", log_file=tmp_path / "log") as cloud:
        report = deploy(cloud.url, PROJECT_TEMPLATE, parameters)
    assert report.missing == []
    assert report.created == report.declared
    assert report.api_url
