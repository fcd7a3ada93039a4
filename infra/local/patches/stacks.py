"""CloudFormation: an HTTP API gets its routes, and a template that names what it does not hold is refused at once.

The embedded AWS would create an API without a route, and would find out in the middle of a deployment, or never, that
a reference leads nowhere. AWS refuses such a template before it touches a resource.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from infra.local.errors import TemplateError
from infra.local.http_api import API, expand_http_apis
from infra.local.seams import Seam

_USERS = tuple(
    Seam(f"services.cloudformation.{module}", "_apply_transforms") for module in ("engine", "handlers", "changesets")
)
_REFUSED = Seam("services.cloudformation.engine", "_TransformFailed")
_SUBSTITUTED = re.compile(r"\$\{([^!}][^}]*)\}")

Template = dict[str, Any]


def _named(node: object) -> Iterator[str]:
    """What the intrinsic functions inside a value refer to, without attributes."""
    if isinstance(node, list):
        for item in node:
            yield from _named(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref" and isinstance(value, str):
            yield value
        elif key == "Fn::GetAtt" and value:
            yield str(value[0] if isinstance(value, list) else value.split(".", 1)[0])
        elif key == "Fn::Sub":
            text, own = value if isinstance(value, list) else (value, {})
            yield from (name.split(".", 1)[0] for name in map(str.strip, _SUBSTITUTED.findall(text)) if name not in own)
            yield from _named(own)
        else:
            yield from _named(value)


def undefined_names(template: Mapping[str, Any]) -> list[str]:
    """What resources and outputs refer to although the template holds no such resource or parameter."""
    resources: Mapping[str, Any] = template.get("Resources") or {}
    defined = {*resources, *(template.get("Parameters") or {})}
    named = {*_named(list(resources.values())), *_named(template.get("Outputs"))}
    for resource in resources.values():
        wanted = resource.get("DependsOn", ())
        named.update([wanted] if isinstance(wanted, str) else wanted)
    return sorted(name for name in named - defined if not name.startswith("AWS::"))


def _finished(original: Callable[..., Template]) -> Callable[..., Template]:
    """The transforms of a stack operation, followed by what is missing after them."""
    refused = _REFUSED.value()

    def apply(template: Template, provided_params: Any = None, previous_params: Any = None) -> Template:
        result = original(template, provided_params, previous_params)
        if isinstance(result, refused) or result.get("Transform"):
            return result
        unknown = undefined_names(result)
        if unknown:
            # The words are those of AWS.
            names = ", ".join(unknown)
            why = f"Template format error: Unresolved resource dependencies [{names}] in the template"
            failed: Template = refused(template, why)
            return failed
        resources = result.get("Resources") or {}
        if any("Body" in (found.get("Properties") or {}) for found in resources.values() if found.get("Type") == API):
            # A copy: the template as sent is kept beside the processed one.
            result = {**result, "Resources": copy.deepcopy(resources)}
            try:
                expand_http_apis(result["Resources"])
            except TemplateError as error:
                result = refused(template, str(error))
        return result

    return apply


def apply() -> None:
    """Check every seam and put ours in place. :raises SeamError: one does not fit."""
    originals = {id(seam.function(["template", "provided_params", "previous_params"])) for seam in _USERS}
    if len(originals) != 1:
        raise _USERS[0].broken("its users do not share one function")
    if not issubclass(_REFUSED.of_type(type), dict):
        raise _REFUSED.broken("it is not a template that carries an error")
    ours = _finished(_USERS[0].value())
    for seam in _USERS:
        seam.replace(ours)
