"""Size to the limits, prove again, reserve, plan: the last gate before money moves.

The proof rests on books read from the exchange at this moment, never on stored copies. Everything may be repeated: a
basket that is reserved already is judged again and keeps its reservation, one that trades already is let through
untouched, so that its execution can be resumed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState, LegTerms
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import (
    ConflictError,
    DepthError,
    ExchangeError,
    KalshiArbError,
    ProofError,
    UnfitBookError,
)
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.control import read_control
from kalshi_arb.execution.ending import CASH_KEY, EVENT_KEY, MARKET_KEY, OPEN_KEY, OUTLAY_KEY, Ending
from kalshi_arb.execution.exposure import FeeRules, highest_cost, leg_payouts, leg_terms, split_overhead, worst_loss
from kalshi_arb.execution.plan import entry_orders, plan_waves
from kalshi_arb.ports import BasketStore, GroupStore, MarketData, Notifier, ReservationStore, StatusStore, Trading
from kalshi_arb.relations.approvals import judged
from kalshi_arb.risk.limits import Limits
from kalshi_arb.risk.sizing import largest_that_fits
from kalshi_arb.settings import Mode

_HOLDING_NOTHING = frozenset({BasketState.REFUSED, BasketState.FLAT, BasketState.SETTLED})
_CONFLICT_TRIES = 4


@unique
class Refusal(StrEnum):
    """Why nothing was sent. The words are also counters, and shown to people."""

    STOPPED = "stopped"
    MODE = "mode"
    NOT_ARMED = "not_armed"
    SMALLEST_FILL_NOT_DECLARED = "smallest_fill_not_declared"  # a cent account trades only on a declared one
    GROUP_GONE = "group_gone"
    GROUP_SUSPENDED = "group_suspended"
    FINGERPRINT_CHANGED = "fingerprint_changed"
    SAME_MARKET_TWICE = "same_market_twice"
    EXCHANGE = "exchange"  # it could not be read
    FEES_CHANGED = "fees_changed"  # a market charges something else than when its group was found
    UNFIT_BOOK = "unfit_book"  # a book is missing, crossed or out of order
    DEPTH = "depth"  # the quantity is not there any more at the limit prices
    UNPROVABLE = "unprovable"
    NOT_APPROVED = "not_approved"  # proved only if what nobody has approved is true
    NOT_PROVED = "not_proved"
    MIN_PROFIT = "min_profit"
    MAX_OUTLAY_PER_BASKET = "max_outlay_per_basket"
    MAX_LOSS_PER_BASKET = "max_loss_per_basket"
    MAX_EXPOSURE_PER_MARKET = "max_exposure_per_market"
    MAX_EXPOSURE_PER_EVENT = "max_exposure_per_event"
    MAX_OPEN_OUTLAY = "max_open_outlay"
    MAX_OPEN_BASKETS = "max_open_baskets"
    BALANCE = "balance"


_REASON_OF_KEY = {
    MARKET_KEY: Refusal.MAX_EXPOSURE_PER_MARKET,
    EVENT_KEY: Refusal.MAX_EXPOSURE_PER_EVENT,
    CASH_KEY: Refusal.BALANCE,
    OPEN_KEY: Refusal.MAX_OPEN_BASKETS,
    OUTLAY_KEY: Refusal.MAX_OPEN_OUTLAY,
}


@dataclass(frozen=True, slots=True)
class RiskAnswer:
    """Whether the basket may trade; ``wave`` is the wave to execute next, which may have nothing left to send."""

    accepted: bool
    reason: str
    wave: int


class _RefusedError(KalshiArbError):
    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class RiskCheck:
    """First task of a basket's state machine.

    :param mode: the mode of this deployment; a basket of another mode never trades here
    :param smallest_fill: the declared smallest fill (1e-2 contracts) that fee bounds rest on
    :param may_trade_on_its_fees: False for an account that may look but not trade, because nobody declared that size
    :param limits: reads the operator's limits; asked at every check, so that a change takes effect
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        groups: GroupStore,
        market_data: MarketData,
        trading: Trading,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
        precision: Precision,
        smallest_fill: Count,
        may_trade_on_its_fees: bool,
        limits: Callable[[], Limits],
    ) -> None:
        self._baskets = baskets
        self._groups = groups
        self._market_data = market_data
        self._trading = trading
        self._reservations = reservations
        self._status = status
        self._clock = clock
        self._mode = mode
        self._rules = FeeRules(precision, smallest_fill)
        self._may_trade_on_its_fees = may_trade_on_its_fees
        self._limits = limits
        self._ending = Ending(baskets=baskets, reservations=reservations, status=status, notifier=notifier, clock=clock)

    def run(self, basket_id: str, attempt: int) -> RiskAnswer:
        """Accept or refuse a basket for this attempt.

        * not there, ended, or taken over by another attempt: not accepted, nothing changes
        * its end is decided: carried out, not accepted
        * trading already: accepted, with a wave that holds no planned orders, so that assessment decides
        * otherwise judged: reserved with a fresh certificate and wave 0 planned, or refused

        :raises ConflictError: other writers kept being first.
        """
        for _ in range(_CONFLICT_TRIES - 1):
            try:
                return self._run(basket_id, attempt)
            except ConflictError:
                continue
        return self._run(basket_id, attempt)

    def _run(self, basket_id: str, attempt: int) -> RiskAnswer:
        row = self._baskets.get(basket_id)
        if row is None:
            return RiskAnswer(False, "unknown_basket", 0)
        if (row.ending or row.state) in _HOLDING_NOTHING:
            # This check may have slept while another attempt ended the basket, and reserved after that.
            self._reservations.release(basket_id)
        if row.attempt != attempt:
            return RiskAnswer(False, "superseded", 0)
        if row.state in ENDED_STATES:
            return RiskAnswer(False, row.state.value, 0)
        if row.ending is not None:
            ended = self._ending.carry_out(row)
            return RiskAnswer(False, ended.reason, 0)
        if row.state in (BasketState.EXECUTING, BasketState.UNWINDING):
            return RiskAnswer(True, "resumed", row.next_wave())
        try:
            accepted = self._judge(row)
        except _RefusedError as refused:
            self._ending.refuse(row, refused.reason.value)
            return RiskAnswer(False, refused.reason.value, 0)
        self._baskets.save(accepted)
        if row.state is BasketState.PROPOSED:
            self._status.count("risk", {"accepted": 1})
        return RiskAnswer(True, "", 0)

    def _judge(self, row: Basket) -> Basket:
        """The row as it will be reserved, cut to the limits. :raises _RefusedError: it may not trade."""
        self._check_permission(row)
        group = self._group(row)
        self._check_fees(row, group)
        books, balance = self._read_exchange(row)
        limits = self._limits()
        sized, certificate = self._size(row, group, books, limits, balance)
        expected = Cash(certificate.floor_profit - self._split_overhead(sized))
        if expected < limits.min_profit:
            raise _RefusedError(Refusal.MIN_PROFIT)
        now = self._clock.now_ms()
        reserved = replace(sized, certificate=certificate, expected_profit=expected, orders=(), updated_ms=now)
        self._reserve(reserved, limits, balance)
        return replace(reserved, orders=entry_orders(reserved, reserved.waves[0], now))

    def _size(
        self, row: Basket, group: Group, books: Mapping[str, BookSnapshot], limits: Limits, balance: Mapping[int, Cash]
    ) -> tuple[Basket, Certificate]:
        """The largest proportional copy within depth, limits and cash, with its proof.

        :raises _RefusedError: no copy fits, or it is not proved
        """
        misfit = Refusal.DEPTH
        try:
            proof = self._prove(row, group, books)
        except _RefusedError as refused:
            if refused.reason is not Refusal.DEPTH:
                raise
        else:
            whole = self._prepare(row, group, books)
            too_large = self._misfit(whole, books, limits, balance)
            if too_large is None:
                return whole, proof
            misfit = too_large

        def fits(copy: tuple[Leg, ...]) -> bool:
            prepared = self._prepare(replace(row, legs=copy), group, books)
            return self._misfit(prepared, books, limits, balance) is None

        legs = largest_that_fits(row.legs, fits)
        if not legs:
            raise _RefusedError(misfit)
        sized = self._prepare(replace(row, legs=legs), group, books)
        return sized, self._prove(sized, group, books)

    def _prepare(self, row: Basket, group: Group, books: Mapping[str, BookSnapshot]) -> Basket:
        """The row planned at its present size: waves, outlay and the worst its orders can do. Not proved yet."""
        terms = leg_terms(group, row.legs)
        waves = plan_waves(row.legs, books)
        return replace(
            row,
            state=BasketState.RESERVED,
            exposure_bound=worst_loss(
                group, row.legs, waves, precision=self._rules.precision, smallest_fill=self._rules.smallest_fill
            ),
            reserved=Cash(sum(self._outlays(row.legs, terms))),
            terms=terms,
            payouts=leg_payouts(group, row.legs),
            waves=waves,
        )

    def _outlays(self, legs: Sequence[Leg], terms: Sequence[LegTerms]) -> list[Cash]:
        """The most each leg can take from the balance."""
        return [
            Cash(highest_cost(own, leg.count, leg.limit, self._rules) + split_overhead(own, leg.limit, self._rules))
            for own, leg in zip(terms, legs, strict=True)
        ]

    def _split_overhead(self, row: Basket) -> Cash:
        """What completing legs with a second order can add to the fees that the certificate bounds. A fill-or-kill
        leg is never completed."""
        return Cash(
            sum(
                split_overhead(row.terms[leg], row.legs[leg].limit, self._rules)
                for number, wave in enumerate(row.waves)
                for leg in wave
                if number > 0 or len(wave) > 1
            )
        )

    def _misfit(
        self, row: Basket, books: Mapping[str, BookSnapshot], limits: Limits, balance: Mapping[int, Cash]
    ) -> Refusal | None:
        """What this size is too large for, were nothing else open: the books, a limit or the cash."""
        for leg in row.legs:
            asks = books[leg.ticker].asks(leg.outcome)
            if sum(level.size for level in asks if level.price <= leg.limit) < leg.count:
                return Refusal.DEPTH
        if row.reserved > limits.max_outlay_per_basket:
            return Refusal.MAX_OUTLAY_PER_BASKET
        if row.exposure_bound > limits.max_loss_per_basket:
            return Refusal.MAX_LOSS_PER_BASKET
        outlays = self._outlays(row.legs, row.terms)
        if max(outlays) > limits.max_exposure_per_market:
            return Refusal.MAX_EXPOSURE_PER_MARKET
        if row.reserved > limits.max_exposure_per_event:
            return Refusal.MAX_EXPOSURE_PER_EVENT
        if row.reserved > limits.max_open_outlay:
            return Refusal.MAX_OPEN_OUTLAY
        by_shard: Counter[int] = Counter()
        for terms, outlay in zip(row.terms, outlays, strict=True):
            by_shard[terms.shard] += outlay
        if any(amount > balance.get(shard, 0) for shard, amount in by_shard.items()):
            return Refusal.BALANCE
        return None

    def _check_permission(self, row: Basket) -> None:
        control = read_control(self._status)
        if control.stopped:
            raise _RefusedError(Refusal.STOPPED)
        if row.mode != self._mode:
            raise _RefusedError(Refusal.MODE)
        if self._mode == Mode.LIVE.value and not control.armed:
            raise _RefusedError(Refusal.NOT_ARMED)
        if not self._may_trade_on_its_fees:
            raise _RefusedError(Refusal.SMALLEST_FILL_NOT_DECLARED)

    def _group(self, row: Basket) -> Group:
        record = self._groups.get(row.group_id)
        if record is None:
            raise _RefusedError(Refusal.GROUP_GONE)
        if record.suspension is not None:
            raise _RefusedError(Refusal.GROUP_SUSPENDED)
        if record.group.fingerprint != row.certificate.fingerprint:
            raise _RefusedError(Refusal.FINGERPRINT_CHANGED)
        return judged(record)

    def _check_fees(self, row: Basket, group: Group) -> None:
        """The proof rests on fees that were read at the last discovery, so they are read again."""
        own = {leg.ticker for leg in row.legs}
        markets = [market for market in group.markets if market.ticker in own]
        try:
            charged = {
                ticker: fees
                for event_ticker in sorted({market.event_ticker for market in markets})
                for ticker, fees in self._market_data.market_fees(event_ticker).items()
            }
        except ExchangeError as error:
            raise _RefusedError(Refusal.EXCHANGE) from error
        if any(charged.get(market.ticker) != market.fees for market in markets):
            raise _RefusedError(Refusal.FEES_CHANGED)

    def _read_exchange(self, row: Basket) -> tuple[dict[str, BookSnapshot], dict[int, Cash]]:
        tickers = [leg.ticker for leg in row.legs]
        if len(set(tickers)) != len(tickers):
            raise _RefusedError(Refusal.SAME_MARKET_TWICE)
        try:
            # The books last: they are what changes fastest.
            balance = self._trading.balance()
            books = self._market_data.orderbooks(tickers)
        except ExchangeError as error:
            raise _RefusedError(Refusal.EXCHANGE) from error
        return books, balance

    def _prove(self, row: Basket, group: Group, books: Mapping[str, BookSnapshot]) -> Certificate:
        try:
            certificate = verify(
                group,
                row.legs,
                books,
                precision=self._rules.precision,
                smallest_fill=self._rules.smallest_fill,
                now_ms=self._clock.now_ms(),
            )
        except DepthError as error:
            raise _RefusedError(Refusal.DEPTH) from error
        except UnfitBookError as error:
            raise _RefusedError(Refusal.UNFIT_BOOK) from error
        except ProofError as error:
            raise _RefusedError(Refusal.UNPROVABLE) from error
        if certificate.grade is Grade.ASSUMED:
            raise _RefusedError(Refusal.NOT_APPROVED)
        if certificate.grade is not Grade.PROVED:
            raise _RefusedError(Refusal.NOT_PROVED)
        return certificate

    def _reserve(self, row: Basket, limits: Limits, balance: Mapping[int, Cash]) -> None:
        """Hold what the basket can use. Cash that other live baskets have spent already is still held by them too:
        that errs on the safe side until they end."""
        by_shard: Counter[int] = Counter()
        amounts: dict[str, int] = {}
        room: dict[str, int] = {}
        for leg, terms, outlay in zip(row.legs, row.terms, self._outlays(row.legs, row.terms), strict=True):
            by_shard[terms.shard] += outlay
            amounts[MARKET_KEY + leg.ticker] = outlay
            room[MARKET_KEY + leg.ticker] = limits.max_exposure_per_market
        amounts[EVENT_KEY + row.event_ticker] = row.reserved
        room[EVENT_KEY + row.event_ticker] = limits.max_exposure_per_event
        for shard, amount in by_shard.items():
            amounts[f"{CASH_KEY}{shard}"] = amount
            room[f"{CASH_KEY}{shard}"] = balance.get(shard, Cash(0))
        amounts[f"{OPEN_KEY}baskets"] = 1
        room[f"{OPEN_KEY}baskets"] = limits.max_open_baskets
        amounts[f"{OUTLAY_KEY}all"] = row.reserved
        room[f"{OUTLAY_KEY}all"] = limits.max_open_outlay
        full = self._reservations.reserve(row.basket_id, amounts, room)
        if full is not None:
            raise _RefusedError(_REASON_OF_KEY[full.partition("#")[0] + "#"])
