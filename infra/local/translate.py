"""From the SAM template to plain resources the embedded AWS creates: nothing added, nothing left out in silence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template

from infra.local.errors import TemplateError
from infra.local.http_api import expand_http_apis

# The only types the embedded AWS does not know and a template of ours may hold. Whatever else it refuses, it refuses.
NOT_EMULATED = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::Budgets::Budget",
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::Logs::QueryDefinition",
    }
)


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


def active_resources(template: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The resources whose condition holds, or that have none. :raises TemplateError: as :meth:`Conditions.holds`"""
    conditions = Conditions(template, values)
    return {
        logical_id: resource
        for logical_id, resource in template["Resources"].items()
        if "Condition" not in resource or conditions.holds(resource["Condition"])
    }


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
    resources = active_resources(translated, values)
    left_out = {logical_id for logical_id, resource in resources.items() if resource["Type"] in NOT_EMULATED}
    not_emulated = sorted({resources[logical_id]["Type"] for logical_id in left_out})
    kept = {logical_id: resource for logical_id, resource in resources.items() if logical_id not in left_out}
    for resource in kept.values():
        _forget_dependencies(resource, left_out)
    apis = expand_http_apis(kept)
    return Plan({**translated, "Resources": kept}, not_emulated, apis.routes, apis.cors)


def _forget_dependencies(resource: dict[str, Any], left_out: set[str]) -> None:
    wanted = resource.get("DependsOn")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else wanted
        resource["DependsOn"] = [name for name in names if name not in left_out]
