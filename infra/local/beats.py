"""The schedules of the cloud, fired in seconds instead of minutes."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.template import StackReport

_EVENTS = Path(__file__).resolve().parents[2] / "events"
# Fired in this order when several are due: without groups nothing else has anything to do.
BEATS = {
    "schedule_discovery.json": 20.0,
    "schedule_settlement.json": 2.0,
    "schedule_sweeper.json": 5.0,
    "schedule_alerts.json": 10.0,
    "schedule_detection.json": 60.0,
}
BEAT_FUNCTIONS = {
    "schedule_settlement.json": "SettlementFunction",
    "schedule_sweeper.json": "SweeperFunction",
    "schedule_discovery.json": "DiscoveryFunction",
    "schedule_alerts.json": "AlertsFunction",
    "schedule_detection.json": "DetectionFunction",
}


class Beats:
    """Fires the schedules' functions with the events of ``events/``."""

    def __init__(self, functions: Any, report: StackReport, complain: Callable[[str], None]) -> None:
        self._functions = functions
        self._names = {event: report.resources[logical] for event, logical in BEAT_FUNCTIONS.items()}
        self._payloads = {event: json.loads((_EVENTS / event).read_text()) for event in BEATS}
        self._complain = complain
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="beats", daemon=True)

    def fire(self, event: str, more: Mapping[str, object] | None = None) -> dict[str, Any] | None:
        """Invoke one function and wait; a failure is told, not raised: the schedule comes again.

        :param more: fields beside those of the event's file
        :returns: what it answered, None when it failed
        """
        payload = json.dumps({**self._payloads[event], **(more or {})})
        try:
            answer = self._functions.invoke(FunctionName=self._names[event], Payload=payload)
        except (BotoCoreError, ClientError) as error:
            self._complain(f"{event}: {error}")
            return None
        body = answer["Payload"].read().decode()
        if answer.get("FunctionError"):
            self._complain(f"{event}: {body[:300]}")
            return None
        result: dict[str, Any] = json.loads(body)
        return result

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
