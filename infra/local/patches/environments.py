"""Execution environments of functions: forked from one host process, called over pipes of their own.

Replaces the embedded AWS's worker class as a whole. Differences that matter: an exception keeps its class name and its
trace, the process survives it, the end of a call's log is marked instead of waited for, a process that dies in the
middle of a call is told apart from one that answered, and the environment holds what Lambda gives and nothing else.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.patches.host import ForkedProcess, HandlerHost, HostError, Pipes, unpack

TITLE_LENGTH = 15  # what the kernel keeps of a process name
_INIT_SECONDS = 60.0  # imports on a busy machine; Lambda itself gives ten seconds of its own hardware


def environment_of(config: Mapping[str, Any], code: Path, credentials: Mapping[str, str], port: str) -> dict[str, str]:
    """The environment variables Lambda would give, the function's own, and the way to the embedded AWS."""
    function: str = config["FunctionName"]
    region: str = config["FunctionArn"].split(":")[3]
    logging: Mapping[str, str] = config.get("LoggingConfig") or {}
    own: Mapping[str, str] = (config.get("Environment") or {}).get("Variables") or {}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108  what Lambda itself gives
        **own,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **{name: value for name, value in credentials.items() if value},
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.get('Runtime', '')}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{function}",
        "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime("%Y/%m/%d/[$LATEST]", time.gmtime()) + os.urandom(16).hex(),
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": config.get("Handler", ""),
    }


class HandlerWorker:
    """One execution environment of one function, with the members the embedded AWS's pool expects of a worker."""

    host: HandlerHost  # set once, when the patches are applied

    def __init__(self, func_name: str, config: dict[str, Any], code_zip: bytes) -> None:
        """Not started yet."""
        self.func_name = func_name
        self.config = config
        self.code_zip = code_zip
        self.in_use = False
        self.last_used = time.time()
        self._lock = threading.Lock()
        self._proc: ForkedProcess | None = None
        self._pipes: Pipes | None = None
        self._init_log = ""  # what loading the handler printed: part of the first call's log

    def _discard_tmpdir(self) -> None:
        """The pool calls this once the process is gone: nothing but the pipes is this worker's own."""
        pipes, self._pipes = self._pipes, None
        if pipes is not None:
            pipes.close()

    def kill(self) -> None:
        """End the process and forget it."""
        process, self._proc = self._proc, None
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
        self._discard_tmpdir()

    def _spawn(self) -> dict[str, Any] | None:
        """Start the process and load the handler. :returns: the error when the handler cannot be loaded."""
        from ministack.core import lambda_runtime
        from ministack.services import lambda_svc

        self._discard_tmpdir()
        folder = self.host.folder
        code = unpack(self.code_zip, folder)
        layers = []
        for layer in self.config.get("Layers") or ():
            archive = lambda_svc._resolve_layer_zip(layer)
            if not archive:
                raise HostError(f"the layer {layer} of {self.func_name} has no content")
            layers.append(str(unpack(archive, folder)))
        module, _, function = str(self.config.get("Handler", "")).rpartition(".")
        pipes = Pipes(
            self.host,
            {
                "env": environment_of(
                    self.config,
                    code,
                    lambda_runtime.execution_credentials(self.config),
                    os.environ["GATEWAY_PORT"],
                ),
                "code": str(code),
                "layers": layers,
                "module": module.replace("/", "."),
                "function": function,
                "title": self.func_name[-TITLE_LENGTH:],
            },
        )
        self._pipes, self._proc = pipes, pipes.process
        try:
            line, log = pipes.call(b"", time.monotonic() + _INIT_SECONDS)
        except TimeoutError as error:
            self.kill()
            message = f"the handler was not loaded in {_INIT_SECONDS:.0f} seconds"
            return _failure("Sandbox.Timedout", message, str(error))
        if line is None:
            return self._died("", log)
        answer: dict[str, Any] = json.loads(line)
        if answer["status"] == "ready":
            self._init_log = log
            return None
        self.kill()
        return _failure(answer["error_type"], answer["error"], log, answer["trace"])

    def _died(self, request_id: str, log: str) -> dict[str, Any]:
        process, self._proc = self._proc, None
        self._discard_tmpdir()
        status = -signal.SIGKILL
        if process is not None:
            try:
                status = process.wait(5.0)
            except subprocess.TimeoutExpired:
                # It closed its pipes and lives on: as good as gone, and no call may reach it again.
                process.kill()
        if status < 0:
            how = f"with error: signal: {signal.Signals(-status).name.removeprefix('SIG').lower()}"
        else:
            how = f"with error: exit status {status}" if status else "without providing a reason"
        return _failure("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited {how}", log)

    def invoke(
        self,
        event: Any,
        request_id: str,
        *,
        trace_id: str | None = None,
        depth: int | None = None,
        durable: dict[str, Any] | None = None,
        invoked_function_arn: str | None = None,
    ) -> dict[str, Any]:
        """Run the handler once.

        :returns: ``{"status": "ok", "result", "log", "cold_start"}`` or ``{"status": "error", "error_type", "error",
            "trace", "log", "cold_start"}``
        :raises HostError: the environment could not be started
        """
        del depth, durable  # recursion counting and durable functions are not part of this project
        with self._lock:
            cold = self._proc is None or self._pipes is None or self._proc.poll() is not None
            if cold:
                failure = self._spawn()
                if failure is not None:
                    return {**failure, "cold_start": True}
            timeout = float(self.config.get("Timeout", 3))
            request = {
                "event": event,
                "request_id": request_id,
                "arn": invoked_function_arn or self.config.get("FunctionArn", ""),
                "deadline_ms": int((time.time() + timeout) * 1000),
                "trace_id": trace_id,
            }
            return {**self._call(request, request_id, timeout), "cold_start": cold}

    def _call(self, request: Mapping[str, Any], request_id: str, timeout: float) -> dict[str, Any]:
        pipes = self._pipes
        if pipes is None:
            raise HostError(f"{self.func_name} was withdrawn while it was called")
        try:
            line, log = pipes.call(json.dumps(request).encode() + b"\n", time.monotonic() + timeout)
        except TimeoutError as error:
            self.kill()
            message = f"RequestId: {request_id} Error: Task timed out after {timeout:.2f} seconds"
            return _failure("Sandbox.Timedout", message, str(error))
        if line is None:
            return self._died(request_id, log)
        answer: dict[str, Any] = json.loads(line)
        started, self._init_log = self._init_log, ""
        return {**answer, "log": "\n".join(filter(None, (started, log)))}


def _failure(error_type: str, error: str, log: str, trace: list[str] | None = None) -> dict[str, Any]:
    return {"status": "error", "error_type": error_type, "error": error, "trace": trace or [], "log": log}
