"""What the tests of the embedded AWS share: one cloud with the small template in it, and questions to ask it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cloud import EmbeddedCloud
from infra.local.options import EmulatorOptions
from infra.local.template import Clients, StackReport, deploy

TEMPLATE = Path(__file__).resolve().parents[1] / "payloads" / "local_cloud" / "template.yaml"
PARAMETERS = {"Stage": "small"}
WORKER = "local-cloud-small-worker"
RESERVED = "local-cloud-small-reserved"
# Rhythms of a test, not of a day.
QUICK = EmulatorOptions(depth_interval=0.2, alarm_interval=0.2, trim_interval=0.2, slot_wait=0.2, log_streams=20)
PATIENCE = 20.0


def wait_for(question: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@dataclass(frozen=True, slots=True)
class Answer:
    """How an invocation ended."""

    payload: Any
    failed: bool
    log: str

    @property
    def error_type(self) -> str:
        """Lambda's name for the failure."""
        return str(self.payload["errorType"])


@dataclass(frozen=True, slots=True)
class Deployed:
    """A running cloud with the small stack."""

    cloud: EmbeddedCloud
    report: StackReport
    client: Clients

    def call(self, event: dict[str, Any], function: str = WORKER) -> Answer:
        """Invoke a function and wait."""
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
        payload = json.loads(answer["Payload"].read())
        return Answer(payload, "FunctionError" in answer, self.latest_log(function))

    def latest_log(self, function: str) -> str:
        """The log of the function's latest invocation."""
        logs, group = self.client("logs"), f"/aws/lambda/{function}"
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        latest = max(streams, key=lambda stream: stream["creationTime"])
        newest = [stream for stream in streams if stream["creationTime"] == latest["creationTime"]]
        events = [
            event
            for stream in newest
            for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        ]
        return "\n".join(event["message"] for event in events)


@contextmanager
def deployed(folder: Path, options: EmulatorOptions = QUICK) -> Iterator[Deployed]:
    """A cloud with the small stack, ended afterwards."""
    with EmbeddedCloud(state_dir=folder / "state", log_file=folder / "cloud.log", options=options) as cloud:
        client = Clients(cloud.url)
        try:
            yield Deployed(cloud, deploy(cloud.url, TEMPLATE, PARAMETERS), client)
        finally:
            client.close()
