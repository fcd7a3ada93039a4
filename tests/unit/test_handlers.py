"""Handlers: each parses its event, calls its one use case, and maps the answer."""

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from functions.alerts.handler import handler as alerts
from functions.assess.handler import handler as assess
from functions.close.handler import handler as close
from functions.detection.handler import handler as detection
from functions.discovery.handler import handler as discovery
from functions.execute_wave.handler import handler as execute_wave
from functions.risk_check.handler import handler as risk_check
from functions.settlement.handler import handler as settlement
from functions.sweeper.handler import handler as sweeper
from functions.unwind.handler import handler as unwind
from kalshi_arb import bootstrap, events, schemas
from kalshi_arb.alerts import AlertDelivery
from kalshi_arb.detection.detect import Handled
from kalshi_arb.detection.rounds import RoundReport
from kalshi_arb.detection.scan import Found, ScanCounts, ScanReport
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.errors import SchemaError, StoreError
from kalshi_arb.domain.money import Cash
from kalshi_arb.execution.assess import Action, Assessment
from kalshi_arb.execution.differences import Difference, DifferenceKind
from kalshi_arb.execution.settle import SettleReport
from kalshi_arb.execution.sweep import SweepReport
from kalshi_arb.fakes import ManualClock, MemoryAlertStore, MemoryMetrics, MemoryStatusStore
from kalshi_arb.ports import Alert
from kalshi_arb.relations.discover import DiscoveryReport
from kalshi_arb.risk.check import RiskAnswer
from kalshi_arb.schemas import AuditRequest, Candidate, Lifecycle, Look
from kalshi_arb.webhooks import WebhookDownError
from tests.cloud_samples import NOW, alert, candidate, entry, group, opportunity

EVENTS = Path(__file__).resolve().parents[2] / "events"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KALSHI_ARB_MODE", "simulated")
    monkeypatch.setenv("KALSHI_ARB_REST_URL", "http://127.0.0.1:9")
    bootstrap.reset()
    yield
    bootstrap.reset()


@dataclass
class UseCase:
    """Answers every call of ``run`` in the same way and remembers what it was given."""

    answer: Any
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def run(self, *arguments: Any, **named: Any) -> Any:
        self.calls.append((*arguments, *([named] if named else [])))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Context:
    aws_request_id: str = "request-1"


def install(monkeypatch: pytest.MonkeyPatch, name: str, answer: Any) -> UseCase:
    case = UseCase(answer)
    monkeypatch.setattr(bootstrap, name, lambda: case)
    return case


def sqs(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "body": body,
                "eventSource": "aws:sqs",
                "attributes": {},
                "messageAttributes": {},
            }
            for number, body in enumerate(bodies)
        ]
    }


def sns(*messages: str) -> dict[str, Any]:
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": message}} for message in messages]}


# The state machine's steps


def test_the_risk_check_answers_for_the_choice_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = install(monkeypatch, "risk_check", RiskAnswer(False, "depth", 0))
    answer = risk_check({"basket_id": "b1", "attempt": 2, "more": 1}, Context())
    assert answer == {"basket_id": "b1", "attempt": 2, "accepted": False, "reason": "depth", "wave": 0}
    assert case.calls == [("b1", 2)]


@pytest.mark.parametrize(
    ("name", "other", "handler"), [("wave_executor", "unwinder", execute_wave), ("unwinder", "wave_executor", unwind)]
)
def test_a_wave_is_sent_by_its_number(
    monkeypatch: pytest.MonkeyPatch, name: str, other: str, handler: Callable[[Any, Any], Any]
) -> None:
    case, idle = install(monkeypatch, name, 3), install(monkeypatch, other, 0)
    answer = handler({"basket_id": "b1", "attempt": 1, "wave": 2}, Context())
    assert answer == {"basket_id": "b1", "attempt": 1, "wave": 2, "sent": 3}
    assert case.calls == [("b1", 1, 2)]
    assert idle.calls == []


@pytest.mark.parametrize(("event", "gave_up"), [({}, ""), ({"gave_up": "turns_used_up"}, "turns_used_up")])
def test_an_attempt_is_closed_or_says_why_it_gave_up(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, str], gave_up: str
) -> None:
    case = install(monkeypatch, "closer", BasketState.LOCK)
    answer = close({"basket_id": "b1", "attempt": 2, **event}, Context())
    assert answer == {"basket_id": "b1", "attempt": 2, "state": "lock"}
    assert case.calls == [("b1", 2, gave_up)]


@pytest.mark.parametrize("gave_up", ["x" * 41, "Broken", 1, "a b"])
def test_a_reason_is_one_short_word(monkeypatch: pytest.MonkeyPatch, gave_up: object) -> None:
    case = install(monkeypatch, "closer", BasketState.LOCK)
    with pytest.raises(SchemaError, match="CloseTask"):
        close({"basket_id": "b1", "attempt": 2, "gave_up": gave_up}, Context())
    assert case.calls == []


