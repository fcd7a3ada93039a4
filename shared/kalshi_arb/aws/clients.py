"""How this project talks to AWS: short timeouts, few retries, no instance metadata, and errors of our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kalshi_arb.domain.errors import StoreError

# boto3 builds its clients at run time and ships no type information.
Client = Any

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=16,
    tcp_keepalive=True,
)


def new_session(region: str) -> boto3.Session:
    """A session that never asks the instance metadata service: Lambda and Fargate do not offer one, and on any other
    machine the question costs seconds."""
    core = botocore.session.Session()
    core.get_component("credential_provider").remove("iam-role")
    return boto3.Session(botocore_session=core, region_name=region)


def new_client(session: boto3.Session, service: str) -> Client:
    """A client with this project's timeouts; the endpoint follows ``AWS_ENDPOINT_URL`` as boto3 defines it."""
    return session.client(service, config=_CONFIG)


def error_code(error: ClientError) -> str:
    """The service's own word for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn whatever AWS or the network raises into a :class:`StoreError` that names ``what`` was tried."""
    try:
        yield
    except ClientError as error:
        message = error.response.get("Error", {}).get("Message", "")
        raise StoreError(f"{what}: {error_code(error)} {message}".rstrip()) from error
    except BotoCoreError as error:
        raise StoreError(f"{what}: {error}") from error
