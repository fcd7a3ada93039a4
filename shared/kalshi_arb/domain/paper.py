"""Paper trading: how an order would have filled against visible books, by our own conservative assumption.

The rule. An order is sent on one book and meets a later one of its own market, ``LATENCY_MS`` or more afterwards. It
takes resting bids of the other outcome, best first, each level at its own price and never worse than its limit:

- never more of a level than the later book shows, nor than the earlier one showed: what faded on the way is gone, and
  what came on the way is for others
- of a level that shrank on the way, as much less again: those who were taking it are ahead of us in the queue
- what paper orders took from a level stays taken until the book shows more there than it did then, or for ``MEMORY_MS``
- a crossed book fills nothing, and no leg's fill depends on another leg's

Each level is one fill. So no fill is better than a taker of the same size would have had on the later book.

What it leaves out: orders of others that arrive at the very same moment on a level that stands still, and what a real
order of ours would have made others do.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.fees import FeeSchedule, Precision, charge, trade_fee
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.portfolio import Fill, OrderRequest, Settlement, TimeInForce

LATENCY_MS = 250
"""How long an order is assumed to be under way, milliseconds."""
ASSUMPTION = (
    f"fills are our own assumption: taker, {LATENCY_MS} ms late, against what was visible before and after, behind "
    "those who were taking it, each leg on its own book"
)
MEMORY_MS = 600_000
"""How long a take is remembered at most, milliseconds."""
KILLED = "fill_or_kill_insufficient_resting_volume"
NO_CASH = "insufficient_balance"
INVALID = "invalid_order"
NO_FEES = "fee_schedule_unknown"


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order that was accepted, and everything it did: written once, never changed.

    ``shown`` (1e-2 contracts) is for each fill the size that its level showed then. ``created_ms`` is UTC milliseconds.
    """

    request: OrderRequest
    order_id: str
    created_ms: int
    fills: tuple[Fill, ...]
    shown: tuple[Count, ...]

    @property
    def filled(self) -> Count:
        """Contracts bought."""
        return Count(sum(fill.count for fill in self.fills))


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """Everything the paper account ever did. ``version`` rises with every change, so that two writers notice."""

    version: int = 0
    orders: tuple[PaperOrder, ...] = ()
    settlements: tuple[Settlement, ...] = ()

    def positions(self) -> dict[str, Count]:
        """Signed net positions that are not settled, + YES and - NO, zeros left out."""
        settled = {payment.ticker for payment in self.settlements}
        net: Counter[str] = Counter()
        for order in self.orders:
            sign = 1 if order.request.outcome is Outcome.YES else -1
            net[order.request.ticker] += sign * order.filled
        return {ticker: Count(count) for ticker, count in net.items() if count and ticker not in settled}

    def cash(self, opening: Mapping[int, Cash]) -> dict[int, Cash]:
        """Cash by shard: the opening cash, less purchases and fees, plus a dollar for every YES and NO of one market
        that net each other, plus settlements."""
        cash: Counter[int] = Counter(opening)
        bought: dict[str, Counter[Outcome]] = {}
        shards: dict[str, int] = {}
        for order in self.orders:
            request = order.request
            shards[request.ticker] = request.shard
            bought.setdefault(request.ticker, Counter())[request.outcome] += order.filled
            cash[request.shard] -= sum(notional(fill.price, fill.count) + fill.fee for fill in order.fills)
        for ticker, counts in bought.items():
            pairs = min(counts[Outcome.YES], counts[Outcome.NO])
            cash[shards[ticker]] += notional(ONE_DOLLAR, Count(pairs))
        for payment in self.settlements:
            cash[shards[payment.ticker]] += payment.revenue
        return {shard: Cash(amount) for shard, amount in cash.items()}

    def payment(self, ticker: str, yes_payout: Price, precision: Precision, now_ms: int) -> Settlement:
        """What a finalized market pays on the net position, rounded down to the account's balance grid."""
        net = self.positions().get(ticker, Count(0))
        payout = yes_payout if net > 0 else Price(ONE_DOLLAR - yes_payout)
        revenue = notional(payout, Count(abs(net))) // precision * precision
        shard = next((order.request.shard for order in self.orders if order.request.ticker == ticker), 0)
        return Settlement(ticker, yes_payout, Cash(revenue), now_ms, shard)


