"""The smoke test of a deployed stack: does every door open, and does each kind of work come back with an answer?

One piece of code for whoever deployed. It trades nothing and changes nothing but what the schedules change anyway.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.template import StackReport

EVENTS = Path(__file__).resolve().parents[2] / "events"
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """What one question was answered."""

    name: str
    ok: bool
    found: str


def _checked(named: tuple[str, Callable[[], str]]) -> Check:
    name, check = named
    try:
        return Check(name, True, check())
    except _WrongError as error:
        return Check(name, False, str(error))
    except (httpx.HTTPError, BotoCoreError, ClientError, KeyError, ValueError) as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


class Smoke:
    """Asks a stack."""

    def __init__(self, report: StackReport, token: str, client: Callable[[str], Any]) -> None:
        """``token`` opens the HTTP API; ``client`` gives the AWS client of a service."""
        self._report = report
        self._token = token
        self._client = client

    def run(self) -> Iterator[Check]:
        """Every check, in order, each as it is done; a failure does not stop the others."""
        yield from self.doors()
        yield from self.work()

    def doors(self) -> Iterator[Check]:
        """What is there and opens: a fraction of a second, and no exchange is asked."""
        doors = {
            "page": self._page,
            "health asks for a token": self._closed,
            "health": self._health,
            "tables": self._tables,
            "queues": self._queues,
            "state machine": self._machine,
        }
        # Side by side: most of the time goes into first calls of functions.
        with ThreadPoolExecutor(max_workers=3) as pool:
            yield from pool.map(_checked, doors.items())

    def work(self) -> Iterator[Check]:
        """Each kind of work once, with the exchange."""
        work = {
            "discovery": self._discovery,
            "settlement": self._settlement,
            "scan over HTTP": self._scan,
            "scan by direct call": self._direct_scan,
        }
        # One after another: a scan needs what discovery found.
        yield from map(_checked, work.items())

    def _request(self, method: str, path: str, token: str | None, body: object = None) -> httpx.Response:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        # Proxy variables of the machine have no say in what happens on loopback.
        with httpx.Client(trust_env=False, timeout=_SECONDS) as http:
            return http.request(method, f"{self._report.api_url}/{path}", headers=headers, json=body)

    def _call(self, logical_id: str, event: str) -> dict[str, Any]:
        payload = (EVENTS / event).read_bytes()
        answer = self._client("lambda").invoke(FunctionName=self._report.resources[logical_id], Payload=payload)
        body: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise _WrongError(f"{body.get('errorType')}: {body.get('errorMessage')}")
        return body

    def _page(self) -> str:
        answer = self._request("GET", "", None)
        _expect(answer.status_code == httpx.codes.OK, f"HTTP {answer.status_code}")
        _expect("<html" in answer.text, "it is no page")
        return f"HTTP 200, {len(answer.content)} bytes"

    def _closed(self) -> str:
        without, wrong = (self._request("GET", "health", token).status_code for token in (None, "not-the-token"))
        _expect((without, wrong) == (401, 403), f"HTTP {without} without one, {wrong} with a wrong one")
        return "HTTP 401 without one, 403 with a wrong one"

    def _health(self) -> str:
        answer = self._request("GET", "health", self._token)
        _expect(answer.status_code == httpx.codes.OK, f"HTTP {answer.status_code}: {answer.text[:200]}")
        mode, wanted = answer.json()["mode"], self._report.outputs["Mode"]
        _expect(mode == wanted, f"it says mode {mode}, the stack is {wanted}")
        return f"HTTP 200, mode {mode}"

    def _tables(self) -> str:
        names = [value for name, value in self._report.outputs.items() if name.endswith("Table")]
        dynamodb = self._client("dynamodb")
        for name in names:
            state = dynamodb.describe_table(TableName=name)["Table"]["TableStatus"]
            _expect(state == "ACTIVE", f"{name} is {state}")
            dynamodb.scan(TableName=name, Limit=1)
        _expect(bool(names), "the stack has none")
        return f"{len(names)} answer"

    def _queues(self) -> str:
        urls = [value for name, value in self._report.outputs.items() if name.endswith("QueueUrl")]
        for url in urls:
            self._client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        _expect(bool(urls), "the stack has none")
        return f"{len(urls)} answer"

    def _machine(self) -> str:
        arn = self._report.outputs["BasketMachineArn"]
        state = self._client("stepfunctions").describe_state_machine(stateMachineArn=arn)["status"]
        _expect(state == "ACTIVE", f"it is {state}")
        return "active"

    def _discovery(self) -> str:
        answer = self._call("DiscoveryFunction", "schedule_discovery.json")
        groups = sum(answer["groups"].values())
        _expect(groups > 0, f"no group accepted, dropped {answer['dropped']}")
        return f"{groups} groups, version {answer['version']}"

    def _settlement(self) -> str:
        answer = self._call("SettlementFunction", "schedule_settlement.json")
        return f"{answer['settled']} settled"

    def _scan(self) -> str:
        answer = self._request("POST", "scan", self._token, {})
        _expect(answer.status_code == httpx.codes.OK, f"HTTP {answer.status_code}: {answer.text[:200]}")
        counts = answer.json()["counts"]
        unread = counts["dropped"].get("unfit_books", 0)
        _expect(counts["groups"] > unread, f"it judged {counts}")
        return f"{counts['groups']} groups judged, {unread} without fit books"

    def _direct_scan(self) -> str:
        answer = self._call("DetectionFunction", "scan_on_demand.json")
        return f"{answer['counts']['groups']} groups of the event in {EVENTS.name}/scan_on_demand.json"


class _WrongError(Exception):
    """An answer came, and it is not the right one."""


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _WrongError(otherwise)
