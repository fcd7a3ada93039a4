"""The screen: a cheap necessary condition per group, kept up to date with every change of a best price.

A group whose edge is not positive cannot hold a bundle that gains in every certain state, whatever the quantities: the
best prices bound every deeper one, and the unrounded fee bounds every real one from below. A group whose edge is
positive may still hold nothing after rounding; that is for the exact methods to say.

Every group is judged, by a method that follows from its certain states (``judges``). Prices and edges are in 1e-10
dollars for one contract of each leg, fees included: an ask is what one YES costs, a bid what selling one YES (buying
one NO at the complement) frees.

What comes nearest without being a candidate is told with its distance (by how much the set costs more than it pays),
its legs, and one coherent set of prices inside every quote, which is why there is nothing: so silence can be read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from kalshi_arb.detection.effective import ONE, is_crossed
from kalshi_arb.detection.judges import Judge, PricedJudge, judge_for
from kalshi_arb.detection.prices import TopBundle
from kalshi_arb.detection.pricing_vector import certain_rows, keeper
from kalshi_arb.detection.quotes import Quote
from kalshi_arb.domain.book import Book, BookSnapshot
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, print_decimal
from kalshi_arb.domain.state_space import Group

EDGE_DECIMALS = 10
EDGE_PER_DOLLAR: int = ONE


@dataclass(frozen=True, slots=True)
class Miss:
    """A group that is not a candidate, how far it is from being one (1e-10 dollars, not positive), and the bundle.

    ``legs`` are the contracts of that bundle in words. ``prices`` are what one YES of each market is worth in dollars
    under one mixture of the group's certain states, by ticker, each between its bid and its ask with fees, cut down to
    1e-10 dollars; empty where the books cannot be priced.
    """

    group_id: str
    event_ticker: str
    edge: int
    text: str
    legs: tuple[str, ...] = ()
    prices: tuple[tuple[str, str], ...] = ()


class Screen:
    """All groups. Books are handed in whenever their best level changed, and taken away when they go stale."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._quotes: dict[str, Quote] = {}
        self._judges: dict[str, Judge] = {}
        watching: dict[str, list[tuple[Judge, int]]] = {}
        for group in groups:
            judge = judge_for(group, tuple(self._quote(market) for market in group.markets))
            self._judges[group.group_id] = judge
            for place, market in enumerate(group.markets):
                watching.setdefault(market.ticker, []).append((judge, place))
        # Who looks at each market, each with its place there; and the same without places, one tuple for all markets
        # that the same judges look at.
        owners: dict[tuple[Judge, ...], tuple[Judge, ...]] = {}
        self._watching = {
            ticker: (
                self._quotes[ticker],
                tuple(judges),
                owners.setdefault(own := tuple(judge for judge, _ in judges), own),
            )
            for ticker, judges in watching.items()
        }

    def _quote(self, market: Market) -> Quote:
        quote = self._quotes.get(market.ticker)
        if quote is None:
            quote = self._quotes[market.ticker] = Quote(market)
        else:
            quote.also(market)
        return quote

    def groups_of(self, ticker: str) -> tuple[str, ...]:
        """Ids of the groups that a market belongs to."""
        watched = self._watching.get(ticker)
        return tuple(judge.group_id for judge in watched[2]) if watched is not None else ()

    def group(self, group_id: str) -> Group | None:
        """A group of the screen."""
        judge = self._judges.get(group_id)
        return judge.group if judge is not None else None

    def update(self, book: Book) -> Sequence[str]:
        """A best price of a book changed, or the book is new: returns the groups to be judged by it, those that may be
        candidates now or could be before. Sizes change no edge: where only a size changed, a group that is a candidate
        is to be judged again by whoever knows that it is one."""
        return self.take(book.ticker, book.yes.top, ONE_DOLLAR - book.no.top)

    def take(self, ticker: str, bid: int, ask: int) -> Sequence[str]:
        """The same by the best prices of YES (1e-4 dollars); 0 and a dollar where a side is empty."""
        watched = self._watching.get(ticker)
        if watched is None:
            return ()
        quote, judges, _ = watched
        if quote.known and bid == quote.book_bid and ask == quote.book_ask:
            return ()
        appeared, crossed = not quote.known, quote.crossed
        quote.take(bid, ask)
        crossing = quote.crossed - crossed
        found: list[str] | None = None
        for judge, place in judges:
            if appeared or crossing:
                judge.unknown -= appeared
                judge.crossed += crossing
            if judge.take(place):
                if found is None:
                    found = [judge.group_id]
                else:
                    found.append(judge.group_id)
        return found or ()

    def load(self, books: Iterable[BookSnapshot]) -> None:
        """Take over many books at once; each judge looks at them once. ``candidates`` tells what they hold."""
        touched: list[Judge] = []
        watching = self._watching
        seen: tuple[Judge, ...] = ()
        for book in books:
            watched = watching.get(book.ticker)
            if watched is None:
                continue
            quote, _, judges = watched
            yes, no = book.yes_bids, book.no_bids
            # By position: a name is looked up three times as long, and this is done for every book there is.
            bid = yes[0][0] if yes else 0
            ask = ONE_DOLLAR - no[0][0] if no else ONE_DOLLAR
            if bid < ask and quote.known and not quote.crossed:
                if bid == quote.book_bid and ask == quote.book_ask:
                    continue
                # As ``take`` does: the call alone would be a tenth of the whole.
                quote.book_bid, quote.book_ask = bid, ask
                quote.bid, quote.ask = quote.bids[bid], quote.asks[ask]
            else:
                appeared, crossed = not quote.known, quote.crossed
                quote.take(bid, ask)
                for judge in judges:
                    judge.unknown -= appeared
                    judge.crossed += quote.crossed - crossed
            if judges is seen:
                continue
            seen = judges
            for judge in judges:
                if not judge.is_outdated:
                    judge.is_outdated = True
                    touched.append(judge)
        for judge in touched:
            judge.is_outdated = False
            judge.reload()

    def forget(self, ticker: str) -> None:
        """The book went stale: its groups cannot be judged until it is handed in again."""
        watched = self._watching.get(ticker)
        if watched is None or not watched[0].known:
            return
        quote, _, judges = watched
        for judge in judges:
            judge.unknown += 1
            judge.crossed -= quote.crossed
        quote.known = quote.crossed = False

    def gain(self, group_id: str) -> int:
        """The edge of a candidate: what one set of the best bundle found gains in the worst certain state, fees
        unrounded. 0 for everything that is no candidate or cannot be judged now."""
        judge = self._judges.get(group_id)
        return judge.gain() if judge is not None and judge.is_fit else 0

    def candidates(self) -> Iterator[str]:
        """Ids of all groups whose edge is positive."""
        return (group_id for group_id, judge in self._judges.items() if judge.is_fit and judge.gain() > 0)

    def edge(self, group_id: str) -> int | None:
        """The edge of the best bundle, candidate or not. None: not judged, since a book is missing, stale or crossed,
        or no bundle has all its sides, or the group is unknown. Dearer than ``gain`` for groups with a kept price
        vector."""
        judge = self._judges.get(group_id)
        if judge is None or not judge.is_fit:
            return None
        bundle = judge.nearest()
        return bundle.edge if bundle is not None else None

    def is_near(self, group_id: str, edge: int) -> bool:
        """Whether a group may have an edge above this one; cheap, and never wrongly false."""
        judge = self._judges.get(group_id)
        return judge is not None and judge.is_fit and judge.bound() > edge

    def nearest(self, limit: int) -> list[Miss]:
        """The groups that come closest without being candidates, nearest first."""
        # A bound first, and the bundle only of those that the bound leaves in front.
        heap: list[tuple[int, int, Judge, TopBundle | None]] = [
            (-judge.bound(), number, judge, None) for number, judge in enumerate(self._judges.values()) if judge.is_fit
        ]
        heapify(heap)
        found: list[Miss] = []
        while heap and len(found) < limit:
            _, number, judge, bundle = heappop(heap)
            if bundle is not None:
                found.append(_miss(judge, bundle))
                continue
            bundle = judge.nearest()
            if bundle is not None and bundle.edge <= 0:
                heappush(heap, (-bundle.edge, number, judge, bundle))
        return found

    def miss(self, group_id: str) -> Miss | None:
        """How near one group comes; None for a candidate and for what cannot be judged now."""
        judge = self._judges.get(group_id)
        bundle = judge.nearest() if judge is not None and judge.is_fit else None
        return _miss(judge, bundle) if judge is not None and bundle is not None and bundle.edge <= 0 else None


