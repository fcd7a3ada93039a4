"""From the SAM template to plain resources the embedded AWS creates: nothing added, nothing left out in silence."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template

from infra.local.errors import TemplateError

# The only types the embedded AWS does not know and a template of ours may hold. Whatever else it refuses, it refuses.
NOT_EMULATED = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::Budgets::Budget",
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::Logs::QueryDefinition",
    }
)
_ANY_METHOD = "x-amazon-apigateway-any-method"
_INTEGRATION = "x-amazon-apigateway-integration"
_AUTHORIZER = "x-amazon-apigateway-authorizer"
_CORS = "x-amazon-apigateway-cors"
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace", _ANY_METHOD}
_PUBLIC = "NONE"  # what SAM writes for a route without the default authorizer


@dataclass(slots=True)
class Plan:
    """What is handed to CloudFormation, and what has to be done beside it."""

    template: dict[str, Any]
    not_emulated: list[str]
    routes: dict[str, set[str]] = field(default_factory=dict)  # by API: the route keys its body declares
    cors: dict[str, dict[str, Any]] = field(default_factory=dict)  # by API: set after deployment

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """By logical id."""
        resources: dict[str, dict[str, Any]] = self.template["Resources"]
        return resources


def parameter_values(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Every parameter's value. :raises TemplateError: one is missing, unknown or against its own rules."""
    declared: Mapping[str, Any] = template.get("Parameters") or {}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    values = {}
    for name, rules in declared.items():
        value = given.get(name, rules.get("Default"))
        if value is None:
            raise TemplateError(f"the template's parameter {name} needs a value")
        text = str(value)
        if "AllowedValues" in rules and text not in [str(allowed) for allowed in rules["AllowedValues"]]:
            raise TemplateError(
                f"parameter {name} is {text!r}: allowed are {', '.join(map(str, rules['AllowedValues']))}"
            )
        if "AllowedPattern" in rules and not re.search(rules["AllowedPattern"], text):
            raise TemplateError(f"parameter {name} is {text!r}: it must match {rules['AllowedPattern']}")
        values[name] = text
    return values


class Conditions:
    """The template's conditions for given parameters."""

    def __init__(self, template: Mapping[str, Any], values: Mapping[str, str]) -> None:
        """Evaluate lazily."""
        self._conditions: Mapping[str, Any] = template.get("Conditions") or {}
        self._values = values

    def holds(self, name: str) -> bool:
        """:raises TemplateError: there is no such condition, or it uses something not understood here."""
        if name not in self._conditions:
            raise TemplateError(f"the template has no condition {name}")
        return bool(self._value(self._conditions[name]))

    def _value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return str(node)
        ((function, argument),) = node.items()
        if function == "Ref":
            return self._values[argument]
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            return self._value(argument[0]) == self._value(argument[1])
        if function == "Fn::Not":
            return not self._value(argument[0])
        if function == "Fn::And":
            return all(self._value(item) for item in argument)
        if function == "Fn::Or":
            return any(self._value(item) for item in argument)
        raise TemplateError(f"a condition uses {function}, which is not understood here")


def translate(template: dict[str, Any], values: Mapping[str, str], session: Any) -> Plan:
    """Apply SAM, expand HTTP APIs, drop conditional and not emulated resources.

    :param template: packaged: without local paths
    :param session: a boto3 session, asked for its region only
    :raises TemplateError: SAM refuses it, or an API's body holds something not understood here
    """
    parameters = dict(values)
    to_py27_compatible_template(template, parameters)
    try:
        translated: dict[str, Any] = undo_mark_unicode_str_in_template(
            Translator({}, Parser(), boto_session=session).translate(template, parameters)
        )
    except InvalidDocumentException as error:
        reasons = "; ".join(cause.message for cause in error.causes) or str(error)
        raise TemplateError(f"SAM refuses the template: {reasons}") from error
    conditions = Conditions(translated, values)
    resources = {
        logical_id: resource
        for logical_id, resource in translated["Resources"].items()
        if "Condition" not in resource or conditions.holds(resource["Condition"])
    }
    left_out = {logical_id for logical_id, resource in resources.items() if resource["Type"] in NOT_EMULATED}
    not_emulated = sorted({resources[logical_id]["Type"] for logical_id in left_out})
    kept = {logical_id: resource for logical_id, resource in resources.items() if logical_id not in left_out}
    for resource in kept.values():
        _forget_dependencies(resource, left_out)
    plan = Plan({**translated, "Resources": kept}, not_emulated)
    for logical_id, resource in list(kept.items()):
        if resource["Type"] == "AWS::ApiGatewayV2::Api":
            _expand_api(plan, logical_id, resource)
    return plan


def _forget_dependencies(resource: dict[str, Any], left_out: set[str]) -> None:
    wanted = resource.get("DependsOn")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else wanted
        resource["DependsOn"] = [name for name in names if name not in left_out]


