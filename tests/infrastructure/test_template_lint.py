"""What general tools say of the template: SAM, cfn-lint, and whether the emulator of the local run knows every type."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.checks.template import Template
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.kalshi.signing import credentials_from_secret
from kalshi_arb.risk.limits import parse_limits
from kalshi_arb.settings import Mode
from kalshi_arb.webhooks import webhook_target

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
CFN_LINT = Path(sys.executable).with_name("cfn-lint")
NOT_EMULATED = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::Logs::QueryDefinition",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # Neither tool needs an account, and neither may reach one from a test.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", str(ROOT)),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
    }
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_cfn_lint_finds_nothing() -> None:
    result = run(CFN_LINT, "--include-checks", "I", "--template", TEMPLATE)
    assert (result.returncode, result.stdout.strip(), result.stderr.strip()) == (0, "", "")


def test_cfn_lint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "template.yaml"
    broken.write_text(TEMPLATE.read_text().replace("BillingMode: PAY_PER_REQUEST", "BillingMode: FREE", 1))
    result = run(CFN_LINT, "--template", broken)
    assert result.returncode != 0
    assert "PAY_PER_REQUEST" in result.stdout


def test_sam_finds_nothing() -> None:
    sam = ROOT / ".venv-sam" / "bin" / "sam"
    if not sam.exists():
        missing = "the SAM command line is not installed: make test creates .venv-sam"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    result = run(sam, "validate", "--lint", "--template", TEMPLATE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "is a valid SAM Template" in result.stdout


def translated() -> dict[str, Any]:
    """The template as SAM hands it to CloudFormation, with local paths replaced as `sam package` does."""
    from samtranslator.public.translator import ManagedPolicyLoader
    from samtranslator.translator.transform import transform

    body = json.loads(json.dumps(Template.read(TEMPLATE).body))
    for resource in body["Resources"].values():
        for key in ("CodeUri", "ContentUri", "DefinitionUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    result: dict[str, Any] = transform(body, {}, ManagedPolicyLoader(None))
    return result


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        found: dict[str, Any] = translated()["Resources"]
    return found


def test_the_emulator_knows_every_type_but_four(resources: dict[str, Any]) -> None:
    from ministack.services.cloudformation import provisioners

    known = set(provisioners._RESOURCE_HANDLERS)
    assert len(known) > 150
    assert {resource["Type"] for resource in resources.values()} - known <= NOT_EMULATED


def test_functions_have_no_role_but_their_own(resources: dict[str, Any]) -> None:
    declared = {name for name, _ in Template.read(TEMPLATE).of_type("AWS::IAM::Role")}
    assert {name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"} == declared


def routes(resources: dict[str, Any]) -> dict[tuple[str, str], bool]:
    """Method and path of every route, and whether it lies behind the authorizer."""
    (api,) = (r for r in resources.values() if r["Type"] == "AWS::ApiGatewayV2::Api")
    body = api["Properties"]["Body"]
    schemes = body["components"]["securitySchemes"]
    assert schemes["Token"]["x-amazon-apigateway-authorizer"]["enableSimpleResponses"] is True
    assert schemes["Token"]["x-amazon-apigateway-authorizer"]["authorizerPayloadFormatVersion"] == "2.0"
    assert schemes["Token"]["x-amazon-apigateway-authorizer"]["identitySource"] == ["$request.header.Authorization"]
    return {
        (method, path): {"Token": []} in operation.get("security", [])
        for path, operations in body["paths"].items()
        for method, operation in operations.items()
    }


def test_only_the_page_is_public(resources: dict[str, Any]) -> None:
    assert routes(resources) == {
        ("get", "/"): False,
        ("get", "/health"): True,
        ("get", "/opportunities"): True,
        ("get", "/baskets"): True,
        ("get", "/misses"): True,
        ("get", "/drops"): True,
        ("post", "/scan"): True,
        ("post", "/calc"): True,
        ("get", "/relations"): True,
        ("get", "/relations/group"): True,
        ("get", "/relations/history"): True,
        ("post", "/relations/approve"): True,
        ("post", "/stop"): True,
        ("post", "/arm"): True,
    }


def test_modes_are_those_of_the_settings() -> None:
    allowed = Template.read(TEMPLATE).body["Parameters"]["Mode"]["AllowedValues"]
    assert allowed == [mode.value for mode in Mode]


NAMED = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ECS::Service": "ServiceName",
    "AWS::ECS::TaskDefinition": "Family",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Lambda::LayerVersion": "LayerName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::Scheduler::Schedule": "Name",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}


def test_every_name_tells_the_mode(resources: dict[str, Any]) -> None:
    """Stacks of several modes live in one account, and nobody may mistake one for another."""
    seen = set()
    for name, resource in resources.items():
        if key := NAMED.get(resource["Type"]):
            seen.add(resource["Type"])
            assert "${Mode}" in json.dumps(resource["Properties"][key]), name
    assert seen == set(NAMED)


def test_the_values_it_starts_with_can_be_read(resources: dict[str, Any]) -> None:
    condition, *values = resources["LimitsParameter"]["Properties"]["Value"]["Fn::If"]
    assert condition == "IsSimulated"
    for limits in (parse_limits(json.loads(value)) for value in values):
        assert limits.max_loss_per_basket <= limits.max_outlay_per_basket <= limits.max_exposure_per_market
        assert limits.max_exposure_per_market <= limits.max_exposure_per_event <= limits.max_open_outlay
        assert limits.min_profit > 0
    assert json.loads(values[1]) == {}, "outside the embedded exchange the defaults hold"
    assert webhook_target(json.loads(resources["WebhookSecret"]["Properties"]["SecretString"])) is None
    with pytest.raises(SettingsError):
        credentials_from_secret(json.loads(resources["TradeKeySecret"]["Properties"]["SecretString"]))
