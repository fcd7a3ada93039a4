"""The template step: package, translate, create the stack, finish what the embedded AWS leaves out, then compare."""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.local.compare import Comparison
from infra.local.endpoint import local_client, local_session, require_loopback
from infra.local.errors import DeployError
from infra.local.package import ARTIFACTS_BUCKET, Packager, parse_template, read_template
from infra.local.translate import Plan, active_resources, parameter_values, translate

__all__ = ["StackReport", "adopt", "deploy"]

_DEPLOY_SECONDS = 120.0
_DONE = "CREATE_COMPLETE"


@dataclass(frozen=True, slots=True)
class StackReport:
    """What the template declares and what is there.

    ``declared`` counts the resources that plain CloudFormation has after SAM and the expansion of HTTP APIs, without
    those in ``not_emulated``; ``created`` counts the ones that their own service confirmed, ``missing`` names the
    others with the reason.
    """

    declared: int
    created: int
    missing: list[str]
    not_emulated: list[str]
    outputs: dict[str, str]
    resources: dict[str, str]
    api_url: str  # without a slash at the end; empty when the template has no HTTP API


class Clients:
    """One client per service, built when it is first asked for."""

    def __init__(self, url: str) -> None:
        """All of the embedded AWS at this address. :raises EndpointError: it is not loopback."""
        self.url = require_loopback(url)
        self.session = local_session()
        self._clients: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        """The client of a service."""
        if service not in self._clients:
            self._clients[service] = local_client(service, self.url, self.session)
        return self._clients[service]

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()


def deploy(
    url: str,
    template_path: Path,
    parameters: Mapping[str, str],
    stack_name: str = "kalshi-arb",
    *,
    left_out: tuple[str, ...] = (),
) -> StackReport:
    """Create everything the template declares and say what is really there.

    :param left_out: sections of the template that do not hold here
    :raises EndpointError: the address is not loopback
    :raises TemplateError: the template or a file it names cannot be used
    :raises DeployError: the embedded AWS refused the stack, with the reasons it gave
    """
    with contextlib.closing(Clients(url)) as clients:
        return _deploy(clients, template_path, parameters, stack_name, left_out)


def _deploy(
    clients: Clients,
    template_path: Path,
    parameters: Mapping[str, str],
    stack_name: str,
    left_out: tuple[str, ...],
) -> StackReport:
    read = read_template(template_path)
    template = {section: content for section, content in read.items() if section not in left_out}
    values = parameter_values(template, parameters)
    packager = Packager(clients("s3"), template_path.resolve().parent)
    plan = translate(packager.package(template), values, clients.session)
    # Always by address: a body of our size is over the limit of a request, here as on AWS.
    key = packager.put(json.dumps(plan.template).encode(), ".json")
    stack = _create(clients("cloudformation"), stack_name, f"{clients.url}/{ARTIFACTS_BUCKET}/{key}", values)
    return _completed(clients, plan, stack)


def adopt(url: str, stack_name: str) -> StackReport:
    """Complete a stack that another tool deployed, and say what is really there. Repeating it is harmless.

    :raises EndpointError: the address is not loopback
    :raises TemplateError: the template that was deployed is not understood here
    :raises DeployError: there is no such stack
    """
    with contextlib.closing(Clients(url)) as clients:
        cloudformation = clients("cloudformation")
        try:
            stack: dict[str, Any] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
            sent, processed = (_template_of(cloudformation, stack_name, stage) for stage in ("Original", "Processed"))
        except ClientError as error:
            raise DeployError(f"the stack cannot be read: {error}") from error
        given = {item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", ())}
        values = parameter_values(sent, given)
        plan = translate(sent, values, clients.session)
        # What was sent tells the routes; the ids that SAM made up are only in what became of it.
        plan.template = {**processed, "Resources": active_resources(processed, values)}
        return _completed(clients, plan, stack)


def _template_of(cloudformation: Any, stack_name: str, stage: str) -> dict[str, Any]:
    body = cloudformation.get_template(StackName=stack_name, TemplateStage=stage)["TemplateBody"]
    return body if isinstance(body, dict) else parse_template(body, stack_name)


def _completed(clients: Clients, plan: Plan, stack: Mapping[str, Any]) -> StackReport:
    physical = _physical_ids(clients("cloudformation"), stack["StackName"])
    _finish(clients, plan, physical)
    missing = Comparison(clients, plan, physical).missing()
    declared = len(plan.resources)
    return StackReport(
        declared=declared,
        created=declared - len(missing),
        missing=[f"{name}: {reason}" for name, reason in sorted(missing.items())],
        not_emulated=plan.not_emulated,
        outputs={output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())},
        resources=physical,
        api_url=_api_url(clients.url, plan, physical),
    )


