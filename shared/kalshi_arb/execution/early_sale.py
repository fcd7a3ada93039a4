"""Starts the early sale of a basket that had ended: the only way in which something is sold that need not be.

Everything that keeps a basket from being bought keeps one from being sold early, and more: what is in the way is said,
and the basket stays what it is. Starting is one write of the row, with its group's lease; from then on its state
machine drives it as any other basket, and whatever dies in between leaves a live row that the sweeper finds.
"""

from collections.abc import Mapping
from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, BasketState, Releasing
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ConflictError, ExchangeError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.market import CollateralReturn, Netting, Outcome
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.control import buying_stopped
from kalshi_arb.execution.machine import UNSAFE
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.release import Release, Terms, best_release
from kalshi_arb.execution.unwind import Step, outlay, safest, sales
from kalshi_arb.ports import AccountReads, BasketStore, ReservationStore, StatusStore, Venue, Workflow
from kalshi_arb.risk import checks
from kalshi_arb.risk.facts import Closure, Facts
from kalshi_arb.risk.limits import Limits
from kalshi_arb.risk.needs import lacking, release_needs

MOST_RELEASES = 5
"""How often a basket may be sold early; what keeps failing is left to a person."""
QUIET_MS = 120_000
"""How long a basket must have been at rest: longer than anything that may still carry out its last end can run."""


class EarlySale:
    """Starts early sales.

    :param account: says what cash there is
    :param mode: the mode of this deployment; a basket of another mode is never touched
    :param netting: whether the account gets collateral back across the markets of an event
    :param write_tokens: write-rate tokens that live baskets may hold together
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        workflow: Workflow,
        reservations: ReservationStore,
        account: AccountReads,
        market_data: Venue,
        status: StatusStore,
        clock: Clock,
        mode: str,
        netting: Netting,
        write_tokens: int,
        policy: ExecutionPolicy | None = None,
    ) -> None:
        self._baskets = baskets
        self._workflow = workflow
        self._reservations = reservations
        self._account = account
        self._market_data = market_data
        self._status = status
        self._clock = clock
        self._mode = mode
        self._netting = netting
        self._write_tokens = write_tokens
        self._policy = policy or ExecutionPolicy()

    def start(self, row: Basket, group: Group | None, paid_ms: int | None, limits: Limits) -> str:
        """Start to sell what gains most now; returns why it is not started, nothing when it is.

        :param row: a lock or a held basket
        :param group: as it is accepted now; None when it is not the one that the basket was proved on
        :param paid_ms: when the last market should have paid (UTC milliseconds)
        :raises StoreError: the row may live again and not be driven yet; the sweeper has it driven.
        """
        try:
            found = self._judged(row, group, paid_ms, limits)
        except ExchangeError as error:
            return f"the exchange could not be read: {error}"
        if isinstance(found, str):
            return found
        try:
            live = self._baskets.reopen(found)
        except ConflictError:
            return "its row was changed meanwhile"
        if live is None:
            return "its group has a live basket"
        self._workflow.start(live.basket_id, live.attempt)
        self._status.count("execution", {"releases": 1})
        return ""

    def _judged(self, row: Basket, group: Group | None, paid_ms: int | None, limits: Limits) -> Basket | str:
        """The row as it lives again, or why it must not."""
        if group is None:
            return "its group is not accepted as it was proved on"
        at_rest = self._kept_from(row, group)
        if at_rest is not None:
            return at_rest
        books = self._market_data.orderbooks([leg.ticker for leg in row.legs])
        terms = Terms(self._clock.now_ms(), limits.cost_of_capital, paid_ms)
        found = best_release(row, group, books, self._netting, terms)
        if found is None or found.advantage < limits.min_profit:
            return "selling does not beat holding any more"
        unfit = self._unfit(row, group, books, limits)
        if unfit is not None:
            return unfit
        wave = sales(row, books, found.counts)
        if not wave:
            return "no price that its markets allow sells it whole"
        if not safest(row, wave):
            return UNSAFE.removeprefix("not released: ")
        short = self._short(row, wave, limits)
        return short if short is not None else self._reopened(row, found, wave, terms, limits)

    def _kept_from(self, row: Basket, group: Group) -> str | None:
        """What is in the way, whatever the market says."""
        now = self._clock.now_ms()
        if row.mode != self._mode:
            return f"it is a basket of mode {row.mode}"
        if (stop := buying_stopped(self._status, now, row.mode)) is not None:
            return stop
        if now - row.updated_ms < QUIET_MS:
            return f"it ended less than {QUIET_MS // 1000} s ago"
        if row.release is not None and row.release.number >= MOST_RELEASES:
            return f"{MOST_RELEASES} early sales of it have been tried"
        if self._netting is Netting.ON and any(_may_be_covered(group, leg) for leg in row.legs):
            return "collateral for it may have come back already, which a sale would have to put back"
        return None

    def _unfit(self, row: Basket, group: Group, books: Mapping[str, BookSnapshot], limits: Limits) -> str | None:
        """Why its markets or their books are not fit to trade on now."""
        tickers = [leg.ticker for leg in row.legs]
        events = sorted({market.event_ticker for market in group.markets if market.ticker in tickers})
        fees: dict[str, FeeSchedule] = {}
        for event in events:
            fees |= self._market_data.market_fees(event)
        states, now = self._market_data.market_states(tickers), self._clock.now_ms()
        facts = Facts(
            now_ms=now, stop=None, limits=limits, record=None, held=None, traded=None, fees=fees, states=states,
            closure=Closure(self._market_data.closes_ms(now)), returns=None, balance=None, books=books, missing=(),
        )  # fmt: skip
        found = [*checks.books(row, facts), *checks.markets(row, group, facts, self._policy)]
        return found[0].text if found else None

    def _short(self, row: Basket, wave: tuple[Step, ...], limits: Limits) -> str | None:
        """What there is no room for. It is held only once the row lives again, by its risk check."""
        wanted = release_needs(
            row, outlay(row, wave), limits=limits, balance=self._account.balance(), policy=self._policy,
            tokens=self._write_tokens,
        )  # fmt: skip
        missing = lacking(wanted, self._reservations.amounts(list(wanted)))
        return missing[0].text if missing else None

    def _reopened(self, row: Basket, found: Release, wave: tuple[Step, ...], terms: Terms, limits: Limits) -> Basket:
        now = self._clock.now_ms()
        release = Releasing(
            number=1 if row.release is None else row.release.number + 1,
            counts=found.counts,
            wave=row.next_wave(),
            started_ms=now,
            cash=tuple(outlay(row, wave).items()),
            least=limits.min_profit,
            yearly=terms.yearly,
            paid_ms=terms.paid_ms,
        )
        return replace(
            row, state=BasketState.UNWINDING, attempt=row.attempt + 1, turns=0, ending=None, locked_profit=None,
            settled_profit=None, reason="to be sold early", updated_ms=now, release=release,
        )  # fmt: skip


def _may_be_covered(group: Group, leg: Leg) -> bool:
    """Whether the exchange may have given collateral back for it, together with what other baskets hold of the event:
    for NO of markets of which at most one pays; for ordered thresholds it publishes no rule."""
    given = group.markets[group.index(leg.ticker)].collateral_return
    return given is CollateralReturn.DIRECNET or (given is CollateralReturn.MECNET and leg.outcome is Outcome.NO)
