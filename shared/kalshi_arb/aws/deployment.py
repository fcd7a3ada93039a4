"""What CloudFormation has deployed, as one hash.

The template that it was given names code, layers, state machine and nested templates by addresses that change with
their content, so that its hash changes with any of them. A value that the build writes down would be true of the build
alone: a deployment of something else would carry it on.
"""

import hashlib
import json
from collections.abc import Callable

from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.clock import Clock

_KEEP_MS = 60_000


class Deployment:
    """The hash of the stack that a process belongs to, kept for a short time; the client is built at the first read."""

    def __init__(self, cloudformation: Callable[[], Client], stack: str, clock: Clock) -> None:
        self._cloudformation = cloudformation
        self._stack = stack
        self._clock = clock
        self._kept: tuple[str, int] | None = None

    def hash(self) -> str:
        """:raises StoreError: CloudFormation cannot be asked."""
        now = self._clock.now_ms()
        if self._kept is None or now - self._kept[1] >= _KEEP_MS:
            self._kept = deployment_hash(self._cloudformation(), self._stack), now
        return self._kept[0]


def deployment_hash(cloudformation: Client, stack: str) -> str:
    """SHA-256 over a stack's template and its parameters. :raises StoreError: they cannot be read."""
    with translated(f"read the template of {stack}"):
        body = cloudformation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
        (described,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    # boto3 decodes a template in JSON, and hands one in YAML over as text.
    text = body if isinstance(body, str) else json.dumps(body, sort_keys=True)
    parameters = {one["ParameterKey"]: one.get("ParameterValue", "") for one in described.get("Parameters") or ()}
    return hashlib.sha256(json.dumps([text, parameters], sort_keys=True).encode()).hexdigest()
