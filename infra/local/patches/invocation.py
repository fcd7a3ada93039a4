"""Every invocation of a function passes here: a bounded number of environments, results in Lambda's own shape.

A call that finds every environment of its function busy waits a little before it is throttled. Lambda would start
another environment; on one small machine waiting is what comes closest, and a throttle at once would not.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.errors import LocalCloudError
from infra.local.options import EmulatorOptions
from infra.local.patches.environments import HandlerWorker
from infra.local.patches.host import HandlerHost
from infra.local.patches.metrics import publish_embedded_metrics
from infra.local.seams import Seam

_WORKER_CLASS_FOR = Seam("core.lambda_runtime", "_worker_class_for")
_ACQUIRE = Seam("core.lambda_runtime", "acquire_worker")
_RELEASE = Seam("core.lambda_runtime", "release_worker")
_KILL = Seam("core.lambda_runtime", "kill_workers")
_KEY = Seam("core.lambda_runtime", "_worker_key")
_WORKERS = Seam("core.lambda_runtime", "_workers")
_WORKERS_LOCK = Seam("core.lambda_runtime", "_lock")
_CREDENTIALS = Seam("core.lambda_runtime", "execution_credentials")
_EXECUTE = Seam("services.lambda_svc", "_execute_function_warm")
_THROTTLE = Seam("services.lambda_svc", "_throttle_response")
_LAYER = Seam("services.lambda_svc", "_resolve_layer_zip")
_EMIT = Seam("services.lambda_svc", "_emit_lambda_metrics")
_REAPER = Seam("services.lambda_svc", "_ensure_reaper_thread")
_TRACE = Seam("services.lambda_svc", "_xray_trace_id_for_invocation")
_RECORD = Seam("services.cloudwatch", "record_metric")


class Slots:
    """How many environments one function may use at a time."""

    def __init__(self, per_function: int, wait_seconds: float) -> None:
        """``wait_seconds`` is how long a call waits for its turn."""
        self._per_function = per_function
        self._wait = wait_seconds
        self._lock = threading.Lock()
        self._semaphores: dict[str, threading.BoundedSemaphore] = {}

    @contextmanager
    def hold(self, function_arn: str) -> Iterator[bool]:
        """Yield whether a slot was got in time."""
        with self._lock:
            semaphore = self._semaphores.setdefault(function_arn, threading.BoundedSemaphore(self._per_function))
        got = semaphore.acquire(timeout=self._wait)
        try:
            yield got
        finally:
            if got:
                semaphore.release()


class Invoker:
    """Replaces the embedded AWS's execution of a function in a warm process."""

    def __init__(self, options: EmulatorOptions) -> None:
        """Check every seam. :raises SeamError: one does not fit."""
        self._options = options
        self._slots = Slots(options.workers_per_function, options.slot_wait)
        self._acquire = _ACQUIRE.function(["func_name", "config", "code_zip", "qualifier", "max_concurrency"])
        self._release = _RELEASE.function(["worker"])
        self._kill = _KILL.function(["workers"])
        self._key = _KEY.function(["func_name", "config", "qualifier"])
        self._workers: dict[str, list[Any]] = _WORKERS.of_type(dict)
        self._workers_lock = _WORKERS_LOCK.of_type(type(threading.Lock()))
        self._throttle = _THROTTLE.function(["reason_code", "msg", "retry_after"])
        self._reaper = _REAPER.function([])
        self._trace = _TRACE.function(["config", "inbound_trace_header"])
        self._record = _RECORD.function(["namespace", "metric_name", "value", "unit", "dimensions"])
        _CREDENTIALS.function(["config"])
        _LAYER.value()

    def execute(self, func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """Run one invocation.

        :returns: ``{"body", "log"}``, with ``"error": True`` and Lambda's error document as body when it failed
        """
        config: dict[str, Any] = func.get("config") or func
        name: str = config["FunctionName"]
        if not func.get("code_zip"):
            return _failed("Runtime.InvalidEntrypoint", f"{name} has no code", request_id)
        with self._slots.hold(config["FunctionArn"]) as got:
            if not got:
                self._count(name, "Throttles", 1)
                throttled: dict[str, Any] = self._throttle(
                    reason_code="ConcurrentInvocationLimitExceeded",
                    msg=f"Rate Exceeded: {name} has {self._options.workers_per_function} environments, all busy",
                )
                return throttled
            self._reaper()
            self._make_room(config)
            began = time.monotonic()
            result = self._run(func, config, event, request_id)
            self._count(name, "Invocations", 1)
            self._count(name, "Errors", 1 if result.get("error") else 0)
            self._record(
                "AWS/Lambda",
                "Duration",
                (time.monotonic() - began) * 1000,
                "Milliseconds",
                {"FunctionName": name},
            )
        publish_embedded_metrics(result["log"])
        return result

    def _run(self, func: dict[str, Any], config: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        qualifier = config.get("Version", "$LATEST")
        worker, _ = self._acquire(config["FunctionName"], config, func["code_zip"], qualifier=qualifier)
        try:
            outcome = worker.invoke(
                event,
                request_id,
                trace_id=self._trace(config),
                invoked_function_arn=config.get("FunctionArn", ""),
            )
        except (LocalCloudError, OSError) as error:
            worker.kill()
            return _failed("Sandbox.Failure", str(error), request_id)
        finally:
            self._release(worker)
        if outcome["status"] == "ok":
            return {"body": outcome["result"], "log": outcome["log"]}
        return _failed(outcome["error_type"], outcome["error"], request_id, outcome["trace"], outcome["log"])

    def _count(self, function: str, metric: str, value: int) -> None:
        self._record("AWS/Lambda", metric, value, "Count", {"FunctionName": function})

    def _make_room(self, config: dict[str, Any]) -> None:
        """Before a new environment starts, end the one that was idle longest if there are as many as there may be."""
        key = self._key(config["FunctionName"], config, config.get("Version", "$LATEST"))
        with self._workers_lock:
            if any(not worker.in_use for worker in self._workers.get(key, ())):
                return
            everyone = [(worker, pool) for pool in self._workers.values() for worker in pool]
            surplus = len(everyone) + 1 - self._options.workers_total
            idle = sorted((pair for pair in everyone if not pair[0].in_use), key=lambda pair: pair[0].last_used)
            doomed = []
            for worker, pool in idle[: max(surplus, 0)]:
                pool.remove(worker)
                doomed.append(worker)
        self._kill(doomed)


def _failed(
    error_type: str, message: str, request_id: str, trace: list[str] | None = None, log: str = ""
) -> dict[str, Any]:
    body = {"errorMessage": message, "errorType": error_type, "requestId": request_id}
    if trace:
        body["stackTrace"] = trace  # type: ignore[assignment]
    return {"body": body, "error": True, "log": log}


def _only_throttles(record: Callable[..., Any]) -> Callable[..., None]:
    """The service's own count, reduced to what does not pass through :class:`Invoker`: throttles by the account cap.

    It counted invocations by API alone, so nothing that ran for a queue, a topic or a workflow ever had a metric.
    """

    def emit(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        del error
        # A throttled call is reported twice, the second time with the time it took.
        if throttle and not duration_ms:
            record("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function_name})

    return emit


def apply(options: EmulatorOptions, folder: Path) -> HandlerHost:
    """Put our execution of functions in place.

    :param folder: unpacked code goes here
    :raises SeamError: the embedded AWS has another shape
    """
    _WORKER_CLASS_FOR.function(["config"])
    _EXECUTE.function(["func", "event", "request_id"])
    _EMIT.function(["function_name", "duration_ms", "error", "throttle"])
    invoker = Invoker(options)
    HandlerWorker.host = HandlerHost(folder)
    _WORKER_CLASS_FOR.replace(lambda config: HandlerWorker)  # noqa: ARG005  the caller passes it by position
    _EXECUTE.replace(invoker.execute)
    _EMIT.replace(_only_throttles(_RECORD.value()))
    return HandlerWorker.host
