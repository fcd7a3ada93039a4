"""Detection: a candidate comes in, and a proved opportunity becomes a basket whose workflow is started.

A candidate may arrive twice, late or out of order, and any call may die half way. Every write here can be repeated:
the opportunity's and the basket's ids follow from what was found on which books, and a repetition takes up where the
first attempt ended. A basket whose workflow could not be started stays PROPOSED, where the sweeper finds it.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.detection.allocate import Allocation, Claim, allocate, book_levels, claim
from kalshi_arb.detection.judge import Judgement, Verdict, judge, miss, opportunity
from kalshi_arb.detection.rank import rank
from kalshi_arb.detection.screen import Miss, near_miss
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
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
_ALLOCATION_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a candidate: ``"started"`` or the reason it was dropped, and what was found on the way."""

    outcome: str
    opportunity_id: str | None = None
    basket_id: str | None = None


@unique
class Origin(Enum):
    """Where a candidate's books come from. Those of the stream have versions that tell older from newer; those that
    were read for the purpose are as new as the reading."""

    STREAM = "stream"
    READ = "read"


@dataclass(frozen=True, slots=True)
class _Proved:
    found: Opportunity
    group: Group
    books: Mapping[str, BookSnapshot]
    now_ms: int

    @property
    def books_ms(self) -> int:
        """Up to which moment the book of every leg is known (UTC milliseconds)."""
        return min(self.books[leg.ticker].alive_ms for leg in self.found.legs)


