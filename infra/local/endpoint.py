"""The only way this package makes an AWS client: loopback address, dummy credentials, nothing of the person's own.

A client built here cannot reach an account: the address is checked, the credentials are fixed, and neither the
configuration files, the profile nor the proxy of the person who runs it are read.
"""

import ipaddress
import os
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config

from infra.local.errors import EndpointError

ACCOUNT = "000000000000"
REGION = "us-east-1"
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105  the embedded AWS takes any


def require_loopback(url: str) -> str:
    """Hand the address back if it is plain HTTP on this machine alone.

    :raises EndpointError: any other scheme, any other host, or a name that would have to be resolved
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback or parts.username is not None:
        raise EndpointError(f"{url!r} is not a loopback address: the local cloud talks to this machine only")
    return url


def cloud_environment(url: str) -> dict[str, str]:
    """What a child process needs in its environment so that boto3 reaches the embedded AWS and nothing else.

    :raises EndpointError: the address is not loopback
    """
    return {
        "AWS_ENDPOINT_URL": require_loopback(url),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        # The person's own configuration may name a real account or another endpoint.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def local_session() -> Any:
    """A boto3 session that reads no file and no profile. Build one per deployment: sessions are not cheap."""
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION, botocore_session=session
    )


def local_client(service: str, url: str, session: Any = None) -> Any:
    """A boto3 client of the embedded AWS.

    :param session: one from :func:`local_session`, to share its loaded models
    :raises EndpointError: the address is not loopback
    """
    return (session or local_session()).client(
        service,
        endpoint_url=require_loopback(url),
        config=Config(
            proxies={},  # a proxy of the environment would carry the call off this machine
            ignore_configured_endpoint_urls=True,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path"},
        ),
    )
