"""The runner: starts exchange, cloud and feed on loopback, keeps the account, and ends them in good order.

What it may not do: trade, judge or repair. It only starts processes, fires the schedules faster than the cloud's own
minute, reads tables, and compares.
"""

import contextlib
import fcntl
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO

import psutil
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.account import Account, AccountReader, as_json, as_text
from infra.local.children import Child, ChildError, tail
from infra.local.cloud import EmbeddedCloud
from infra.local.endpoint import cloud_environment, local_client, local_session
from infra.local.log_driver import LogDriver
from infra.local.sink import WebhookSink
from infra.local.template import StackReport, deploy
from kalshi_arb import bootstrap
from kalshi_arb.cli.local_state import RunState, clear_run_state, write_run_state
from kalshi_arb.domain.errors import KalshiArbError, SettingsError
from kalshi_arb.settings import PREFIX, Mode, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
KEY_ID = "embedded-exchange-key"
# The cloud's scheduler counts in minutes; a demonstration counts in seconds.
BEATS = {"schedule_settlement.json": 2.0, "schedule_sweeper.json": 5.0, "schedule_discovery.json": 20.0}
BEAT_FUNCTIONS = {
    "schedule_settlement.json": "SettlementFunction",
    "schedule_sweeper.json": "SweeperFunction",
    "schedule_discovery.json": "DiscoveryFunction",
}
# Exit codes by which the feed says that its settings or its key cannot be used.
FEED_REFUSALS = frozenset({2, 3})
DRAIN_SECONDS = 5.0
RECONCILE_TRIES = 5


class RunError(KalshiArbError):
    """The run cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for."""

    seconds: float | None
    as_json: bool
    seed: int
    port: int
    exchange_port: int
    cash: int
    fade_share: float
    reply_ms: int
    folder: Path


def check_port(port: int, option: str) -> None:
    """:raises RunError: something else listens on a port that was asked for."""
    if port == 0:
        return
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(f"port {port} is in use ({error.strerror}): choose another with {option}, or 0") from error


def private_key(path: Path) -> Ed25519PrivateKey:
    """The run's own key, made once and kept with owner-only access. :raises RunError: the file is something else."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.touch(mode=0o600)
        path.write_bytes(pem)
        return key
    try:
        key_read = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise RunError(f"{path} is not a private key: remove it and a new one is made") from error
    if not isinstance(key_read, Ed25519PrivateKey):
        raise RunError(f"{path} is not an Ed25519 key: remove it and a new one is made")
    return key_read


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. :raises RunError: another run has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"a run is active in {folder}: end it with `kalshi-arb stop`") from error
        yield


def settings_of(outputs: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Environment of a component from the stack's outputs, which carry the settings' names in CamelCase."""
    environment = {}
    for field in Settings.model_fields:
        name = "".join(part.capitalize() for part in field.split("_"))
        if name in outputs:
            environment[PREFIX + field.upper()] = outputs[name]
    return environment | dict(extra)