def _expand_api(plan: Plan, api: str, resource: dict[str, Any]) -> None:
    """Replace the OpenAPI body, which the embedded AWS stores without creating a single route."""
    properties = resource["Properties"]
    cors = properties.pop("CorsConfiguration", None)
    body = properties.pop("Body", None)
    for name in ("BodyS3Location", "FailOnWarnings", "BasePath"):
        properties.pop(name, None)
    properties.setdefault("ProtocolType", "HTTP")
    if body is not None:
        properties.setdefault("Name", body["info"]["title"])
        cors = cors or body.get(_CORS)
        authorizers = {}
        for scheme, definition in (body.get("components") or {}).get("securitySchemes", {}).items():
            authorizers[scheme] = _add_authorizer(plan, api, scheme, definition)
        plan.routes[api] = set()
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                if method in _METHODS:
                    _add_route(plan, api, path, method, operation, authorizers)
    if cors:
        plan.cors[api] = _capitalised(cors)


def _add_authorizer(plan: Plan, api: str, scheme: str, definition: Mapping[str, Any]) -> str:
    settings = definition.get(_AUTHORIZER)
    if settings is None:
        raise TemplateError(f"{api}: the security scheme {scheme} names no authorizer")
    sources = settings.get("identitySource", "$request.header.Authorization")
    properties: dict[str, Any] = {
        "ApiId": {"Ref": api},
        "Name": scheme,
        "AuthorizerType": str(settings["type"]).upper(),
        "IdentitySource": sources if isinstance(sources, list) else [item.strip() for item in sources.split(",")],
    }
    optional = {
        "authorizerUri": "AuthorizerUri",
        "authorizerPayloadFormatVersion": "AuthorizerPayloadFormatVersion",
        "authorizerResultTtlInSeconds": "AuthorizerResultTtlInSeconds",
        "authorizerCredentials": "AuthorizerCredentialsArn",
        "enableSimpleResponses": "EnableSimpleResponses",
    }
    properties |= {name: settings[source] for source, name in optional.items() if source in settings}
    if "jwtConfiguration" in settings:
        properties["JwtConfiguration"] = _capitalised(settings["jwtConfiguration"])
    logical_id = f"{api}{_word(scheme)}Authorizer"
    plan.resources[logical_id] = {"Type": "AWS::ApiGatewayV2::Authorizer", "Properties": properties}
    return logical_id


def _add_route(
    plan: Plan, api: str, path: str, method: str, operation: Mapping[str, Any], authorizers: Mapping[str, str]
) -> None:
    verb = "ANY" if method == _ANY_METHOD else method.upper()
    key = "$default" if path.strip("/") == "$default" else f"{verb} {path}"
    integration = operation.get(_INTEGRATION)
    if integration is None or str(integration.get("type", "")).lower() != "aws_proxy":
        raise TemplateError(f"{api}: the route {key} has no proxy integration")
    stem = f"{api}{_word(key)}"
    plan.resources[f"{stem}Integration"] = {
        "Type": "AWS::ApiGatewayV2::Integration",
        "Properties": {
            "ApiId": {"Ref": api},
            "IntegrationType": "AWS_PROXY",
            "IntegrationUri": integration["uri"],
            "IntegrationMethod": integration.get("httpMethod", "POST"),
            "PayloadFormatVersion": integration.get("payloadFormatVersion", "2.0"),
            "TimeoutInMillis": integration.get("timeoutInMillis", 30000),
        },
    }
    route: dict[str, Any] = {
        "ApiId": {"Ref": api},
        "RouteKey": key,
        "Target": {"Fn::Join": ["/", ["integrations", {"Ref": f"{stem}Integration"}]]},
        "AuthorizationType": "NONE",
    }
    for requirement in operation.get("security") or ():
        for scheme, scopes in requirement.items():
            if scheme == _PUBLIC:
                continue
            if scheme not in authorizers:
                raise TemplateError(f"{api}: the route {key} asks for the unknown security scheme {scheme}")
            kind = plan.resources[authorizers[scheme]]["Properties"]["AuthorizerType"]
            route["AuthorizationType"] = "JWT" if kind == "JWT" else "CUSTOM"
            route["AuthorizerId"] = {"Ref": authorizers[scheme]}
            if scopes:
                route["AuthorizationScopes"] = scopes
    plan.resources[f"{stem}Route"] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": route}
    plan.routes[api].add(key)


def _word(text: str) -> str:
    """Letters and digits only, for a logical id; the end of a hash tells `/a/b` from `/a-b`."""
    letters = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text))
    return letters + hashlib.sha256(text.encode()).hexdigest()[:6]


def _capitalised(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name[:1].upper() + name[1:]: value for name, value in settings.items()}
