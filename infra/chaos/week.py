"""A week of baskets in virtual time: found, bought, held, disputed, paid, settled, and compared with the exchange.

``python -m infra.chaos.week`` carries one out and says what became of the money (:mod:`infra.chaos.week_books`).

Everything is the deployed code on the exchange's own core; only stores, clock and network stand in. New groups are
listed through the week, a basket is bought of each, some meet a misfortune, and their markets end in every way that
markets end. At the end each basket's result must be explained part by part, all parts together must be the change of
the account's cash to 1e-6 dollars, and no comparison with the exchange may ever have found a difference.
"""

import argparse
import heapq
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from infra.chaos.machine import TaskError
from infra.chaos.plan import CALM
from infra.chaos.run import Delivery, Run, Schedule, limits_of_time
from infra.chaos.schedules import LIMITS, UNBROKEN
from infra.chaos.week_books import WeekBooks, books_of, summary, text_of
from infra.chaos.week_plan import DAY_MS, HOUR_MS, Lot, Markets, Misfortune, WeekPlan, faults_of, lots, payouts
from infra.chaos.wiring import ROOT, Stage
from infra.chaos.worlds import START_MS, Shape, WorldPlan
from infra.exchange.faults import FaultScript
from infra.exchange.living import MEMBER
from infra.exchange.testkit import collateral_of
from kalshi_arb.domain.basket import LIVE_STATES, BasketState
from kalshi_arb.domain.collateral import returned_by_shard
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Price
from kalshi_arb.domain.portfolio import EntryKind, cash_by_shard, net_positions
from kalshi_arb.execution.audit import ACCOUNT

_MINUTE_MS = 60_000
_CHANGED_FEES = (FeeSchedule(FeeType.QUADRATIC, 14_000), FeeSchedule(FeeType.QUADRATIC, 2_500))
_BEFORE_PAYMENT_MS = 20_000
_SHAPES = (Shape.PARTITION, Shape.PARTITION, Shape.EXCLUSIVE, Shape.LADDER, Shape.MIRROR, Shape.WIDE)
_MISFORTUNES = (*(Misfortune.NONE,) * 6, Misfortune.GONE, Misfortune.PART, Misfortune.PART, Misfortune.CLOSED)
_BETWEEN_RESULTS = (MarketStatus.DETERMINED, MarketStatus.AMENDED)
HELD_STATES = (BasketState.LOCK, BasketState.HELD)


