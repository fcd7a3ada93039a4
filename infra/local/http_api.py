"""HTTP APIs in plain resources: the embedded AWS stores an API's OpenAPI body without creating a single route."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.errors import TemplateError

API = "AWS::ApiGatewayV2::Api"
_ANY_METHOD = "x-amazon-apigateway-any-method"
_INTEGRATION = "x-amazon-apigateway-integration"
_AUTHORIZER = "x-amazon-apigateway-authorizer"
_CORS = "x-amazon-apigateway-cors"
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace", _ANY_METHOD}
_PUBLIC = "NONE"  # what SAM writes for a route without the default authorizer

Resources = dict[str, dict[str, Any]]


@dataclass(slots=True)
class HttpApis:
    """What the bodies of the APIs declared, by the logical id of the API."""

    routes: dict[str, set[str]] = field(default_factory=dict)  # route keys such as "GET /x"
    cors: dict[str, dict[str, Any]] = field(default_factory=dict)  # taken only by UpdateApi, after deployment


def expand_http_apis(resources: Resources) -> HttpApis:
    """Replace the body of every HTTP API by integrations, routes and authorizers, in place.

    :raises TemplateError: a body holds something not understood here
    """
    found = HttpApis()
    for logical_id, resource in list(resources.items()):
        if resource.get("Type") == API:
            _expand(resources, logical_id, resource["Properties"], found)
    return found


def _expand(resources: Resources, api: str, properties: dict[str, Any], found: HttpApis) -> None:
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
            authorizers[scheme] = _add_authorizer(resources, api, scheme, definition)
        found.routes[api] = {
            _add_route(resources, api, path, method, operation, authorizers)
            for path, methods in body["paths"].items()
            for method, operation in methods.items()
            if method in _METHODS
        }
    if cors:
        found.cors[api] = _capitalised(cors)


def _add_authorizer(resources: Resources, api: str, scheme: str, definition: Mapping[str, Any]) -> str:
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
    resources[logical_id] = {"Type": "AWS::ApiGatewayV2::Authorizer", "Properties": properties}
    return logical_id


def _add_route(
    resources: Resources,
    api: str,
    path: str,
    method: str,
    operation: Mapping[str, Any],
    authorizers: Mapping[str, str],
) -> str:
    """Add one route with its integration. :returns: the route's key"""
    verb = "ANY" if method == _ANY_METHOD else method.upper()
    key = "$default" if path.strip("/") == "$default" else f"{verb} {path}"
    integration = operation.get(_INTEGRATION)
    if integration is None or str(integration.get("type", "")).lower() != "aws_proxy":
        raise TemplateError(f"{api}: the route {key} has no proxy integration")
    stem = f"{api}{_word(key)}"
    resources[f"{stem}Integration"] = {
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
            kind = resources[authorizers[scheme]]["Properties"]["AuthorizerType"]
            route["AuthorizationType"] = "JWT" if kind == "JWT" else "CUSTOM"
            route["AuthorizerId"] = {"Ref": authorizers[scheme]}
            if scopes:
                route["AuthorizationScopes"] = scopes
    resources[f"{stem}Route"] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": route}
    return key


def _word(text: str) -> str:
    """Letters and digits only, for a logical id; the end of a hash tells `/a/b` from `/a-b`."""
    letters = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text))
    return letters + hashlib.sha256(text.encode()).hexdigest()[:6]


def _capitalised(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name[:1].upper() + name[1:]: value for name, value in settings.items()}