class Runner:
    """One run from start to end."""

    def __init__(self, options: Options, environ: Mapping[str, str], out: TextIO) -> None:
        self._options = options
        self._environ = environ
        self._out = out
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._drawn = 0
        self._peak_mb = 0.0
        self._first_proof: float | None = None
        self._beat_errors = 0

    def run(self) -> dict[str, Any]:
        """Start, keep the account, end.

        :returns: the object that ``--json`` prints
        :raises KalshiArbError: the run could not start, or a part of it died
        """
        # A person's own settings are read first: a wrong one must not cost half a minute to be told.
        person = {name: value for name, value in self._environ.items() if name.startswith(PREFIX)}
        read_settings({f"{PREFIX}MODE": Mode.SIMULATED.value, f"{PREFIX}REST_URL": "http://127.0.0.1", **person})
        if person.get(f"{PREFIX}MODE", Mode.SIMULATED.value) != Mode.SIMULATED.value:
            raise SettingsError(f"{PREFIX}MODE: the local run is always simulated; deploy a stack for other modes")
        check_port(self._options.port, "--port")
        check_port(self._options.exchange_port, "--exchange-port")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        with only_run(self._options.folder), contextlib.ExitStack() as stack:
            return self._run(stack, person)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _say(self, line: str) -> None:
        self._drawn = 0
        self._out.write(line + "\n")
        self._out.flush()

    def _run(self, stack: contextlib.ExitStack, person: Mapping[str, str]) -> dict[str, Any]:
        folder, logs = self._options.folder, self._options.folder / "logs"
        self._say("starting the embedded exchange and the embedded cloud on loopback ...")
        key = private_key(folder / "key.pem")
        exchange = self._start_exchange(folder, logs, key)
        stack.callback(exchange.stop, 3)
        cloud = EmbeddedCloud(port=self._options.port, state_dir=folder / "cloud", log_file=logs / "cloud.log")
        stack.callback(cloud.stop)
        cloud.start()
        address = json.loads(exchange.first_line())
        report = self._deploy(cloud, address)
        environment = settings_of(
            report.outputs,
            {
                **person,
                f"{PREFIX}MODE": Mode.SIMULATED.value,
                f"{PREFIX}REST_URL": address["rest_url"],
                f"{PREFIX}WS_URL": address["ws_url"],
                f"{PREFIX}HEALTH_FILE": str(folder / "feed-health.json"),
            },
        )
        aws = cloud_environment(cloud.url)
        settings = read_settings(environment)
        session = local_session()

        def client(service: str) -> Any:
            return local_client(service, cloud.url, session)

        feed = _FeedService(
            logs / "feed.log",
            {**aws, **environment},
            lambda output: LogDriver(cloud.url, report.resources["FeedLogs"], f"feed/{time.time_ns()}", output),
            self._say,
        )
        stack.callback(feed.stop)
        sink = WebhookSink()
        stack.callback(sink.stop)
        token = self._put_secrets(client("secretsmanager"), settings, key, sink.url)
        beats = _Beats(client("lambda"), report, self._note_beat_error)
        beats.fire("schedule_discovery.json")
        exchange_url = address["rest_url"].removesuffix("/trade-api/v2")
        state = RunState(
            psutil.Process().pid,
            Mode.SIMULATED.value,
            exchange_url,
            report.api_url + "/",
            token,
            time.time_ns() // 1_000_000,
        )
        write_run_state(folder, state)
        stack.callback(clear_run_state, folder)
        stores = bootstrap.Stores(settings, client)
        reader = AccountReader(
            status=stores.status,
            baskets=stores.baskets,
            groups=stores.groups,
            ledger=stores.ledger,
            alerts=stores.alerts,
            exchange_url=exchange_url,
        )
        self._say(f"ready after {time.monotonic() - self._began:.1f} s: {state.page_url}")
        beats.start()
        stack.callback(beats.stop)
        return self._keep_account(reader, stores, beats, feed, cloud, exchange, report, state)

    def _start_exchange(self, folder: Path, logs: Path, key: Ed25519PrivateKey) -> Child:
        public = folder / "key.pub"
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        options = self._options
        return Child(
            "exchange",
            [
                *("-m", "infra.exchange", "--port", str(options.exchange_port), "--seed", str(options.seed)),
                *("--public-key-file", str(public), "--key-id", KEY_ID, "--cash", str(options.cash)),
                *("--fade-share", str(options.fade_share), "--reply-ms", str(options.reply_ms)),
            ],
            logs / "exchange.log",
            {},
        )

    def _deploy(self, cloud: EmbeddedCloud, address: Mapping[str, str]) -> StackReport:
        report = deploy(
            cloud.url,
            ROOT / "template.yaml",
            {"Mode": "simulated", "ExchangeRestUrl": address["rest_url"], "ExchangeWsUrl": address["ws_url"]},
        )
        self._say(
            f"template: {report.declared} resources declared, {report.created} created, "
            f"not emulated: {', '.join(report.not_emulated) or 'none'}"
        )
        if report.missing:
            raise RunError(f"the template declares what was not created: {', '.join(report.missing)}")
        return report

    def _put_secrets(self, secrets: Any, settings: Settings, key: Ed25519PrivateKey, webhook: str) -> str:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        secrets.put_secret_value(
            SecretId=settings.need("key_secret"), SecretString=json.dumps({"key_id": KEY_ID, "private_key": pem})
        )
        secrets.put_secret_value(SecretId=settings.need("webhook_secret"), SecretString=json.dumps({"url": webhook}))
        answer = secrets.get_secret_value(SecretId=settings.need("api_token_secret"))
        return str(json.loads(answer["SecretString"])["token"])

    def _note_beat_error(self, line: str) -> None:
        self._beat_errors += 1
        self._say(f"warning: {line}")

    def _keep_account(
        self,
        reader: AccountReader,
        stores: bootstrap.Stores,
        beats: "_Beats",
        feed: "_FeedService",
        cloud: EmbeddedCloud,
        exchange: Child,
        report: StackReport,
        state: RunState,
    ) -> dict[str, Any]:
        began = time.monotonic()
        seconds = self._options.seconds
        interval = 1.0 if self._out.isatty() else 5.0
        next_look = began
        while not self._stop.wait(0.2):
            now = time.monotonic()
            if seconds is not None and now - began >= seconds:
                break
            self._check_alive(feed, cloud, exchange)
            if self._first_proof is None and stores.status.counters("detection").get("opportunity.proved"):
                self._first_proof = time.monotonic() - self._began
            if now >= next_look:
                next_look = now + interval
                self._show(reader.read(now - began), state)
                self._measure_memory()
        interrupted = self._stop.is_set()
        self._say("stopping: no new orders, open baskets finish ..." if interrupted else "time is up, finishing ...")
        stores.status.put("control", {"stop": True, "by": "runner"})
        feed.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        while reader.live_baskets() and time.monotonic() < deadline:
            time.sleep(0.2)
        beats.stop()
        account = self._final(reader, beats, time.monotonic() - began)
        self._summarise(account, state)
        return as_json(
            account,
            {
                "declared": report.declared,
                "created": report.created,
                "missing": report.missing,
                "not_emulated": report.not_emulated,
            },
        )

    def _final(self, reader: AccountReader, beats: "_Beats", seconds: float) -> Account:
        for _ in range(RECONCILE_TRIES):
            beats.fire("schedule_settlement.json")
            reconciliation = reader.reconcile()
            if reconciliation.matches:
                break
        account = reader.read(seconds)
        account.feed_stopped = True
        account.reconciliation = reconciliation
        return account

    def _check_alive(self, feed: "_FeedService", cloud: EmbeddedCloud, exchange: Child) -> None:
        feed.keep_running()
        if exchange.ended is not None:
            raise ChildError(f"the exchange ended with code {exchange.ended}: {tail(exchange.log)}")
        if not cloud.is_alive():
            raise ChildError("the embedded cloud ended: see its log in the run's folder")

    def _measure_memory(self) -> None:
        """Sum the proportional set sizes of the whole tree: shared pages count once."""
        total = 0
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        self._peak_mb = max(self._peak_mb, total / 2**20)

    def _show(self, account: Account, state: RunState) -> None:
        lines = as_text(account, state.page_url)
        if not self._out.isatty():
            lines = [f"{round(account.seconds):4} s  " + " | ".join(" ".join(line.split()) for line in lines[2:8])]
        elif self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
        self._out.write("\n".join(lines) + "\n")
        self._out.flush()
        self._drawn = len(lines)

    def _summarise(self, account: Account, state: RunState) -> None:
        self._drawn = 0
        for line in as_text(account, state.page_url):
            self._say(line)
        result = account.reconciliation
        if result is None or not result.matches:
            self._say(f"books       DO NOT BALANCE: {result}")
        else:
            self._say("books       ledger equals exchange: cash, fees and positions to the last unit")
        first = "none" if self._first_proof is None else f"{self._first_proof:.1f} s after the start"
        self._say(f"measured    first proof {first}, peak memory {self._peak_mb:.0f} MB, {account.alerts} alerts")


