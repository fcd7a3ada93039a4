"""The stack that a command means: one in the person's AWS account, or the local run's on this machine."""

import getpass
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from kalshi_arb import bootstrap
from kalshi_arb.cli.local_state import read_run_state
from kalshi_arb.execution.arming import Terms, hash_of
from kalshi_arb.kalshi.signing import Credentials, credentials_from_secret
from kalshi_arb.settings import Mode

if TYPE_CHECKING:
    from kalshi_arb.bootstrap import DeployedStack

stack_option = click.option(
    "--stack",
    type=click.Choice([mode.value for mode in Mode]),
    help="The stack of this mode in your AWS account, with your AWS credentials; without it the local run.",
)


def stack_of(mode: str | None, folder: Path) -> "DeployedStack":
    """The stack that a command means.

    :raises click.ClickException: none was named, and nothing runs from ``folder``
    :raises SettingsError: there is no such stack
    :raises StoreError: AWS cannot be asked
    """
    if mode is not None:
        return bootstrap.deployed_stack(mode)
    state = read_run_state(folder)
    if state is None:
        raise click.ClickException(
            f"nothing is running from {folder}: start it with `kalshi-arb run`, or name a deployed one with --stack"
        )
    return bootstrap.local_stack(state.mode, f"http://{urlsplit(state.api_url).netloc}")


def trading_key(stack: "DeployedStack") -> Credentials:
    """The key that orders are signed with. :raises SettingsError: it is not stored yet, or malformed."""
    return credentials_from_secret(stack.trading_key())


def terms_of(stack: "DeployedStack") -> Terms:
    """What an arming of this stack is made for, as it is deployed now."""
    return Terms(template=stack.deployed(), limits=hash_of(stack.limits_text()), key_id=trading_key(stack).key_id)


def person() -> str:
    """Who gives the order, for the record: the account and machine at whose keyboard they sit."""
    name = "somebody"
    with suppress(OSError, KeyError):
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"
