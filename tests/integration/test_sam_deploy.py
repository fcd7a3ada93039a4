"""The real SAM command line on a small project: what `make deploy-local` does with the whole one."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud import EmbeddedCloud
from infra.local.deploy_check import Changes, compiled_for, with_resource
from infra.local.errors import DeployCheckError, DeployError, SamError, TemplateError
from infra.local.patches.stacks import undefined_names
from infra.local.sam import SAM, STACK, Sam, copy_project
from infra.local.template import Clients, StackReport, adopt

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String}
  Guest: {Type: String, Default: 'no'}
Conditions:
  HasGuest: !Equals [!Ref Guest, 'yes']
Resources:
  Page:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: page/
      Handler: handler.handler
      Runtime: python3.13
      Events:
        Page: {Type: HttpApi, Properties: {Method: GET, Path: /, ApiId: !Ref Api}}
  Api:
    Type: AWS::Serverless::HttpApi
    Properties: {StageName: $default}
  Rows:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
  Second:
    Type: AWS::SQS::Queue
    Condition: HasGuest
Outputs:
  Mode: {Value: !Ref Stage}
"""
HANDLER = """from typing import Any


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "it is me"}
"""


@dataclass
class Project:
    cloud: EmbeddedCloud
    sam: Sam
    source: Path
    report: StackReport
    client: Callable[[str], Any]


def need_sam() -> None:
    if not SAM.exists():
        missing = "the SAM command line is not installed: make test creates .venv-sam"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    need_sam()
    folder = tmp_path_factory.mktemp("sam")
    original = folder / "original"
    (original / "page").mkdir(parents=True)
    (original / "template.yaml").write_text(TEMPLATE)
    (original / "page" / "handler.py").write_text(HANDLER)
    with EmbeddedCloud(state_dir=folder / "state", log_file=folder / "cloud.log") as cloud:
        template = copy_project(original / "template.yaml", folder / "copy")
        sam = Sam(template, cloud.url, folder / "sam.log")
        sam.build()
        sam.deploy({"Stage": "small"})
        with closing(Clients(cloud.url)) as client:
            yield Project(cloud, sam, folder / "copy" / "page" / "handler.py", adopt(cloud.url, STACK), client)
    assert (original / "page" / "handler.py").read_text() == HANDLER, "the project itself is only read"