@pytest.mark.parametrize("action", list(Action))
def test_an_assessment_in_the_words_of_the_state_machine(monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
    case = install(monkeypatch, "assessor", Assessment(action, BasketState.UNWINDING, 9, wave=4, wait_seconds=5))
    answer = assess({"basket_id": "b1", "attempt": 1, "wave": 3}, Context())
    assert case.calls == [("b1", 1, 3)]
    assert json.loads(json.dumps(answer)) == {
        "basket_id": "b1",
        "attempt": 1,
        "action": action.value,
        "wave": 4,
        "wait_seconds": 5,
        "turns": 9,
        "state": "unwinding",
    }


@pytest.mark.parametrize(
    "event",
    [
        {}, None, [], {"basket_id": "b1"}, {"attempt": 1}, {"basket_id": "", "attempt": 1, "wave": 0},
        {"basket_id": "b/1", "attempt": 1, "wave": 0}, {"basket_id": "b1\n", "attempt": 1, "wave": 0},
        {"basket_id": "b1", "attempt": 0, "wave": 0}, {"basket_id": "b1", "attempt": "1", "wave": 0},
        {"basket_id": "b1", "attempt": True, "wave": 0}, {"basket_id": 1, "attempt": 1, "wave": 0},
        {"basket_id": "b" * 65, "attempt": 1, "wave": 0},
    ],
)  # fmt: skip
def test_a_malformed_step_calls_nothing(monkeypatch: pytest.MonkeyPatch, event: Any) -> None:
    steps: list[tuple[str, Callable[[Any, Any], Any]]] = [
        ("risk_check", risk_check), ("wave_executor", execute_wave), ("assessor", assess),
        ("unwinder", unwind), ("closer", close),
    ]  # fmt: skip
    for name, handler in steps:
        case = install(monkeypatch, name, None)
        with pytest.raises(SchemaError):
            handler(event, Context())
        assert case.calls == []


def test_a_negative_wave_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "wave_executor", 0)
    with pytest.raises(SchemaError, match="WaveTask"):
        execute_wave({"basket_id": "b1", "attempt": 1, "wave": -1}, Context())


def test_errors_go_on_to_the_state_machine_under_their_own_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, "assessor", StoreError("read from baskets: no answer"))
    with pytest.raises(StoreError):
        assess({"basket_id": "b7", "attempt": 1, "wave": 0}, Context())
    assert any("invocation failed" in record.getMessage() for record in caplog.records)


# Schedules


def test_a_person_has_the_journal_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    class Repairs:
        found: list[Difference] | None = None

        def repair(self) -> list[Difference] | None:
            return self.found

    repairs = Repairs()
    monkeypatch.setattr(bootstrap, "auditor", lambda: repairs)
    event = json.loads((EVENTS / "journal_repair.json").read_text())
    assert settlement(event, Context()) == {"differences": None, "found": 0, "recorded": 0}
    repairs.found = [
        Difference(DifferenceKind.CASH, "shard 0", "$1.00 have no cause", (entry("e"),)),
        Difference(DifferenceKind.POSITION, "T", "no fill says why"),
    ]
    assert settlement(event, Context()) == {
        "differences": ["cash shard 0: $1.00 have no cause", "position T: no fill says why"],
        "found": 2,
        "recorded": 1,
    }


def audit_requests(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {"messageId": f"m{number}", "body": body, "eventSource": "aws:sqs"} for number, body in enumerate(bodies)
        ]
    }


@pytest.mark.parametrize("found", [None, [], [Difference(DifferenceKind.CASH, "shard 0", "$1.00 have no cause")]])
def test_a_batch_of_audit_requests_is_one_audit_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, found: list[Difference] | None
) -> None:
    """Something that moves is no error: the schedule audits within a minute."""
    audits = install(monkeypatch, "auditor", found)
    for other in ("settler", "digest", "held_review"):
        monkeypatch.delattr(bootstrap, other)
    bodies = [schemas.encode(AuditRequest(f"b{number}", 1)) for number in range(10)]
    assert settlement(audit_requests(*bodies, bodies[0]), Context()) == {"batchItemFailures": []}
    assert audits.calls == [({"payments_booked": False},)]


