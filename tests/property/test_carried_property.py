"""The state carried forward says of the present what the whole journal says, whatever was written and whenever."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.carried import decoded, difference, encoded
from kalshi_arb.domain.journal import anchors_due, unsealed
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count, Price, complement, notional
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_entry,
    decision_entry,
    fee_entry,
    fill_entry,
    net_positions,
    position_entries,
    result_entry,
    settlement_entry,
    void_entry,
)
from kalshi_arb.domain.positions import replay, settled_profits, shared_pairs
from kalshi_arb.execution.audit import WINDOW_MS
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.execution.settle import unlisted_payments
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.ports import MarketState
from kalshi_arb.risk.account import daily_loss, locked_cost

EXAMPLES = int(os.environ.get("KALSHI_ARB_BOOKS_EXAMPLES", "80"))
"""The long form: KALSHI_ARB_BOOKS_EXAMPLES=5000."""
BEGIN = 1_790_000_000_000
HOUR = 3_600_000
TICKERS = ("A", "B", "C", "D")


class Books:
    """A journal in the making. A market that has paid is listed again under another name."""

    def __init__(self) -> None:
        self.clock = ManualClock(BEGIN)
        self.ledger = MemoryLedgerStore(self.clock)
        self.running = RunningJournal(self.ledger, self.clock)
        self.rounds = dict.fromkeys(TICKERS, 0)
        self.owners: dict[str, int] = {}
        self.number = 0
        self.ledger.append([self.cash(10**9, EntryKind.OPENING)])

    def next(self) -> int:
        self.number += 1
        return self.number

    def ticker(self, name: str) -> str:
        return f"{name}{self.rounds[name]}"

    def basket(self, owner: str) -> str:
        """The basket that ``owner`` drives now; one that was decided about is followed by another."""
        return f"{owner}{self.owners.get(owner, 0)}" if owner else ""

    def cash(self, amount: int, kind: EntryKind = EntryKind.CASH) -> LedgerEntry:
        return cash_entry(kind, f"cash-{self.next()}", 0, Cash(amount), self.clock.now_ms(), "")

    def fill(self, owner: str, name: str, outcome: Outcome, count: int, price: int, late_ms: int = 0) -> None:
        number = self.next()
        self.ledger.append([fill_entry(
            Fill(f"t{number}", f"o{number}", self.ticker(name), outcome, Count(count), Price(price), Cash(count * 7),
                 self.clock.now_ms() - late_ms, TICKERS.index(name) % 2),
            self.basket(owner),
        )])  # fmt: skip

    def flatten(self, owner: str) -> None:
        """The owner's basket sells everything and ends flat."""
        for (basket, ticker), held in replay(self.ledger.all()).virtual.items():
            if basket == self.basket(owner) and held.count and ticker == self.ticker(ticker[0]):
                self.fill(owner, ticker[0], held.outcome.other, abs(held.count), 4_000)
        self.decide(owner, "end")

    def decide(self, owner: str, what: str) -> None:
        basket = self.basket(owner)
        self.ledger.append([decision_entry(what, basket, "seal", "", self.clock.now_ms())])
        if what != "settled":
            self.owners[owner] = self.owners.get(owner, 0) + 1

    def settle_baskets(self) -> None:
        """As the settler does with what is over."""
        entries = self.ledger.all()
        ended = {row.basket_id for row in entries if row.entry_id.startswith("end-")}
        for basket in sorted(ended & settled_profits(entries).keys()):
            self.ledger.append([decision_entry("settled", basket, "seal", "", self.clock.now_ms())])

    def result(self, name: str, payout: int) -> None:
        number = self.next()
        self.ledger.append([result_entry(self.ticker(name), number, "determined", Price(payout), self.clock.now_ms())])

    def pay(self, name: str, payout: int) -> None:
        """The exchange pays a market out, and says nothing of one where nothing is left net."""
        ticker, entries = self.ticker(name), self.ledger.all()
        position = net_positions(entries).get(ticker, Count(0))
        if position:
            worth = notional(Price(payout) if position > 0 else complement(Price(payout)), Count(abs(position)))
            paid = Settlement(ticker, Price(payout), worth, self.clock.now_ms(), TICKERS.index(name) % 2)
            self.ledger.append([settlement_entry(paid)])
        else:
            state = MarketState(ticker, "E", MarketStatus.FINALIZED, Price(payout), 0)
            self.ledger.append(unlisted_payments(entries, {ticker: state}, self.clock.now_ms()))
        self.rounds[name] += 1
        self.settle_baskets()

    def void(self, place: int) -> None:
        """A person takes back some fill, however old."""
        fills = [row for row in self.ledger.all() if row.kind is EntryKind.FILL]
        if fills:
            self.ledger.append([void_entry(fills[place % len(fills)], self.clock.now_ms(), "")])

    def correct(self, place: int) -> None:
        """The exchange turns out to have charged more for some fill, however old."""
        fills = [row for row in self.ledger.all() if row.kind is EntryKind.FILL]
        if fills:
            entry = fills[place % len(fills)]
            self.ledger.append([fee_entry(entry, entry.fee, Cash(entry.fee + 100), self.clock.now_ms(), "")])

    def move(self, name: str, count: int) -> None:
        """Contracts come or go without a trade."""
        ticker = self.ticker(name)
        ours = net_positions(self.ledger.all()).get(ticker, Count(0))
        rows = position_entries(ticker, ours, Count(count), 0, self.clock.now_ms() + self.next(), "")
        self.ledger.append(rows)

    def anchor(self) -> None:
        rows = [(unsealed(row), row.seal) for row in self.ledger.rows()[0]]
        self.ledger.append(anchors_due(rows, self.clock.now_ms(), HOUR))


