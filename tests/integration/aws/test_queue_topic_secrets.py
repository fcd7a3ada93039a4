"""Queue, workflow, topic, secrets and parameters as moto plays them."""

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest

from kalshi_arb import schemas
from kalshi_arb.aws.clients import new_client
from kalshi_arb.aws.notify import SnsNotifier
from kalshi_arb.aws.queues import SqsQueue
from kalshi_arb.aws.secrets import Vault
from kalshi_arb.aws.workflow import StepFunctionsWorkflow
from kalshi_arb.domain.errors import SettingsError, StoreError
from kalshi_arb.ports import Alert, Notifier, Queue, Workflow
from tests.cloud_samples import NOW, alert


def test_a_message_goes_through_the_queue(cloud: boto3.Session) -> None:
    client = new_client(cloud, "sqs")
    url = client.create_queue(QueueName="candidates")["QueueUrl"]
    queue: Queue = SqsQueue(client, url)
    queue.send("hello")
    assert [m["Body"] for m in client.receive_message(QueueUrl=url)["Messages"]] == ["hello"]
    with pytest.raises(StoreError, match="send to absent"):
        SqsQueue(client, url.replace("candidates", "absent")).send("hello")


def test_an_execution_is_started_once(cloud: boto3.Session) -> None:
    client = new_client(cloud, "stepfunctions")
    arn = client.create_state_machine(
        name="basket",
        definition=json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/basket",
    )["stateMachineArn"]
    workflow: Workflow = StepFunctionsWorkflow(client, arn)
    assert workflow.start("b1", 1)
    assert workflow.start("b1", 1), "repeated with the same input while it runs: the same execution"
    running = client.list_executions(stateMachineArn=arn)["executions"]
    assert [execution["name"] for execution in running] == ["b1-1"]
    client.stop_execution(executionArn=running[0]["executionArn"])
    assert not workflow.start("b1", 1), "ended: the name is spent"
    assert workflow.start("b1", 2)
    executions = client.list_executions(stateMachineArn=arn)["executions"]
    assert {execution["name"] for execution in executions} == {"b1-1", "b1-2"}
    described = client.describe_execution(executionArn=executions[0]["executionArn"])
    assert json.loads(described["input"]).keys() == {"basket_id", "attempt"}
    with pytest.raises(StoreError, match="b3-1"):
        StepFunctionsWorkflow(client, arn + "absent").start("b3", 1)


def test_an_alert_reaches_a_subscriber_whole(cloud: boto3.Session) -> None:
    sns, sqs = new_client(cloud, "sns"), new_client(cloud, "sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    url = sqs.create_queue(QueueName="sink")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    notifier: Notifier = SnsNotifier(sns, topic)
    sent = replace(alert(), title="caf\u00e9\nlocked " + "x" * 200)
    notifier.publish(sent)
    message = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert schemas.decode(message["Message"], Alert) == sent
    assert message["Subject"].startswith("simulated basket: caf locked x")
    assert len(message["Subject"]) <= 100
    assert message["MessageAttributes"]["mode"]["Value"] == "simulated"


def test_people_get_a_letter_and_programs_the_alert() -> None:
    class Client:
        published: dict[str, Any]

        def publish(self, **arguments: Any) -> None:
            self.published = arguments

    client = Client()
    SnsNotifier(client, "arn").publish(alert())
    assert client.published["MessageStructure"] == "json"
    bodies = json.loads(client.published["Message"])
    assert bodies.keys() == {"default", "email"}
    assert schemas.decode(bodies["default"], Alert) == alert()
    assert bodies["email"].startswith("simulated basket: basket b1 locked\n\nat least $2.90\n")
    assert "{" not in bodies["email"]


class StillClock:
    now = NOW

    def now_ms(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def test_secrets_and_parameters_are_kept_for_a_while(cloud: boto3.Session) -> None:
    secrets, parameters = new_client(cloud, "secretsmanager"), new_client(cloud, "ssm")
    secrets.create_secret(Name="token", SecretString='{"token": "one"}')
    parameters.put_parameter(Name="limits", Value='{"total": 5}', Type="String")
    clock = StillClock()
    vault = Vault(secrets=lambda: secrets, parameters=lambda: parameters, clock=clock, keep_ms=1_000)
    assert vault.secret("token") == {"token": "one"}
    assert vault.parameter("limits") == {"total": 5}
    secrets.put_secret_value(SecretId="token", SecretString='{"token": "two"}')
    assert vault.secret("token") == {"token": "one"}
    clock.now += 1_000
    assert vault.secret("token") == {"token": "two"}
    with pytest.raises(StoreError, match="absent"):
        vault.secret("absent")


@pytest.mark.parametrize("text", ["not json: hunter2", '["hunter2"]', "null"])
def test_a_malformed_secret_is_never_repeated(cloud: boto3.Session, text: str) -> None:
    secrets = new_client(cloud, "secretsmanager")
    secrets.create_secret(Name="key", SecretString=text)
    vault = Vault(secrets=lambda: secrets, parameters=lambda: None, clock=StillClock())
    with pytest.raises(SettingsError) as caught:
        vault.secret("key")
    assert "secret key must be a JSON object" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