def test_what_sam_deployed_is_there_with_its_routes_and_settings(project: Project) -> None:
    report = project.report
    assert report.missing == []
    assert report.declared == report.created >= 6
    assert "Second" not in report.resources  # its condition does not hold
    assert report.outputs == {"Mode": "small"}
    routes = project.client("apigatewayv2").get_routes(ApiId=report.resources["Api"])["Items"]
    assert [route["RouteKey"] for route in routes] == ["GET /"]
    table = project.client("dynamodb").describe_time_to_live(TableName=report.resources["Rows"])
    assert table["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"


def test_an_update_answers_a_broken_template_is_refused_and_a_failed_deployment_is_rolled_back(
    project: Project,
) -> None:
    url = f"{project.report.api_url}/"
    changes = Changes(project.sam, {"Stage": "small"}, project.source, url, "any", project.client)
    assert changes.update() == "UPDATE_COMPLETE, the new code answers"
    assert "[NoSuchQueue]" in changes.refuse()
    assert changes.roll_back() == "UPDATE_ROLLBACK_COMPLETE, the code from before answers"
    # A fresh look expects the unmarked build, and must notice that another one answers.
    with pytest.raises(DeployCheckError, match="answers instead of None"):
        Changes(project.sam, {"Stage": "small"}, project.source, url, "any", project.client).update()


def test_a_stack_that_is_not_there_cannot_be_adopted(project: Project) -> None:
    with pytest.raises(DeployError, match="no-such-stack"):
        adopt(project.cloud.url, "no-such-stack")


def test_without_the_command_line_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.sam.SAM", tmp_path / "sam")
    with pytest.raises(SamError, match=r"bootstrap\.py \.venv-sam"):
        Sam(tmp_path / "template.yaml", "http://127.0.0.1:1", tmp_path / "log")


def test_only_what_the_template_names_is_copied(tmp_path: Path) -> None:
    (tmp_path / "page" / "__pycache__").mkdir(parents=True)
    (tmp_path / "page" / "__pycache__" / "handler.pyc").write_bytes(b"")
    (tmp_path / "page" / "handler.py").write_text(HANDLER)
    (tmp_path / "secret.txt").write_text("not named")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    copied = copy_project(tmp_path / "template.yaml", tmp_path / "copy")
    files = {str(path.relative_to(copied.parent)) for path in copied.parent.rglob("*") if path.is_file()}
    assert files == {"template.yaml", "page/handler.py"}
    (tmp_path / "broken.yaml").write_text("Parameters: {}")
    with pytest.raises(TemplateError, match="no Resources"):
        copy_project(tmp_path / "broken.yaml", tmp_path / "other")


def test_a_resource_goes_into_the_copy_of_a_template(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("Resources:\n  A: {Type: AWS::SQS::Queue}\n")
    with_resource(tmp_path / "one.yaml", "  B: {Type: AWS::SQS::Queue}\n", tmp_path / "two.yaml")
    assert (tmp_path / "two.yaml").read_text().splitlines()[1:] == [
        "  B: {Type: AWS::SQS::Queue}",
        "  A: {Type: AWS::SQS::Queue}",
    ]
    (tmp_path / "none.yaml").write_text("Outputs:\n")
    with pytest.raises(DeployCheckError, match="no line `Resources:`"):
        with_resource(tmp_path / "none.yaml", "", tmp_path / "two.yaml")


def test_a_module_compiled_for_another_machine_is_named(tmp_path: Path) -> None:
    for name, machine in (("right.so", 183), ("wrong.so", 62)):
        (tmp_path / name).write_bytes(b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little"))
    (tmp_path / "text.so").write_bytes(b"no module at all, but long enough")
    assert compiled_for(tmp_path, "arm64") == (3, ["text.so", "wrong.so"])
    assert compiled_for(tmp_path, "x86_64") == (3, ["right.so", "text.so"])


@pytest.mark.parametrize(
    ("properties", "unknown"),
    [
        ({"A": {"Ref": "Other"}}, ["Other"]),
        ({"A": {"Ref": "AWS::Region"}, "B": {"Ref": "Mode"}, "C": {"Fn::GetAtt": ["Queue", "Arn"]}}, []),
        ({"A": {"Fn::GetAtt": ["Other", "Arn"]}}, ["Other"]),
        ({"A": {"Fn::GetAtt": "Other.Arn"}}, ["Other"]),
        ({"A": [{"Fn::Sub": "${Queue.Arn} ${!Literal} ${AWS::Region} ${Other}"}]}, ["Other"]),
        ({"A": {"Fn::Sub": ["${Own} ${Other}", {"Own": {"Ref": "Third"}}]}}, ["Other", "Third"]),
        ({"A": {"Fn::If": ["Wanted", {"Ref": "Other"}, {"Ref": "AWS::NoValue"}]}}, ["Other"]),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(properties: dict[str, Any], unknown: list[str]) -> None:
    template = {
        "Parameters": {"Mode": {}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": properties}},
    }
    assert undefined_names(template) == unknown


def test_dependencies_and_outputs_are_references_too() -> None:
    template = {
        "Resources": {
            "Queue": {"Type": "AWS::SQS::Queue", "DependsOn": "One"},
            "More": {"DependsOn": ["Queue", "Two"]},
        },
        "Outputs": {"Out": {"Value": {"Ref": "Three"}}},
    }
    assert undefined_names(template) == ["One", "Three", "Two"]