def facts(entries: list[LedgerEntry], now_ms: int) -> dict[str, object]:
    """Everything that is decided from the present state of the journal."""
    books = replay(entries)
    open_keys = {key for key, held in books.virtual.items() if held.count}
    baskets = {owner for owner, _ in open_keys if owner}
    return {
        "cash": {shard: cash for shard, cash in cash_by_shard(entries).items() if cash},
        "positions": net_positions(entries),
        "open": {key: books.virtual[key] for key in open_keys},
        "of open baskets": {key: held for key, held in books.virtual.items() if key[0] in baskets},
        "shared": shared_pairs(books),
        "lost today": daily_loss(books, now_ms),
        "locked": locked_cost(books),
        "window": {row for row in entries if row.created_ms >= now_ms - WINDOW_MS and row.kind is not EntryKind.ANCHOR},
    }


def unsettled(entries: list[LedgerEntry]) -> dict[str, Cash]:
    """Profits of baskets that are over and have not been settled."""
    done = {row.basket_id for row in entries if row.entry_id.startswith("settled-")}
    paid = {row.ticker for row in entries if row.kind is EntryKind.SETTLEMENT}
    held = {row.basket_id for row in entries if row.kind is EntryKind.FILL and row.basket_id and row.ticker in paid}
    return {basket: cash for basket, cash in settled_profits(entries).items() if basket in held - done}


OWNERS = st.sampled_from(["p", "q", "r", ""])
BASKETS = st.sampled_from(["p", "q", "r"])
NAMES = st.sampled_from(TICKERS)
PAYOUTS = st.sampled_from([0, 10_000, 3_300])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("fill"), OWNERS, NAMES, st.sampled_from(Outcome), st.sampled_from([100, 300]),
            st.integers(1, 9_999), st.sampled_from([0, 0, 0, 50 * HOUR]),
        ),
        st.tuples(st.just("flatten"), BASKETS),
        st.tuples(st.just("decide"), BASKETS, st.sampled_from(["end", "end", "refused"])),
        st.tuples(st.just("result"), NAMES, PAYOUTS),
        st.tuples(st.just("pay"), NAMES, PAYOUTS),
        st.tuples(st.just("pay"), NAMES, PAYOUTS),
        st.tuples(st.just("move"), NAMES, st.sampled_from([-200, 0, 100])),
        st.tuples(st.just("void"), st.integers(0, 50)),
        st.tuples(st.just("correct"), st.integers(0, 50)),
        st.tuples(st.just("anchor")),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, 26 * 60, 80 * 60])),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, 26 * 60, 80 * 60])),
        st.tuples(st.just("carry")),
        st.tuples(st.just("renew")),
    ),
    min_size=20,
    max_size=60,
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS)
def test_what_is_carried_forward_is_as_good_as_the_whole_journal(steps: list[tuple[object, ...]]) -> None:
    books = Books()
    for what, *rest in steps:
        match what:
            case "wait":
                books.clock.advance(int(str(rest[0])) * 60_000)
            case "carry":
                books.running.carry()
            case "renew":
                books.running.renew()
            case _:
                getattr(books, str(what))(*rest)
        now = books.clock.now_ms()
        whole, running = books.ledger.all(), books.running.entries()
        assert facts(running, now) == facts(whole, now)
        assert unsettled(running) == unsettled(whole)
        text = books.ledger.carried()
        carried = None if text is None else decoded(text)
        assert carried is None or difference(carried, books.ledger.rows()[0]) == ""
        assert carried is None or (
            encoded(carried) == text and set(carried.heads) == {r.chain for r in carried.records}
        )
