"""A seeded little world on the exchange: events are listed, traded, mispriced now and then, closed and settled.

Everything follows from the seed and from the times at which :meth:`Universe.step` is called. All changes of one step
carry one exchange millisecond, and books are coherent (no bundle gains after fees) whenever a step is complete, except
for the mispricings injected on purpose.
"""

from dataclasses import dataclass
from random import Random

import msgspec

from infra.exchange.catalogue import SHARDS, TEMPLATES, Listing, Shape, build_event
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import Traded
from infra.exchange.fair import Underlying, settles_yes
from infra.exchange.mispricing import MispricingKind, Mispricings, SavedMispricings
from infra.exchange.quotes import CROWD, Quotes, SavedQuotes
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_DOLLAR, Cash, Price

_CROWD_CASH = Cash(10**9 * CASH_PER_DOLLAR)


@dataclass(frozen=True, slots=True)
class UniverseConfig:
    """How lively the world is. Ranges are inclusive; times in milliseconds, edges in 1e-4 dollars a set.

    ``asks_share`` is the share of partition mispricings that offer every bracket too cheap instead of bidding too high.
    """

    events: int = 25
    deltas_per_second: int = 200
    mispricing_every_ms: int = 2_000
    mispricing_life_ms: tuple[int, int] = (4_000, 8_000)
    mispricing_edge: tuple[int, int] = (200, 600)
    mispricing_contracts: tuple[int, int] = (20, 200)
    fade_share: float = 0.25
    asks_share: float = 0.15
    event_life_ms: tuple[int, int] = (20_000, 45_000)
    open_lead_ms: tuple[int, int] = (200, 800)
    determine_delay_ms: tuple[int, int] = (200, 800)
    settlement_timer_s: tuple[int, int] = (1, 2)
    retention_ms: int = 900_000

    def __post_init__(self) -> None:
        ranges = (
            self.mispricing_life_ms, self.mispricing_edge, self.mispricing_contracts, self.event_life_ms,
            self.open_lead_ms, self.determine_delay_ms, self.settlement_timer_s,
        )  # fmt: skip
        if any(low > high or low < 0 for low, high in ranges):
            raise ValueError("a range of the universe runs backwards or below zero")
        if not (0 <= self.fade_share <= 1 and 0 <= self.asks_share <= 1):
            raise ValueError("a share of the universe is outside 0 to 1")
        if self.events < 1 or self.deltas_per_second < 0 or self.mispricing_every_ms < 1:
            raise ValueError("the universe needs at least one event and no negative rates")
        if self.event_life_ms[0] < 1:
            raise ValueError("events must live at least a millisecond")


class SavedLive(msgspec.Struct, frozen=True):
    """An event that is still going on in a snapshot.

    ``settles_on`` says for each market, in the event's order, which of the underlyings it settles on: several share
    one.
    """

    event_ticker: str
    shape: Shape
    underlyings: list[Underlying]
    settles_on: list[int]
    determine_ms: int
    quoted: bool
    closed: bool


class SavedUniverse(msgspec.Struct, frozen=True):
    """The world in a snapshot, without its source of chance."""

    config: UniverseConfig
    quotes: SavedQuotes
    mispricings: SavedMispricings
    live: list[SavedLive]
    finished: list[tuple[int, str]]
    number: int
    budget: float
    stepped_ms: int
    next_mispricing_ms: int
    events_listed: int
    events_settled: int


@dataclass(slots=True, eq=False)
class _Live:
    listing: Listing
    determine_ms: int
    quoted: bool = False
    closed: bool = False

    @property
    def ticker(self) -> str:
        return self.listing.terms.ticker

    @property
    def close_ms(self) -> int:
        return self.listing.terms.markets[0].close_ms

    @classmethod
    def restore(cls, saved: SavedLive, core: ExchangeCore) -> "_Live":
        terms = core.events[saved.event_ticker]
        numbers = zip(terms.markets, saved.settles_on, strict=True)
        underlyings = {market.ticker: saved.underlyings[number] for market, number in numbers}
        return cls(Listing(terms, saved.shape, underlyings), saved.determine_ms, saved.quoted, saved.closed)

    def save(self) -> SavedLive:
        underlyings: list[Underlying] = []
        settles_on: list[int] = []
        for terms in self.listing.terms.markets:
            wanted = self.listing.underlyings[terms.ticker]
            same = [number for number, known in enumerate(underlyings) if known is wanted]
            settles_on.append(same[0] if same else len(underlyings))
            if not same:
                underlyings.append(wanted)
        return SavedLive(
            self.ticker, self.listing.shape, underlyings, settles_on, self.determine_ms, self.quoted, self.closed
        )


