"""The process that Lambda handlers are forked from. Run as a script by the embedded AWS; imports nothing of ours.

It loads the third-party packages once, then forks one child per execution environment. Each child has an environment,
a working folder, a module path and a log of its own, and imports the function's code and the layer's code itself, so
nothing of the project is shared. Loading the packages once is what keeps a first call under 100 ms and the memory of
a dozen environments under that of two.

Talk with the embedded AWS, over the socket on standard input, one JSON line each way:

    {"op": "fork", "env": {..}, "code": dir, "layers": [dir], "module": m, "function": f, "title": t}  + 3 descriptors
        -> {"pid": n}
    {"op": "wait", "pid": n}               -> {"status": exit code, negative signal, or null while it runs}
    {"op": "kill", "pid": n, "signal": s}  -> {}

The three descriptors are the child's requests (read), its answers (write) and its log (write). A child answers once
when the handler is loaded, then once per request; before each answer it writes the end-of-log mark to its log, so the
reader of the log never has to guess whether more is coming. When the socket closes, every child is killed.
"""

import array
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn

# Packages that the layer carries and that cost time to load; what is absent is loaded by the handler that needs it.
PRELOADED = (
    "boto3",
    "aws_lambda_powertools",
    "pydantic",
    "httpx",
    "msgspec",
    "cryptography.hazmat.primitives.asymmetric.padding",
    "cryptography.hazmat.primitives.serialization",
)
END_OF_LOG = b"\x1eend-of-log\n"
_PR_SET_PDEATHSIG = 1
_DESCRIPTORS = 3


def third_party_path() -> list[str]:
    """The module path without anything an editable install added: a handler must find our code in its layer only."""
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return [
        entry
        for entry in sys.path
        if entry.endswith(".zip") or any(entry == root or entry.startswith(root + os.sep) for root in roots)
    ]