class Week(Run):
    """Carries out one plan. ``lots`` and ``misfortunes`` are what was dealt out, by group; ``most_returned`` is the
    most collateral that had come back at a quiet moment (1e-6 dollars)."""

    def __init__(self, plan: WeekPlan) -> None:
        world = WorldPlan(plan.seed, (), cash=plan.cash, precision=plan.precision, netting=plan.netting)
        limits = {**LIMITS, **UNBROKEN}
        super().__init__(Schedule(f"week-{plan.seed}", world, (), CALM, lambda *_: [], limits))
        self.plan = plan
        self.lots: dict[str, Lot] = {}
        self.misfortunes: dict[str, Misfortune] = {}
        self.comparisons = 0
        self.fleeting = 0
        self.quiet_moments = 0
        self.most_returned = 0
        self._next_lot = lots(self._chance)
        self._numbers = count()
        self._diary: list[tuple[int, int, Callable[[], None]]] = []
        self._unpaid: set[str] = set()
        self._last_checked: object = None
        self._suspicion: object = None
        self._ladders = 0
        self._gone: set[str] = set()

    @property
    def stage(self) -> Stage:
        """The exchange and our stores."""
        return self._stage

    def live(self) -> list[str]:
        """Let it pass; returns what was wrong on the way."""
        self._at(HOUR_MS, self._trade)
        self._at(self.plan.days * DAY_MS // 2, self._change_fees)
        with self._stage.open():
            self._scheduler.start("diary", self._follow_diary)
            self._scheduler.start("sweeper", self._sweep_while_live, _MINUTE_MS)
            self._scheduler.start("settlement", self._settle_on_schedule, _MINUTE_MS)
            self._scheduler.run()
        return self._problems

    @property
    def traded(self) -> int:
        """Baskets that have bought something."""
        return sum(any(order.filled for order in row.orders) for row in self._stage.rows())

    def books(self) -> WeekBooks:
        """What became of every basket and of the cash."""
        return books_of(
            self._stage, lots=self.lots, misfortunes=self.misfortunes, comparisons=self.comparisons,
            fleeting=self.fleeting, quiet_moments=self.quiet_moments,
        )  # fmt: skip

    # What happens when

    def _at(self, after_ms: int, work: Callable[[], None]) -> None:
        """Have something done ``after_ms`` from now."""
        heapq.heappush(self._diary, (self._scheduler.now_ms() + after_ms, next(self._numbers), work))

    def _follow_diary(self) -> None:
        self._busy += 1
        while self._diary:
            at_ms, _, work = heapq.heappop(self._diary)
            self._scheduler.wait(max(0, at_ms - self._scheduler.now_ms()))
            self._stage.server.tick()
            work()
        self._busy -= 1

    @property
    def _is_over(self) -> bool:
        return not (self._busy or self._unpaid or self._held())

    def _held(self) -> bool:
        return any(row.state in (*LIVE_STATES, *HELD_STATES) for row in self._stage.rows())

    # Baskets

    def _trade(self) -> None:
        """List something and let it be found; again after a while, until there are as many baskets as wanted."""
        self._forget_paid()
        if self._chance.random() < 0.15:
            self._trade_ladder()
        else:
            self._trade_one()
        left_ms = START_MS + self.plan.days * DAY_MS - self._scheduler.now_ms()
        missing = self.plan.baskets - self.traded
        if missing > 0 and left_ms > 0:
            self._at(max(10 * _MINUTE_MS, left_ms // (missing + 10)), self._trade)

    def _trade_one(self) -> None:
        first = len(self._world.sites)
        site = self._world.list_site(self._chance.choice(_SHAPES))
        misfortune = self._chance.choice(_MISFORTUNES)
        self.misfortunes[site.group.group_id] = misfortune
        faults = faults_of(misfortune, site)
        board = self._stage.server.faults
        board.clear()
        if faults:
            board.add(FaultScript(faults, self._chance.randrange(2**31)))
        self._find(first)
        self._deal(Markets.of_site(site), [site.group.group_id])

    def _trade_ladder(self) -> None:
        """Several baskets at once on shared markets, where one's YES meets another's NO."""
        first = len(self._world.sites)
        self._ladders += 1
        sites = self._world.list_ladder(f"KXW{self._ladders}", 3)
        self._stage.server.faults.clear()
        for number in range(first, first + len(sites)):
            self._find(number)
        self._deal(Markets.of_ladder(sites), [site.group.group_id for site in sites])

    def _find(self, site: int) -> None:
        """The feed sees the books of a group."""
        self._hold_groups()
        number = next(self._numbers)
        self._begin(f"candidate {number}", partial(self._make, number, Delivery(site, 0, (5,))), 1)

    def _hold_groups(self) -> None:
        self._stage.groups.hold([group for group in self._world.groups if group.group_id not in self._gone])

    def _forget_paid(self) -> None:
        """As discovery does with groups whose markets are gone."""
        markets = self._world.core.markets
        self._gone |= {
            group.group_id
            for group in self._world.groups
            if all(markets[ticker].status is MarketStatus.FINALIZED for ticker in group.tickers)
        }

    def _change_fees(self) -> None:
        """Series change what they charge. What was found before is refused after it, and found again."""
        for schedule in _CHANGED_FEES:
            number = len(self._world.sites)
            site = self._world.list_site(Shape.PARTITION)
            self.misfortunes[site.group.group_id] = Misfortune.NONE
            self._stage.server.faults.clear()
            for series in sorted({market.series_ticker for market in site.group.markets}):
                self._world.core.change_fees(series, schedule, self._scheduler.now_ms() + _MINUTE_MS)
            self._hold_groups()
            self._at(2 * _MINUTE_MS, partial(self._find, number))
            self._at(10 * _MINUTE_MS, partial(self._find_again, number, schedule))
            self._deal(Markets.of_site(site), [site.group.group_id])

    def _find_again(self, number: int, schedule: FeeSchedule) -> None:
        site = self._world.sites[number]
        group = site.group
        markets = tuple(replace(market, fees=schedule) for market in group.markets)
        changed = replace(group, markets=markets, fingerprint=f"{group.fingerprint}-fees")
        self._world.sites[number] = replace(site, group=changed)
        self._find(number)

    # How markets end

    def _deal(self, markets: Markets, group_ids: list[str]) -> None:
        """Decide how these markets end, and note when."""
        lot = next(self._next_lot)
        self.lots |= dict.fromkeys(group_ids, lot)
        self._unpaid.update(markets.tickers)
        closes_ms = self._chance.randrange(1, 4) * HOUR_MS if lot is Lot.EARLY else 12 * HOUR_MS
        if lot is Lot.EARLY:
            self._at(closes_ms, partial(self._close, markets))
        paid, other = (payouts(lot, markets, self._chance) for _ in range(2))
        for ticker in markets.tickers:
            # Markets of one event get their results one after the other.
            result_ms = closes_ms + self._chance.randrange(1, 8) * _MINUTE_MS
            self._at(result_ms, partial(self._determine, ticker, lot, int(paid[ticker]), int(other[ticker])))

    def _close(self, markets: Markets) -> None:
        for ticker in markets.tickers:
            if self._world.core.markets[ticker].status in (MarketStatus.ACTIVE, MarketStatus.INACTIVE):
                self._world.core.close_market(ticker)

    def _determine(self, ticker: str, lot: Lot, first: int, second: int) -> None:
        core = self._world.core
        core.determine(ticker, Price(first), "")
        later_ms = self._chance.randrange(30, 300) * _MINUTE_MS
        match lot:
            case Lot.DISPUTED | Lot.REVERSED:
                final = first if lot is Lot.DISPUTED else second
                self._at(_BEFORE_PAYMENT_MS, partial(core.dispute, ticker))
                self._at(later_ms, partial(core.amend_result, ticker, Price(final), ""))
            case Lot.AMENDED:
                self._at(_BEFORE_PAYMENT_MS, partial(core.amend_result, ticker, Price(second), ""))

    # The schedules

    def _sweep_while_live(self) -> None:
        while not self._is_over:
            if self._stage.baskets.in_states(LIVE_STATES, 1_000):
                self._sweep_once()
            self._scheduler.wait(_MINUTE_MS)

    def _settle_on_schedule(self) -> None:
        core, last_ms = self._world.core, START_MS + (self.plan.days + 3) * DAY_MS
        for minute in count():
            self._stage.server.tick()
            waits = any(core.markets[ticker].status in _BETWEEN_RESULTS for ticker in self._unpaid)
            if waits or minute % self.plan.settle_minutes == 0:
                self._settle_once()
            self._unpaid -= {ticker for ticker in self._unpaid if core.markets[ticker].status is MarketStatus.FINALIZED}
            if self._is_over:
                self._settle_once()
                return
            if self._scheduler.now_ms() > last_ms:
                held = [row.basket_id for row in self._stage.rows() if row.state in (*LIVE_STATES, *HELD_STATES)]
                self._problems.append(f"it does not end: {len(self._unpaid)} markets unpaid, baskets {held}")
                return
            self._scheduler.wait(_MINUTE_MS)

    def _settle_once(self) -> None:
        event = json.loads((ROOT / "events" / "schedule_settlement.json").read_text(encoding="utf-8"))
        try:
            self._invoke("settlement", event, limits_of_time()["settlement"])
        except TaskError as error:
            self._problems.append(f"settlement failed: {error}")
        told = self._stage.status.get(ACCOUNT) or {}
        if told.get("checked_ms") != self._last_checked:
            self._last_checked = told.get("checked_ms")
            self.comparisons += 1
            if told.get("matches") is not True:
                # A payment between two reads of one comparison looks like a difference once, and only once.
                self.fleeting += 1
                if told.get("suspicion") == self._suspicion:
                    self._problems.append(f"a comparison found twice: {told.get('suspicion')}")
            self._suspicion = told.get("suspicion")
        self._compare()

    def _compare(self) -> None:
        """The account itself against the journal, whenever all that it was paid is booked."""
        account, entries = self._world.core.accounts[MEMBER], self._stage.ledger.all()
        booked = {entry.ticker for entry in entries if entry.kind is EntryKind.SETTLEMENT}
        if (
            self._stage.baskets.in_states(LIVE_STATES, 1)
            or not entries
            or {paid.ticker for paid in account.settlements} - booked
        ):
            return
        self.quiet_moments += 1
        back = returned_by_shard(entries, collateral_of(self._world.core))
        self.most_returned = max(self.most_returned, sum(back.values()))
        cash = {shard: amount + back.get(shard, 0) for shard, amount in cash_by_shard(entries).items()}
        positions = {ticker: own.count for ticker, own in account.positions.items() if own.count}
        if dict(account.cash) != cash or positions != net_positions(entries):
            self._problems.append(f"the account has {account.cash}, {positions}; the journal says otherwise")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a week and print what became of it; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="week", description=__doc__)
    plan = WeekPlan()
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--days", type=int, default=plan.days, choices=range(1, 15), metavar="1-14")
    parser.add_argument("--baskets", type=int, default=plan.baskets, help="that have bought something")
    parser.add_argument("--netting", action="store_true", help="the account gets collateral back across markets")
    parser.add_argument("--json", type=Path, help="write every basket with its parts to this file")
    options = parser.parse_args(argv)
    if options.baskets < 1:
        parser.error("a week needs at least one basket")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"there is no folder {options.json.parent} to write to")
    week = Week(WeekPlan(options.seed, options.days, options.baskets, netting=options.netting))
    problems = week.live()
    found = week.books()
    sys.stdout.write(text_of(found))
    if options.json is not None:
        options.json.write_text(json.dumps(summary(found), indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{time.process_time():.0f} s of CPU\n")
    for problem in (*problems, *found.problems):
        sys.stderr.write(f"WRONG: {problem}\n")
    return 1 if problems or found.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
