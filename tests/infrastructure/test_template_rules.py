"""The template keeps this project's rules, and every rule notices a template that does not."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.checks import __main__ as checks
from infra.checks.dashboard import shown_metrics
from infra.checks.template import Template
from infra.checks.template_rules import RULES, WILDCARD_EXCEPTIONS, Project, check_project, dashboard_body
from kalshi_arb.metrics_names import NAMESPACE, Metric

ROOT = Path(__file__).resolve().parents[2]
Body = dict[str, Any]


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


def test_the_template_keeps_every_rule(project: Project) -> None:
    assert check_project(project) == []


def test_the_command_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert checks.main() == 0
    assert capsys.readouterr().err == ""


def properties(body: Body, name: str) -> Body:
    found: Body = body["Resources"][name]["Properties"]
    return found


def put(name: str, *path: Any, to: Any) -> Callable[[Body], None]:
    def apply(body: Body) -> None:
        target: Any = properties(body, name)
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = to

    return apply


def drop(name: str, *path: Any) -> Callable[[Body], None]:
    def apply(body: Body) -> None:
        target: Any = properties(body, name)
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return apply


def in_dashboard(old: str, new: str) -> Callable[[Body], None]:
    def apply(body: Body) -> None:
        holder = properties(body, "Dashboard")["DashboardBody"]
        assert old in holder["Fn::Sub"]
        holder["Fn::Sub"] = holder["Fn::Sub"].replace(old, new)

    return apply


def widen(role: str, **changes: Any) -> Callable[[Body], None]:
    def apply(body: Body) -> None:
        properties(body, role)["Policies"][0]["PolicyDocument"]["Statement"][-1].update(changes)

    return apply


def sqs_event(body: Body) -> Body:
    event: Body = properties(body, "DetectionFunction")["Events"]["Candidates"]["Properties"]
    return event


VARIABLES = ("Environment", "Variables")
BROKEN: dict[str, list[tuple[Callable[[Body], None], str]]] = {
    "handlers_resolve": [
        (put("AssessFunction", "CodeUri", to="functions/assessment/"), "there is no functions/assessment/handler.py"),
        (put("AssessFunction", "Handler", to="main.handler"), "there is no functions/assess/main.py"),
        (put("AssessFunction", "Handler", to="handler.run"), "functions/assess/handler.py defines no run"),
    ],
    "environment_is_settings": [
        (put("AlertsFunction", *VARIABLES, "KALSHI_ARB_WEBHOOK", to="x"), "AlertsFunction: KALSHI_ARB_WEBHOOK is no"),
        (drop("AlertsFunction", *VARIABLES, "KALSHI_ARB_WEBHOOK_SECRET"), "nothing is given KALSHI_ARB_WEBHOOK_SECRET"),
        (drop("ApiFunction", *VARIABLES, "POWERTOOLS_SERVICE_NAME"), "ApiFunction: POWERTOOLS_SERVICE_NAME is missing"),
        (lambda body: body["Outputs"].pop("LedgerTable"), "setting ledger_table has no output LedgerTable"),
    ],
    "roles_are_narrow": [
        (widen("AssessRole", Resource="*"), "AssessRole: sns:Publish on a wildcard resource"),
        (widen("AssessRole", Resource={"Fn::Sub": "${LedgerTable.Arn}/*"}), "on a wildcard resource"),
        (widen("AssessRole", Action=["dynamodb:*"]), "action dynamodb:* is a wildcard"),
        (
            widen("FeedExecutionRole", Action=["ecr:GetAuthorizationToken", "ecr:DeleteRepository"]),
            "LogInToRegistry covers ecr:DeleteRepository",
        ),
        (
            put("AssessRole", "ManagedPolicyArns", to=["arn:aws:iam::aws:policy/AdministratorAccess"]),
            "AdministratorAccess is not a policy of this template",
        ),
        (drop("AssessFunction", "Role"), "AssessFunction: without a role of its own"),
        (drop("TracingPolicy", "PolicyDocument", "Statement", 0, "Sid"), "TracingPolicy: xray:PutTraceSegments"),
    ],
    "queues_wait_long_enough": [
        (
            put("CandidatesQueue", "VisibilityTimeout", to=119),
            "CandidatesQueue: VisibilityTimeout must be at least 120",
        ),
        (drop("LifecycleQueue", "VisibilityTimeout"), "LifecycleQueue: VisibilityTimeout must be at least 1800"),
        (put("AuditsQueue", "VisibilityTimeout", to=299), "AuditsQueue: VisibilityTimeout must be at least 300"),
        (put("DetectionFunction", "Timeout", to=21), "CandidatesQueue: VisibilityTimeout must be at least 126"),
        (lambda body: sqs_event(body).pop("FunctionResponseTypes"), "would bring its whole batch back"),
    ],
    "nothing_is_lost": [
        (drop("CandidatesQueue", "RedrivePolicy"), "CandidatesQueue: has no dead-letter queue"),
        (lambda body: body["Resources"].pop("AlertsDeadLettersAlarm"), "AlertsDeadLetters: no alarm watches"),
        (drop("SweeperSchedule", "Target", "DeadLetterConfig"), "SweeperSchedule: has no DeadLetterConfig"),
        (drop("SweeperSchedule", "Target", "RetryPolicy"), "SweeperSchedule: has no RetryPolicy"),
    ],
    "logs_end": [
        (drop("SweeperLogs", "RetentionInDays"), "SweeperLogs: keeps its lines for ever"),
        (drop("SweeperFunction", "LoggingConfig"), "SweeperFunction: writes to no log group"),
        (
            put("FeedTask", "ContainerDefinitions", 0, "LogConfiguration", "Options", "awslogs-group", to="feed"),
            "FeedTask: writes to no log group",
        ),
    ],
    "alarms_are_explained": [
        (
            lambda body: body["Resources"].update(NewAlarm=body["Resources"]["FeedSilentAlarm"]),
            "NewAlarm: has no line in the runbook",
        ),
        (put("FeedSilentAlarm", "AlarmActions", to=[]), "FeedSilentAlarm: tells nobody"),
        (lambda body: body["Resources"].pop("SweeperErrorsAlarm"), "SweeperFunction: no alarm on its errors"),
        (lambda body: body["Resources"].pop("FeedGapsAlarm"), "FeedGapsAlarm: is in the runbook but not in"),
    ],
    "metrics_exist": [
        (put("FeedSilentAlarm", "MetricName", to="Messages"), "FeedSilentAlarm: no code publishes Messages"),
        (drop("FeedSilentAlarm", "Dimensions", 1), "Frames has the dimensions service, mode, not service"),
        (put("FeedSilentAlarm", "Dimensions", 0, "Value", to="feeder"), "there is no service feeder"),
        (put("DetectionThrottledAlarm", "MetricName", to="Throttled"), "AWS/Lambda publishes no Throttled"),
        (put("CandidatesLateAlarm", "Dimensions", 0, "Name", to="Queue"), "has the dimension QueueName, not Queue"),
        (in_dashboard('"KalshiArb", "Opportunities"', '"KalshiArb", "Finds"'), "Dashboard: no code publishes Finds"),
        (in_dashboard('"service", "assess"', '"service", "assessor"'), "Dashboard: there is no service assessor"),
        (in_dashboard('"grade", "proved"', '"grade", "sure"'), "Dashboard: no grade is sure"),
        (in_dashboard('"end", "lock"', '"end", "locked"'), "Dashboard: no end is locked"),
        (in_dashboard('"grade", "proved"', '"end", "proved"'), "Opportunities has the dimensions service, mode, not"),
        (in_dashboard("service,mode,reason}", "service,mode,why}"), "Dropped has the dimensions service, mode, not"),
        (in_dashboard('MetricName=\\"Dropped', 'MetricName=\\"Drops'), "Dashboard: no code publishes Drops"),
    ],
    "dashboards_are_valid": [
        (in_dashboard('"x": 16, "y": 1,', '"x": 17, "y": 1,'), "Stale books and gaps: it ends in column 25"),
        (in_dashboard('"x": 8, "y": 1,', '"x": 7, "y": 1,'), "Feed lag (ms): lies over Stream frames a minute"),
        (in_dashboard('"stat": "Sum"', '"stat": "Total"'), "stat is 'Total'"),
    ],
    "machines_fit": [
        (put("BasketMachine", "DefinitionUri", to="infra/gone.json"), "there is no infra/gone.json"),
        (drop("BasketMachine", "DefinitionSubstitutions", "AssessFunctionArn"), "nothing fills AssessFunctionArn"),
        (put("BasketMachine", "DefinitionSubstitutions", "More", to="x"), "nothing uses More"),
        (
            put("ExecuteWaveFunction", "Timeout", to=45),
            "ExecuteWave gives up before ExecuteWaveFunction must end (45 s)",
        ),
    ],
    "tables_are_safe": [
        (put("LedgerTable", "TableName", to="ledger"), "LedgerTable: its name does not tell the mode"),
        (drop("BooksTable", "PointInTimeRecoverySpecification"), "BooksTable: cannot be restored"),
        (drop("BooksTable", "SSESpecification"), "BooksTable: is not encrypted"),
        (lambda body: body["Resources"]["LedgerTable"].update(DeletionPolicy="Delete"), "LedgerTable: would be lost"),
    ],
    "one_feed": [
        (put("FeedService", "DeploymentConfiguration", "MaximumPercent", to=200), "would run two feeds at once"),
        (put("FeedService", "DesiredCount", to=2), "FeedService: more than one task may be wanted"),
        (put("FeedService", "DesiredCount", to={"Fn::If": ["FeedRuns", 3, 0]}), "more than one task may be wanted"),
        (put("FeedService", "DesiredCount", to={"Ref": "FeedTasks"}), "more than one task may be wanted"),
    ],
}
CASES = [
    pytest.param(rule, breaking, expected, id=f"{rule}-{place}")
    for rule, cases in BROKEN.items()
    for place, (breaking, expected) in enumerate(cases)
]


@pytest.mark.parametrize(("rule", "breaking", "expected"), CASES)
def test_a_broken_copy_is_noticed(project: Project, rule: str, breaking: Callable[[Body], None], expected: str) -> None:
    body = copy.deepcopy(dict(project.template.body))
    breaking(body)
    problems = check_project(Project(ROOT, Template(body), project.runbook))
    assert any(problem.startswith(f"{rule}: ") and expected in problem for problem in problems), problems


def test_every_rule_is_shown_to_work() -> None:
    assert set(BROKEN) == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("| `FeedSilentAlarm` | meaning | check |", "needs meaning, check and action"),
        ("| `FeedSilentAlarm` | meaning | | action |", "needs meaning, check and action"),
        ("", "FeedSilentAlarm: has no line in the runbook"),
    ],
)
def test_an_alarm_without_a_whole_explanation_is_noticed(project: Project, row: str, expected: str) -> None:
    lines = [row if line.startswith("| `FeedSilentAlarm`") else line for line in project.runbook.splitlines()]
    problems = check_project(Project(ROOT, project.template, "\n".join(lines)))
    assert any(expected in problem for problem in problems), problems


def test_every_wildcard_has_a_reason_and_is_used(project: Project) -> None:
    assert all(exception.reason and exception.actions for exception in WILDCARD_EXCEPTIONS.values())
    assert {sid for sid in WILDCARD_EXCEPTIONS if f"'Sid': '{sid}'" in str(project.template.body)} == set(
        WILDCARD_EXCEPTIONS
    )


def test_the_dashboard_names_the_mode(project: Project) -> None:
    (dashboard,) = (body for _, body in project.template.of_type("AWS::CloudWatch::Dashboard"))
    assert "mode ${Mode}" in dashboard["DashboardBody"]["Fn::Sub"]


def test_the_dashboard_shows_what_a_person_asks_first(project: Project) -> None:
    (dashboard,) = (body for _, body in project.template.of_type("AWS::CloudWatch::Dashboard"))
    shown = list(shown_metrics(dashboard_body(dashboard["DashboardBody"])))
    own = [one for one in shown if one.namespace == NAMESPACE]
    ours = {(one.name, *sorted(one.dimensions.keys() - {"service", "mode"})) for one in own}
    # Feed lag and staleness, candidates, opportunities by grade, baskets by end, locked profit, drops by reason.
    assert ours >= {
        ("FeedLagMs",), ("StaleBooks",), ("FeedGaps",), ("Candidates",), ("Opportunities", "grade"),
        ("BasketsEnded", "end"), ("LockedProfitMicrodollars",), ("Dropped", "reason"),
    }  # fmt: skip
    functions = len(list(project.template.functions()))
    for name in ("Errors", "Throttles"):
        assert sum(one.name == name for one in shown) == functions
    dead = {name for name, _ in project.template.of_type("AWS::SQS::Queue") if name.endswith("DeadLetters")}
    assert sum(one.name == "ApproximateNumberOfMessagesVisible" for one in shown) == len(dead)


def test_every_metric_of_ours_is_shown_or_watched(project: Project) -> None:
    text = str(project.template.body)
    assert {metric for metric in Metric if f"{metric.value}" not in text} == set()