class Universe:
    """Keeps a constant number of events alive and the crowd busy.

    :param core: an exchange on which nothing is listed yet
    :param random: the only source of chance

    ``config`` may be replaced between two steps.
    """

    def __init__(self, core: ExchangeCore, config: UniverseConfig, random: Random) -> None:
        self._core = core
        self.config = config
        self._random = random
        self._quotes = Quotes(core, random)
        self.mispricings = Mispricings(core, self._quotes, random)
        self._live: dict[str, _Live] = {}
        self._finished: list[tuple[int, str]] = []
        self._number = 0
        self._budget = 0.0
        self._stepped_ms = core.now_ms
        self._next_mispricing_ms = core.now_ms
        self.events_listed = 0
        self.events_settled = 0

    @classmethod
    def restore(cls, saved: SavedUniverse, core: ExchangeCore, random: Random) -> "Universe":
        """The world as it was saved, on the core that was saved with it; it is not started again."""
        universe = cls(core, saved.config, random)
        universe._quotes = Quotes.restore(saved.quotes, core, random)
        universe.mispricings = Mispricings.restore(saved.mispricings, core, universe._quotes, random)
        universe._live = {live.event_ticker: _Live.restore(live, core) for live in saved.live}
        universe._finished = saved.finished
        universe._number = saved.number
        universe._budget = saved.budget
        universe._stepped_ms = saved.stepped_ms
        universe._next_mispricing_ms = saved.next_mispricing_ms
        universe.events_listed = saved.events_listed
        universe.events_settled = saved.events_settled
        core.observe(universe._on_trade)
        return universe

    def save(self) -> SavedUniverse:
        """The world for a snapshot."""
        return SavedUniverse(
            self.config, self._quotes.save(), self.mispricings.save(), [live.save() for live in self._live.values()],
            self._finished, self._number, self._budget, self._stepped_ms, self._next_mispricing_ms,
            self.events_listed, self.events_settled,
        )  # fmt: skip

    def start(self) -> None:
        """List the series and the first events, already open and of mixed ages."""
        core = self._core
        core.open_account(CROWD, dict.fromkeys(SHARDS, _CROWD_CASH), Precision.DIRECT, is_crowd=True)
        core.observe(self._on_trade)
        for template in TEMPLATES:
            core.add_series(template.series)
        low, high = self.config.event_life_ms
        for _ in range(self.config.events):
            self._list(core.now_ms, self._random.randint(max(1, low // 3), high))
        self._stepped_ms = core.now_ms
        self._next_mispricing_ms = core.now_ms + self.config.mispricing_every_ms
        self._open_quotes()

    def step(self, now_ms: int) -> None:
        """Bring the world to ``now_ms``."""
        # Before time moves on: what this step emits may still speak of events that it finishes.
        self._forget_events()
        self._core.advance(now_ms)
        now_ms = self._core.now_ms
        for event in self.mispricings.due(now_ms):
            self._end_mispricing(event)
        self._finish_events(now_ms)
        self._replace_events(now_ms)
        self._open_quotes()
        self._inject(now_ms)
        self._flow(now_ms)
        self._stepped_ms = now_ms

    # Events

    def _list(self, open_ms: int, life_ms: int) -> None:
        template = TEMPLATES[self._number % len(TEMPLATES)]
        self._number += 1
        close_ms = open_ms + life_ms
        listing = build_event(
            template, self._number, now_ms=self._core.now_ms, open_ms=open_ms, close_ms=close_ms,
            timer_s=self._random.randint(*self.config.settlement_timer_s), random=self._random,
        )  # fmt: skip
        determine_ms = close_ms + self._random.randint(*self.config.determine_delay_ms)
        self._live[listing.terms.ticker] = _Live(listing, determine_ms)
        self._core.list_event(listing.terms)
        self.events_listed += 1

    def _finish_events(self, now_ms: int) -> None:
        for live in list(self._live.values()):
            if not live.closed and live.close_ms <= now_ms:
                live.closed = True
                if self.mispricings.is_live(live.ticker):
                    self.mispricings.end(live.ticker)
                if live.quoted:
                    for terms in live.listing.terms.markets:
                        self._quotes.close(terms.ticker)
            if live.closed and live.determine_ms <= now_ms:
                del self._live[live.ticker]
                self._determine(live.listing)
                self._finished.append((now_ms, live.ticker))

    def _forget_events(self) -> None:
        while self._finished:
            finished_ms, event = self._finished[0]
            if finished_ms + self.config.retention_ms > self._core.now_ms or not self._is_settled(event):
                return
            self._finished.pop(0)
            self._core.forget_event(event)

    def _is_settled(self, event: str) -> bool:
        markets = self._core.events[event].markets
        return all(self._core.markets[terms.ticker].status is MarketStatus.FINALIZED for terms in markets)

    def _determine(self, listing: Listing) -> None:
        for terms in listing.terms.markets:
            underlying = listing.underlyings[terms.ticker]
            underlying.walk(underlying.close_ms, self._random)
            value = underlying.published()
            payout = ONE_DOLLAR if settles_yes(terms, value) else Price(0)
            self._core.determine(terms.ticker, payout, str(value))
        self.events_settled += 1

    def _replace_events(self, now_ms: int) -> None:
        missing = self.config.events - sum(not live.closed for live in self._live.values())
        for _ in range(missing):
            lead = self._random.randint(*self.config.open_lead_ms)
            self._list(now_ms + lead, self._random.randint(*self.config.event_life_ms))

    # Quotes and flow

    def _open_quotes(self) -> None:
        for live in self._trading():
            if not live.quoted:
                live.quoted = True
                for terms in live.listing.terms.markets:
                    self._quotes.open(terms.ticker)
                self._budget -= self._requote(live)

    def _trading(self) -> list[_Live]:
        now_ms = self._core.now_ms
        return [
            live for live in self._live.values() if not live.closed and live.listing.terms.markets[0].open_ms <= now_ms
        ]

    def _requote(self, live: _Live) -> int:
        """Requote every market of an event in one exchange millisecond: half an event would be incoherent."""
        changes = 0
        for terms in live.listing.terms.markets:
            underlying = live.listing.underlyings[terms.ticker]
            underlying.walk(self._core.now_ms, self._random)
            changes += self._quotes.requote(terms, underlying.probability(terms))
        return changes

    def _flow(self, now_ms: int) -> None:
        rate = self.config.deltas_per_second
        self._budget = min(self._budget + rate * (now_ms - self._stepped_ms) / 1_000, float(rate))
        trading = self._trading()
        while self._budget > 0 and trading:
            live = self._random.choice(trading)
            if self._random.random() < 0.05 and not self.mispricings.is_live(live.ticker):
                self._budget -= max(1, self._requote(live))
            else:
                terms = self._random.choice(live.listing.terms.markets)
                self._budget -= max(1, self._quotes.jitter(terms.ticker))

    # Mispricings

    def _inject(self, now_ms: int) -> None:
        if now_ms < self._next_mispricing_ms:
            return
        mean = self.config.mispricing_every_ms
        self._next_mispricing_ms = now_ms + self._random.randint(mean // 2, mean + mean // 2)
        life = self._random.randint(*self.config.mispricing_life_ms)
        free = [
            live
            for live in self._trading()
            if not self.mispricings.is_live(live.ticker) and live.close_ms > now_ms + life
        ]
        self._random.shuffle(free)
        for live in free:
            self._requote(live)
            injected = self.mispricings.inject(
                live.listing, self._kind(live.listing.shape), edge=self._random.randint(*self.config.mispricing_edge),
                contracts=self._random.randint(*self.config.mispricing_contracts), until_ms=now_ms + life,
                fades=self._random.random() < self.config.fade_share,
            )  # fmt: skip
            if injected:
                return
            self._requote(live)

    def _kind(self, shape: Shape) -> MispricingKind:
        if shape is not Shape.PARTITION:
            return MispricingKind.LADDER
        under = self._random.random() < self.config.asks_share
        return MispricingKind.ASKS_UNDER_ONE if under else MispricingKind.BIDS_OVER_ONE

    def _end_mispricing(self, event: str) -> None:
        self.mispricings.end(event)
        live = self._live[event]
        # After a long pause the event may have closed in the same step.
        if live.close_ms > self._core.now_ms:
            self._requote(live)

    def _on_trade(self, trade: Traded) -> None:
        if trade.taker_account_id != CROWD:
            self.mispricings.on_hit(trade.maker_order_id)
