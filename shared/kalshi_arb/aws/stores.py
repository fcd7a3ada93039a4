"""The stores of one stack, named by its settings. Each loads its adapter at first use, and boto3 with it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from kalshi_arb.clock import SystemClock
from kalshi_arb.ports import (
    AlertStore,
    BasketStore,
    BookStore,
    Detection,
    GroupStore,
    LedgerStore,
    Notifier,
    OpportunityStore,
    PaperStore,
    Queue,
    ReservationStore,
    StatusStore,
    Workflow,
)
from kalshi_arb.settings import Settings

ClientFactory = Callable[[str], Any]


class Stores:
    """Every table, queue, topic, function and state machine of one stack, each built at first use.

    :param client: makes a boto3 client for a service name; one client a service is enough
    """

    def __init__(self, settings: Settings, client: ClientFactory) -> None:
        self._settings = settings
        self._client = client

    def _table(self, field: str, key: str, sort: str = "") -> Any:
        from kalshi_arb.aws.dynamo import Table

        return Table(self._client("dynamodb"), self._settings.need(field), key, sort=sort)

    @cached_property
    def books(self) -> BookStore:
        """Copies of books."""
        from kalshi_arb.aws.books import DynamoBookStore

        return DynamoBookStore(self._table("books_table", "ticker"))

    @cached_property
    def groups(self) -> GroupStore:
        """Accepted groups and their history."""
        from kalshi_arb.aws.groups import DynamoGroupStore

        history = self._table("group_history_table", "entry_id")
        return DynamoGroupStore(self._table("groups_table", "group_id"), history)

    @cached_property
    def opportunities(self) -> OpportunityStore:
        """Found opportunities."""
        from kalshi_arb.aws.records import DynamoOpportunityStore

        return DynamoOpportunityStore(self._table("opportunities_table", "opportunity_id"))

    @cached_property
    def baskets(self) -> BasketStore:
        """Basket rows and leases."""
        from kalshi_arb.aws.baskets import DynamoBasketStore

        return DynamoBasketStore(self._table("baskets_table", "basket_id"))

    @cached_property
    def ledger(self) -> LedgerStore:
        """The journal."""
        from kalshi_arb.aws.journal import DynamoLedgerStore

        return DynamoLedgerStore(self._table("ledger_table", "chain", "place"), SystemClock())

    @cached_property
    def reservations(self) -> ReservationStore:
        """Holds on limits."""
        from kalshi_arb.aws.reservations import DynamoReservationStore

        return DynamoReservationStore(self._table("reservations_table", "reservation_key"))

    @cached_property
    def status(self) -> StatusStore:
        """Statuses, counters, controls."""
        from kalshi_arb.aws.status import DynamoStatusStore

        return DynamoStatusStore(self._table("status_table", "component"))

    @cached_property
    def alerts(self) -> AlertStore:
        """Delivered alerts."""
        from kalshi_arb.aws.records import DynamoAlertStore

        return DynamoAlertStore(self._table("alerts_table", "alert_id"))

    @cached_property
    def paper(self) -> PaperStore:
        """The paper account."""
        from kalshi_arb.aws.paper import DynamoPaperStore

        return DynamoPaperStore(self._table("paper_table", "paper_id"))

    @cached_property
    def candidates(self) -> Queue:
        """From the feed to detection."""
        from kalshi_arb.aws.queues import SqsQueue

        return SqsQueue(self._client("sqs"), self._settings.need("candidates_queue_url"))

    @cached_property
    def lifecycle(self) -> Queue:
        """From the feed to discovery."""
        from kalshi_arb.aws.queues import SqsQueue

        return SqsQueue(self._client("sqs"), self._settings.need("lifecycle_queue_url"))

    @cached_property
    def audits(self) -> Queue:
        """From close to settlement."""
        from kalshi_arb.aws.queues import SqsQueue

        return SqsQueue(self._client("sqs"), self._settings.need("audits_queue_url"))

    @cached_property
    def workflow(self) -> Workflow:
        """The state machine of baskets."""
        from kalshi_arb.aws.workflow import StepFunctionsWorkflow

        return StepFunctionsWorkflow(self._client("stepfunctions"), self._settings.need("basket_machine_arn"))

    @cached_property
    def detection(self) -> Detection:
        """The detection function."""
        from kalshi_arb.aws.detection import LambdaDetection

        return LambdaDetection(self._client("lambda"), self._settings.need("detection_function"))

    @cached_property
    def notifier(self) -> Notifier:
        """The alerts topic."""
        from kalshi_arb.aws.notify import SnsNotifier

        return SnsNotifier(self._client("sns"), self._settings.need("alerts_topic_arn"))