class Context:
    """The second argument of a handler, with the names that Lambda documents."""

    def __init__(self, request: dict[str, Any]) -> None:
        """Describe one invocation."""
        environ = os.environ
        self.function_name = environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = int(environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
        self.log_group_name = environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn: str = request["arn"]
        self.aws_request_id: str = request["request_id"]
        self.identity = None
        self.client_context = None
        self._deadline_ms: int = request["deadline_ms"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return max(0, self._deadline_ms - time.time_ns() // 1_000_000)


def describe(error: BaseException, error_type: str | None = None) -> dict[str, Any]:
    """What Lambda reports of an exception: its class name without a module, its text, its trace in user code."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return {
        "status": "error",
        "error_type": error_type or type(error).__name__,
        "error": str(error),
        "trace": traceback.format_tb(frames),
    }


def load(module: str, function: str) -> Callable[[Any, Context], Any] | dict[str, Any]:
    """Import the handler, or say why not in Lambda's own error names."""
    try:
        loaded = importlib.import_module(module)
    except SyntaxError as error:
        return describe(error, "Runtime.UserCodeSyntaxError")
    except ImportError as error:
        return describe(
            ImportError(f"Unable to import module '{module}': {error}").with_traceback(error.__traceback__),
            "Runtime.ImportModuleError",
        )
    except Exception as error:  # noqa: BLE001  any error of user code is reported to the caller, which is our work here
        return describe(error)
    handler = getattr(loaded, function, None)
    if not callable(handler):
        return describe(AttributeError(f"Handler '{function}' missing on module '{module}'"), "Runtime.HandlerNotFound")
    return handler  # type: ignore[no-any-return]  # what a handler module holds has no type


def answer_of(handler: Callable[[Any, Context], Any], request: dict[str, Any]) -> bytes:
    """Call the handler once and describe how it ended. SystemExit is not caught: it ends the environment, as there."""
    trace_id = request.get("trace_id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    try:
        result = handler(request["event"], Context(request))
    except Exception as error:  # noqa: BLE001  reported to the caller
        answer = describe(error)
        sys.stderr.write(f"[ERROR] {answer['error_type']}: {answer['error']}\n{''.join(answer['trace'])}")
    else:
        answer = {"status": "ok", "result": result}
    try:
        return json.dumps(answer).encode() + b"\n"
    except (TypeError, ValueError) as error:
        return json.dumps(describe(error, "Runtime.MarshalError")).encode() + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however small the pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def end_log() -> None:
    """Mark where the log of this invocation ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    write_all(2, END_OF_LOG)


def become_environment(order: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Turn this fresh fork into the execution environment that was ordered."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with open("/proc/self/comm", "w") as title:  # noqa: PTH123  a kernel file, 15 characters
            title.write(order["title"])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(descriptors[2], 1)
    os.dup2(descriptors[2], 2)
    os.close(nothing)
    os.close(descriptors[2])
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["code"])
    layers = []
    for layer in order["layers"]:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        layers += [f"{layer}/python", f"{layer}/python/lib/{version}/site-packages"]
    # Our own code is in the layers alone. What they carry of other packages is compiled for the functions' machine, so
    # this machine's copies come first.
    sys.path[:] = [order["code"], *third_party_path(), *layers]
    importlib.invalidate_caches()


def serve(order: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Be one execution environment until the request pipe closes."""
    become_environment(order, descriptors)
    handler = load(order["module"], order["function"])
    end_log()
    if isinstance(handler, dict):
        write_all(descriptors[1], json.dumps(handler).encode() + b"\n")
        return
    write_all(descriptors[1], b'{"status": "ready"}\n')
    with os.fdopen(descriptors[0], "rb") as requests:
        for line in requests:
            answer = answer_of(handler, json.loads(line))
            end_log()
            write_all(descriptors[1], answer)


def child(order: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Serve, then leave without running anything the parent registered."""
    code = 1
    try:
        serve(order, descriptors)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001  the last frame of the process: written to its log, told by its exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Host:
    """The parent of all execution environments: one thread, no state but the exit codes of its children."""

    def __init__(self, control: socket.socket) -> None:
        """Answer orders from this socket."""
        self._control = control
        self._running: set[int] = set()
        self._ended: dict[int, int] = {}

    def run(self) -> None:
        """Until the other end closes the socket."""
        while True:
            ready, _, _ = select.select([self._control], [], [], 1.0)
            self._reap()
            if ready and not self._answer_one():
                break
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)

    def _reap(self) -> None:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._running.discard(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)

    def _answer_one(self) -> bool:
        line, descriptors = self._receive()
        if not line:
            return False
        order = json.loads(line)
        answer: dict[str, int | None]
        if order["op"] == "fork":
            answer = {"pid": self._fork(order, descriptors)}
        elif order["op"] == "wait":
            running = order["pid"] in self._running
            # Asked once more after the process is known to be gone, nothing is left to tell but that it is gone.
            answer = {"status": None if running else self._ended.pop(order["pid"], 0)}
        else:
            if order["pid"] in self._running:
                os.kill(order["pid"], order["signal"])
            answer = {}
        self._control.sendall(json.dumps(answer).encode() + b"\n")
        return True

    def _receive(self) -> tuple[bytes, list[int]]:
        data, descriptors = b"", array.array("i")
        while not data.endswith(b"\n"):
            part, extra, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_LEN(_DESCRIPTORS * descriptors.itemsize))
            if not part:
                return b"", []
            data += part
            for level, kind, content in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        return data, list(descriptors)

    def _fork(self, order: dict[str, Any], descriptors: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._control.close()
            child(order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._running.add(pid)
        return pid


def main() -> None:
    """Load what is shared, then serve."""
    # Ctrl-C in a terminal reaches the whole group; the embedded AWS decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = third_party_path()
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.stderr.write(f"not preloaded: {name}\n")
    # Keeps the collector from touching, and so copying, the pages that every child shares.
    gc.collect()
    gc.freeze()
    Host(socket.socket(fileno=os.dup(0))).run()


if __name__ == "__main__":
    main()
