"""The project's own stack on the embedded AWS with the embedded exchange behind it: smoke test, scans, an alarm."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from infra.local.children import Child
from infra.local.cloud import EmbeddedCloud
from infra.local.log_driver import LogDriver
from infra.local.smoke import Smoke
from infra.local.template import Clients, StackReport, deploy
from kalshi_arb.cli.local_state import LOCK_FILE, RunState, write_run_state
from kalshi_arb.cli.main import cli
from tests.integration.local_cloud_support import QUICK, wait_for

ROOT = Path(__file__).resolve().parents[2]
KEY_ID = "test-key"
TIER = "prestige"  # nothing here is about waiting for the rate limit


class Sink:
    """Takes whatever is posted to it."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.bodies.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Stack:
    cloud: EmbeddedCloud
    report: StackReport
    client: Clients
    token: str
    exchange_url: str
    sink: Sink
    folder: Path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    key = Ed25519PrivateKey.generate()
    public = folder / "key.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with ExitStack() as parts:
        exchange = Child(
            "exchange",
            [
                *("-m", "infra.exchange", "--json", "--public-key-file", str(public), "--key-id", KEY_ID),
                *("--events", "12", "--tier", TIER),
            ],
            folder / "exchange.log",
            {},
        )
        parts.callback(exchange.stop, 3)
        cloud = parts.enter_context(
            EmbeddedCloud(state_dir=folder / "cloud", log_file=folder / "cloud.log", options=QUICK)
        )
        client = Clients(cloud.url)
        parts.callback(client.close)
        sink = Sink()
        parts.callback(sink.stop)
        address = json.loads(exchange.first_line())
        report = deploy(
            cloud.url,
            ROOT / "template.yaml",
            {
                "Mode": "simulated",
                "RateTier": TIER,
                "ExchangeRestUrl": address["rest_url"],
                "ExchangeWsUrl": address["ws_url"],
            },
        )
        vault = client("secretsmanager")
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for secret, value in (
            ("ReadKeySecret", {"key_id": KEY_ID, "private_key": pem}),
            ("TradeKeySecret", {"key_id": KEY_ID, "private_key": pem}),
            ("WebhookSecret", {"url": sink.url}),
        ):
            vault.put_secret_value(SecretId=report.outputs[secret], SecretString=json.dumps(value))
        token = vault.get_secret_value(SecretId=report.outputs["ApiTokenSecret"])["SecretString"]
        yield Stack(cloud, report, client, json.loads(token)["token"], address["rest_url"], sink, folder)


def test_the_smoke_test_finds_a_whole_stack_whole(stack: Stack) -> None:
    checks = list(Smoke(stack.report, stack.token, stack.client).run())
    assert [check for check in checks if not check.ok] == []
    assert len(checks) == 10


def test_the_smoke_test_notices_what_is_wrong(stack: Stack) -> None:
    def wrong(report: StackReport, token: str) -> dict[str, str]:
        return {check.name: check.found for check in Smoke(report, token, stack.client).run() if not check.ok}

    assert set(wrong(stack.report, "another-token")) == {"health", "scan over HTTP"}
    outputs = {**stack.report.outputs, "BooksTable": "no-such-table", "Mode": "live"}
    resources = {**stack.report.resources, "SettlementFunction": stack.report.resources["AssessFunction"]}
    found = wrong(replace(stack.report, outputs=outputs, resources=resources), stack.token)
    assert set(found) == {"health", "tables", "settlement"}
    assert "the stack is live" in found["health"]
    assert "SchemaError" in found["settlement"]
    nowhere = replace(stack.report, api_url="http://127.0.0.1:9")
    assert {"page", "health asks for a token", "health", "scan over HTTP"} == set(wrong(nowhere, stack.token))


def some_event(stack: Stack) -> str:
    """The event with a group that stays open longest: short-lived ones may close during the test."""
    items = stack.client("dynamodb").scan(TableName=stack.report.outputs["GroupsTable"])["Items"]
    grouped = {item["group_id"]["S"].split(":")[0] for item in items}
    query = {"status": "open", "with_nested_markets": "true", "limit": "200"}
    listed = httpx.get(f"{stack.exchange_url}/events", params=query).json()["events"]
    closes = {event["event_ticker"]: min(market["close_time"] for market in event["markets"]) for event in listed}
    return max(grouped & closes.keys(), key=closes.__getitem__)


def test_a_direct_call_scans_one_event(stack: Stack) -> None:
    event = json.loads((ROOT / "events" / "scan_on_demand.json").read_text())
    event["scan"]["event_ticker"] = some_event(stack)
    name = stack.report.resources["DetectionFunction"]
    answer = stack.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    counts = json.loads(answer["Payload"].read())["counts"]
    assert counts["groups"] >= 1


def scan(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["scan", *arguments])