def _create(cloudformation: Any, name: str, template_url: str, values: Mapping[str, str]) -> dict[str, Any]:
    try:
        cloudformation.create_stack(
            StackName=name,
            TemplateURL=template_url,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
    except ClientError as error:
        raise DeployError(f"the embedded AWS refuses the stack: {error}") from error
    deadline = time.monotonic() + _DEPLOY_SECONDS
    while time.monotonic() < deadline:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] == _DONE:
            return stack
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            raise DeployError(f"the stack ended as {stack['StackStatus']}: {_reasons(cloudformation, name)}")
        time.sleep(0.05)
    raise DeployError(f"the stack was not complete after {_DEPLOY_SECONDS:.0f} s")


def _reasons(cloudformation: Any, name: str) -> str:
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [
        f"{event['LogicalResourceId']} ({event['ResourceType']}): {event.get('ResourceStatusReason', 'no reason')}"
        for event in events
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    return "; ".join(reversed(reasons)) or "no reason given"


def _physical_ids(cloudformation: Any, name: str) -> dict[str, str]:
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    return {
        item["LogicalResourceId"]: item["PhysicalResourceId"]
        for page in pages
        for item in page["StackResourceSummaries"]
        if item["ResourceStatus"].endswith("_COMPLETE") and item.get("PhysicalResourceId")
    }


def _finish(clients: Clients, plan: Plan, physical: Mapping[str, str]) -> None:
    """Set what the embedded AWS's CloudFormation takes without effect, through the service's own API."""
    for logical_id, resource in plan.resources.items():
        if logical_id not in physical:
            continue
        properties = resource.get("Properties") or {}
        name = physical[logical_id]
        if resource["Type"] == "AWS::DynamoDB::Table":
            _finish_table(clients("dynamodb"), name, properties)
        elif resource["Type"] == "AWS::Lambda::Function" and "ReservedConcurrentExecutions" in properties:
            clients("lambda").put_function_concurrency(
                FunctionName=name, ReservedConcurrentExecutions=int(properties["ReservedConcurrentExecutions"])
            )
        elif resource["Type"] == "AWS::ApiGatewayV2::Stage" and "DefaultRouteSettings" in properties:
            clients("apigatewayv2").update_stage(
                ApiId=physical[properties["ApiId"]["Ref"]],
                StageName=name,
                DefaultRouteSettings=properties["DefaultRouteSettings"],
            )
        elif logical_id in plan.cors:
            clients("apigatewayv2").update_api(ApiId=name, CorsConfiguration=plan.cors[logical_id])


def _finish_table(dynamodb: Any, name: str, properties: Mapping[str, Any]) -> None:
    if "TimeToLiveSpecification" in properties:
        dynamodb.update_time_to_live(
            TableName=name, TimeToLiveSpecification=_real_booleans(properties["TimeToLiveSpecification"])
        )
    if "PointInTimeRecoverySpecification" in properties:
        dynamodb.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification=_real_booleans(properties["PointInTimeRecoverySpecification"]),
        )
    if "SSESpecification" in properties:
        specification = _real_booleans(properties["SSESpecification"])
        specification["Enabled"] = specification.pop("SSEEnabled")
        dynamodb.update_table(TableName=name, SSESpecification=specification)


def _real_booleans(settings: Mapping[str, Any]) -> dict[str, Any]:
    """YAML allows the word true as text where the API wants the value."""
    words = {"true": True, "false": False}
    return {key: words.get(value, value) if isinstance(value, str) else value for key, value in settings.items()}


def _api_url(url: str, plan: Plan, physical: Mapping[str, str]) -> str:
    """Where the HTTP API answers without a name server: by path on the embedded AWS's own address."""
    for logical_id, resource in plan.resources.items():
        if resource["Type"] == "AWS::ApiGatewayV2::Api" and logical_id in physical:
            return f"{url}/_aws/execute-api/{physical[logical_id]}/$default"
    return ""