def test_an_audit_request_that_cannot_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    audits = install(monkeypatch, "auditor", [])
    assert settlement(audit_requests("{"), Context()) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert not audits.calls
    answer = settlement(audit_requests("{", schemas.encode(AuditRequest("b1", 1))), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert len(audits.calls) == 1


@pytest.mark.parametrize("event", [{}, {"source": "aws.scheduler"}, {"anything": [1]}])
def test_scheduled_functions_take_any_event(monkeypatch: pytest.MonkeyPatch, event: dict[str, Any]) -> None:
    install(monkeypatch, "settler", SettleReport(3, 2))
    install(monkeypatch, "digest", 1)
    install(monkeypatch, "held_review", 4)
    install(monkeypatch, "sweeper", SweepReport(1, 4))
    install(monkeypatch, "discovery", DiscoveryReport(7, {"ladder": 2}, {"flat fee": 1}, 3, {"accepted": 2}))
    assert settlement(event, Context()) == {"settled": 3, "baskets": 2, "told": 1, "proposals": 4}
    assert sweeper(event, Context()) == {"resumed": 1, "abandoned": 4}
    assert discovery(event, Context()) == {
        "version": 7,
        "groups": {"ladder": 2},
        "dropped": {"flat fee": 1},
        "events": 3,
        "changes": {"accepted": 2},
    }


# Queues


@dataclass
class Listener:
    """Discovery as the queue's batches see it."""

    heard_of: list[tuple[list[str], bool]] = field(default_factory=list)
    runs: int = 0
    broken: bool = False

    def heard(self, messages: list[Lifecycle], *, reminded: bool) -> None:
        if self.broken:
            raise StoreError("no")
        self.heard_of.append(([message.ticker for message in messages], reminded))

    def run(self) -> DiscoveryReport:
        self.runs += 1
        return DiscoveryReport(1, {}, {}, 0, {})


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    made = Listener()
    monkeypatch.setattr(bootstrap, "discovery", lambda: made)
    return made


def test_lifecycle_messages_of_a_batch_are_heard_together(listener: Listener) -> None:
    messages = [schemas.encode(Lifecycle(f"KX{number}", "settled", NOW, ("G",))) for number in range(3)]
    assert discovery(sqs(*messages), Context()) == {"batchItemFailures": []}
    assert discovery(sqs(schemas.encode(Look(NOW)), messages[0]), Context()) == {"batchItemFailures": []}
    assert listener.heard_of == [(["KX0", "KX1", "KX2"], False), (["KX0"], True)]


def test_an_unreadable_lifecycle_message_is_told_apart(listener: Listener) -> None:
    good = schemas.encode(Lifecycle("KX", "settled", NOW))
    answer = discovery(sqs(good, "nonsense", schemas.encode(alert())), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}
    assert listener.heard_of == [(["KX"], False)]


def test_a_batch_whose_discovery_fails_comes_back_whole(listener: Listener) -> None:
    listener.broken = True
    with pytest.raises(StoreError):
        discovery(sqs(schemas.encode(Lifecycle("KX", "settled", NOW))), Context())


class Judge:
    def __init__(self) -> None:
        self.handled: list[Candidate] = []
        self.fail_at: int | None = None

    def handle_all(self, given: Sequence[Candidate]) -> list[Handled | StoreError]:
        self.handled += given
        return [
            StoreError("no") if place == self.fail_at else Handled("started", "opp-1", "b1")
            for place in range(len(given))
        ]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    made = Judge()
    monkeypatch.setattr(bootstrap, "detector", lambda: made)
    return made


def test_every_candidate_of_a_batch_is_judged(judge: Judge) -> None:
    assert detection(sqs(*[schemas.encode(candidate())] * 3), Context()) == {"batchItemFailures": []}
    assert judge.handled == [candidate()] * 3


def test_only_the_candidates_that_failed_come_back(judge: Judge) -> None:
    judge.fail_at = 1
    good = schemas.encode(candidate())
    answer = detection(sqs(good, good, "{", good), Context())
    # The one that cannot be read is known first.
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}, {"itemIdentifier": "m1"}]}
    assert len(judge.handled) == 3


def test_a_schedule_sweeps(monkeypatch: pytest.MonkeyPatch, judge: Judge) -> None:
    case = install(monkeypatch, "group_round", RoundReport(3, 9, 1, {"started": 1}))
    answer = detection(json.loads((EVENTS / "schedule_detection.json").read_text()), Context())
    assert answer == {"groups": 3, "of": 9, "screened": 1, "outcomes": {"started": 1}}
    assert case.calls == [()]
    assert judge.handled == []


def test_a_batch_that_failed_whole_is_no_error_of_the_function(judge: Judge) -> None:
    """Each message is retried on its own account; an exception would count as an error of the function too."""
    assert detection(sqs("{", "["), Context()) == {
        "batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]
    }


class Scans:
    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def scan(self, event_ticker: str | None) -> ScanReport:
        self.asked.append(event_ticker)
        found = Found(opportunity(), group(), (Cash(1), Cash(2)))
        return ScanReport(NOW, (found,), (), ScanCounts(1, 1, 1, 1, {}))


