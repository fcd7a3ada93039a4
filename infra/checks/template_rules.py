"""Rules of this project's template that no general linter knows. Each rule yields one line per problem."""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.checks.dashboard import Shown, body_problems, shown_metrics
from infra.checks.template import Template, as_list, referred, texts
from kalshi_arb.domain.basket import ENDED_STATES
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.metrics_names import DETAILS, DIMENSIONS, NAMESPACE, Metric
from kalshi_arb.settings import PREFIX, Settings

VISIBILITY_FACTOR = 6
"""A queue's messages stay hidden for this many times the time-out of the function that reads it (Lambda developer
guide, "Using Lambda with Amazon SQS")."""
SERVICE_VARIABLE = "POWERTOOLS_SERVICE_NAME"
# Not resources: they describe the process itself, or differ from process to process.
_NO_OUTPUT = frozenset({"ws_url", "health_file"})
_KEPT_TABLES = ("LedgerTable", "BasketsTable", "PaperTable")
_DETAIL_WORDS: Mapping[str, frozenset[str]] = {
    "grade": frozenset(grade.value for grade in Grade),
    "end": frozenset(state.value for state in ENDED_STATES),
}
# The dimension and the names that each service documents, as far as this project uses them.
_AWS_METRICS: Mapping[str, tuple[str, frozenset[str]]] = {
    "AWS/Lambda": ("FunctionName", frozenset({"Invocations", "Errors", "Throttles", "Duration"})),
    "AWS/SQS": ("QueueName", frozenset({"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"})),
    "AWS/States": (
        "StateMachineArn",
        frozenset({"ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsAborted"}),
    ),
    "AWS/DynamoDB": ("TableName", frozenset({"ConsumedWriteCapacityUnits"})),
    "AWS/ApiGateway": ("ApiId", frozenset({"5xx"})),
}
_RUNBOOK_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|\s*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class WildcardException:
    """A statement that may name every resource, because its calls accept no other."""

    actions: frozenset[str]
    reason: str


WILDCARD_EXCEPTIONS: Mapping[str, WildcardException] = {
    "WriteTraces": WildcardException(
        frozenset(
            {
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
            }
        ),
        "X-Ray's write calls know no resource types",
    ),
    "DeliverLogs": WildcardException(
        frozenset(
            {
                "logs:CreateLogDelivery",
                "logs:GetLogDelivery",
                "logs:UpdateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:DescribeResourcePolicies",
                "logs:DescribeLogGroups",
            }
        ),
        "Step Functions sets up its log delivery with account-wide calls",
    ),
    "LogInToRegistry": WildcardException(
        frozenset({"ecr:GetAuthorizationToken"}), "the registry's log-in belongs to no repository"
    ),
}
"""By statement id."""


@dataclass(frozen=True, slots=True)
class Project:
    """A template with the files around it that it must agree with."""

    root: Path
    template: Template
    runbook: str

    @classmethod
    def load(cls, root: Path) -> "Project":
        """Read a project's template and runbook."""
        runbook = (root / "infra" / "RUNBOOK.md").read_text(encoding="utf-8")
        return cls(root, Template.read(root / "template.yaml"), runbook)


def check_project(project: Project) -> list[str]:
    """Everything wrong with a project, one line each; empty when nothing is."""
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(project)]


def handlers_resolve(project: Project) -> Iterator[str]:
    """Every handler string leads to a function in a file that exists."""
    for name, function in project.template.functions():
        module, _, attribute = function["Handler"].rpartition(".")
        file = project.root / function["CodeUri"] / (module.replace(".", "/") + ".py")
        if not file.is_file():
            yield f"{name}: there is no {file.relative_to(project.root)}"
        elif attribute not in _top_level_names(file):
            yield f"{name}: {file.relative_to(project.root)} defines no {attribute}"


