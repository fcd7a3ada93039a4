"""Does to the exchange itself what a fault says, through the gate: it is kept like everything else that happens."""

from collections.abc import Callable, Container, Iterator
from functools import partial

from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError, FaultScriptError
from infra.exchange.faults import (
    BookThinned,
    CashMissing,
    FeesChanged,
    MarketClosed,
    MarketPaused,
    RulesChanged,
    StrikeChanged,
    WorldFault,
)
from infra.exchange.inputs import Gate
from infra.exchange.living import MEMBER
from infra.exchange.orders import Order
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

_HIGHEST = Price(ONE_DOLLAR - 1)


class GateWorld:
    """The world of one exchange. A market whose pause ends by itself stays paused when the process ends before."""

    def __init__(self, core: ExchangeCore, gate: Gate) -> None:
        self._core = core
        self._gate = gate
        self._resumptions: list[tuple[int, str]] = []

    def check(self, fault: WorldFault) -> None:
        """:raises FaultScriptError: it names a market, event or shard that is not there."""
        core = self._core
        match fault:
            case MarketPaused() | MarketClosed() | BookThinned():
                _known(fault, "market", core.markets, *fault.markets)
            case RulesChanged():
                _known(fault, "market", core.markets, fault.market)
            case StrikeChanged():
                _known(fault, "market", core.markets, fault.market)
                terms = core.markets[fault.market].terms
                if ((terms.floor is None) != (fault.floor is None)) or ((terms.cap is None) != (fault.cap is None)):
                    raise _unusable(fault, f"{fault.market} has a floor, a cap or both: name those and no other")
            case FeesChanged():
                _known(fault, "event", core.events, fault.event)
            case CashMissing():
                shards = {series.shard for series in core.series.values()} | set(core.accounts[MEMBER].cash)
                _known(fault, "shard", shards, fault.shard, fault.to)

    def strike(self, fault: WorldFault) -> bool:
        """Do it now; False when it changed nothing, as when a market is closed already."""
        match fault:
            case MarketPaused():
                paused = [ticker for ticker in fault.markets if _done(partial(self._gate.deactivate, ticker))]
                if fault.resume_after_ms is not None:
                    resumes_ms = self._core.now_ms + fault.resume_after_ms
                    self._resumptions += [(resumes_ms, ticker) for ticker in paused]
                return bool(paused)
            case MarketClosed():
                return sum(_done(partial(self._gate.close_market, ticker)) for ticker in fault.markets) > 0
            case CashMissing():
                return self._move_cash(fault)
            case BookThinned():
                outcomes = tuple(Outcome) if fault.outcome is None else (fault.outcome,)
                sides = [(ticker, outcome) for ticker in fault.markets for outcome in outcomes]
                return sum(self._thin(ticker, outcome, fault.leave_count) for ticker, outcome in sides) > 0
            case RulesChanged():
                return _done(lambda: self._gate.change_rules(fault.market, fault.rules))
            case StrikeChanged():
                return _done(lambda: self._gate.change_strike(fault.market, fault.floor_value, fault.cap_value))
            case FeesChanged():
                now_ms = self._core.now_ms
                return _done(lambda: self._gate.change_fees(fault.event, fault.override, now_ms))

    def pass_time(self, now_ms: int) -> None:
        """Activate the markets whose pause is over."""
        due = [ticker for resumes_ms, ticker in self._resumptions if resumes_ms <= now_ms]
        if due:
            self._resumptions = [entry for entry in self._resumptions if entry[0] > now_ms]
            for ticker in due:
                market = self._core.markets.get(ticker)
                if market is not None and market.status is MarketStatus.INACTIVE:
                    self._gate.activate(ticker)

    def _move_cash(self, fault: CashMissing) -> bool:
        amount = Cash(self._core.accounts[MEMBER].available(fault.shard) - fault.leave_cash)
        return amount > 0 and _done(lambda: self._gate.transfer(MEMBER, amount, fault.shard, fault.to))

    def _thin(self, ticker: str, outcome: Outcome, leave: Count) -> bool:
        """Take away what can be bought of an outcome, the worst prices first. The member's own orders stay."""
        left, changed = leave, False
        for order in list(self._offered(ticker, outcome)):
            account_id, shard = order.account.account_id, self._core.markets[ticker].series.shard
            if order.remaining <= left:
                left = Count(left - order.remaining)
                continue
            if left == 0:
                self._gate.cancel(account_id, order.order_id, shard)
            else:
                self._gate.decrease(account_id, order.order_id, reduce_to=left, shard=shard)
            left, changed = Count(0), True
        return changed

    def _offered(self, ticker: str, outcome: Outcome) -> Iterator[Order]:
        market = self._core.markets[ticker]
        if market.status is MarketStatus.ACTIVE:
            for order in market.opposing(outcome, _HIGHEST):
                if order.account.account_id != MEMBER:
                    yield order


def _known(fault: WorldFault, what: str, known: Container[object], *names: object) -> None:
    for name in names:
        if name not in known:
            raise _unusable(fault, f"there is no {what} {name} here")


def _unusable(fault: WorldFault, why: str) -> FaultScriptError:
    return FaultScriptError(f"the fault script cannot be used: {fault.label}: {why}")


def _done(change: Callable[[], object]) -> bool:
    try:
        change()
    except ExchangeRefusalError:
        return False  # the exchange is in a state in which it cannot happen, so it does not
    return True