def near_miss(group: Group, books: Mapping[str, BookSnapshot]) -> Miss | None:
    """How near a group comes on these books; missing and crossed books quote nothing. None when its best prices hold a
    gain, or no bundle has all its sides."""
    return _quoted(group, books).miss(group.group_id)


def _quoted(group: Group, books: Mapping[str, BookSnapshot]) -> Screen:
    screen = Screen([group])
    for ticker in group.tickers:
        book = books.get(ticker)
        bid, ask = 0, int(ONE_DOLLAR)
        if book is not None and not is_crossed(book):
            bid = book.yes_bids[0].price if book.yes_bids else bid
            ask = ONE_DOLLAR - book.no_bids[0].price if book.no_bids else ask
        screen.take(ticker, bid, ask)
    return screen


def _miss(judge: Judge, bundle: TopBundle) -> Miss:
    if isinstance(judge, PricedJudge):
        prices = judge.prices
    else:
        prices = keeper(certain_rows(judge.group))
        for place, quote in enumerate(judge.quotes):
            prices.take(place, quote.bid, quote.ask)
        prices.settle()
    return Miss(
        judge.group_id,
        judge.group.event_ticker,
        bundle.edge,
        f"{judge.words(bundle)}: {print_decimal(bundle.edge, EDGE_DECIMALS)} dollars a set after fees",
        judge.legs(bundle),
        tuple(
            (quote.ticker, print_decimal(price, EDGE_DECIMALS))
            for quote, price in zip(judge.quotes, prices.low, strict=True)
        ),
    )
