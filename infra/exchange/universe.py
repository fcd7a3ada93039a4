"""A seeded little world on the exchange: events are listed, traded, mispriced now and then, closed and settled.

Everything follows from the seed and from the times at which :meth:`Universe.step` is called. All changes of one step
carry one exchange millisecond, and books are coherent (no bundle gains after fees) whenever a step is complete, except
for the mispricings injected on purpose.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

import msgspec

from infra.exchange.catalogue import LISTING_ORDER, SHARDS, TEMPLATES, Listing, Shape, Span
from infra.exchange.contests import FEWEST_LEGS, build_combo, build_contest
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import Traded
from infra.exchange.fair import Occurrence, Product
from infra.exchange.figures import Profile
from infra.exchange.ladders import build_line
from infra.exchange.live_event import LiveEvent, SavedLive, leg_events
from infra.exchange.mispricing import MispricingKind, Mispricings, SavedMispricings, kinds_for
from infra.exchange.quotes import CROWD, Quotes, SavedQuotes
from infra.exchange.tempo import Tempo
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_DOLLAR, Cash

_CROWD_CASH = Cash(10**12 * CASH_PER_DOLLAR)  # more than all books need
_CONTESTS = (Shape.GAME, Shape.FIELD, Shape.DEADLINES)


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
    asks_share: float = 0.25
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


class SavedUniverse(msgspec.Struct, frozen=True):
    """The world in a snapshot, without its source of chance."""

    config: UniverseConfig
    quotes: SavedQuotes
    mispricings: SavedMispricings
    live: list[SavedLive]
    finished: list[tuple[int, str]]
    number: int
    budget: float
    tempo: Tempo
    stepped_ms: int
    next_mispricing_ms: int
    events_listed: int
    events_settled: int


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
        self._live: dict[str, LiveEvent] = {}
        self._finished: list[tuple[int, str]] = []
        self._number = 0
        self._budget = 0.0
        self._tempo = Tempo()
        self._combos: dict[str, list[str]] = {}
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
        for saved_live in saved.live:
            universe._enter(LiveEvent.restore(saved_live, core))
        universe._finished = saved.finished
        universe._number = saved.number
        universe._budget = saved.budget
        universe._tempo = saved.tempo
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
            self._finished, self._number, self._budget, self._tempo, self._stepped_ms, self._next_mispricing_ms,
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
        self._read_terms()
        for event in self.mispricings.due(now_ms):
            self._end_mispricing(event)
        self._finish_events(now_ms)
        self._replace_events(now_ms)
        self._open_quotes()
        self._inject(now_ms)
        self._flow(now_ms)
        self._stepped_ms = now_ms

    def quoted(self) -> Iterator[tuple[str, Profile]]:
        """Every market that is being quoted, and after which kind of market."""
        return self._quotes.quoted()

    def _read_terms(self) -> None:
        """Go by the terms that are listed now: strikes, closing times, grids and fees may have been changed."""
        for live in self._live.values():
            listed = self._core.events[live.ticker]
            if listed is not live.listing.terms:
                live.listing = replace(live.listing, terms=listed)

    # Events

    def _list(self, open_ms: int, life_ms: int) -> None:
        close_ms = open_ms + life_ms
        timer_s = self._random.randint(*self.config.settlement_timer_s)
        listing = self._build(Span(self._core.now_ms, open_ms, close_ms, timer_s))
        delay_ms = self._random.randint(*self.config.determine_delay_ms)
        self._enter(LiveEvent(listing, delay_ms, [terms.ticker for terms in listing.terms.markets]))
        self._core.list_event(listing.terms)
        self.events_listed += 1

    def _build(self, span: Span) -> Listing:
        while True:
            template = LISTING_ORDER[self._number % len(LISTING_ORDER)]
            self._number += 1
            if template.shape is not Shape.COMBO:
                build = build_contest if template.shape in _CONTESTS else build_line
                return build(template, self._number, span, self._random)
            games = [
                live.listing
                for live in self._live.values()
                if live.listing.shape is Shape.GAME and not live.closed and live.close_ms > span.open_ms
            ]
            if len(games) >= FEWEST_LEGS:
                return build_combo(template, self._number, span, games, self._random)

    def _enter(self, live: LiveEvent) -> None:
        self._live[live.ticker] = live
        for event in leg_events(live.listing):
            self._combos.setdefault(event, []).append(live.ticker)

    def _finish_events(self, now_ms: int) -> None:
        for live in list(self._live.values()):
            # Only deadlines are decided early by chance; what is done by hand is noticed at the first close.
            if now_ms < live.first_close_ms and live.listing.shape is not Shape.DEADLINES:
                continue
            for terms in live.listing.terms.markets:
                if terms.close_ms <= now_ms and self._quotes.is_open(terms.ticker):
                    self._quotes.close(terms.ticker)
            if not live.closed and live.close_ms <= now_ms:
                live.closed = True
                if self.mispricings.is_live(live.ticker):
                    self.mispricings.end(live.ticker)
            self._determine(live, now_ms)
            live.closed = live.closed or not any(
                terms.close_ms > now_ms and terms.ticker in live.undetermined for terms in live.listing.terms.markets
            )
            if not live.undetermined:
                self._leave(live, now_ms)

    def _leave(self, live: LiveEvent, now_ms: int) -> None:
        del self._live[live.ticker]
        self._combos.pop(live.ticker, None)
        for event in leg_events(live.listing):
            if event in self._combos:
                self._combos[event].remove(live.ticker)
        self._finished.append((now_ms, live.ticker))
        self.events_settled += 1

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

    def _determine(self, live: LiveEvent, now_ms: int) -> None:
        """Give every market its result whose time has come, or that is decided early."""
        for terms in live.listing.terms.markets:
            hidden = live.listing.hidden[terms.ticker]
            if terms.ticker not in live.undetermined or now_ms < terms.open_ms:
                continue
            if isinstance(hidden, Product) and len(hidden.rulings) < len(terms.legs):
                continue  # not all of its legs are over
            is_early = False
            if isinstance(hidden, Occurrence):
                hidden.walk(now_ms, self._random)
                is_early = hidden.has_happened_before(terms)
            decided = self._core.markets[terms.ticker].payout  # by the exchange's operator
            if decided is None and not is_early and now_ms < terms.close_ms + live.delay_ms:
                continue
            if live.closed:
                hidden.conclude(self._random)
            if self._quotes.is_open(terms.ticker):
                self._quotes.close(terms.ticker)
            live.undetermined.remove(terms.ticker)
            if decided is None:
                ruling = hidden.ruling(terms)
                decided = ruling.payout
                self._core.determine(terms.ticker, decided, ruling.value)
            for product in self._products(live.ticker):
                if terms.ticker in product.values:
                    product.rulings[terms.ticker] = decided
                    product.values[terms.ticker] = decided / ONE_DOLLAR

    def _products(self, event: str) -> list[Product]:
        """The combos that select a market of an event."""
        combos = [self._live[combo].listing for combo in self._combos.get(event, ())]
        return [value for listing in combos for value in listing.hidden.values() if isinstance(value, Product)]

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
                    if self._core.markets[terms.ticker].status is MarketStatus.ACTIVE:
                        self._quotes.open(terms.ticker, live.listing.profile)
                self._requote(live)

    def _trading(self) -> list[LiveEvent]:
        now_ms = self._core.now_ms
        return [live for live in self._live.values() if not live.closed and live.open_ms <= now_ms]

    def _requote(self, live: LiveEvent) -> int:
        """Requote every market of an event and its combos in one exchange millisecond: half would be incoherent."""
        changes = 0
        products = self._products(live.ticker)
        for terms in live.listing.terms.markets:
            if self._quotes.is_open(terms.ticker):
                hidden = live.listing.hidden[terms.ticker]
                hidden.walk(self._core.now_ms, self._random)
                fair = hidden.probability(terms)
                changes += self._quotes.requote(terms, fair)
                for product in products:
                    if terms.ticker in product.values:
                        product.values[terms.ticker] = fair
        for combo in self._combos.get(live.ticker, ()):
            changes += self._requote(self._live[combo])
        return changes

    def _flow(self, now_ms: int) -> None:
        rate = self.config.deltas_per_second
        busy = self._tempo.pass_time(now_ms - self._stepped_ms, self._random)
        self._budget = min(self._budget + busy * rate * (now_ms - self._stepped_ms) / 1_000, float(rate))
        trading = self._trading()
        weights = list(accumulate(live.listing.activity for live in trading))
        while self._budget > 0 and trading:
            live = self._random.choices(trading, cum_weights=weights)[0]
            if self._random.random() < 0.05 and not self.mispricings.is_live(live.ticker):
                self._budget -= max(1, self._requote(live))
            else:
                terms = self._random.choice(live.listing.terms.markets)
                changes = self._quotes.jitter(terms.ticker) if self._quotes.is_open(terms.ticker) else 0
                self._budget -= max(1, changes)

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
            if kinds_for(live.listing.shape)
            and not self.mispricings.is_live(live.ticker)
            and live.close_ms > now_ms + life
            # A market that closed ahead of its time has no quotes to misprice.
            and all(self._quotes.is_open(terms.ticker) for terms in live.listing.terms.markets)
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
        kinds = kinds_for(shape)
        return kinds[-1] if self._random.random() < self.config.asks_share else kinds[0]

    def _end_mispricing(self, event: str) -> None:
        self.mispricings.end(event)
        live = self._live[event]
        # After a long pause the event may have closed in the same step.
        if live.close_ms > self._core.now_ms:
            self._requote(live)

    def _on_trade(self, trade: Traded) -> None:
        if trade.taker_account_id != CROWD:
            self.mispricings.on_hit(trade.maker_order_id)
