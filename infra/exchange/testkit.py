"""A still exchange for tests: a few markets that only the test moves, at a time that only the test sets."""

from collections.abc import Callable
from decimal import Decimal
from random import Random

from infra.exchange.account import OrderView
from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.terms import EventTerms, GridName, MarketTerms, NewOrder, SeriesTerms, TimeInForce
from kalshi_arb.domain.collateral import EventCollateral
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import CollateralReturn, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, Cash, Count, Price

START_MS = 1_795_000_000_000
CLOSE_MS = START_MS + 3_600_000
EVENT = "KXSTILL-1"
TICKERS = ("KXSTILL-1-T10", "KXSTILL-1-T20", "KXSTILL-1-T30")
MAKER = "maker"


class ManualTime:
    """UTC milliseconds that stand still until they are moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        """The set time."""
        return self.ms


def still_event(
    tickers: tuple[str, ...] = TICKERS,
    *,
    grid: GridName = GridName.LINEAR_CENT,
    open_ms: int = START_MS,
    close_ms: int = CLOSE_MS,
    timer_s: int = 1,
    exclusive: bool = False,
    waiver_ms: int | None = None,
) -> EventTerms:
    """A threshold ladder with strikes 10, 20, 30 and so on; ``exclusive`` says that at most one resolves YES.

    Until ``waiver_ms`` (UTC milliseconds) its markets charge nothing.
    """
    markets = tuple(
        MarketTerms(
            ticker, EVENT, f"Above {10 * number}?", f"above {10 * number}", StrikeType.GREATER, Decimal(10 * number),
            None, None, grid, open_ms, close_ms, timer_s, f"Yes if the value is greater than {10 * number}.", waiver_ms,
        )
        for number, ticker in enumerate(tickers, start=1)
    )  # fmt: skip
    return EventTerms(EVENT, "KXSTILL", "A still event", "still", mutually_exclusive=exclusive, markets=markets)


def still_core(
    *,
    dollars: int = 1_000,
    multiplier: int = 10_000,
    fee_type: FeeType = FeeType.QUADRATIC,
    precision: Precision = Precision.DIRECT,
    shard: int = 2,
    event: Callable[[], EventTerms] = still_event,
) -> ExchangeCore:
    """A core with one event on ``shard``, a member with ``dollars`` there and as many on shard 0, and a rich maker."""
    core = ExchangeCore(START_MS, seeded_ids(Random(7)))
    cash = Cash(dollars * CASH_PER_DOLLAR)
    core.open_account(MEMBER, {0: cash, shard: cash}, precision)
    core.open_account(MAKER, {shard: Cash(10**6 * CASH_PER_DOLLAR)}, Precision.DIRECT)
    core.add_series(SeriesTerms("KXSTILL", "Still", "Tests", "once", FeeSchedule(fee_type, multiplier), shard))
    core.list_event(event())
    core.drain()
    return core


def buy(
    core: ExchangeCore,
    ticker: str,
    outcome: Outcome,
    cents: int,
    contracts: int,
    time_in_force: TimeInForce = TimeInForce.IMMEDIATE_OR_CANCEL,
    *,
    account: str = MEMBER,
    client_order_id: str | None = None,
) -> OrderView:
    """Place an order in whole cents and contracts."""
    order = NewOrder(
        ticker, outcome, Price(cents * 100), Count(contracts * ONE_CONTRACT), time_in_force, client_order_id
    )
    return core.place(account, order)


def rest(core: ExchangeCore, ticker: str, outcome: Outcome, cents: int, contracts: int) -> OrderView:
    """Rest an order of the maker."""
    return buy(core, ticker, outcome, cents, contracts, TimeInForce.GOOD_TILL_CANCELED, account=MAKER)


def collateral_of(core: ExchangeCore) -> dict[str, EventCollateral]:
    """By market what its event gives collateral back for, as the exchange knows it now."""
    found = {}
    for ticker, market in core.markets.items():
        kind = CollateralReturn.MECNET if market.event.mutually_exclusive else CollateralReturn.NONE
        others = (core.markets[terms.ticker] for terms in market.event.markets)
        paid = {one.ticker: one.payout if one.status is MarketStatus.FINALIZED else None for one in others}
        found[ticker] = EventCollateral(market.event.ticker, kind, market.series.shard, paid)
    return found
