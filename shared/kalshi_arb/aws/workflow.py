"""Starts the state machine that drives a basket."""

import json

from botocore.exceptions import ClientError

from kalshi_arb.aws.clients import Client, error_code, translated


class StepFunctionsWorkflow:
    """:class:`kalshi_arb.ports.Workflow` on one Standard state machine.

    An execution's name is ``<basket_id>-<attempt>`` and cannot be used again for 90 days. Step Functions answers a
    repeated start with the same input as success while the first one runs, so True means that the execution runs.
    """

    def __init__(self, client: Client, machine_arn: str) -> None:
        self._client = client
        self._machine_arn = machine_arn

    def start(self, basket_id: str, attempt: int) -> bool:
        """Start an execution named after basket and attempt; False when it exists already."""
        name = f"{basket_id}-{attempt}"
        with translated(f"start execution {name}"):
            try:
                self._client.start_execution(
                    stateMachineArn=self._machine_arn,
                    name=name,
                    input=json.dumps({"basket_id": basket_id, "attempt": attempt}),
                )
            except ClientError as error:
                if error_code(error) == "ExecutionAlreadyExists":
                    return False
                raise
        return True
