"""Size to the limits, prove again, reserve, plan: the last gate before money moves.

The proof rests on books read from the exchange at this moment, never on stored copies. Every check runs, so a refusal
names all its reasons. Everything may be repeated: a basket that is reserved already is judged again and keeps its
reservation, one that trades already is let through untouched, so that its execution can be resumed.

No dollar is reserved twice, although a balance is older than the reservation that rests on it. A basket that was live
all the time between the two still holds whatever it has spent of that balance. One that gave its cash back in between
is seen, because the reservation requires that nothing was given back since before the balance was read: then
everything is read and judged again. And one that gave its cash back before had to wait until the exchange's reads were
past its last fill, so that the balance shows what it spent (:mod:`kalshi_arb.execution.assess`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from kalshi_arb.clock import Clock
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState, Finding, Releasing
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ExchangeError, OvertakenError, ProofError, SettingsError, UnfitBookError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.reservation_keys import CASH_KEY, MOST_ITEMS, UNTIL_END, items_of
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.arming import Terms
from kalshi_arb.execution.catching_up import caught_up
from kalshi_arb.execution.conflicts import undisturbed
from kalshi_arb.execution.ending import Ending, decided
from kalshi_arb.execution.exposure import FeeRules, basket_worst_cash
from kalshi_arb.execution.machine import as_it_is, awaits_release
from kalshi_arb.execution.plan import entry_orders
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.ports import (
    BasketStore,
    GroupStore,
    LedgerStore,
    Notifier,
    ReservationStore,
    StatusStore,
    Trading,
    Venue,
)
from kalshi_arb.relations.approvals import judged
from kalshi_arb.risk import checks
from kalshi_arb.risk.account import equity
from kalshi_arb.risk.facts import FactReader, Facts
from kalshi_arb.risk.limits import Limits
from kalshi_arb.risk.needs import Need, Purse, lacking, needs, release_needs
from kalshi_arb.risk.planned import completion_overhead, planned
from kalshi_arb.risk.refusals import Refusal, finding
from kalshi_arb.risk.sizing import largest_that_fits, smallest_copy

_HOLDING_NOTHING = frozenset({BasketState.REFUSED, BasketState.FLAT, BasketState.SETTLED})
_JUDGEMENTS = 4
_PAUSE_S = 0.02
RESUMED = "resumed"
"""The reason of an answer on a basket that trades already: it is assessed before anything is sent for it."""


@dataclass(frozen=True, slots=True)
class RiskAnswer:
    """Whether the basket may trade; ``wave`` is the wave to execute next. Of a resumed basket none was handed out yet
    in this attempt: its wave is 0, which was sent long ago. ``reason`` is the code of the first finding."""

    accepted: bool
    reason: str
    wave: int


@dataclass(frozen=True, slots=True)
class _Sized:
    """A basket planned at the size to trade, or, with ``findings``, at the smallest there is."""

    row: Basket
    findings: tuple[Finding, ...]


class RiskCheck:
    """First task of a basket's state machine.

    :param mode: the mode of this deployment; a basket of another mode never trades here
    :param smallest_fill: the declared smallest fill (1e-2 contracts) that fee bounds rest on
    :param may_trade_on_its_fees: False for an account that may look but not trade, because nobody declared that size
    :param write_tokens: write-rate tokens that live baskets may hold together to complete and to unwind
    :param limits: reads the operator's limits; asked at every check, so that a change takes effect
    :param netting: whether the account gets collateral back across the markets of an event
    :param terms: what is deployed, for which an arming must have been made; None where no real money moves
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        groups: GroupStore,
        ledger: LedgerStore,
        market_data: Venue,
        trading: Trading,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
        precision: Precision,
        smallest_fill: Count,
        may_trade_on_its_fees: bool,
        write_tokens: int,
        limits: Callable[[], Limits],
        terms: Callable[[], Terms | None],
        policy: ExecutionPolicy | None = None,
        netting: Netting = Netting.OFF,
    ) -> None:
        self._baskets = baskets
        self._reservations = reservations
        self._status = status
        self._trading = trading
        self._limits = limits
        self._clock = clock
        self._mode = mode
        self._rules = FeeRules(precision, smallest_fill)
        self._may_trade_on_its_fees = may_trade_on_its_fees
        self._write_tokens = write_tokens
        self._netting = netting
        self._policy = policy or ExecutionPolicy()
        self._ending = Ending(
            baskets=baskets, ledger=ledger, reservations=reservations, status=status, notifier=notifier, clock=clock
        )
        self._reader = FactReader(
            groups=groups, ledger=ledger, market_data=market_data, trading=trading, reservations=reservations,
            status=status, clock=clock, mode=mode, limits=limits, terms=terms, netting=netting,
        )  # fmt: skip

    def run(self, basket_id: str, attempt: int) -> RiskAnswer:
        """Accept or refuse a basket for this attempt.

        * not there, ended, or taken over by another attempt: not accepted, nothing changes
        * its end is decided: not accepted, and left to be closed
        * trading already: accepted as ``RESUMED``, so that assessment decides; where that is to start an early sale,
          with the cash for it reserved, and without that cash the basket is to end as what it was
        * reserved, and by the exchange's word it has traded since (its row was restored from a backup): the same
        * otherwise judged: reserved with a fresh certificate and wave 0 planned, or refused with all reasons in its row

        :raises ConflictError: other writers kept being first.
        :raises StoreError: the row or the reservation cannot be read or written.
        :raises ExchangeError: what a later attempt has to know of the basket's orders could not be read.
        """
        return undisturbed(lambda: self._run(basket_id, attempt))

    def _run(self, basket_id: str, attempt: int) -> RiskAnswer:
        row = self._baskets.get(basket_id)
        if row is None:
            return RiskAnswer(False, "unknown_basket", 0)
        # This check may have slept while another attempt ended the basket, and reserved after that.
        if (row.ending or row.state) in _HOLDING_NOTHING:
            self._reservations.release(basket_id)
        elif (row.ending or row.state) in (BasketState.LOCK, BasketState.HELD):
            self._reservations.release(basket_id, UNTIL_END)
        if row.attempt != attempt:
            return RiskAnswer(False, "superseded", 0)
        if row.state in ENDED_STATES:
            return RiskAnswer(False, row.state.value, 0)
        if row.ending is not None:
            return RiskAnswer(False, row.reason, 0)
        if row.release is not None and awaits_release(row):
            return self._judge_release(row, row.release)
        if row.state in (BasketState.EXECUTING, BasketState.UNWINDING):
            return RiskAnswer(True, RESUMED, 0)
        if row.state is BasketState.RESERVED and attempt > 1:
            now_known = caught_up(row, self._trading)
            if now_known.state is BasketState.EXECUTING:
                self._baskets.save(replace(now_known, updated_ms=self._clock.now_ms()))
                return RiskAnswer(True, RESUMED, 0)
        accepted, findings = self._judge_at_rest(row)
        if accepted is None:
            self._ending.refuse(row, findings)
            return RiskAnswer(False, findings[0].code, 0)
        self._baskets.save(accepted)
        if row.state is BasketState.PROPOSED:
            self._status.count("risk", {"accepted": 1})
        return RiskAnswer(True, "", 0)

    def _judge_release(self, row: Basket, release: Releasing) -> RiskAnswer:
        """Hold the cash of an early sale; an early sale is optional, so whatever is in its way ends it."""
        short = self._room_for_release(row, release)
        now = self._clock.now_ms()
        if short is not None:
            worst = basket_worst_cash(row)
            self._baskets.save(decided(row, as_it_is(row), f"not released: {short.text}", worst, now))
            return RiskAnswer(False, short.code, 0)
        # A check that was overtaken while it reserved learns it here, and gives back what it took.
        self._baskets.save(replace(row, updated_ms=now))
        return RiskAnswer(True, RESUMED, 0)

    def _room_for_release(self, row: Basket, release: Releasing) -> Finding | None:
        cash_keys = sorted({f"{CASH_KEY}{own.shard}" for own in row.terms})
        for judgement in range(_JUDGEMENTS):
            # Before the balance: whoever gives cash back after this is noticed when it is reserved.
            returns = self._reservations.returns(cash_keys)
            try:
                wanted = release_needs(
                    row, dict(release.cash), limits=self._limits(), balance=self._trading.balance(),
                    policy=self._policy, tokens=self._write_tokens,
                )  # fmt: skip
                short = self._reserve(row.basket_id, wanted, returns, again=True)
            except OvertakenError:
                self._clock.sleep(_pause_s(row.basket_id, judgement))
            except (ExchangeError, SettingsError) as error:
                return finding(Refusal.UNREADABLE, f"what there is room for could not be read: {error}")
            else:
                return short[0] if short else None
        return finding(Refusal.BALANCE, "others kept giving cash back, so no balance was fresh enough")

    def _judge_at_rest(self, row: Basket) -> tuple[Basket | None, tuple[Finding, ...]]:
        """The judgement, made again while others give cash back in the middle of it; in the end that is a refusal."""
        for judgement in range(_JUDGEMENTS):
            try:
                return self._judge(row)
            except OvertakenError:
                self._clock.sleep(_pause_s(row.basket_id, judgement))
        text = f"others gave cash back during each of {_JUDGEMENTS} judgements, so no balance was fresh enough"
        return None, (finding(Refusal.BALANCE, text),)

    def _judge(self, row: Basket) -> tuple[Basket | None, tuple[Finding, ...]]:
        """The row as it is reserved, cut to the limits; or None and every reason why it may not trade.

        :raises OvertakenError: the balance that it was judged on need not show all that was spent.
        """
        facts = self._reader.read(row)
        group = judged(facts.record[0]) if facts.record else None
        unfit = tuple(checks.books(row, facts))
        findings = [
            *checks.permission(row, facts, self._mode, may_trade_on_its_fees=self._may_trade_on_its_fees),
            *checks.relation(row, facts),
            *facts.missing,
            *checks.markets(row, group, facts, self._policy),
            *unfit,
        ]
        ready = group is not None and facts.books is not None and _can_be_planned(row, group, facts.books)
        if not ready or group is None or facts.books is None:
            return None, tuple(findings)
        sized = self._size(row, group, facts.books, facts)
        findings += sized.findings
        certificate = None
        if not unfit and not any(one.code == Refusal.DEPTH for one in sized.findings):
            certificate, unproved = self._prove(sized.row, group, facts.books, facts)
            findings += unproved
        expected = Cash(0)
        if certificate is not None:
            expected = Cash(certificate.floor_profit - completion_overhead(sized.row, self._rules))
            if facts.limits is not None and not sized.findings:
                findings += checks.profit(expected, sized.row.legs, facts.limits)
        wanted = self._needs(sized.row, group, facts)
        if certificate is None or findings:
            return None, (*findings, *self._crowded(row, wanted))
        now = self._clock.now_ms()
        reserved = replace(
            sized.row, certificate=certificate, expected_profit=expected, orders=(), findings=(), updated_ms=now
        )
        full = self._reserve(row.basket_id, wanted, facts.returns or {})
        if full:
            return None, full
        return replace(reserved, orders=entry_orders(reserved, reserved.waves[0], now)), ()

    def _size(self, row: Basket, group: Group, books: Mapping[str, BookSnapshot], facts: Facts) -> _Sized:
        """The largest proportional copy within depth, limits and cash; where not even the smallest is, what it is too
        large for."""

        def fits(legs: tuple[Leg, ...]) -> bool:
            return next(self._misfits(replace(row, legs=legs), group, books, facts), None) is None

        legs = largest_that_fits(row.legs, fits)
        misfits: tuple[Finding, ...] = ()
        if not legs:
            legs = smallest_copy(row.legs)
            misfits = tuple(self._misfits(replace(row, legs=legs), group, books, facts))
        return _Sized(planned(replace(row, legs=legs), group, books, self._rules, self._netting), misfits)

    def _misfits(self, row: Basket, group: Group, books: Mapping[str, BookSnapshot], facts: Facts) -> Iterator[Finding]:
        """What a size is too large for, were nothing else open."""
        yield from checks.depth(row.legs, books, facts.limits)
        if facts.limits is None:
            return
        plan = planned(row, group, books, self._rules, self._netting)
        yield from checks.size(plan, facts, facts.limits)
        wanted = self._needs(plan, group, facts)
        yield from lacking(wanted, {})
        if items_of(wanted) > MOST_ITEMS:
            yield finding(
                Refusal.TOO_MANY_LEGS,
                f"{len(row.legs)} legs need {items_of(wanted)} items, one reservation holds {MOST_ITEMS}",
            )

    def _needs(self, plan: Basket, group: Group, facts: Facts) -> dict[str, Need]:
        if facts.limits is None:
            return {}
        purse = None
        if facts.balance is not None and facts.held is not None:
            purse = Purse(facts.balance, equity(facts.balance, facts.held.locked, facts.held.returned))
        return needs(
            plan, group, self._rules, limits=facts.limits, purse=purse, policy=self._policy, tokens=self._write_tokens,
            now_ms=facts.now_ms,
        )  # fmt: skip

    def _prove(
        self, row: Basket, group: Group, books: Mapping[str, BookSnapshot], facts: Facts
    ) -> tuple[Certificate | None, tuple[Finding, ...]]:
        max_age_ms = Limits().max_book_age_ms if facts.limits is None else facts.limits.max_book_age_ms
        try:
            certificate = verify(
                group,
                row.legs,
                books,
                precision=self._rules.precision,
                smallest_fill=self._rules.smallest_fill,
                now_ms=facts.now_ms,
                max_age_ms=max_age_ms,
            )
        except UnfitBookError as error:
            return None, (finding(Refusal.UNFIT_BOOK, str(error)),)
        except ProofError as error:
            return None, (finding(Refusal.UNPROVABLE, str(error)),)
        return certificate, tuple(_graded(certificate))

    def _crowded(self, row: Basket, wanted: Mapping[str, Need]) -> list[Finding]:
        """What there would be room for, were it not for other baskets. A basket that is reserved has its room."""
        if row.state is not BasketState.PROPOSED:
            return []
        alone = {key: need for key, need in wanted.items() if not need.lacks(0)}
        return lacking(alone, self._reservations.amounts(list(alone)))

    def _reserve(
        self, basket_id: str, wanted: Mapping[str, Need], returns: Mapping[str, int], *, again: bool = False
    ) -> tuple[Finding, ...]:
        """Hold what the basket can use; what there is no room for when nothing is held."""
        amounts = {key: need.amount for key, need in wanted.items()}
        room = {key: need.room for key, need in wanted.items()}
        full = self._reservations.reserve(basket_id, amounts, room, returns, again=again)
        if not full:
            return ()
        used = self._reservations.amounts(full)
        return tuple(wanted[key].finding(used.get(key, 0)) for key in full)


def _can_be_planned(row: Basket, group: Group, books: Mapping[str, BookSnapshot]) -> bool:
    """Whether every leg has a market of its own, in the group and with a book."""
    tickers = [leg.ticker for leg in row.legs]
    return len(set(tickers)) == len(tickers) and all(one in books and one in group.tickers for one in tickers)


def _pause_s(basket_id: str, judgement: int) -> float:
    """From 20 ms on, twice as long each time, between half and the whole of it, for each basket differently: those that
    met do not meet again."""
    share = hashlib.sha256(f"{basket_id}-{judgement}".encode()).digest()[0] / 255
    return _PAUSE_S * (1 << judgement) * (0.5 + share / 2)


def _graded(certificate: Certificate) -> Iterator[Finding]:
    """Why a grade does not trade unattended."""
    if certificate.grade is Grade.ASSUMED:
        yield finding(
            Refusal.NOT_APPROVED,
            f"proved only if this is true, which nobody has approved: {'; '.join(certificate.assumptions)}",
        )
    elif certificate.grade is not Grade.PROVED:
        worst = certificate.breaking_state or certificate.worst_state
        yield finding(Refusal.NOT_PROVED, f"{certificate.grade.value}: it does not gain when {worst}")
