"""Adapters against DynamoDB, SQS, SNS, Step Functions, Secrets Manager and SSM as moto plays them, conditions and
transactions included."""

import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from kalshi_arb.aws.clients import new_client, new_session
from tests.moto_cloud import REGION, create_tables


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """An account with nothing in it."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield new_session(REGION)


@pytest.fixture(scope="session")
def dynamo_client() -> Any:
    """Building a client takes longer than most tests; moto empties the tables behind it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        return new_client(boto3.Session("test", "test", region_name=REGION), "dynamodb")


@pytest.fixture
def dynamo(cloud: boto3.Session, dynamo_client: Any) -> Any:
    """Its DynamoDB, with every table of ours."""
    create_tables(dynamo_client)
    return dynamo_client


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places as often as the interpreter allows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
