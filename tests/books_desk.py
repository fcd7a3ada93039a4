"""Random histories of a member of the exchange's own core, with the journal that our books keep of it."""

from collections.abc import Callable

from hypothesis import strategies as st

from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER
from infra.exchange.terms import GridName, NewOrder, TimeInForce
from infra.exchange.testkit import MAKER, TICKERS, collateral_of, still_core, still_event
from kalshi_arb.domain.collateral import returned_by_shard
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.journal import opened, verify
from kalshi_arb.domain.market import RESULT_STATUSES, MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_change,
    cash_entry,
    fill_entry,
    net_positions,
    result_entry,
)
from kalshi_arb.domain.positions import Books, replay, settled_profits, shared_pairs
from kalshi_arb.execution.settle import exact_payment, unlisted_payments
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.ports import MarketState

BASKETS = ("b1", "b2", "b3")


class Desk:
    """A member that trades for several baskets, and keeps its books from what the exchange lists of it."""

    def __init__(self, precision: Precision, multiplier: int, *, netting: bool = False) -> None:
        self.core: ExchangeCore = still_core(
            dollars=100_000, multiplier=multiplier, precision=precision,
            event=lambda: still_event(
                grid=GridName.DECI_CENT, close_ms=1_795_000_000_000 + 10**9, exclusive=netting
            ),
        )  # fmt: skip
        self.core.set_netting(MEMBER, enabled=netting)
        self.account = self.core.accounts[MEMBER]
        self.precision = precision
        self.clock = ManualClock(self.core.now_ms)
        self.ledger = MemoryLedgerStore(self.clock)
        self.ledger.append(
            [
                cash_entry(EntryKind.OPENING, f"opening-cash-{shard}", shard, cash, self.core.now_ms, "")
                for shard, cash in self.account.initial_cash.items()
            ]
        )
        self.owners: dict[str, str] = {}

    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds * 1_000)
        self.core.advance(self.clock.now_ms())
        self.book()

    def trade(self, basket: str, ticker: str, outcome: Outcome, levels: list[tuple[int, int]]) -> None:
        """Take resting orders at these prices (in thousandths of a dollar) and counts."""
        if self.core.markets[ticker].status is not MarketStatus.ACTIVE:
            return
        for mills, count in levels:
            offer = NewOrder(
                ticker, outcome.other, Price(ONE_DOLLAR - mills * 10), Count(count), TimeInForce.GOOD_TILL_CANCELED
            )
            self.core.place(MAKER, offer)
        total, highest = sum(count for _, count in levels), max(mills for mills, _ in levels)
        order = NewOrder(ticker, outcome, Price(highest * 10), Count(total), TimeInForce.IMMEDIATE_OR_CANCEL)
        self.owners[self.core.place(MEMBER, order).order_id] = basket
        self.book()

    def book(self) -> None:
        """As the books are kept: fills under their basket, results as they change, payments cut to cents."""
        self.ledger.append([
            fill_entry(
                Fill(
                    fill.trade_id, fill.order_id, fill.ticker, fill.outcome, fill.count, fill.price, fill.fee, fill.ms,
                    fill.shard,
                ),
                self.owners[fill.order_id],
            )
            for fill in self.account.fills
        ])  # fmt: skip
        positions = net_positions(self.ledger.all())
        for ticker, market in self.core.markets.items():
            if market.status in RESULT_STATUSES and market.payout is not None:
                number = sum(entry.ticker == ticker and entry.kind is EntryKind.RESULT for entry in self.ledger.all())
                self.ledger.append(
                    [result_entry(ticker, number, market.status.value, market.payout, self.clock.now_ms())]
                )
        for view in self.account.settlements:
            listed = Settlement(
                view.ticker, Price(view.yes_payout // 100 * 100), Cash(view.revenue // 10_000 * 10_000), view.ms,
                view.shard,
            )  # fmt: skip
            state = MarketState(view.ticker, view.event_ticker, MarketStatus.FINALIZED, view.yes_payout, 0)
            self.ledger.append([exact_payment(listed, state, positions.get(view.ticker, Count(0)), self.precision)])
        states = {
            ticker: MarketState(ticker, market.event.ticker, market.status, market.payout, 0)
            for ticker, market in self.core.markets.items()
            if market.status is MarketStatus.FINALIZED
        }
        self.ledger.append(unlisted_payments(self.ledger.all(), states, self.clock.now_ms()))

    def cash(self, entries: list[LedgerEntry]) -> dict[int, Cash]:
        """What our books say is at the exchange: the journal's cash, and what has come back before its time."""
        back = returned_by_shard(entries, collateral_of(self.core))
        return {shard: Cash(cash + back.get(shard, 0)) for shard, cash in cash_by_shard(entries).items()}

    def check(self) -> None:
        """Everything the exchange says of the account, to 1e-6 dollars."""
        entries = self.ledger.all()
        books = replay(entries)
        assert self.cash(entries) == self.account.cash
        assert net_positions(entries) == {t: row.count for t, row in self.account.positions.items() if row.count}
        for ticker, theirs in self.account.positions.items():
            own = books.net[ticker]
            assert (own.count, own.cost, own.realised, own.fees, own.traded) == (
                theirs.count, theirs.cost, theirs.realized, theirs.fees, theirs.traded
            )  # fmt: skip
        assert sum(row.fees for row in books.net.values()) == self.account.fees_paid
        self.check_baskets(entries, books)

    def check_baskets(self, entries: list[LedgerEntry], books: Books) -> None:
        """What baskets hold and earned adds up to the account's, and every step of it is there."""
        for ticker in TICKERS:
            virtual = [held for (_, of), held in books.virtual.items() if of == ticker]
            assert sum(held.count for held in virtual) == (books.net[ticker].count if ticker in books.net else 0)
            assert sum(held.fees for held in virtual) == (books.net[ticker].fees if ticker in books.net else 0)
        held = sum(row.profit - row.cost for row in books.virtual.values())
        assert held + sum(shared_pairs(books).values()) == cash_change(entries)
        assert sum(gain.realised - gain.fee for gain in books.gains) == sum(
            row.profit for row in books.virtual.values()
        )

    def check_end(self) -> None:
        """Everything is paid: the parts are the change of cash; the journal is whole and replays to the same."""
        entries = self.ledger.all()
        traded = {basket for basket, _ in replay(entries).virtual}
        profits = settled_profits(entries)
        assert profits.keys() == traded
        assert sum(profits.values()) == cash_change(entries)
        assert sum(profits.values()) == sum(self.account.cash.values()) - sum(self.account.initial_cash.values())
        rows, heads = self.ledger.rows()
        assert verify(rows, heads) == []
        again = MemoryLedgerStore(ManualClock(0))
        again.append([opened(row.text).entry for row in rows])
        assert replay(again.all()) == replay(entries)


PAYOUTS = st.one_of(st.sampled_from([0, 10_000]), st.integers(0, 10_000)).map(Price)
_LEVELS = st.lists(
    st.tuples(st.integers(1, 999), st.integers(1, 1_500)), min_size=1, max_size=3, unique_by=lambda level: level[0]
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("trade"), st.sampled_from(BASKETS), st.sampled_from(TICKERS), st.sampled_from(Outcome), _LEVELS
        ),
        st.tuples(st.just("determine"), st.sampled_from(TICKERS), PAYOUTS),
        st.tuples(st.just("dispute"), st.sampled_from(TICKERS)),
        st.tuples(st.just("amend"), st.sampled_from(TICKERS), PAYOUTS),
    ),
    max_size=14,
)  # fmt: skip


