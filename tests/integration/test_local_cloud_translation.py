"""From template to plain resources: packaging that repeats, conditions, HTTP APIs as routes."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra.local.errors import TemplateError
from infra.local.http_api import expand_http_apis
from infra.local.package import ARTIFACTS_BUCKET, Packager, inline_includes, read_template, zip_folder
from infra.local.patches.host import HostError, unpack
from infra.local.patches.upkeep import trim_executions, trim_logs, trim_metrics
from infra.local.translate import Conditions, Plan


class Bucket:
    """S3 as the packager needs it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def create_bucket(self, **_: str) -> None: ...

    def put_object(self, **request: Any) -> None:
        self.objects[request["Key"]] = request["Body"]


def test_an_archive_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("b.py", "a.py")), (second, ("a.py", "b.py"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "a.pyc").write_bytes(b"different every time")
    (second / "a.py").touch()
    assert zip_folder(first) == zip_folder(second)
    (second / "a.py").write_text("changed")
    assert zip_folder(first) != zip_folder(second)
    assert zipfile.ZipFile(io.BytesIO(zip_folder(first, "python/"))).namelist() == ["python/a.py", "python/b.py"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: nowhere/}}}", "nowhere"),
        ("Resources: {M: {Type: 'AWS::Serverless::StateMachine', Properties: {DefinitionUri: no.json}}}", "no.json"),
        ("Resources: {S: {Type: 'AWS::CloudFormation::Stack', Properties: {TemplateURL: x}}}", "nested stacks"),
        ("Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {CodeUri: empty/}}}", "empty"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "template.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError, match=told):
        Packager(Bucket(), tmp_path).package(read_template(path))


@pytest.mark.parametrize("text", ["- a list", "Parameters: {}", "{unbalanced", ""])
def test_what_is_no_template_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text)
    with pytest.raises(TemplateError):
        read_template(path)
    with pytest.raises(TemplateError, match="cannot be read"):
        read_template(tmp_path / "absent.yaml")


def test_a_layer_with_a_build_method_goes_below_python(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "m.py").write_text("")
    bucket = Bucket()
    layer = {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": "lib/"}}
    built = {**layer, "Properties": {"ContentUri": "lib/"}, "Metadata": {"BuildMethod": "python3.13"}}
    packaged = Packager(bucket, tmp_path).package({"Resources": {"Plain": layer, "Built": built}})
    names = {}
    for name, resource in packaged["Resources"].items():
        location = resource["Properties"]["ContentUri"]
        assert location["Bucket"] == ARTIFACTS_BUCKET
        names[name] = zipfile.ZipFile(io.BytesIO(bucket.objects[location["Key"]])).namelist()
    assert names == {"Plain": ["m.py"], "Built": ["python/m.py"]}


def test_an_included_file_takes_the_place_of_its_include(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("a: !Ref B")
    include = {"Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": "part.yaml"}}}
    assert inline_includes({"x": [include]}, tmp_path) == {"x": [{"a": {"Ref": "B"}}]}


def test_conditions_hold_as_written() -> None:
    conditions = {
        "IsA": {"Fn::Equals": [{"Ref": "P"}, "a"]},
        "NotA": {"Fn::Not": [{"Condition": "IsA"}]},
        "Both": {"Fn::And": [{"Condition": "IsA"}, {"Condition": "NotA"}]},
        "Either": {"Fn::Or": [{"Condition": "IsA"}, {"Condition": "NotA"}]},
        "Number": {"Fn::Equals": [{"Ref": "N"}, 1]},
        "Odd": {"Fn::FindInMap": ["a", "b", "c"]},
    }
    held = Conditions({"Conditions": conditions}, {"P": "a", "N": "1"})
    assert [name for name in ("IsA", "NotA", "Both", "Either", "Number") if held.holds(name)] == [
        "IsA",
        "Either",
        "Number",
    ]
    with pytest.raises(TemplateError, match="FindInMap"):
        held.holds("Odd")
    with pytest.raises(TemplateError, match="no condition"):
        held.holds("Absent")


