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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.exchange.tape_terms import load_tape
from infra.local.account import EVERY_ROW, Account, AccountReader, as_json, as_text
from infra.local.beats import Beats
from infra.local.children import Child, ChildError
from infra.local.cloud import EmbeddedCloud
from infra.local.endpoint import cloud_environment, local_client, local_session
from infra.local.feed_process import FeedProcess
from infra.local.leftovers import ChildRecord
from infra.local.log_driver import LogDriver
from infra.local.slack import FakeSlack
from infra.local.smoke import Smoke
from infra.local.state import Life, StateFolder
from infra.local.tape_report import TapeDesk, began_text, proved_locks, tape_json, tape_text
from infra.local.template import StackReport, deploy
from infra.local.venue import EMBEDDED, KEY_ID, EmbeddedVenue, KalshiVenue, PaperVenue, Venue, require_usable
from kalshi_arb import bootstrap
from kalshi_arb.cli.alerts import RECEIVED_FILE
from kalshi_arb.cli.exchange_checks import ExchangeAccess
from kalshi_arb.cli.local_state import LOCK_FILE, RunState, clear_run_state, write_run_state
from kalshi_arb.domain.errors import KalshiArbError, SettingsError
from kalshi_arb.domain.paper import ASSUMPTION
from kalshi_arb.execution.control import lift_stop, read_stop, set_stop
from kalshi_arb.kalshi.rate_limit import Tier
from kalshi_arb.ports import StatusStore
from kalshi_arb.settings import PREFIX, Mode, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
STOPPED_BY = "runner"
EXCHANGE_TIER = Tier.ADVANCED.value
"""The usage tier of the run's account: what any account gets for the asking. A basket's orders are one batch, and up to
eight batches were seen in one second; the lowest tier covers ten orders."""
# The feed runs as a process of this machine; every mode but simulated wants an image named all the same.
FEED_IMAGE = "kalshi-arb-feed:local"
# What a new state begins with when the person leaves it open.
BEGINNING = {"seed": 7, "cash": 10_000}
DRAIN_SECONDS = 5.0
LOCK_SECONDS = 1.0
RECONCILE_TRIES = 5