def already_taken(
    orders: Iterable[PaperOrder], ticker: str, outcome: Outcome, price: Price, size: Count, now_ms: int
) -> Count:
    """What paper orders have taken from a level that shows ``size`` now (1e-2 contracts), see the rule above.

    :param outcome: what was bought
    :param price: of that outcome
    """
    return Count(
        sum(
            fill.count
            for order in orders
            if order.request.ticker == ticker
            and order.request.outcome is outcome
            and now_ms - order.created_ms < MEMORY_MS
            for fill, shown in zip(order.fills, order.shown, strict=True)
            if fill.price == price and size <= shown
        )
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """One market's book when an order was sent, and the one that the order met. None shows nothing."""

    sent: BookSnapshot | None
    met: BookSnapshot | None


def reach(seen: Seen, outcome: Outcome) -> Iterator[tuple[Level, Count]]:
    """The levels of the book that was met, best first: the price of an outcome with the size shown there, and how much
    of it an order of that moment can take, see the rule above.

    Nothing at all where a book is missing or crossed.
    """
    if seen.sent is None or seen.met is None or _is_crossed(seen.met):
        return
    before = {level.price: int(level.size) for level in seen.sent.asks(outcome)}
    for level in seen.met.asks(outcome):
        size, first = int(level.size), before.get(level.price, 0)
        queue = max(0, first - size)
        yield level, Count(max(0, min(size, first) - queue))


def match(
    request: OrderRequest,
    seen: Seen,
    fees: FeeSchedule,
    precision: Precision,
    account: PaperAccount,
    opening: Mapping[int, Cash],
    now_ms: int,
) -> PaperOrder | str:
    """The order with its fills, or the code of its rejection.

    :param account: everything before this order
    :param opening: opening cash by shard
    """
    if request.count <= 0 or not 0 < request.limit < ONE_DOLLAR:
        return INVALID
    if not fees.is_tradable():
        return NO_FEES
    order_id = f"paper-{request.client_order_id}"
    fills: list[Fill] = []
    shown: list[Count] = []
    left, accumulator = int(request.count), Cash(0)
    for level, most in reach(seen, request.outcome):
        if level.price > request.limit or left == 0:
            break
        taken = already_taken(account.orders, request.ticker, request.outcome, level.price, level.size, now_ms)
        count = Count(min(left, max(0, most - taken)))
        if count == 0:
            continue
        cost = notional(level.price, count)
        charged = charge(Cash(-cost), trade_fee(fees, level.price, count), precision, accumulator)
        accumulator = charged.accumulator
        trade_id = f"{order_id}-{len(fills)}"
        fill = Fill(
            trade_id, order_id, request.ticker, request.outcome, count, level.price, charged.fee, now_ms, request.shard
        )
        fills.append(fill)
        shown.append(level.size)
        left -= count
    if left and request.time_in_force is TimeInForce.FILL_OR_KILL:
        return KILLED
    order = PaperOrder(request, order_id, now_ms, tuple(fills), tuple(shown))
    after = PaperAccount(account.version, (*account.orders, order), account.settlements)
    # Netting counts: an order that closes a position needs only what the freed dollar does not cover.
    if fills and after.cash(opening).get(request.shard, Cash(0)) < 0:
        return NO_CASH
    return order


def _is_crossed(book: BookSnapshot) -> bool:
    return bool(book.yes_bids and book.no_bids and book.yes_bids[0].price + book.no_bids[0].price >= ONE_DOLLAR)
