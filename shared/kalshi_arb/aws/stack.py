"""A deployed stack as its owner reaches it, with credentials of their own.

What stops trading must not depend on the code that trades, so nothing here passes through its functions or its API.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.books import DynamoBookStore
from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.aws.deployment import deployment_hash
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.functions import call_function
from kalshi_arb.aws.journal import DynamoLedgerStore
from kalshi_arb.aws.secrets import Vault
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError

_DESCRIPTION = "kalshi-arbitrage"


@dataclass(frozen=True)
class DeployedStack:
    """One deployed stack.

    :param client: makes the client of an AWS service
    """

    mode: str
    name: str
    outputs: Mapping[str, str]
    client: Callable[[str], Client]

    def output(self, name: str) -> str:
        """One of the stack's outputs. :raises SettingsError: it has none of that name."""
        if name not in self.outputs:
            raise SettingsError(f"the stack {self.name} has no output {name}: deploy it again")
        return self.outputs[name]

    @cached_property
    def status(self) -> DynamoStatusStore:
        """Its status table."""
        return DynamoStatusStore(Table(self.client("dynamodb"), self.output("StatusTable"), "component"))

    def _table(self, output: str, key: str, sort: str = "") -> Table:
        return Table(self.client("dynamodb"), self.output(output), key, sort=sort)

    @cached_property
    def ledger(self) -> DynamoLedgerStore:
        """Its journal."""
        return DynamoLedgerStore(self._table("LedgerTable", "chain", "place"), SystemClock())

    @cached_property
    def baskets(self) -> DynamoBasketStore:
        """Its basket rows."""
        return DynamoBasketStore(self._table("BasketsTable", "basket_id"))

    @cached_property
    def books(self) -> DynamoBookStore:
        """Its copies of books."""
        return DynamoBookStore(self._table("BooksTable", "ticker"))

    def repair(self) -> dict[str, Any]:
        """What the settlement function answers to the command to repair the journal: it alone reads the account.

        :raises StoreError: it could not be called, or ended in an error.
        """
        return call_function(self.client("lambda"), f"kalshi-arb-{self.mode}-settlement", {"command": "repair"})

    def vault(self) -> Vault:
        """Its secrets and parameters."""
        return Vault(
            secrets=lambda: self.client("secretsmanager"), parameters=lambda: self.client("ssm"), clock=SystemClock()
        )

    def limits_text(self) -> str:
        """Its limits as they are stored. :raises StoreError: they cannot be read."""
        return self.vault().parameter_text(self.output("LimitsParameter"))

    def trading_key(self) -> dict[str, object]:
        """The content of the secret with the key that orders are signed with. Errors as those of a vault."""
        return self.vault().secret(self.output("TradeKeySecret"))

    def deployed(self) -> str:
        """The hash of what is deployed. :raises StoreError: CloudFormation cannot be asked."""
        return deployment_hash(self.client("cloudformation"), self.name)

    def is_denied(self) -> bool:
        """Whether the policy that denies purchases is attached to the machine's role."""
        role, policy = self.output("BasketMachineRole"), self.output("PurchaseDenial")
        with translated(f"look at the role {role}"):
            attached = self.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return any(one["PolicyArn"] == policy for one in attached)

    def deny(self) -> None:
        """Take calling the function that buys away from the state machine."""
        role = self.output("BasketMachineRole")
        with translated(f"attach the denial to the role {role}"):
            self.client("iam").attach_role_policy(RoleName=role, PolicyArn=self.output("PurchaseDenial"))

    def allow(self) -> None:
        """Give it back."""
        role = self.output("BasketMachineRole")
        with translated(f"detach the denial from the role {role}"):
            self.client("iam").detach_role_policy(RoleName=role, PolicyArn=self.output("PurchaseDenial"))


def find_stack(mode: str, client: Callable[[str], Client]) -> DeployedStack:
    """The stack of a mode in an account. :raises SettingsError: there is none, or more than one."""
    with translated("look for the stack"):
        pages = client("cloudformation").get_paginator("describe_stacks").paginate()
        stacks = [stack for page in pages for stack in page["Stacks"]]
    own = [(str(stack["StackName"]), _outputs(stack)) for stack in stacks if _is_ours(stack)]
    own = [(name, outputs) for name, outputs in own if outputs.get("Mode") == mode]
    if len(own) != 1:
        found = ", ".join(sorted(name for name, _ in own)) or "none"
        raise SettingsError(f"expected one stack of mode {mode} in this account and region, found {found}")
    return DeployedStack(mode, own[0][0], own[0][1], client)


def _is_ours(stack: Mapping[str, Any]) -> bool:
    return str(stack.get("Description", "")).startswith(_DESCRIPTION) and not stack.get("ParentId")


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs") or ()}