def test_the_command_line_scans_the_exchange_and_the_cloud_alike(stack: Stack) -> None:
    here = scan("--url", stack.exchange_url, "--json")
    assert here.exit_code == 0, here.output
    write_run_state(stack.folder, RunState(os.getpid(), "simulated", "", stack.report.api_url + "/", stack.token, 1))
    with (stack.folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the run does as long as it lives
        there = scan("--cloud", "--folder", str(stack.folder), "--json")
        text = scan("--cloud", "--folder", str(stack.folder)).stdout
    assert there.exit_code == 0, there.output
    mine, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert mine["counts"]["groups"] > 5
    assert theirs["counts"]["groups"] > 5
    assert set(mine) == set(theirs) == {"opportunities", "near_misses", "counts"}
    assert "nothing was traded" in text
    assert "nearest misses" in text


def test_one_event_is_scanned_alone(stack: Stack) -> None:
    event = some_event(stack)
    done = scan(event, "--url", stack.exchange_url, "--json")
    assert done.exit_code == 0, done.output
    view = json.loads(done.stdout)
    assert view["counts"]["groups"] >= 1
    assert {miss["event"] for miss in view["near_misses"]} <= {event}
    unknown = scan("KXNOTHING-1", "--url", stack.exchange_url)
    assert unknown.exit_code == 1
    assert "lists no open event KXNOTHING-1" in unknown.output


def test_a_token_that_is_refused_is_one_line(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("expired-or-wrong-token\n")
    result = scan("--cloud", "--api-url", stack.report.api_url, "--token-file", str(tmp_path / "token"))
    assert result.exit_code == 1
    assert result.output.strip() == f"Error: {stack.report.api_url} refuses the token (HTTP 403)"


# What the feed prints when books stay too old for three minutes, in lines that its log driver carries to CloudWatch.
STALE_FEED = """
import io, json, sys, time
from contextlib import redirect_stdout
from kalshi_arb.metrics_names import Metric
from kalshi_arb.observability import EmfMetrics

for seconds_ago in (150, 90, 30):
    printed = io.StringIO()
    with redirect_stdout(printed):
        metrics = EmfMetrics("feed", "simulated")
        metrics.observe(Metric.STALE_BOOKS, 4)
        metrics.count(Metric.FRAMES, 900)
        metrics.flush()
    line = json.loads(printed.getvalue())
    line["_aws"]["Timestamp"] -= seconds_ago * 1000
    print(json.dumps(line), flush=True)
"""


def test_books_that_stay_stale_end_as_a_message_at_the_webhook(stack: Stack) -> None:
    alarm = stack.report.resources["FeedStaleAlarm"]
    cloudwatch = stack.client("cloudwatch")

    def state() -> str:
        found: dict[str, Any] = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]
        return str(found["StateValue"])

    assert state() != "ALARM"
    assert not any(alarm in body for body in stack.sink.bodies)
    with subprocess.Popen([sys.executable, "-c", STALE_FEED], stdout=subprocess.PIPE, text=True) as feed:
        assert feed.stdout is not None
        driver = LogDriver(stack.cloud.url, stack.report.resources["FeedLogs"], "feed/test", feed.stdout)
        driver.start()
        feed.wait()
        driver.wait(10)
    wait_for(lambda: state() == "ALARM")
    (message,) = wait_for(lambda: [body for body in stack.sink.bodies if alarm in body])
    assert "ALARM" in message
    assert "simulated" in message
    rows = stack.client("dynamodb").scan(TableName=stack.report.outputs["AlertsTable"])["Items"]
    assert any(alarm in row["body"]["S"] for row in rows if "body" in row), "people see it on the page as well"


def command(stack: Stack, *arguments: str) -> Result:
    """A command of the person whose local run this stack is."""
    write_run_state(stack.folder, RunState(os.getpid(), "simulated", "", stack.report.api_url + "/", stack.token, 1))
    with (stack.folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return CliRunner().invoke(cli, [*arguments, "--folder", str(stack.folder), "--json"])


def test_a_hard_stop_takes_the_purchases_from_the_machine_and_arm_gives_them_back(stack: Stack) -> None:
    stopped = command(stack, "stop", "--hard", "--reason", "a test")
    assert stopped.exit_code == 0, stopped.output
    answer = json.loads(stopped.stdout)
    assert answer["denied"]
    assert answer["trading"]["stopped"].endswith(", a test")
    role = stack.report.outputs["BasketMachineRole"]
    attached = stack.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert stack.report.outputs["PurchaseDenial"] in [policy["PolicyArn"] for policy in attached]
    refused = command(stack, "arm")
    assert refused.exit_code == 1, "it asks first, and nobody answered"
    assert "detach the denial" in refused.stderr
    armed = command(stack, "arm", "--yes")
    assert armed.exit_code == 0, armed.output
    assert json.loads(armed.stdout)["denied"] is False
    assert json.loads(armed.stdout)["trading"]["stopped"] is None


def test_a_stop_over_the_api_is_the_same_stop(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {stack.token}"}
    body = {"by": "the page", "reason": "looks odd"}
    answer = httpx.post(f"{stack.report.api_url}/stop", headers=headers, json=body)
    assert answer.json()["trading"]["stopped"] == "stopped: by the page, looks odd"
    assert httpx.post(f"{stack.report.api_url}/stop", json=body).status_code in (401, 403)
    lifted = command(stack, "arm")
    assert json.loads(lifted.stdout)["trading"]["stopped"] is None


def test_abandon_cancels_at_the_exchange_and_forbids_orders_for_its_minute(stack: Stack) -> None:
    done = command(stack, "abandon", "--yes")
    assert done.exit_code == 0, done.output
    trading = json.loads(done.stdout)["trading"]
    assert trading["stopped"].startswith("abandoned: ")
    assert trading["no_orders_until_ms"] - trading["stop"]["at_ms"] >= 60_000
    lifted = command(stack, "arm")
    assert json.loads(lifted.stdout)["trading"]["stopped"].startswith("abandoned: "), "the minute runs on"


def test_only_real_money_is_armed_for_a_time(stack: Stack) -> None:
    refused = command(stack, "arm", "--hours", "8")
    assert refused.exit_code == 2
    assert "--hours belongs to mode live" in refused.stderr
    absurd = command(stack, "arm", "--hours", "100")
    assert absurd.exit_code == 2
    assert "--hours" in absurd.stderr
    unknown = command(stack, "stop", "--stack", "real")
    assert unknown.exit_code == 2
    assert "--stack" in unknown.stderr
