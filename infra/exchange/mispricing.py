"""Mispricings on purpose: quotes that contradict each other across markets, for a while, some of them skittish.

A mispricing is one resting order in each of two or more markets of an event. Its gain a set (one contract of every
leg) is at least the wanted edge after the fees of one contract each, so it is clearly positive for larger orders too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from random import Random

import msgspec

from infra.exchange.catalogue import Listing, Shape
from infra.exchange.core import ExchangeCore
from infra.exchange.quotes import CROWD, Quotes, rest
from kalshi_arb.domain.fees import trade_fee
from kalshi_arb.domain.market import Outcome, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price, ceil_div, complement

_LOWEST = 100  # 1e-4 dollars: mispriced quotes stay a cent away from both ends
_HIGHEST = 9_900
_CENT = 100
_MOST_LEGS = 8
_FEW_LEGS = (2, 4)
_LIVELY = 800  # 1e-4 dollars: where quotes are further apart nobody trades, so nobody errs either
_CASH_PER_PRICE = 100  # one contract's fee in 1e-6 dollars, as a price in 1e-4 dollars


@unique
class MispricingKind(Enum):
    """What contradicts what."""

    LADDER = "ladder"  # a harder strike is bid above an easier one's ask
    BIDS_OVER_ONE = "bids_over_one"  # the brackets' bids add up to more than a dollar
    ASKS_UNDER_ONE = "asks_under_one"  # the brackets' asks add up to less than a dollar


@dataclass(frozen=True, slots=True)
class WrongQuote:
    """One mispriced order to rest: a bid for ``outcome`` at ``price`` (that outcome's price)."""

    ticker: str
    outcome: Outcome
    price: Price


@dataclass(slots=True, eq=False)
class Mispricing:
    """A live mispricing. ``hit`` holds the positions of legs that traded."""

    kind: MispricingKind
    event_ticker: str
    order_ids: tuple[str, ...]
    until_ms: int
    fades: bool
    faded: bool = False
    hit: set[int] = field(default_factory=set)


@dataclass(slots=True)
class MispricingCounts:
    """What became of every mispricing. ``taken``: all legs were hit; ``partly``: some; ``expired``: none."""

    injected: int = 0
    expired: int = 0
    faded: int = 0
    taken: int = 0
    partly: int = 0


class SavedMispricings(msgspec.Struct, frozen=True):
    """The mispricings in a snapshot."""

    live: list[Mispricing]
    counts: MispricingCounts


class Mispricings:
    """The live mispricings of the universe, at most one an event."""

    def __init__(self, core: ExchangeCore, quotes: Quotes, random: Random) -> None:
        self._core = core
        self._quotes = quotes
        self._random = random
        self._by_event: dict[str, Mispricing] = {}
        self._by_order: dict[str, tuple[Mispricing, int]] = {}
        self.counts = MispricingCounts()

    @classmethod
    def restore(cls, saved: SavedMispricings, core: ExchangeCore, quotes: Quotes, random: Random) -> "Mispricings":
        """The mispricings as they were saved."""
        mispricings = cls(core, quotes, random)
        for live in saved.live:
            mispricings._enter(live)
        mispricings.counts = saved.counts
        return mispricings

    def save(self) -> SavedMispricings:
        """The mispricings for a snapshot."""
        return SavedMispricings(self.live(), self.counts)

    def __len__(self) -> int:
        return len(self._by_event)

    def is_live(self, event_ticker: str) -> bool:
        """Whether an event carries a mispricing now."""
        return event_ticker in self._by_event

    def live(self) -> list[Mispricing]:
        """Every live mispricing, oldest first."""
        return list(self._by_event.values())

    def due(self, now_ms: int) -> list[str]:
        """Events whose mispricing has lived long enough."""
        return [event for event, live in self._by_event.items() if live.until_ms <= now_ms]

    def inject(
        self, listing: Listing, kind: MispricingKind, *, edge: int, contracts: int, until_ms: int, fades: bool
    ) -> bool:
        """Put a mispricing on an event's books; False when its prices leave no room for one, or nobody trades there.

        :param edge: gain of one set after fees, 1e-4 dollars
        :param contracts: least size of every leg, whole contracts
        """
        quotes = self._wrong_quotes(listing, kind, edge)
        if quotes is None:
            return False
        if any(self._quotes.spread(quote.ticker) > _LIVELY for quote in quotes):
            return False
        for quote in quotes:
            self._quotes.make_way(quote.ticker, quote.outcome, quote.price)
        order_ids: list[str] = []
        for quote in quotes:
            size = contracts + self._random.randint(0, contracts // 3)
            order_id = rest(self._core, quote.ticker, (quote.outcome, quote.price), Count(size * ONE_CONTRACT))
            if order_id is None:  # a member's own order rests in the way
                self._cancel(order_ids)
                return False
            order_ids.append(order_id)
        live = Mispricing(kind, listing.terms.ticker, tuple(order_ids), until_ms, fades)
        self._enter(live)
        self.counts.injected += 1
        return True

    def on_hit(self, maker_order_id: str) -> None:
        """A member traded with a resting order; a skittish mispricing pulls its untouched legs at once."""
        entry = self._by_order.get(maker_order_id)
        if entry is None:
            return
        live, leg = entry
        live.hit.add(leg)
        if live.fades and not live.faded:
            live.faded = True
            self._cancel([order_id for number, order_id in enumerate(live.order_ids) if number not in live.hit])

    def end(self, event_ticker: str) -> None:
        """Take an event's mispricing off the books and count what became of it."""
        live = self._by_event.pop(event_ticker)
        self._cancel(live.order_ids)
        for order_id in live.order_ids:
            del self._by_order[order_id]
        if live.faded:
            self.counts.faded += 1
        elif len(live.hit) == len(live.order_ids):
            self.counts.taken += 1
        elif live.hit:
            self.counts.partly += 1
        else:
            self.counts.expired += 1

    def _enter(self, live: Mispricing) -> None:
        self._by_event[live.event_ticker] = live
        self._by_order.update({order_id: (live, leg) for leg, order_id in enumerate(live.order_ids)})

    def _cancel(self, order_ids: list[str] | tuple[str, ...]) -> None:
        for order_id in order_ids:
            if self._core.is_resting(order_id):
                self._core.cancel(CROWD, order_id)

    def _wrong_quotes(self, listing: Listing, kind: MispricingKind, edge: int) -> list[WrongQuote] | None:
        if kind is MispricingKind.LADDER:
            return self._ladder(listing, edge)
        return self._partition(listing, edge, Outcome.YES if kind is MispricingKind.BIDS_OVER_ONE else Outcome.NO)

    def _fee(self, ticker: str, price: int) -> int:
        """The fee of one contract, rounded up to 1e-4 dollars."""
        fees = self._core.markets[ticker].fees
        return ceil_div(trade_fee(fees, Price(price), ONE_CONTRACT), _CASH_PER_PRICE)

    def _ladder(self, listing: Listing, edge: int) -> list[WrongQuote] | None:
        fair = {
            terms.ticker: round(listing.hidden[terms.ticker].probability(terms) * ONE_DOLLAR)
            for terms in listing.terms.markets
        }
        rows = [terms for terms in listing.terms.markets if self._quotes.spread(terms.ticker) <= _LIVELY]
        pairs = [
            (easier, harder)
            for easier in rows
            for harder in rows
            if listing.hidden[easier.ticker] is listing.hidden[harder.ticker]
            and easier.strike_type is harder.strike_type is not StrikeType.OTHER  # one without a type proves nothing
            and easier.floor is not None
            and harder.floor is not None
            and easier.floor < harder.floor
            and fair[harder.ticker] >= 500
            and fair[easier.ticker] <= 9_500
            and fair[easier.ticker] - fair[harder.ticker] <= 2_500
        ]
        if not pairs:
            return None
        easier, harder = self._random.choice(pairs)
        middle = (fair[easier.ticker] + fair[harder.ticker]) // 2
        # The width covers the fees at the middle; the loop below covers what moving away from it changes.
        width = edge
        while width < ONE_DOLLAR:
            ask = easier.grid.at_or_below(Price(max(_LOWEST, middle - width // 2)))
            bid = harder.grid.at_or_above(Price(min(_HIGHEST, middle + width - width // 2)))
            if ask is None or bid is None:
                return None
            if bid - ask - self._fee(easier.ticker, ask) - self._fee(harder.ticker, bid) >= edge:
                return [
                    WrongQuote(easier.ticker, Outcome.NO, complement(ask)),
                    WrongQuote(harder.ticker, Outcome.YES, bid),
                ]
            width += _CENT // 2
        return None

    def _partition(self, listing: Listing, edge: int, outcome: Outcome) -> list[WrongQuote] | None:
        """Raise the brackets' bids for one outcome, a cent at a time at random, until a set gains the edge.

        Bids of every YES pay out at most one dollar in all; bids of every NO at most one dollar less than there are
        brackets. Of many brackets only the likeliest few are bid too high: at most one of them pays as well.
        """
        prices: dict[str, Price] = {}
        markets = listing.terms.markets
        if outcome is Outcome.YES and len(markets) > _MOST_LEGS:
            likeliest = sorted(markets, key=lambda terms: listing.hidden[terms.ticker].probability(terms), reverse=True)
            markets = tuple(likeliest[: self._random.randint(*_FEW_LEGS)])
        for terms in markets:
            fair = round(listing.hidden[terms.ticker].probability(terms) * ONE_DOLLAR)
            if not _LOWEST <= fair <= 9_500 and outcome is Outcome.NO:
                return None  # nobody offers such a bracket below its smallest price
            own = fair if outcome is Outcome.YES else ONE_DOLLAR - fair
            # Whole cents are on every grid, from either side.
            prices[terms.ticker] = Price(min(_HIGHEST, max(_LOWEST, own // _CENT * _CENT)))
        worth = ONE_DOLLAR if outcome is Outcome.YES else ONE_DOLLAR * (len(prices) - 1)
        while sum(prices.values()) - worth - sum(self._fee(t, p) for t, p in prices.items()) < edge:
            raisable = [ticker for ticker, price in prices.items() if price < _HIGHEST]
            if not raisable:
                return None
            ticker = self._random.choice(raisable)
            prices[ticker] = Price(prices[ticker] + _CENT)
        return [WrongQuote(ticker, outcome, price) for ticker, price in prices.items()]


_KINDS: Mapping[Shape, tuple[MispricingKind, ...]] = {
    Shape.LADDER: (MispricingKind.LADDER,),
    Shape.TWO_SUBJECTS: (MispricingKind.LADDER,),
    Shape.PARTITION: (MispricingKind.BIDS_OVER_ONE, MispricingKind.ASKS_UNDER_ONE),
    # A field need not hold the winner: only its bids can be wrong for certain.
    Shape.FIELD: (MispricingKind.BIDS_OVER_ONE,),
}


def kinds_for(shape: Shape) -> tuple[MispricingKind, ...]:
    """Which mispricings an event of a shape can carry so that a gain can be proved; none for the other shapes."""
    return _KINDS.get(shape, ())