def play(desk: Desk, actions: list[tuple[object, ...]], last: list[Price], each: Callable[[], None]) -> None:
    """Carry out these actions a second apart, and give every market a result in the end; ``each`` is called after
    every action that the exchange took. What is determined pays some seconds after."""
    for what, *rest in actions:
        desk.wait(1)
        try:
            match what:
                case "trade":
                    desk.trade(*rest)  # type: ignore[arg-type]  # a step carries the arguments of its kind
                case "determine":
                    desk.core.determine(*rest, value="1")  # type: ignore[arg-type]  # a step carries the arguments of its kind
                case "dispute":
                    desk.core.dispute(*rest)  # type: ignore[arg-type]  # a step carries the arguments of its kind
                case _:
                    desk.core.amend_result(*rest, value="1")  # type: ignore[arg-type]  # a step carries the arguments of its kind
        except KalshiArbError:
            # A market that is not there yet, or no more: the exchange refuses, and nothing happened.
            continue
        desk.book()
        each()
    for ticker, payout in zip(TICKERS, last, strict=True):
        status = desk.core.markets[ticker].status
        if status is MarketStatus.DISPUTED:
            desk.core.amend_result(ticker, payout, "1")
        elif status not in RESULT_STATUSES:
            desk.core.determine(ticker, payout, "1")
    desk.book()
