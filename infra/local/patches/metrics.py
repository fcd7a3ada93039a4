"""Metrics that AWS publishes by itself and the embedded AWS does not, and alarms that are judged as AWS judges them.

The embedded AWS judges an alarm over every series of its metric, whatever the dimensions, and only when somebody puts
a metric. Here an alarm sees its own series, period by period, with its rule for missing data, on a timer.
"""

import json
import logging
import operator
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from infra.local.seams import Seam

logger = logging.getLogger("local_cloud.metrics")

_RECORD = Seam("services.cloudwatch", "record_metric")
_STORE = Seam("services.cloudwatch", "_store_datum")
_METRICS = Seam("services.cloudwatch", "_metrics")
_ALARMS = Seam("services.cloudwatch", "_alarms")
_EVALUATE = Seam("services.cloudwatch", "_evaluate_alarm")
_DIMENSIONS_KEY = Seam("services.cloudwatch", "_dims_key")
_DIMENSIONS = Seam("services.cloudwatch", "_dims_from_list")
_STATISTICS = Seam("services.cloudwatch", "_calc_stats")
_STATISTIC = Seam("services.cloudwatch", "_stat_value")
_HISTORY = Seam("services.cloudwatch", "_record_history")
_ACTIONS = Seam("services.cloudwatch", "_dispatch_alarm_actions")
_PARENTS = Seam("services.cloudwatch", "_evaluate_parent_alarms")
_QUEUES = Seam("services.sqs", "_queues")
_STATUS_EVENT = Seam("services.stepfunctions", "_emit_execution_status_event")
_PUT_LOGS = Seam("services.cloudwatch_logs", "_put_log_events")
_SCOPE = Seam("core.responses", "request_scope")

_ENDS = {"FAILED": "ExecutionsFailed", "SUCCEEDED": "ExecutionsSucceeded", "ABORTED": "ExecutionsAborted"}

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_alarm_lock = threading.RLock()


def publish_embedded_metrics(log: str) -> None:
    """Turn every log line in CloudWatch's embedded metric format into metric data, as Lambda's log agent does."""
    if '"_aws"' not in log:
        return
    store = _STORE.value()
    for line in log.splitlines():
        if line.startswith("{") and '"_aws"' in line:
            try:
                _publish_line(json.loads(line), store)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # AWS drops a malformed line and says so in a metric of its own; here the emulator's log is read.
                logger.warning("a log line in embedded metric format cannot be used (%s): %.200s", error, line)


def _publish_line(line: Mapping[str, Any], store: Any) -> None:
    moment = line["_aws"]["Timestamp"] / 1000
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(line[name]) for name in names}
            for metric in directive["Metrics"]:
                value = line[metric["Name"]]
                values = value if isinstance(value, list) else [value]
                store(
                    directive["Namespace"],
                    metric["Name"],
                    dimensions,
                    moment,
                    metric.get("Unit", "None"),
                    None,
                    [float(item) for item in values],
                    None,
                    None,
                )


def publish_queue_depths(now: float) -> None:
    """The depths of every queue and the age of its oldest message, as SQS publishes each minute.

    :param now: seconds since the epoch
    """
    record, scope = _RECORD.value(), _SCOPE.value()
    for (account, region, _), queue in _QUEUES.value().all_items():
        with scope(account, region):
            dimensions = {"QueueName": queue["name"]}
            # Read only: the queue's own counting also drops messages, which must not race with a send.
            depths, oldest = queue_depths(list(queue["messages"]), now)
            for metric, depth in depths.items():
                record("AWS/SQS", metric, float(depth), "Count", dimensions)
            record("AWS/SQS", "ApproximateAgeOfOldestMessage", now - oldest, "Seconds", dimensions)


def queue_depths(messages: Sequence[Mapping[str, Any]], now: float) -> tuple[dict[str, int], float]:
    """How many messages wait, are being worked on or are delayed, and when the oldest was sent."""
    visible = [message for message in messages if message.get("visible_at", 0) <= now]
    hidden = [message for message in messages if message.get("visible_at", 0) > now]
    received = [message for message in hidden if message.get("receive_count")]
    depths = {
        "ApproximateNumberOfMessagesVisible": len(visible),
        "ApproximateNumberOfMessagesNotVisible": len(received),
        "ApproximateNumberOfMessagesDelayed": len(hidden) - len(received),
    }
    return depths, min((message.get("sent_at", now) for message in messages), default=now)


