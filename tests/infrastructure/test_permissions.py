"""Every function may do exactly what its code does: nothing it calls is missing from its role, nothing else is in it.

The emulator of the local run does not enforce roles, so a forgotten permission would first be seen on AWS.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.checks.template import Template, as_list, referred
from kalshi_arb import ports

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Template.read(ROOT / "template.yaml")
Permission = tuple[str, str]  # the template's resource (with "/index" for an index) and the action

_RELEASE = {("ReservationsTable", f"dynamodb:{verb}Item") for verb in ("Get", "Put", "Update", "Delete")}
_PAPER_READ = {("PaperTable", "dynamodb:GetItem"), ("PaperTable", "dynamodb:Scan")}
_PAPER_WRITE = _PAPER_READ | {("PaperTable", "dynamodb:PutItem")}
# What was carried forward and what is new since; without the one, the whole journal.
_CARRIED = {
    ("LedgerTable", "dynamodb:Query"),
    ("LedgerTable/by_time", "dynamodb:Query"),
    ("LedgerTable", "dynamodb:Scan"),
}
# In mode paper the account is a table of ours; what a call reads or writes there is the same in every mode's role.
_PAPER = {
    **dict.fromkeys(("find_orders", "fills", "balance", "positions", "account_orders", "account_fills"), _PAPER_READ),
    **dict.fromkeys(("place", "settlements"), _PAPER_WRITE),
    "user_data_ms": set(),
}
NEEDS: dict[tuple[str, str], set[Permission]] = {
    ("alerts", "put"): {("AlertsTable", "dynamodb:PutItem")},
    ("alerts", "recent"): {("AlertsTable/by_time", "dynamodb:Query")},
    ("audits", "send"): {("AuditsQueue", "sqs:SendMessage")},
    ("baskets", "create"): {("BasketsTable", "dynamodb:PutItem"), ("BasketsTable", "dynamodb:UpdateItem")},
    ("baskets", "free_lease"): {("BasketsTable", "dynamodb:DeleteItem")},
    ("baskets", "get"): {("BasketsTable", "dynamodb:GetItem")},
    ("baskets", "in_states"): {("BasketsTable/by_state", "dynamodb:Query")},
    ("baskets", "leases"): {("BasketsTable/by_state", "dynamodb:Query")},
    ("baskets", "reopen"): {("BasketsTable", "dynamodb:PutItem"), ("BasketsTable", "dynamodb:UpdateItem")},
    ("baskets", "recent"): {("BasketsTable/by_time", "dynamodb:Query")},
    ("baskets", "save"): {("BasketsTable", "dynamodb:PutItem")},
    # The whole account is read with the key that trades.
    **{
        ("account", name): {("TradeKeySecret", "secretsmanager:GetSecretValue")} | _PAPER[name]
        for name in vars(ports.AccountReads)
        if not name.startswith("_")
    },
    # What it counts is an item of the status table, and by limits as they are now.
    ("breaker", "note"): {
        ("StatusTable", "dynamodb:GetItem"),
        ("StatusTable", "dynamodb:PutItem"),
        ("AlertsTopic", "sns:Publish"),
        ("LimitsParameter", "ssm:GetParameter"),
    },
    ("detection", "ask"): {("DetectionFunction", "lambda:InvokeFunction")},
    ("groups", "all"): {("GroupsTable", "dynamodb:Scan")},
    ("groups", "get"): {("GroupsTable", "dynamodb:GetItem")},
    ("groups", "changes_since"): {("GroupsTable", "dynamodb:GetItem"), ("GroupHistoryTable", "dynamodb:BatchGetItem")},
    ("groups", "get_many"): {("GroupsTable", "dynamodb:BatchGetItem")},
    ("groups", "history"): {("GroupHistoryTable/by_group", "dynamodb:Query")},
    ("groups", "version"): {("GroupsTable", "dynamodb:GetItem")},
    ("groups", "write"): {
        ("GroupHistoryTable", "dynamodb:PutItem"),
        *(("GroupsTable", f"dynamodb:{verb}Item") for verb in ("Get", "Put", "Update", "Delete")),
    },
    ("ledger", "all"): {("LedgerTable", "dynamodb:Scan")},
    ("ledger", "append"): {("LedgerTable", "dynamodb:BatchGetItem"), ("LedgerTable", "dynamodb:PutItem")},
    ("ledger", "rows"): {("LedgerTable", "dynamodb:Scan")},
    ("journal", "carry"): _CARRIED | {("LedgerTable", "dynamodb:PutItem")},
    ("journal", "entries"): _CARRIED,
    ("journal", "renew"): {("LedgerTable", "dynamodb:PutItem"), ("LedgerTable", "dynamodb:Scan")},
    ("notifier", "publish"): {("AlertsTopic", "sns:Publish")},
    ("opportunities", "put"): {("OpportunitiesTable", "dynamodb:PutItem")},
    ("opportunities", "recent"): {("OpportunitiesTable/by_time", "dynamodb:Query")},
    ("reservations", "amounts"): {("ReservationsTable", "dynamodb:BatchGetItem")},
    ("reservations", "holdings"): {("ReservationsTable", "dynamodb:Scan")},
    ("reservations", "release"): _RELEASE,
    # It looks which keys have no room.
    ("reservations", "reserve"): _RELEASE | {("ReservationsTable", "dynamodb:BatchGetItem")},
    ("reservations", "returns"): {("ReservationsTable", "dynamodb:BatchGetItem")},
    ("status", "count"): {("StatusTable", "dynamodb:UpdateItem")},
    ("status", "counters"): {("StatusTable", "dynamodb:GetItem")},
    ("status", "get"): {("StatusTable", "dynamodb:GetItem")},
    ("status", "put"): {("StatusTable", "dynamodb:PutItem")},
    ("store", "forget"): {("AlertsTable", "dynamodb:DeleteItem")},
    ("store", "digest"): {("AlertsTable", "dynamodb:GetItem")},
    ("store", "save_digest"): {("AlertsTable", "dynamodb:PutItem")},
    ("store", "put"): {("AlertsTable", "dynamodb:PutItem")},
    ("workflow", "start"): {("BasketMachine", "states:StartExecution")},
    # Own calls to the exchange are signed; public reads are not.
    **{
        ("trading", name): {("TradeKeySecret", "secretsmanager:GetSecretValue")} | _PAPER[name]
        for name in vars(ports.Trading)
        if not name.startswith("_")
    },
}
# An ended basket gives its group's lease back in the transaction that ends it; only this module ends rows.
ENDING = ("execution/ending.py", {("BasketsTable", "dynamodb:UpdateItem")})
CONTROL: tuple[str, dict[str, set[Permission]]] = (
    "execution/control.py",
    {
        "buying_stopped": {("StatusTable", "dynamodb:GetItem")},
        "set_stop": {("StatusTable", "dynamodb:GetItem"), ("StatusTable", "dynamodb:PutItem")},
    },
)

MODULES: dict[str, tuple[str, ...]] = {
    "Discovery": ("relations/discover.py", "relations/mirror.py", "relations/user_kept.py"),
    "Detection": ("detection/detect.py", "detection/rounds.py", "detection/scan.py", "relations/mirror.py"),
    "RiskCheck": ("risk/check.py", "risk/facts.py", "execution/ending.py"),
    "ExecuteWave": ("execution/waves.py",),
    "Unwind": ("execution/waves.py",),
    "Assess": ("execution/assess.py",),
    "Close": ("execution/close.py", "execution/ending.py"),
    "Settlement": (
        "execution/settle.py",
        "execution/audit.py",
        "execution/review.py",
        "execution/early_sale.py",
        "reports/digest.py",
    ),
    "Sweeper": ("execution/sweep.py", "execution/ending.py", "execution/leaks.py"),
    "Alerts": ("alerts.py",),
    "Api": ("api.py", "relations_view.py", "stop_desk.py"),
    "Authorizer": (),
}
"""Where each function's use case calls its ports."""
BESIDES: dict[str, set[Permission]] = {
    "Discovery": {
        ("RelationsParameter", "ssm:GetParameter"),
        *(("LifecycleQueue", f"sqs:{name}") for name in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")),
    },
    "Detection": {
        # What the allocator is told to be free.
        ("LimitsParameter", "ssm:GetParameter"),
        ("ReservationsTable", "dynamodb:Scan"),
        *(("CandidatesQueue", f"sqs:{name}") for name in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")),
    },
    "RiskCheck": {
        ("LimitsParameter", "ssm:GetParameter"),
        # What an arming for real money is compared with.
        ("AWS::StackId", "cloudformation:GetTemplate"),
        ("AWS::StackId", "cloudformation:DescribeStacks"),
    },
    # The order groups of its purchases, whose cap is a limit.
    "ExecuteWave": {("StatusTable", "dynamodb:PutItem"), ("LimitsParameter", "ssm:GetParameter")},
    "Settlement": {
        *(("AuditsQueue", f"sqs:{name}") for name in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")),
    },
    "Alerts": {("WebhookSecret", "secretsmanager:GetSecretValue"), ("AlertsDeadLetters", "sqs:SendMessage")},
    "Authorizer": {("ApiTokenSecret", "secretsmanager:GetSecretValue")},
}
"""What the service does in a function's name, or what bootstrap reads for it."""

MIRROR = ("version", "changes_since", "all", "get_many")
FEED = ROOT / "feed_container" / "feed"
FEED_NEEDS: dict[tuple[str, str], set[Permission]] = {
    ("books", "put"): {("BooksTable", "dynamodb:PutItem")},
    ("candidates", "send"): {("CandidatesQueue", "sqs:SendMessage")},
    ("lifecycle", "send"): {("LifecycleQueue", "sqs:SendMessage")},
    # The feed follows the groups through their mirror.
    ("mirror", "refresh"): set().union(*(NEEDS["groups", name] for name in MIRROR)),
    ("status", "count"): {("StatusTable", "dynamodb:UpdateItem")},
    ("status", "counters"): {("StatusTable", "dynamodb:GetItem")},
    ("status", "put"): {("StatusTable", "dynamodb:PutItem")},
    ("bootstrap", "read_key"): {("ReadKeySecret", "secretsmanager:GetSecretValue")},
}

_CALL = re.compile(r"\bself\._(\w+)\.(\w+)\(")


def needed(function: str) -> set[Permission]:
    """What a function's code calls."""
    found = set(BESIDES.get(function, ()))
    for module in MODULES[function]:
        text = (ROOT / "shared" / "kalshi_arb" / module).read_text()
        for call in _CALL.findall(text):
            found |= NEEDS.get(call, set())
        if module == ENDING[0]:
            found |= ENDING[1]
        for name, permissions in CONTROL[1].items():
            if f"{name}(" in text:
                found |= permissions
    return found


def granted(role: str) -> Iterator[Permission]:
    """What a role allows, its own log group left out."""
    (properties,) = (body for name, body in TEMPLATE.of_type("AWS::IAM::Role") if name == role)
    for policy in properties["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            for resource in as_list(statement["Resource"]):
                for action in statement["Action"]:
                    if not action.startswith("logs:"):
                        yield _name(resource), action


def _name(resource: Any) -> str:
    found = referred(resource)
    if found is not None:
        return found
    text: str = resource["Fn::Sub"]
    if index := re.fullmatch(r"\$\{(\w+)\.Arn\}/index/(\w+)", text):
        return f"{index[1]}/{index[2]}"
    return str(re.findall(r"\$\{(\w+)\}", text)[-1])


def test_every_function_is_looked_at() -> None:
    assert {f"{name}Function" for name in MODULES} == {name for name, _ in TEMPLATE.functions()}


def test_control_is_read_where_it_is_thought_to_be() -> None:
    assert "status.get(" in (ROOT / "shared" / "kalshi_arb" / CONTROL[0]).read_text()


@pytest.mark.parametrize("function", MODULES)
def test_a_role_allows_what_the_code_does_and_no_more(function: str) -> None:
    assert set(granted(f"{function}Role")) == needed(function)


def feed_calls() -> set[tuple[str, str]]:
    """Every call the feed makes on something that may be a port."""
    texts = [path.read_text() for path in FEED.glob("*.py")]
    return {call for text in texts for call in re.findall(r"\b_?(\w+?)\.(\w+)\(", text)}


def test_the_feed_may_do_what_it_does_and_no_more() -> None:
    calls = feed_calls()
    assert set(granted("FeedTaskRole")) == {
        need for call, needs in FEED_NEEDS.items() if call in calls for need in needs
    }


def test_the_feed_reaches_no_other_store() -> None:
    composed = {name for holder, name in feed_calls() if holder == "bootstrap"}
    assert composed == {
        "book_store",
        "candidates_queue",
        "group_store",
        "lifecycle_queue",
        "read_key",
        "status_store",
    }


def test_the_endpoint_lets_the_feed_through() -> None:
    """The gateway endpoint's own policy must not forbid what the role allows."""
    ((_, endpoint),) = TEMPLATE.of_type("AWS::EC2::VPCEndpoint")
    (statement,) = endpoint["PolicyDocument"]["Statement"]
    passed = {(referred(table), action) for table in statement["Resource"] for action in statement["Action"]}
    assert {need for need in granted("FeedTaskRole") if need[1].startswith("dynamodb:")} <= passed


@pytest.mark.parametrize("port", ["BasketStore", "LedgerStore", "ReservationStore", "StatusStore", "Notifier"])
def test_every_call_to_a_port_is_weighed(port: str) -> None:
    """A method that is new to a port is not forgotten here."""
    name = {"Notifier": "notifier"}.get(port, port.removesuffix("Store").lower())
    spoken = {name, f"{name}s"}
    methods = {method for method in vars(getattr(ports, port)) if not method.startswith("_")}
    text = "".join(
        (ROOT / "shared" / "kalshi_arb" / module).read_text() for modules in MODULES.values() for module in modules
    )
    called = {(holder, method) for holder, method in _CALL.findall(text) if holder in spoken and method in methods}
    assert called <= set(NEEDS)