def test_a_direct_call_scans_and_trades_nothing(monkeypatch: pytest.MonkeyPatch, judge: Judge) -> None:
    scans = Scans()
    monkeypatch.setattr(bootstrap, "scanner", lambda: scans)
    answer = detection({"scan": {"event_ticker": "KXTEST-26"}}, Context())
    assert json.loads(json.dumps(answer))["opportunities"][0]["grade"] == "proved"
    detection({"scan": {}}, Context())
    assert scans.asked == ["KXTEST-26", None]
    assert judge.handled == []


def test_a_direct_call_calculates_and_trades_nothing(judge: Judge) -> None:
    event = json.loads((EVENTS / "calc_on_demand.json").read_text())
    answer = json.loads(json.dumps(detection(event, Context())))
    assert (answer["answer"], answer["worst_state"]) == ("lock", "YES: A")
    assert detection({"calc": "{}"}, Context())["refused"].startswith("there is nothing to calculate")
    assert judge.handled == []


@pytest.mark.parametrize(
    "event", [{}, None, {"calc": 1}, {"scan": 1}, {"scan": {"event_ticker": "a b"}}, {"scan": {"x": 1}}, {"Records": 1}]
)
def test_any_other_direct_call_is_refused(monkeypatch: pytest.MonkeyPatch, event: Any) -> None:
    monkeypatch.setattr(bootstrap, "scanner", Scans)
    with pytest.raises(SchemaError):
        detection(event, Context())


# The topic


class Broken:
    def post(self, alert: Alert) -> None:
        raise WebhookDownError("no")


def deliver_to(monkeypatch: pytest.MonkeyPatch, webhook: Broken | None = None) -> MemoryAlertStore:
    store = MemoryAlertStore()
    delivery = AlertDelivery(
        store=store,
        status=MemoryStatusStore(),
        webhook=lambda: webhook,
        write_line=lambda _, __: None,
        write_problem=lambda _: None,
        metrics=MemoryMetrics(),
        clock=ManualClock(NOW),
        mode="simulated",
    )
    monkeypatch.setattr(bootstrap, "alert_delivery", lambda: delivery)
    return store


def test_delivered_alerts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    store = deliver_to(monkeypatch)
    event = sns(schemas.encode(alert("a1")), schemas.encode(alert("a2")), schemas.encode(alert("a1")))
    assert alerts(event, Context()) == {"delivered": 2}
    assert len(store.recent(9)) == 2


def test_an_alert_that_cannot_be_delivered_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver_to(monkeypatch, Broken())
    with pytest.raises(WebhookDownError):
        alerts(sns(schemas.encode(alert())), Context())


@pytest.mark.parametrize(
    "event", [{}, {"Records": [{}]}, {"Records": [{"Sns": {}}]}, {"Records": [{"Sns": {"Message": 1}}]}]
)
def test_what_is_no_notification_is_refused(monkeypatch: pytest.MonkeyPatch, event: Any) -> None:
    deliver_to(monkeypatch)
    with pytest.raises(SchemaError):
        alerts(event, Context())


# Sample events and names


def sample(name: str) -> Any:
    path = EVENTS / f"{name}.json"
    assert path.exists(), f"{path.name} is one of the project's sample events"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_sample_events_are_what_the_handlers_take(
    monkeypatch: pytest.MonkeyPatch, judge: Judge, listener: Listener
) -> None:
    monkeypatch.setattr(bootstrap, "scanner", Scans)
    store = deliver_to(monkeypatch)
    install(monkeypatch, "risk_check", RiskAnswer(True, "", 0))
    assert detection(sample("candidate_message"), Context()) == {"batchItemFailures": []}
    assert len(judge.handled) == 1
    assert "opportunities" in detection(sample("scan_on_demand"), Context())
    assert discovery(sample("lifecycle_message"), Context()) == {"batchItemFailures": []}
    assert discovery(sample("schedule_discovery"), Context())["version"] == 1
    assert (len(listener.heard_of), listener.runs) == (1, 1)
    assert risk_check(sample("basket_step"), Context())["accepted"]
    assert alerts(sample("alert"), Context()) == {"delivered": 1}
    assert alerts(sample("alarm"), Context()) == {"delivered": 1}
    assert alerts(sample("schedule_alerts"), Context()) == {"delivered": 0}
    assert {told.kind.value for told in store.recent(9)} == {"basket", "alarm"}
    authorizer = importlib.import_module("functions.authorizer.handler")
    token = events.bearer_token(sample("authorizer_request"))
    assert token is not None
    monkeypatch.setattr(bootstrap, "api_token", lambda: {"token": token})
    assert authorizer.handler(sample("authorizer_request"), Context()) == {"isAuthorized": True}
