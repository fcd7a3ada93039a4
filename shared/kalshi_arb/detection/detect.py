"""Detection: a candidate comes in, and a proved opportunity becomes a basket whose workflow is started.

A candidate may arrive twice, late or out of order, and any call may die half way. Every write here can be repeated:
the opportunity's and the basket's ids follow from what was found on which books, and a repetition takes up where the
first attempt ended. A basket whose workflow could not be started stays PROPOSED, where the sweeper finds it.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.detection.judge import Judgement, Verdict, judge, miss, opportunity
from kalshi_arb.detection.screen import Miss
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Count, dollars
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.plan import propose_basket
from kalshi_arb.ports import (
    Alert,
    AlertKind,
    BasketStore,
    GroupStore,
    Notifier,
    OpportunityStore,
    StatusStore,
    Workflow,
)
from kalshi_arb.relations.approvals import judged
from kalshi_arb.schemas import Candidate

logger = logging.getLogger(__name__)

COMPONENT = "detection"
STARTED = "started"
UNKNOWN_GROUP = "unknown_group"
GROUP_SUSPENDED = "group_suspended"
FINGERPRINT_CHANGED = "fingerprint_changed"
OLDER_THAN_SEEN = "older_than_seen"
STALE_BOOKS = "stale_books"
GROUP_BUSY = "group_busy"
DUPLICATE = "duplicate"

_SHOWN_MISSES = 20
_REMEMBERED_GROUPS = 10_000
_FIRST_ATTEMPT = 1


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a candidate: ``"started"`` or the reason it was dropped, and what was found on the way."""

    outcome: str
    opportunity_id: str | None = None
    basket_id: str | None = None


class Detector:
    """Judges candidates. Remembers per group the newest books it has judged, for as long as the process lives."""

    def __init__(
        self,
        *,
        groups: GroupStore,
        opportunities: OpportunityStore,
        baskets: BasketStore,
        workflow: Workflow,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
        precision: Precision,
        smallest_fill: Count,
        max_book_age_ms: int,
    ) -> None:
        self._groups = groups
        self._opportunities = opportunities
        self._baskets = baskets
        self._workflow = workflow
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode
        self._precision = precision
        self._smallest_fill = smallest_fill
        self._max_book_age_ms = max_book_age_ms
        self._seen: OrderedDict[str, dict[str, BookVersion]] = OrderedDict()
        self._misses: OrderedDict[str, Miss] = OrderedDict()

    def handle(self, candidate: Candidate) -> Handled:
        """Judge one candidate: started, or dropped for a reason. Both are counted.

        :raises KalshiArbError: a store, the workflow or the notifier refused. The same candidate may be handed in
            again: nothing is done twice.
        """
        counts: dict[str, int] = {}
        handled = self._handle(candidate, counts)
        counts["candidates"] = 1
        counts[STARTED if handled.outcome == STARTED else f"drop.{handled.outcome}"] = 1
        self._status.count(COMPONENT, counts)
        return handled

    def _handle(self, candidate: Candidate, counts: dict[str, int]) -> Handled:
        record = self._groups.get(candidate.group_id)
        if record is None:
            return Handled(UNKNOWN_GROUP)
        if record.suspension is not None:
            return Handled(GROUP_SUSPENDED)
        group = judged(record)
        if group.fingerprint != candidate.fingerprint:
            return Handled(FINGERPRINT_CHANGED)
        books = {book.ticker: book for book in candidate.books}
        seen = self._seen.get(group.group_id, {})
        if any(ticker in seen and book.version < seen[ticker] for ticker, book in books.items()):
            return Handled(OLDER_THAN_SEEN)
        now_ms = self._clock.now_ms()
        if any(now_ms - book.alive_ms > self._max_book_age_ms for book in books.values()):
            return Handled(STALE_BOOKS)
        self._remember(group.group_id, books)
        judgement = judge(
            group,
            books,
            precision=self._precision,
            smallest_fill=self._smallest_fill,
            now_ms=now_ms,
            max_age_ms=self._max_book_age_ms,
        )
        self._note_miss(group, judgement, now_ms)
        if judgement.certificate is None:
            return Handled(judgement.verdict.value)
        grade = f"opportunity.{judgement.certificate.grade.value}"
        if judgement.verdict is Verdict.FEE_ROUNDING:
            counts[grade] = 1
            return Handled(judgement.verdict.value)
        found = opportunity(
            group, books, judgement, judgement.certificate, found_ms=now_ms, candidate_ms=candidate.sent_ms
        )
        if self._opportunities.put(found):
            counts[grade] = 1
        if judgement.verdict is not Verdict.PROVED:
            return Handled(judgement.verdict.value, found.opportunity_id)
        return self._start(found, now_ms)

    def _start(self, found: Opportunity, now_ms: int) -> Handled:
        basket = propose_basket(found, self._mode, now_ms)
        if not self._baskets.create(basket):
            row = self._baskets.get(basket.basket_id)
            if row is None:
                return Handled(GROUP_BUSY, found.opportunity_id)
            if row.state is not BasketState.PROPOSED or row.attempt != _FIRST_ATTEMPT:
                return Handled(DUPLICATE, found.opportunity_id, basket.basket_id)
            # An earlier delivery stored the row; whether it also started the workflow, the workflow's name tells.
        started = self._workflow.start(basket.basket_id, _FIRST_ATTEMPT)
        # Its id makes a repeated alert harmless; one that was lost with a dying process is made up for here.
        self._notifier.publish(self._alert(found, basket, now_ms))
        return Handled(STARTED if started else DUPLICATE, found.opportunity_id, basket.basket_id)

    def _alert(self, found: Opportunity, basket: Basket, now_ms: int) -> Alert:
        certificate = found.certificate
        return Alert(
            alert_id=f"opportunity-{found.opportunity_id}",
            kind=AlertKind.OPPORTUNITY,
            mode=self._mode,
            title=f"Proved opportunity in {found.event_ticker}",
            text=(
                f"{len(found.legs)} legs for at most {dollars(certificate.outlay)} gain at least "
                f"{dollars(certificate.floor_profit)} in each of {certificate.states_checked} settlements. "
                f"Basket {basket.basket_id} was started."
            ),
            created_ms=now_ms,
        )

    def _remember(self, group_id: str, books: Mapping[str, BookSnapshot]) -> None:
        versions = self._seen.setdefault(group_id, {})
        versions.update((ticker, book.version) for ticker, book in books.items())
        self._seen.move_to_end(group_id)
        if len(self._seen) > _REMEMBERED_GROUPS:
            self._seen.popitem(last=False)

    def _note_miss(self, group: Group, judgement: Judgement, now_ms: int) -> None:
        self._misses.pop(group.group_id, None)
        near = miss(group, judgement)
        if near is None:
            return
        self._misses[group.group_id] = near
        if len(self._misses) > _REMEMBERED_GROUPS:
            self._misses.popitem(last=False)
        nearest = sorted(self._misses.values(), key=lambda one: -one.edge)[:_SHOWN_MISSES]
        self._status.put(COMPONENT, {"updated_ms": now_ms, "misses": [asdict(one) for one in nearest]})
