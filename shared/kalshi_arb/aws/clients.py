"""How this project talks to AWS: short timeouts, few retries, no instance metadata, and errors of our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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

# A function that is called answers when it is done, and a repetition would do its work twice. Below the 29 s that the
# API's own function has.
_CALLS = Config(read_timeout=24, retries={"mode": "standard", "total_max_attempts": 1})


def new_session(region: str | None) -> boto3.Session:
    """A session; without a region the one that the person's own configuration names. It never asks the
    instance metadata service: Lambda and Fargate do not offer one, and on any other machine the question costs
    seconds."""
    core = botocore.session.Session()
    core.get_component("credential_provider").remove("iam-role")
    return boto3.Session(botocore_session=core, region_name=region)


def new_client(session: boto3.Session, service: str) -> Client:
    """A client with this project's timeouts; the endpoint follows ``AWS_ENDPOINT_URL`` as boto3 defines it."""
    return session.client(service, config=_CONFIG.merge(_CALLS) if service == "lambda" else _CONFIG)


def new_local_client(address: str, service: str) -> Client:
    """A client of the cloud on this machine, with nothing of the person's own: no credentials, no proxy.

    :raises StoreError: the address is not this machine's
    """
    if urlsplit(address).hostname not in ("127.0.0.1", "localhost"):
        raise StoreError(f"{address} is not on this machine")
    core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    session = boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the cloud on this machine takes any
        region_name="us-east-1",
        botocore_session=core,
    )
    config = _CONFIG.merge(Config(proxies={}, ignore_configured_endpoint_urls=True))
    return session.client(service, endpoint_url=address, config=config)


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
