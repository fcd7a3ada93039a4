"""Declared against created: every resource is asked for at its own service, not at CloudFormation.

A type that nothing here can ask about counts as missing, so that a new type in the template cannot pass unseen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.checks import CHECKS, Question
from infra.local.translate import Plan


class Comparison:
    """Asks for every declared resource."""

    def __init__(self, clients: Callable[[str], Any], plan: Plan, physical: Mapping[str, str]) -> None:
        """``physical`` maps a logical id to the id CloudFormation reports for a completed resource."""
        self._clients = clients
        self._plan = plan
        self._physical = physical

    def missing(self) -> dict[str, str]:
        """By logical id: why a declared resource does not count as created."""
        found = {}
        for logical_id, resource in self._plan.resources.items():
            problem = self._problem(logical_id, resource)
            if problem:
                found[logical_id] = f"{resource['Type']}: {problem}"
        return found

    def _problem(self, logical_id: str, resource: Mapping[str, Any]) -> str:
        if logical_id not in self._physical:
            return "CloudFormation has not created it"
        if resource["Type"] not in CHECKS:
            return "nothing here can ask whether it exists: add a check to infra/local/checks.py"
        service, check = CHECKS[resource["Type"]]
        client, name = self._clients(service), self._physical[logical_id]
        try:
            problem = check(Question(client, name, resource.get("Properties") or {}, self._physical))
        except (ClientError, BotoCoreError, KeyError) as error:
            return f"{name}: {type(error).__name__} {error}"
        if not problem and logical_id in self._plan.routes:
            problem = self._routes_problem(client, logical_id)
        return problem

    def _routes_problem(self, client: Any, api: str) -> str:
        declared = self._plan.routes[api]
        found = {route["RouteKey"] for route in client.get_routes(ApiId=self._physical[api])["Items"]}
        if not declared:
            return "its body declares no route"
        absent = sorted(declared - found)
        return f"it lacks the routes {', '.join(absent)}" if absent else ""
