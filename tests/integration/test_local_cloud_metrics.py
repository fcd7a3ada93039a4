"""Metrics and alarms that AWS has by itself: embedded metrics, queue depths, functions, workflows."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.log_driver import LogDriver
from infra.local.patches.metrics import breaches, queue_depths, state_of
from tests.integration.local_cloud_support import RESERVED, WORKER, Deployed, deployed, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def total(stack: Deployed, namespace: str, metric: str, statistic: str = "Sum", **dimensions: str) -> float:
    """One statistic over the last hours, 0.0 without data."""
    now = datetime.now(UTC)
    points = stack.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=7200,
        Statistics=[statistic],
    )["Datapoints"]
    return max((float(point[statistic]) for point in points), default=0.0)


def test_a_log_line_in_embedded_format_is_a_metric(stack: Deployed) -> None:
    stack.call({"do": "metric", "name": "Locks", "value": 7})
    assert total(stack, "LocalCloud", "Locks", service="worker") == 14  # the line holds the value twice


def test_a_log_line_put_by_any_process_is_a_metric_too(stack: Deployed) -> None:
    logs = stack.client("logs")
    logs.create_log_group(logGroupName="/ecs/feed")
    logs.create_log_stream(logGroupName="/ecs/feed", logStreamName="one")
    now_ms = int(time.time() * 1000)
    directive = {"Namespace": "LocalCloud", "Dimensions": [["service"]], "Metrics": [{"Name": "Frames"}]}
    line = {"_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}, "service": "feed", "Frames": 3}
    events = [{"timestamp": now_ms, "message": json.dumps(line)}, {"timestamp": now_ms, "message": '{"_aws": 1}'}]
    logs.put_log_events(logGroupName="/ecs/feed", logStreamName="one", logEvents=events)
    assert total(stack, "LocalCloud", "Frames", service="feed") == 3


def test_a_process_beside_the_cloud_has_its_lines_in_a_log_group_and_its_metrics_counted(stack: Deployed) -> None:
    logs = stack.client("logs")
    logs.create_log_group(logGroupName="/ecs/beside")
    script = (
        "import json, sys, time\n"
        "print('hello')\n"
        "directive = {'Namespace': 'LocalCloud', 'Dimensions': [['service']], 'Metrics': [{'Name': 'Gaps'}]}\n"
        "meta = {'Timestamp': int(time.time() * 1000), 'CloudWatchMetrics': [directive]}\n"
        "print(json.dumps({'_aws': meta, 'service': 'beside', 'Gaps': 2}))\n"
        "print('\\n'.join(['x' * 100] * 2000))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        driver = LogDriver(stack.cloud.url, "/ecs/beside", "feed/one", process.stdout)
        driver.start()
        process.wait()
        driver.wait(10)
    assert driver.dropped == 0
    found = logs.get_log_events(logGroupName="/ecs/beside", logStreamName="feed/one", startFromHead=True, limit=10000)
    assert [event["message"] for event in found["events"]][:1] == ["hello"]
    assert len(found["events"]) == 2002
    assert total(stack, "LocalCloud", "Gaps", service="beside") == 2


def test_invocations_and_errors_are_counted_once_whoever_calls(stack: Deployed) -> None:
    before = {name: total(stack, "AWS/Lambda", name, FunctionName=RESERVED) for name in ("Invocations", "Errors")}
    stack.call({}, RESERVED)
    machine = stack.client("stepfunctions")
    arn = machine.start_execution(stateMachineArn=stack.report.outputs["Machine"], input='{"do": "fail"}')
    wait_for(lambda: machine.describe_execution(executionArn=arn["executionArn"])["status"] != "RUNNING")
    after = {name: total(stack, "AWS/Lambda", name, FunctionName=RESERVED) for name in ("Invocations", "Errors")}
    assert after["Invocations"] - before["Invocations"] == 2
    assert after["Errors"] - before["Errors"] == 1


def test_executions_are_counted(stack: Deployed) -> None:
    machine = stack.client("stepfunctions")
    arn = machine.create_state_machine(
        name="fails",
        definition=json.dumps({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E", "Cause": "C"}}}),
        roleArn="arn:aws:iam::000000000000:role/any",
    )["stateMachineArn"]
    machine.start_execution(stateMachineArn=arn)
    wait_for(lambda: total(stack, "AWS/States", "ExecutionsFailed", StateMachineArn=arn) == 1)
    assert total(stack, "AWS/States", "ExecutionsStarted", StateMachineArn=arn) == 1
    assert total(stack, "AWS/States", "ExecutionsSucceeded", StateMachineArn=arn) == 0


def test_a_message_that_fails_lands_in_the_dead_letters_and_fires_the_alarm_through_the_topic(stack: Deployed) -> None:
    outputs, queues, cloudwatch = stack.report.outputs, stack.client("sqs"), stack.client("cloudwatch")
    ears = queues.create_queue(QueueName="ears")["QueueUrl"]
    attributes = queues.get_queue_attributes(QueueUrl=ears, AttributeNames=["QueueArn"])["Attributes"]
    stack.client("sns").subscribe(TopicArn=outputs["Topic"], Protocol="sqs", Endpoint=attributes["QueueArn"])

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[outputs["Alarm"]])["MetricAlarms"][0]["StateValue"])

    # Another queue's messages are not this alarm's business.
    queues.send_message(QueueUrl=ears, MessageBody="not a dead letter")
    wait_for(lambda: total(stack, "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", QueueName="ears") == 1)
    assert state() != "ALARM"
    queues.send_message(QueueUrl=outputs["Queue"], MessageBody="bad")
    wait_for(lambda: state() == "ALARM")
    told = wait_for(lambda: queues.receive_message(QueueUrl=ears, MaxNumberOfMessages=10).get("Messages"))
    assert any("ALARM" in message["Body"] for message in told)
    name = outputs["DeadLetters"].rpartition("/")[2]
    assert total(stack, "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", QueueName=name) == 1


def test_old_log_streams_are_dropped(stack: Deployed) -> None:
    for _ in range(30):
        stack.call({})
    logs = stack.client("logs")

    def count() -> int:
        return len(logs.describe_log_streams(logGroupName=f"/aws/lambda/{WORKER}")["logStreams"])

    wait_for(lambda: count() <= 20)


ALARM: dict[str, Any] = {
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5,
    "Statistic": "Maximum",
    "ComparisonOperator": "GreaterThanThreshold",
    "StateValue": "OK",
}


def point(seconds_ago: float, value: float, now: float = 1_000_000.0) -> dict[str, float]:
    return {"Timestamp": now - seconds_ago, "Value": value}


def test_periods_are_judged_one_by_one_latest_first() -> None:
    points = [point(150, 9), point(30, 4), point(31, 6)]
    assert breaches(ALARM, points, 1_000_000.0) == [True, None, True]


def test_a_period_from_before_the_alarm_was_made_is_no_missing_data() -> None:
    young = {**ALARM, "AlarmConfigurationUpdatedTimestamp": 1_000_000 - 70}
    assert breaches(young, [], 1_000_000.0) == [None]
    assert breaches(young, [point(150, 9)], 1_000_000.0) == [None, True]


@pytest.mark.parametrize(
    ("treat", "found", "state"),
    [
        ("missing", [None, None, None], "INSUFFICIENT_DATA"),
        ("ignore", [None, None, None], "OK"),
        ("breaching", [None, None, None], "ALARM"),
        ("notBreaching", [None, None, None], "OK"),
        ("notBreaching", [True, None, True], "OK"),
        ("breaching", [True, None, True], "ALARM"),
        ("missing", [True, True, True], "ALARM"),
        ("missing", [True, False, True], "OK"),
        ("breaching", [], "OK"),
        ("breaching", [None], "OK"),
    ],
)
def test_missing_data_counts_as_the_alarm_says(treat: str, found: list[bool | None], state: str) -> None:
    assert state_of({**ALARM, "TreatMissingData": treat}, found) == state


def test_m_out_of_n_datapoints_are_enough() -> None:
    alarm = {**ALARM, "DatapointsToAlarm": 2, "TreatMissingData": "notBreaching"}
    assert state_of(alarm, [True, False, True]) == "ALARM"
    assert state_of(alarm, [True, False, None]) == "OK"


def test_messages_are_counted_by_what_is_happening_to_them() -> None:
    messages = [
        {"sent_at": 90.0, "visible_at": 90.0, "receive_count": 0},
        {"sent_at": 80.0, "visible_at": 130.0, "receive_count": 1},
        {"sent_at": 95.0, "visible_at": 130.0, "receive_count": 0},
    ]
    depths, oldest = queue_depths(messages, 100.0)
    assert list(depths.values()) == [1, 1, 1]
    assert oldest == 80.0
    assert queue_depths([], 100.0)[1] == 100.0