class RunError(KalshiArbError):
    """The run cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for. ``seed`` and ``cash`` are None when they were left to the state, ``mispricing_ms``
    when it was left to the exchange; ``kalshi`` is None for the embedded exchange."""

    seconds: float | None
    as_json: bool
    seed: int | None
    port: int
    exchange_port: int
    cash: int | None
    fade_share: float
    reply_ms: int
    folder: Path
    tape: tuple[str, ...] = ()
    speed: float = 1.0
    fresh: bool = False
    mode: Mode = Mode.SIMULATED
    kalshi: ExchangeAccess | None = None
    mispricing_ms: int | None = None


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
    with (folder / LOCK_FILE).open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS  # whoever asks whether a run is active holds it for an instant
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise RunError(f"a run is active in {folder}: end it with `kalshi-arb end`") from error
                time.sleep(0.05)
            else:
                break
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
        self._children = ChildRecord(options.folder)
        self._beat_errors = 0

    def run(self) -> dict[str, Any]:
        """Start, keep the account, end.

        :returns: the object that ``--json`` prints
        :raises KalshiArbError: the run could not start, or a part of it died
        """
        # A person's own settings are read first: a wrong one must not cost half a minute to be told.
        person = {name: value for name, value in self._environ.items() if name.startswith(PREFIX)}
        mode = self._options.mode.value
        read_settings({f"{PREFIX}MODE": mode, f"{PREFIX}REST_URL": "http://127.0.0.1", **person})
        if person.get(f"{PREFIX}MODE", mode) != mode:
            raise SettingsError(f"{PREFIX}MODE is {person[f'{PREFIX}MODE']}, but this run is {mode}")
        if self._options.tape:
            # Read whole before anything starts: a tape that cannot be played leaves nothing half-done.
            load_tape(self._options.tape)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        with only_run(self._options.folder), contextlib.ExitStack() as stack:
            clear_run_state(self._options.folder)
            left = self._children.end_all()
            if left:
                self._say(f"ended {left} processes that a killed run had left behind")
            check_port(self._options.port, "--port")
            check_port(self._options.exchange_port, "--exchange-port")
            if self._options.kalshi is not None:
                require_usable(self._options.kalshi, self._say)
            return self._run(stack, person)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _say(self, line: str) -> None:
        self._drawn = 0
        self._out.write(line + "\n")
        self._out.flush()

    def _run(self, stack: contextlib.ExitStack, person: Mapping[str, str]) -> dict[str, Any]:
        folder, logs = self._options.folder, self._options.folder / "logs"
        # Whatever drove a basket in an earlier run has ended by now.
        drivers_ended_ms = time.time_ns() // 1_000_000
        home = StateFolder(folder)
        exchange = EMBEDDED if self._options.kalshi is None else self._options.kalshi.exchange.value
        if self._options.mode is Mode.PAPER:
            exchange += " on paper"
            self._say(f"paper: {ASSUMPTION}")
        life = home.open(
            {"seed": self._options.seed, "cash": self._options.cash, "exchange": None},
            {**BEGINNING, "exchange": exchange},
            fresh=self._options.fresh,
            say=self._say,
        )
        if life.continued and self._options.tape:
            raise RunError(f"a tape cannot go on with the state in {folder}: add --fresh, or choose another --folder")
        if life.choices.get("exchange", EMBEDDED) != exchange:
            raise RunError(
                f"the state in {folder} belongs to another exchange: choose another --folder, or add --fresh"
            )
        self._say(
            f"{f'going on with the state in {folder}' if life.continued else 'beginning anew'}: "
            f"the {'embedded exchange and the ' if self._options.kalshi is None else ''}embedded cloud "
            "on loopback ..."
        )
        venue = self._venue(stack, home.exchange, logs, life)
        cloud = EmbeddedCloud(
            port=self._options.port, state_dir=home.cloud, log_file=logs / "cloud.log", journal=home.journal
        )
        stack.callback(cloud.stop)
        cloud.start()
        self._children.add(cloud.pid)
        venue.begin()
        report = self._deploy(cloud, venue, person)
        if not life.continued and not self._options.tape:
            home.begun()
        environment = settings_of(
            report.outputs,
            {
                **person,
                f"{PREFIX}MODE": venue.mode.value,
                f"{PREFIX}REST_URL": venue.rest_url,
                f"{PREFIX}WS_URL": venue.ws_url,
                f"{PREFIX}HEALTH_FILE": str(folder / "feed-health.json"),
            },
        )
        aws = cloud_environment(cloud.url)
        settings = read_settings(environment)
        session = local_session()

        def client(service: str) -> Any:
            return local_client(service, cloud.url, session)

        slack = FakeSlack(record=folder / RECEIVED_FILE)
        stack.callback(slack.stop)
        self._put_secrets(client("secretsmanager"), settings, venue, slack.url, life.api_token)
        stores = bootstrap.Stores(settings, client)
        # Before anything else is busy.
        for check in Smoke(report, life.api_token, client).doors():
            if not check.ok:
                raise RunError(f"the stack was deployed, but its {check.name} is wrong: {check.found}")
        venue.deployed(settings, stores)
        lift_own_stop(stores.status, bootstrap.clock().now_ms())
        feed = FeedProcess(
            logs / "feed.log",
            {**aws, **environment},
            lambda output: LogDriver(cloud.url, report.resources["FeedLogs"], f"feed/{time.time_ns()}", output),
            self._say,
            self._children,
        )
        stack.callback(feed.stop)
        beats = Beats(client("lambda"), report, self._note_beat_error)
        if life.continued:
            swept = beats.fire("schedule_sweeper.json", {"drivers_ended_ms": drivers_ended_ms}) or {}
            self._say(f"open baskets: {swept.get('resumed', 0)} resumed, {swept.get('abandoned', 0)} given up unsent")
        exchange_url = venue.rest_url.removesuffix("/trade-api/v2")
        if self._options.tape:
            # Only now: a tape that ran while the rest was starting would be over before anybody looked.
            desk = TapeDesk(exchange_url)
            desk.start()
            self._say(began_text(desk.read()))
        # Discovery comes first and takes a second: nobody has to wait for it.
        beats.start()
        stack.callback(beats.stop)
        state = RunState(
            psutil.Process().pid,
            venue.mode.value,
            exchange_url,
            report.api_url + "/",
            life.api_token,
            time.time_ns() // 1_000_000,
        )
        write_run_state(folder, state)
        stack.callback(clear_run_state, folder)
        reader = AccountReader(
            status=stores.status,
            baskets=stores.baskets,
            groups=stores.groups,
            ledger=stores.ledger,
            alerts=stores.alerts,
            venue=venue,
        )
        self._say(f"ready after {time.monotonic() - self._began:.1f} s: {state.page_url}")
        return self._keep_account(reader, stores, beats, feed, cloud, venue, report, state)

    def _venue(self, stack: contextlib.ExitStack, state: Path, logs: Path, life: Life) -> Venue:
        if self._options.kalshi is not None and self._options.mode is Mode.PAPER:
            paper = PaperVenue(self._options.kalshi)
            stack.callback(paper.close)
            return paper
        if self._options.kalshi is not None:
            kalshi = KalshiVenue(self._options.kalshi, state)
            stack.callback(kalshi.close)
            return kalshi
        key = private_key(self._options.folder / "key.pem")
        exchange = self._start_exchange(state, logs, key, life)
        stack.callback(exchange.stop, 3)
        return EmbeddedVenue(exchange, key)

    def _start_exchange(self, state: Path, logs: Path, key: Ed25519PrivateKey, life: Life) -> Child:
        public = self._options.folder / "key.pub"
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        options = self._options
        child = Child(
            "exchange",
            [
                *("-m", "infra.exchange", "--json", "--port", str(options.exchange_port)),
                *("--tier", EXCHANGE_TIER, "--seed", str(life.choices["seed"])),
                *("--public-key-file", str(public), "--key-id", KEY_ID, "--cash", str(life.choices["cash"])),
                *("--fade-share", str(options.fade_share), "--reply-ms", str(options.reply_ms)),
                *(() if options.mispricing_ms is None else ("--mispricing-life-ms", str(options.mispricing_ms))),
                *(
                    ("--tape", *options.tape, "--speed", str(options.speed), "--tape-waits")
                    if options.tape
                    else ("--state-dir", str(state))
                ),
            ],
            logs / "exchange.log",
            {},
        )
        self._children.add(child.process.pid)
        return child

    def _deploy(self, cloud: EmbeddedCloud, venue: Venue, person: Mapping[str, str]) -> StackReport:
        paper_cash = person.get(f"{PREFIX}PAPER_CASH")
        report = deploy(
            cloud.url,
            ROOT / "template.yaml",
            {
                "Mode": venue.mode.value,
                "ExchangeRestUrl": venue.rest_url,
                "ExchangeWsUrl": venue.ws_url,
                "FeedImageUri": FEED_IMAGE,
                "RateTier": EXCHANGE_TIER if self._options.kalshi is None else Tier.BASIC.value,
                **({} if paper_cash is None else {"PaperCash": paper_cash}),
            },
            # The rules know Kalshi's own hosts; whether a stand-in for them may be used was decided with the settings.
            left_out=("Rules",) if venue.stands_in else (),
        )
        self._say(
            f"template: {report.declared} resources declared, {report.created} created, "
            f"not emulated: {', '.join(report.not_emulated) or 'none'}"
        )
        if report.missing:
            raise RunError(f"the template declares what was not created: {', '.join(report.missing)}")
        return report

    def _put_secrets(self, secrets: Any, settings: Settings, venue: Venue, webhook: str, api_token: str) -> None:
        for field in ("read_key_secret", "trade_key_secret"):
            secrets.put_secret_value(SecretId=settings.need(field), SecretString=json.dumps(venue.key_secret()))
        secrets.put_secret_value(
            SecretId=settings.need("webhook_secret"), SecretString=json.dumps({"url": webhook, "kind": "slack"})
        )
        secrets.put_secret_value(
            SecretId=settings.need("api_token_secret"), SecretString=json.dumps({"token": api_token})
        )

    def _note_beat_error(self, line: str) -> None:
        self._beat_errors += 1
        self._say(f"warning: {line}")

    def _keep_account(
        self,
        reader: AccountReader,
        stores: bootstrap.Stores,
        beats: Beats,
        feed: FeedProcess,
        cloud: EmbeddedCloud,
        venue: Venue,
        report: StackReport,
        state: RunState,
    ) -> dict[str, Any]:
        began = time.monotonic()
        proofs = stores.status.counters("detection").get("opportunity.proved", 0)
        seconds = self._options.seconds
        interval = 1.0 if self._out.isatty() else 5.0
        next_look = began
        while not self._stop.wait(0.2):
            now = time.monotonic()
            if seconds is not None and now - began >= seconds:
                break
            self._check_alive(feed, cloud, venue)
            if self._first_proof is None and stores.status.counters("detection").get("opportunity.proved", 0) > proofs:
                self._first_proof = time.monotonic() - self._began
            if now >= next_look:
                next_look = now + interval
                self._show(reader.read(now - began), state)
                self._measure_memory()
        interrupted = self._stop.is_set()
        self._say("stopping: no new orders, open baskets finish ..." if interrupted else "time is up, finishing ...")
        set_own_stop(stores.status, bootstrap.clock().now_ms())
        feed.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        while reader.live_baskets() and time.monotonic() < deadline:
            time.sleep(0.2)
        beats.stop()
        account = self._final(reader, beats, time.monotonic() - began)
        self._summarise(account, state)
        result = as_json(
            account,
            {
                "declared": report.declared,
                "created": report.created,
                "missing": report.missing,
                "not_emulated": report.not_emulated,
            },
        )
        if self._options.tape:
            result["tape"] = self._report_tape(state.exchange_url, stores)
        return result

    def _report_tape(self, exchange_url: str, stores: bootstrap.Stores) -> dict[str, Any]:
        stats = TapeDesk(exchange_url).read()
        locks = proved_locks(stats["served"], stores.opportunities.recent(EVERY_ROW))
        for line in tape_text(stats, locks):
            self._say(line)
        return tape_json(stats, locks)

    def _final(self, reader: AccountReader, beats: Beats, seconds: float) -> Account:
        for _ in range(RECONCILE_TRIES):
            beats.fire("schedule_settlement.json")
            reconciliation = reader.reconcile()
            if reconciliation.matches:
                break
        account = reader.read(seconds)
        account.feed_stopped = True
        account.reconciliation = reconciliation
        return account

    def _check_alive(self, feed: FeedProcess, cloud: EmbeddedCloud, venue: Venue) -> None:
        feed.keep_running()
        venue.check()
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
            mode = "paper | " if account.mode == Mode.PAPER.value else ""
            lines = [
                f"{round(account.seconds):4} s  {mode}" + " | ".join(" ".join(line.split()) for line in lines[2:8])
            ]
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
            other = "paper account" if account.mode == Mode.PAPER.value else "exchange"
            self._say(f"books       ledger equals {other}: cash, fees and positions to the last unit")
        if account.mode == Mode.PAPER.value:
            self._say(f"assumed     paper: {ASSUMPTION}")
        first = "none" if self._first_proof is None else f"{self._first_proof:.1f} s after the start"
        self._say(f"measured    first proof {first}, peak memory {self._peak_mb:.0f} MB, {account.alerts} alerts")


def set_own_stop(status: StatusStore, now_ms: int) -> None:
    """Refuse new purchases while the run ends, unless somebody has stopped it already."""
    if not read_stop(status).stopped:
        set_stop(status, by=STOPPED_BY, reason="the run is ending", now_ms=now_ms)


def lift_own_stop(status: StatusStore, now_ms: int) -> None:
    """Take back what the last run set at its end; the stop of a person stays."""
    stop = read_stop(status)
    if stop.stopped and stop.by == STOPPED_BY:
        lift_stop(status, by=STOPPED_BY, now_ms=now_ms, seen=stop)