class Detector:
    """Judges candidates. Remembers per group the newest books it has judged, for as long as the process lives.

    :param free: what limits and reservations leave of what claims ask for; asked only when there is a choice
    """

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
        netting: Netting,
        free: Callable[[Sequence[Claim]], Mapping[str, int]],
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
        self._netting = netting
        self._free = free
        self._seen: OrderedDict[str, dict[str, BookVersion]] = OrderedDict()
        self._misses: OrderedDict[str, Miss] = OrderedDict()

    def handle(self, candidate: Candidate) -> Handled:
        """Judge one candidate: started, or dropped for a reason. Both are counted.

        :raises KalshiArbError: a store, the workflow or the notifier refused. The same candidate may be handed in
            again: nothing is done twice.
        """
        (result,) = self.handle_all([candidate])
        if isinstance(result, KalshiArbError):
            raise result
        return result

    def handle_all(
        self, candidates: Sequence[Candidate], origin: Origin = Origin.STREAM
    ) -> list[Handled | KalshiArbError]:
        """Judge candidates that came together, then start what was proved, in the order that the allocator advises.
        What it passes over comes last: whether there is room is for the reservation to say.

        :returns: in the order of the candidates what became of each, or the error that kept it from being finished:
            such a candidate may be handed in again, and nothing is done twice
        :raises KalshiArbError: the counters could not be written. The same holds for all of them.
        """
        counts: Counter[str] = Counter()
        results: dict[int, Handled | KalshiArbError] = {}
        proved: dict[str, tuple[int, _Proved]] = {}
        for place, candidate in enumerate(candidates):
            own: Counter[str] = Counter()
            try:
                judged_now = self._judge(candidate, origin, own)
                if isinstance(judged_now, _Proved):
                    first = proved.setdefault(judged_now.found.opportunity_id, (place, judged_now))
                    if first[0] != place:
                        judged_now = Handled(DUPLICATE, judged_now.found.opportunity_id)
                if isinstance(judged_now, Handled):
                    results[place] = judged_now
                counts += own
            except KalshiArbError as error:
                results[place] = error
        order, passed_over = self._order([one for _, one in proved.values()])
        counts["passed_over"] += passed_over
        for opportunity_id in order:
            place, one = proved[opportunity_id]
            try:
                results[place] = self._start(one)
            except KalshiArbError as error:
                results[place] = error
        for result in results.values():
            if isinstance(result, Handled):
                counts["candidates"] += 1
                counts[STARTED if result.outcome == STARTED else f"drop.{result.outcome}"] += 1
        self._status.count(COMPONENT, {name: count for name, count in counts.items() if count})
        return [results[place] for place in range(len(candidates))]

    def _judge(self, candidate: Candidate, origin: Origin, counts: Counter[str]) -> "Handled | _Proved":
        record = self._groups.get(candidate.group_id)
        if record is None:
            return Handled(UNKNOWN_GROUP)
        if record.suspension is not None:
            return Handled(GROUP_SUSPENDED)
        group = judged(record)
        if group.fingerprint != candidate.fingerprint:
            return Handled(FINGERPRINT_CHANGED)
        books = {book.ticker: book for book in candidate.books}
        if origin is Origin.STREAM and self._is_older(group.group_id, books):
            return Handled(OLDER_THAN_SEEN)
        now_ms = self._clock.now_ms()
        if any(now_ms - book.alive_ms > self._max_book_age_ms for book in books.values()):
            return Handled(STALE_BOOKS)
        if origin is Origin.STREAM:
            self._remember(group.group_id, books)
        judgement = judge(
            group,
            books,
            precision=self._precision,
            smallest_fill=self._smallest_fill,
            now_ms=now_ms,
            max_age_ms=self._max_book_age_ms,
        )
        counts["near_miss"] += self._note_miss(group, books, judgement, now_ms)
        if judgement.certificate is None:
            return Handled(judgement.verdict.value)
        grade = f"opportunity.{judgement.certificate.grade.value}"
        if judgement.verdict is Verdict.FEE_ROUNDING:
            counts[grade] += 1
            return Handled(judgement.verdict.value)
        found = opportunity(
            group,
            books,
            judgement,
            judgement.certificate,
            found_ms=now_ms,
            candidate_ms=candidate.sent_ms,
            netting=self._netting,
        )
        if self._opportunities.put(found):
            counts[grade] += 1
        if judgement.verdict is not Verdict.PROVED:
            return Handled(judgement.verdict.value, found.opportunity_id)
        return _Proved(found, group, books, now_ms)

    def _is_older(self, group_id: str, books: Mapping[str, BookSnapshot]) -> bool:
        seen = self._seen.get(group_id, {})
        return any(ticker in seen and book.version < seen[ticker] for ticker, book in books.items())

    def _order(self, proved: Sequence["_Proved"]) -> tuple[list[str], int]:
        """Ids in the order to start them, and how many at the end of it the allocator passed over."""
        best = [one.opportunity_id for one in rank(one.found for one in proved)]
        if len(best) < 2:
            return best, 0
        try:
            chosen = set(self._allocate(proved).chosen)
        except KalshiArbError as error:
            # Advice is not worth a loss: without it the best comes first, and the reservation decides as always.
            logger.warning("opportunities are started without the allocator's advice: %s", error)
            chosen = set(best)
        order = [one for one in best if one in chosen] + [one for one in best if one not in chosen]
        return order, len(best) - len(chosen)

    def _allocate(self, proved: Sequence["_Proved"]) -> Allocation:
        claims = [claim(one.found, one.group) for one in proved]
        levels: dict[str, int] = {}
        for one in proved:
            asked = [(leg.ticker, leg.outcome, one.books[leg.ticker].asks(leg.outcome)) for leg in one.found.legs]
            # Of two readings of a book the smaller size is the safer one.
            for key, size in book_levels(asked).items():
                levels[key] = min(size, levels.get(key, size))
        return allocate(claims, {**self._free(claims), **levels}, seconds=_ALLOCATION_SECONDS)

    def _start(self, one: "_Proved") -> Handled:
        found = one.found
        basket = propose_basket(found, one.group.family.value, self._mode, one.now_ms)
        if not self._baskets.create(basket, one.books_ms):
            row = self._baskets.get(basket.basket_id)
            if row is None:
                return Handled(GROUP_BUSY, found.opportunity_id)
            if row.state is not BasketState.PROPOSED or row.attempt != _FIRST_ATTEMPT:
                return Handled(DUPLICATE, found.opportunity_id, basket.basket_id)
            # An earlier delivery stored the row; whether it also started the workflow, the workflow's name tells.
        started = self._workflow.start(basket.basket_id, _FIRST_ATTEMPT)
        # Its id makes a repeated alert harmless; one that was lost with a dying process is made up for here.
        self._notifier.publish(self._alert(found, basket, one.now_ms))
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

    def _note_miss(self, group: Group, books: Mapping[str, BookSnapshot], judgement: Judgement, now_ms: int) -> bool:
        """Keep the ranked list of near misses; whether this is one."""
        self._misses.pop(group.group_id, None)
        near = near_miss(group, books) if judgement.verdict is Verdict.NO_BUNDLE else None
        near = near or miss(group, judgement)
        if near is None:
            return False
        self._misses[group.group_id] = near
        if len(self._misses) > _REMEMBERED_GROUPS:
            self._misses.popitem(last=False)
        nearest = sorted(self._misses.values(), key=lambda one: -one.edge)[:_SHOWN_MISSES]
        self._status.put(COMPONENT, {"updated_ms": now_ms, "misses": [asdict(one) for one in nearest]})
        return True