class _FeedService:
    """The feed as the cloud's container service would keep it: started again when it dies, but not when it says that
    its settings or its key are wrong, which no restart mends."""

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str],
        driver: Callable[[IO[str]], LogDriver],
        say: Callable[[str], None],
    ) -> None:
        self._log = log
        self._environment = environment
        self._make_driver = driver
        self._say = say
        self._start()

    def _start(self) -> None:
        self._child = Child("feed", ["-m", "feed"], self._log, self._environment)
        self._driver = self._make_driver(self._child.output)
        self._driver.start()

    def keep_running(self) -> None:
        """Start it again if it has died. :raises ChildError: it refuses to run."""
        code = self._child.ended
        if code is None:
            return
        if code in FEED_REFUSALS:
            raise ChildError(f"the feed refuses to run (code {code}): {tail(self._log, 1)}")
        self._say(f"warning: the feed ended with code {code}; starting it again")
        self.stop()
        self._start()

    def stop(self) -> None:
        """End it and hand its last lines over."""
        self._child.end(3)
        self._driver.wait(3)
        self._child.stop(0)


class _Beats:
    """Fires the schedules' functions with the events of ``events/``."""

    def __init__(self, functions: Any, report: StackReport, complain: Callable[[str], None]) -> None:
        self._functions = functions
        self._names = {event: report.resources[logical] for event, logical in BEAT_FUNCTIONS.items()}
        self._payloads = {event: (ROOT / "events" / event).read_bytes() for event in BEATS}
        self._complain = complain
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="beats", daemon=True)

    def fire(self, event: str) -> None:
        """Invoke one function and wait; a failure is told, not raised: the schedule comes again."""
        try:
            answer = self._functions.invoke(FunctionName=self._names[event], Payload=self._payloads[event])
        except (BotoCoreError, ClientError) as error:
            self._complain(f"{event}: {error}")
            return
        if answer.get("FunctionError"):
            self._complain(f"{event}: {answer['Payload'].read().decode()[:300]}")

    def start(self) -> None:
        """Begin to fire on time."""
        self._thread.start()

    def _loop(self) -> None:
        due = dict.fromkeys(BEATS, time.monotonic())
        while not self._ending.wait(0.2):
            for event, interval in BEATS.items():
                if time.monotonic() >= due[event]:
                    due[event] = time.monotonic() + interval
                    self.fire(event)

    def stop(self) -> None:
        """Stop firing and wait for the one in flight."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(15)