def _top_level_names(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def environments(template: Template) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The environment variables of every function and container, by the name of what has them."""
    for name, function in template.functions():
        yield name, function["Environment"]["Variables"]
    for name, task in template.of_type("AWS::ECS::TaskDefinition"):
        for container in task["ContainerDefinitions"]:
            yield name, {entry["Name"]: entry["Value"] for entry in container.get("Environment", ())}


def environment_is_settings(project: Project) -> Iterator[str]:
    """Environment variables are the fields of the settings, no more and no less."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    given: set[str] = set()
    for name, variables in environments(project.template):
        yield from (f"{name}: {key} is no setting" for key in variables if key not in {*known, SERVICE_VARIABLE})
        if SERVICE_VARIABLE not in variables:
            yield f"{name}: {SERVICE_VARIABLE} is missing"
        given |= set(variables)
    for field, info in Settings.model_fields.items():
        if info.get_default() is None and PREFIX + field.upper() not in given:
            yield f"nothing is given {PREFIX}{field.upper()}"
        if info.default is None and field not in _NO_OUTPUT:
            output = "".join(word.capitalize() for word in field.split("_"))
            if output not in project.template.body["Outputs"]:
                yield f"setting {field} has no output {output}"


def roles_are_narrow(project: Project) -> Iterator[str]:
    """Every function has a role of its own, and no statement reaches further than its calls demand."""
    for name, function in project.template.of_type("AWS::Serverless::Function"):
        if "Role" not in function:
            yield f"{name}: without a role of its own it gets policies that reach every log group"
    for name, role in project.template.of_type("AWS::IAM::Role"):
        for policy in role.get("ManagedPolicyArns", ()):
            if referred(policy) not in project.template.body["Resources"]:
                yield f"{name}: {policy} is not a policy of this template"
        for policy in role.get("Policies", ()):
            yield from _wide_statements(name, policy["PolicyDocument"])
    for name, policy in project.template.of_type("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"):
        yield from _wide_statements(name, policy["PolicyDocument"])


def _wide_statements(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    for statement in document["Statement"]:
        actions = as_list(statement["Action"])
        yield from (f"{name}: action {action} is a wildcard" for action in actions if "*" in action)
        if not any("*" in text for text in texts(statement["Resource"])):
            continue
        exception = WILDCARD_EXCEPTIONS.get(statement.get("Sid", ""))
        if exception is None:
            yield f"{name}: {', '.join(actions)} on a wildcard resource"
        elif not exception.actions.issuperset(actions):
            extra = sorted(set(actions) - exception.actions)
            yield f"{name}: {statement['Sid']} covers {', '.join(extra)}, which is not in its exception"


def queues_wait_long_enough(project: Project) -> Iterator[str]:
    """A message stays hidden for six times the time-out of the function that reads its queue."""
    queues = dict(project.template.of_type("AWS::SQS::Queue"))
    for name, function in project.template.functions():
        for event in function.get("Events", {}).values():
            if event["Type"] != "SQS":
                continue
            queue = referred(event["Properties"]["Queue"]) or ""
            least = VISIBILITY_FACTOR * function["Timeout"]
            if queues[queue].get("VisibilityTimeout", 30) < least:
                yield f"{queue}: VisibilityTimeout must be at least {least}, because {name} reads it"
            if event["Properties"].get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
                yield f"{name}: one bad message of {queue} would bring its whole batch back"


def nothing_is_lost(project: Project) -> Iterator[str]:
    """Each queue has a dead-letter queue, each schedule a retry policy and one, each dead-letter queue an alarm."""
    template = project.template
    dead = _dead_letter_queues(template)
    watched = {
        referred(dimension["Value"])
        for _, alarm in template.of_type("AWS::CloudWatch::Alarm")
        if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
        for dimension in alarm["Dimensions"]
    }
    for name, queue in template.of_type("AWS::SQS::Queue"):
        if name not in dead and "RedrivePolicy" not in queue:
            yield f"{name}: has no dead-letter queue"
        if name in dead and name not in watched:
            yield f"{name}: no alarm watches this dead-letter queue"
    for name, schedule in template.of_type("AWS::Scheduler::Schedule"):
        for needed in ("RetryPolicy", "DeadLetterConfig"):
            if needed not in schedule["Target"]:
                yield f"{name}: has no {needed}"


def _dead_letter_queues(template: Template) -> set[str | None]:
    dead: set[str | None] = set()
    for _, queue in template.of_type("AWS::SQS::Queue"):
        dead.add(referred(queue.get("RedrivePolicy", {}).get("deadLetterTargetArn")))
    for _, schedule in template.of_type("AWS::Scheduler::Schedule"):
        dead.add(referred(schedule["Target"].get("DeadLetterConfig", {}).get("Arn")))
    for _, function in template.functions():
        destinations = function.get("EventInvokeConfig", {}).get("DestinationConfig", {})
        dead.add(referred(destinations.get("OnFailure", {}).get("Destination")))
        for event in function.get("Events", {}).values():
            dead.add(referred(event["Properties"].get("RedrivePolicy", {}).get("deadLetterTargetArn")))
    return dead - {None}


def logs_end(project: Project) -> Iterator[str]:
    """Every function and container writes to a log group of this template, and every log group forgets."""
    groups = dict(project.template.of_type("AWS::Logs::LogGroup"))
    yield from (f"{name}: keeps its lines for ever" for name, group in groups.items() if "RetentionInDays" not in group)
    writers = [
        (name, function.get("LoggingConfig", {}).get("LogGroup")) for name, function in project.template.functions()
    ]
    writers += [
        (name, container.get("LogConfiguration", {}).get("Options", {}).get("awslogs-group"))
        for name, task in project.template.of_type("AWS::ECS::TaskDefinition")
        for container in task["ContainerDefinitions"]
    ]
    for name, group in writers:
        if referred(group) not in groups:
            yield f"{name}: writes to no log group of this template"


def alarms_are_explained(project: Project) -> Iterator[str]:
    """Each alarm tells the topic and has a runbook line: meaning, check, action. Each function's errors have one."""
    rows = {name: cells.split("|") for name, cells in _RUNBOOK_ROW.findall(project.runbook)}
    alarms = dict(project.template.of_type("AWS::CloudWatch::Alarm"))
    for name, alarm in alarms.items():
        if not alarm.get("AlarmActions"):
            yield f"{name}: tells nobody"
        if name not in rows:
            yield f"{name}: has no line in the runbook"
        elif len(rows[name]) != 3 or not all(cell.strip() for cell in rows[name]):
            yield f"{name}: its line in the runbook needs meaning, check and action"
    yield from (f"{name}: is in the runbook but not in the template" for name in rows if name not in alarms)
    watched = {
        referred(dimension["Value"])
        for alarm in alarms.values()
        if (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Errors")
        for dimension in alarm["Dimensions"]
    }
    yield from (f"{name}: no alarm on its errors" for name, _ in project.template.functions() if name not in watched)


def metrics_exist(project: Project) -> Iterator[str]:
    """Every metric in alarms and dashboards is published: ours by code, under its dimensions, AWS's by a service."""
    services = {str(variables.get(SERVICE_VARIABLE)) for _, variables in environments(project.template)}
    used: list[tuple[str, Shown]] = []
    for name, alarm in project.template.of_type("AWS::CloudWatch::Alarm"):
        dimensions = {found["Name"]: found["Value"] for found in alarm["Dimensions"]}
        used.append((name, Shown(alarm["Namespace"], alarm["MetricName"], dimensions)))
    for name, dashboard in project.template.of_type("AWS::CloudWatch::Dashboard"):
        body = dashboard_body(dashboard["DashboardBody"])
        if not any(body_problems(body)):
            used += [(name, shown) for shown in shown_metrics(body)]
    for name, shown in used:
        problems = _own_metric_problems(shown, services) if shown.namespace == NAMESPACE else _aws_problems(shown)
        yield from (f"{name}: {problem}" for problem in problems)


def _own_metric_problems(shown: Shown, services: set[str]) -> Iterator[str]:
    if shown.name not in set(Metric):
        yield f"no code publishes {shown.name}"
        return
    detail = DETAILS.get(Metric(shown.name))
    found = tuple(shown.dimensions)
    if found not in (DIMENSIONS, (*DIMENSIONS, detail)):
        yield f"{shown.name} has the dimensions {', '.join(DIMENSIONS)}, not {', '.join(found)}"
        return
    service = shown.dimensions["service"]
    if service is not None and service not in services:
        yield f"there is no service {service}"
    if detail is not None and detail in _DETAIL_WORDS:
        word = shown.dimensions.get(detail)
        if word is not None and word not in _DETAIL_WORDS[detail]:
            yield f"no {detail} is {word}"


def _aws_problems(shown: Shown) -> Iterator[str]:
    dimension, names = _AWS_METRICS.get(shown.namespace, ("", frozenset()))
    if shown.name not in names:
        yield f"{shown.namespace} publishes no {shown.name} that is known here"
    elif tuple(shown.dimensions) != (dimension,):
        yield f"{shown.name} has the dimension {dimension}, not {', '.join(shown.dimensions)}"


def dashboards_are_valid(project: Project) -> Iterator[str]:
    """A dashboard's body has the documented structure, and nothing in it lies over anything else."""
    for name, dashboard in project.template.of_type("AWS::CloudWatch::Dashboard"):
        yield from (f"{name}: {problem}" for problem in body_problems(dashboard_body(dashboard["DashboardBody"])))


def dashboard_body(body: Any) -> dict[str, Any]:
    """A dashboard's body with every substitution replaced by a word. :raises ValueError: it is not JSON."""
    text = body["Fn::Sub"] if isinstance(body, Mapping) else body
    parsed: dict[str, Any] = json.loads(re.sub(r"\$\{[^}]+\}", "x", text))
    return parsed


def machines_fit(project: Project) -> Iterator[str]:
    """A state machine's placeholders are filled, and no task gives up on a function that may still be running."""
    timeouts = {name: function["Timeout"] for name, function in project.template.functions()}
    for name, machine in project.template.of_type("AWS::Serverless::StateMachine"):
        file = project.root / machine["DefinitionUri"]
        if not file.is_file():
            yield f"{name}: there is no {machine['DefinitionUri']}"
            continue
        definition = json.loads(file.read_text(encoding="utf-8"))
        filled = machine["DefinitionSubstitutions"]
        used = set(_PLACEHOLDER.findall(json.dumps(definition)))
        yield from (f"{name}: nothing fills {key}" for key in sorted(used - filled.keys()))
        yield from (f"{name}: nothing uses {key}" for key in sorted(filled.keys() - used))
        for state, body in definition["States"].items():
            function = referred(filled.get(body.get("Parameters", {}).get("FunctionName", "")[2:-1]))
            if function in timeouts and body.get("TimeoutSeconds", 0) <= timeouts[function]:
                yield f"{name}: {state} gives up before {function} must end ({timeouts[function]} s)"


def tables_are_safe(project: Project) -> Iterator[str]:
    """Every table is named after the mode, can be restored and is encrypted; the books of account outlive the stack."""
    for name, table in project.template.of_type("AWS::DynamoDB::Table"):
        if "${Mode}" not in "".join(texts(table["TableName"])):
            yield f"{name}: its name does not tell the mode"
        if not table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            yield f"{name}: cannot be restored to a point in time"
        if not table.get("SSESpecification", {}).get("SSEEnabled"):
            yield f"{name}: is not encrypted with a key of the account"
        resource = project.template.body["Resources"][name]
        if name in _KEPT_TABLES and resource.get("DeletionPolicy") != "Retain":
            yield f"{name}: would be lost with the stack"


def one_feed(project: Project) -> Iterator[str]:
    """There are never two writers of books: a deployment ends the old task before it starts the new one."""
    for name, service in project.template.of_type("AWS::ECS::Service"):
        deployment = service.get("DeploymentConfiguration", {})
        if (deployment.get("MinimumHealthyPercent"), deployment.get("MaximumPercent")) != (0, 100):
            yield f"{name}: a deployment would run two feeds at once"
        counts = [value for value in _numbers(service["DesiredCount"]) if value > 1]
        if counts or referred(service["DesiredCount"]):
            yield f"{name}: more than one task may be wanted"


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for inner in as_list(value.get("Fn::If", [])):
            yield from _numbers(inner)


RULES: tuple[Callable[[Project], Iterator[str]], ...] = (
    handlers_resolve,
    environment_is_settings,
    roles_are_narrow,
    queues_wait_long_enough,
    nothing_is_lost,
    logs_end,
    alarms_are_explained,
    metrics_exist,
    dashboards_are_valid,
    machines_fit,
    tables_are_safe,
    one_feed,
)