def breaches(alarm: Mapping[str, Any], points: Sequence[Mapping[str, Any]], now: float) -> list[bool | None]:
    """For each evaluation period, the latest first: over the threshold, not over it, or None without data.

    A period that began before the alarm was made and holds no data says nothing, and is left out.
    """
    period = int(alarm["Period"])
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    name = alarm.get("ExtendedStatistic") or alarm["Statistic"]
    made = alarm.get("AlarmConfigurationUpdatedTimestamp") or 0
    found: list[bool | None] = []
    for index in range(int(alarm["EvaluationPeriods"])):
        upper, lower = now - index * period, now - (index + 1) * period
        inside = [point for point in points if lower < point["Timestamp"] <= upper]
        statistics = _STATISTICS.value()(inside)
        value = _STATISTIC.value()(statistics, name, inside) if statistics else None
        if value is not None:
            found.append(compare(value, alarm["Threshold"]))
        elif lower >= made:
            found.append(None)
    return found


def state_of(alarm: Mapping[str, Any], found: Sequence[bool | None]) -> str:
    """The state these periods mean, by the alarm's own number of datapoints and its rule for missing ones.

    Source: Amazon CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data".
    """
    needed = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    treat = alarm.get("TreatMissingData") or "missing"
    present = [breach for breach in found if breach is not None]
    missing = len(found) - len(present)
    if not found or (not present and treat == "ignore"):
        return str(alarm["StateValue"])
    if not present and treat == "missing":
        return "INSUFFICIENT_DATA"
    over = sum(present) + (missing if treat == "breaching" else 0)
    return "ALARM" if over >= needed else "OK"


def evaluate_alarm(alarm: dict[str, Any]) -> None:
    """Judge one alarm now, record the change and fire its actions."""
    if alarm.get("ComparisonOperator") not in _COMPARISONS or not alarm.get("MetricName"):
        return
    key = (
        alarm["Namespace"],
        alarm["MetricName"],
        _DIMENSIONS_KEY.value()(_DIMENSIONS.value()(alarm.get("Dimensions") or [])),
    )
    points = list(_METRICS.value().get(key) or ())
    with _alarm_lock:
        found = breaches(alarm, points, time.time())
        old, new = alarm["StateValue"], state_of(alarm, found)
        if new == old:
            return
        words = {True: "over", False: "not over", None: "missing"}
        reason = (
            f"{alarm.get('ExtendedStatistic') or alarm['Statistic']} {alarm['ComparisonOperator']} "
            f"{alarm['Threshold']}: the last periods were {', '.join(words[breach] for breach in found)}"
        )
        alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        _HISTORY.value()(alarm["AlarmName"], old, new, reason)
        _ACTIONS.value()(alarm, old, new, reason)
        _PARENTS.value()(alarm)


def evaluate_alarms() -> None:
    """Judge every alarm of every account and region."""
    scope = _SCOPE.value()
    for (account, region, _), alarm in _ALARMS.value().all_items():
        with scope(account, region):
            evaluate_alarm(alarm)


def _with_workflow_metrics(original: Any) -> Any:
    record = _RECORD.value()

    def emit(execution: dict[str, Any]) -> None:
        dimensions = {"StateMachineArn": execution["stateMachineArn"]}
        status = execution["status"]
        if status == "RUNNING":
            record("AWS/States", "ExecutionsStarted", 1, "Count", dimensions)
        # A zero keeps an alarm on failures out of "no data" while others succeed.
        elif status in _ENDS:
            for name, metric in _ENDS.items():
                record("AWS/States", metric, int(name == status), "Count", dimensions)
        original(execution)

    return emit


def _with_embedded_metrics(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """PutLogEvents that finds embedded metrics, as CloudWatch does in every log group."""

    def put(data: dict[str, Any]) -> Any:
        answer = original(data)
        if answer[0] == HTTPStatus.OK:
            for event in data.get("logEvents", ()):
                publish_embedded_metrics(event.get("message", ""))
        return answer

    return put


def apply() -> None:
    """Check every seam and put ours in place. :raises SeamError: one does not fit."""
    _RECORD.function(["namespace", "metric_name", "value", "unit", "dimensions"])
    _STORE.function(["namespace", "name", "dims", "ts", "unit", "value", "values", "counts", "stat_values"])
    _DIMENSIONS_KEY.function(["dims"])
    _DIMENSIONS.function(["dimensions"])
    _STATISTICS.function(["points"])
    _STATISTIC.function(["stats", "stat_name", "points"])
    _HISTORY.function(["alarm_name", "old_state", "new_state", "reason", "alarm_type", "reason_data"])
    _ACTIONS.function(["alarm", "old_state", "new_state", "reason"])
    _PARENTS.function(["child", "seen"])
    _SCOPE.value()
    for store in (_METRICS, _ALARMS, _QUEUES):
        if not hasattr(store.value(), "all_items"):
            raise store.broken("it is not a store by account and region")
    put_logs = _PUT_LOGS.function(["data"])
    _EVALUATE.function(["alarm"])
    _EVALUATE.replace(evaluate_alarm)
    _PUT_LOGS.replace(_with_embedded_metrics(put_logs))
    _STATUS_EVENT.replace(_with_workflow_metrics(_STATUS_EVENT.function(["execution"])))