def expanded(body: dict[str, Any]) -> Plan:
    resources = {"Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Body": body}}}
    apis = expand_http_apis(resources)
    return Plan({"Resources": resources}, [], apis.routes, apis.cors)


def operation(**more: Any) -> dict[str, Any]:
    return {"x-amazon-apigateway-integration": {"type": "aws_proxy", "uri": "u"}, **more}


def test_every_path_and_method_is_a_route_with_an_integration_of_its_own() -> None:
    plan = expanded(
        {
            "info": {"title": "t"},
            "paths": {
                "/a/b": {"get": operation(), "post": operation()},
                "/a-b": {"get": operation()},
                "/{proxy+}": {"x-amazon-apigateway-any-method": operation(), "parameters": []},
                "/$default": {"x-amazon-apigateway-any-method": operation()},
            },
        }
    )
    keys = {"GET /a/b", "POST /a/b", "GET /a-b", "ANY /{proxy+}", "$default"}
    assert plan.routes == {"Api": keys}
    kinds = [resource["Type"].rpartition("::")[2] for resource in plan.resources.values()]
    assert kinds.count("Route") == kinds.count("Integration") == len(keys)
    assert "Body" not in plan.resources["Api"]["Properties"]
    assert plan.resources["Api"]["Properties"]["ProtocolType"] == "HTTP"


@pytest.mark.parametrize(
    ("operation_found", "told"),
    [(operation(security=[{"Unknown": []}]), "unknown security scheme"), ({"responses": {}}, "no proxy integration")],
)
def test_a_route_that_would_be_open_or_dead_is_refused(operation_found: dict[str, Any], told: str) -> None:
    with pytest.raises(TemplateError, match=told):
        expanded({"info": {"title": "t"}, "paths": {"/a": {"get": operation_found}}})


def test_an_archive_entry_may_not_leave_its_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../outside.py", "")
    with pytest.raises(HostError, match="outside its folder"):
        unpack(buffer.getvalue(), tmp_path / "code")
    assert not (tmp_path / "outside.py").exists()


class Store:
    """A store by account and region, as the embedded AWS keeps them."""

    def __init__(self, items: dict[str, Any]) -> None:
        self.kept = {("0", "r", name): value for name, value in items.items()}

    def all_items(self) -> list[tuple[tuple[str, str, str], Any]]:
        return list(self.kept.items())

    def pop_scoped(self, account: str, region: str, name: str, default: Any) -> Any:
        return self.kept.pop((account, region, name), default)


def test_finished_executions_lose_their_events_then_their_place_and_running_ones_nothing() -> None:
    def execution(number: int, status: str = "SUCCEEDED") -> dict[str, Any]:
        return {"status": status, "stopDate": f"2026-01-0{number}", "events": list(range(5))}

    store = Store({"old": execution(1), "mid": execution(2), "new": execution(3), "runs": execution(1, "RUNNING")})
    trim_executions(store, with_history=1, in_all=2)
    assert {key[2]: value["events"] for key, value in store.kept.items()} == {
        "mid": [0, 4],
        "new": [0, 1, 2, 3, 4],
        "runs": [0, 1, 2, 3, 4],
    }


def test_metric_points_go_by_age_and_by_number() -> None:
    def points(*moments: float) -> list[dict[str, float]]:
        return [{"Timestamp": moment} for moment in moments]

    store = Store({"aged": points(1, 2, 10, 11), "many": points(10, 11, 12, 13), "gone": points(1, 2)})
    trim_metrics(store, oldest=5, points=3)
    assert {key[2]: [point["Timestamp"] for point in kept] for key, kept in store.kept.items()} == {
        "aged": [10, 11],
        "many": [11, 12, 13],
    }


def test_the_latest_log_streams_stay() -> None:
    group = {"streams": {str(number): {} for number in range(5)}}
    trim_logs(Store({"group": group}), 2)
    assert list(group["streams"]) == ["3", "4"]
