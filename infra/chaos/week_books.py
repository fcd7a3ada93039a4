"""What became of a week's money: every basket explained part by part, and all parts together against the account."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infra.chaos.week_plan import Lot, Misfortune
from infra.chaos.wiring import Stage
from infra.chaos.worlds import START_MS
from infra.exchange.living import MEMBER
from kalshi_arb.domain.basket import Basket, BasketState, Purpose
from kalshi_arb.domain.errors import ExplanationError
from kalshi_arb.domain.journal import opened, verify
from kalshi_arb.domain.money import Cash, cash_to_wire, dollars
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_change
from kalshi_arb.domain.positions import replay
from kalshi_arb.execution.explain import Explanation, Part, explain, own_fills
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.journal_view import names_of
from kalshi_arb.ports import AlertKind
from kalshi_arb.reports.figures import report
from kalshi_arb.reports.period import Period, day_of
from kalshi_arb.reports.text import report_text


@dataclass(frozen=True, slots=True)
class Line:
    """One basket that bought something, with how its markets ended and what happened while it was bought."""

    row: Basket
    lot: Lot
    misfortune: Misfortune
    explained: Explanation


@dataclass(frozen=True, slots=True)
class WeekBooks:
    """Everything at the end. ``change`` is what the exchange's account gained (1e-6 dollars), ``results`` counts what
    markets were said to pay, by status; ``problems`` says in words what does not add up."""

    lines: tuple[Line, ...]
    refused: Counter[str]
    change: Cash
    fees: Cash
    shared_markets: int
    results: Counter[str]
    comparisons: int
    fleeting: int
    quiet_moments: int
    entries: int
    anchors: int
    alerts: Counter[str]
    report: str
    problems: tuple[str, ...]

    @property
    def expected(self) -> Cash:
        """Of all baskets together."""
        return Cash(sum(line.explained.expected for line in self.lines))

    @property
    def locked(self) -> Cash:
        """Of all baskets together."""
        return Cash(sum(line.explained.locked for line in self.lines))

    @property
    def realised(self) -> Cash:
        """Of all baskets together."""
        return Cash(sum(line.explained.realised for line in self.lines))

    def part(self, part: Part) -> Cash:
        """Of all baskets together."""
        return Cash(sum(line.explained.total(part) for line in self.lines))


def books_of(
    stage: Stage,
    *,
    lots: Mapping[str, Lot],
    misfortunes: Mapping[str, Misfortune],
    comparisons: int,
    fleeting: int,
    quiet_moments: int,
) -> WeekBooks:
    """What became of the baskets on a stage where every market was paid."""
    entries = stage.ledger.all()
    account = stage.world.core.accounts[MEMBER]
    change = Cash(sum(account.cash.values()) - stage.world.opening)
    rows = stage.rows()
    problems: list[str] = []
    lines = []
    for row in rows:
        if not any(order.filled for order in row.orders):
            continue
        if row.state not in (BasketState.SETTLED, BasketState.FLAT):
            problems.append(f"{row.basket_id} ended as {row.state.value}")
        try:
            told = explain(row, own_fills(row.basket_id, entries))
        except ExplanationError as error:
            problems.append(str(error))
            continue
        lot = lots[row.group_id]
        problems += _out_of_bounds(row, told, lot)
        lines.append(Line(row, lot, misfortunes.get(row.group_id, Misfortune.NONE), told))
    results = Counter(entry.note for entry in entries if entry.kind is EntryKind.RESULT)
    period = Period(day_of(START_MS), day_of(stage.clock.now_ms()))
    now = stage.clock.now_ms()
    reported = report(entries, rows, names_of(rows), period, mode="simulated", now_ms=now)
    found = WeekBooks(
        tuple(lines),
        Counter(row.reason for row in rows if row.state is BasketState.REFUSED),
        change,
        account.fees_paid,
        _shared(entries),
        results,
        comparisons,
        fleeting,
        quiet_moments,
        len(entries),
        sum(entry.kind is EntryKind.ANCHOR for entry in entries),
        Counter(alert.kind.value for alert in stage.notifier.published),
        report_text(reported),
        (),
    )
    problems += _sums(stage, found, entries)
    if reported.cash.change != change:
        problems.append(f"the report says that cash changed by {dollars(reported.cash.change)}")
    return replace(found, problems=tuple(problems))


def _out_of_bounds(row: Basket, told: Explanation, lot: Lot) -> Iterator[str]:
    """A result below the worst state is possible for a void, which is no state of the group; a scalar payment is
    rounded down to the account's balance grid, market by market."""
    lost = row.certificate.precision * len(row.legs) if lot is Lot.SCALAR else 0
    if told.realised + lost < told.locked and lot is not Lot.VOID:
        yield f"{row.basket_id} made {dollars(told.realised)}, its worst state was {dollars(told.locked)}"
    if told.loss > told.bound:
        yield f"{row.basket_id} can lose {dollars(told.loss)}, its bound was {dollars(told.bound)}"


def _sums(stage: Stage, found: WeekBooks, entries: Sequence[LedgerEntry]) -> Iterator[str]:
    parts = sum(found.part(part) for part in Part)
    if found.expected + parts != found.realised:
        yield f"the parts add up to {dollars(Cash(found.expected + parts))}, the results to {dollars(found.realised)}"
    if found.realised != found.change:
        yield f"the account gained {dollars(found.change)}, its baskets {dollars(found.realised)}"
    if cash_change(entries) != found.change:
        yield f"the journal says that the account gained {dollars(cash_change(entries))}"
    books = replay(entries)
    if sum(one.fees for one in books.virtual.values()) != found.fees:
        yield f"the account paid {dollars(found.fees)} of fees, the journal says otherwise"
    rows, heads = stage.ledger.rows()
    yield from map(str, verify(rows, heads))
    again = MemoryLedgerStore(ManualClock(0))
    again.append([opened(row.text).entry for row in rows])
    if replay(again.all()) != books:
        yield "the journal replayed gives another state"
    if stage.reservations.used():
        yield f"reservations are left: {stage.reservations.used()}"
    if found.alerts[AlertKind.ERROR.value]:
        yield f"{found.alerts[AlertKind.ERROR.value]} alerts tell of an error"


def _shared(entries: Sequence[LedgerEntry]) -> int:
    """Markets in which baskets held both outcomes."""
    sides: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        if entry.kind is EntryKind.FILL and entry.outcome is not None:
            sides.setdefault(entry.ticker, set()).add((entry.basket_id, entry.outcome.value))
    return sum(
        len({outcome for _, outcome in own}) > 1 and len({basket for basket, _ in own}) > 1 for own in sides.values()
    )


def summary(found: WeekBooks) -> dict[str, object]:
    """All of it as JSON, amounts as decimal strings of dollars."""
    return {
        "baskets": len(found.lines),
        "refused": dict(found.refused.most_common()),
        "expected": cash_to_wire(found.expected),
        "locked": cash_to_wire(found.locked),
        "settled": cash_to_wire(found.realised),
        "parts": {part.value: cash_to_wire(found.part(part)) for part in Part},
        "change_of_cash": cash_to_wire(found.change),
        "fees": cash_to_wire(found.fees),
        "ends": _ends(found),
        "results": dict(sorted(found.results.items())),
        "comparisons": found.comparisons,
        "seen_once": found.fleeting,
        "quiet_moments": found.quiet_moments,
        "journal_entries": found.entries,
        "anchors": found.anchors,
        "problems": list(found.problems),
        "lines": [
            {
                "basket": line.row.basket_id,
                "event": line.row.event_ticker,
                "end": line.row.state.value,
                "reason": line.row.reason,
                "markets": line.lot.value,
                "misfortune": line.misfortune.value,
                "expected": cash_to_wire(line.explained.expected),
                "locked": cash_to_wire(line.explained.locked),
                "settled": cash_to_wire(line.explained.realised),
                "parts": {
                    item.part.value: cash_to_wire(line.explained.total(item.part)) for item in line.explained.items
                },
            }
            for line in found.lines
        ],
    }


def text_of(found: WeekBooks) -> str:
    """What a person reads: the report of the whole time, and what was proved of it."""
    parts = ", ".join(f"{part.value} {dollars(found.part(part))}" for part in Part)
    refused = ", ".join(f"{times} {reason}" for reason, times in found.refused.most_common()) or "none"
    ends = ", ".join(f"{times} {how}" for how, times in _ends(found).items())
    results = ", ".join(f"{times} {status}" for status, times in sorted(found.results.items()))
    return f"""{found.report}

{len(found.lines)} baskets: {ends}
{found.shared_markets} markets in which two baskets held opposite outcomes; refused: {refused}
results that markets were said to have: {results}
expected {dollars(found.expected)}, {dollars(found.locked)} in the worst state of what was bought
{parts}: settled {dollars(found.realised)}
the exchange's account gained {dollars(found.change)}: the parts leave {dollars(Cash(found.change - found.realised))}
{found.comparisons} comparisons with the exchange, of which {found.fleeting} saw a payment half-way
{found.quiet_moments} looks at the account itself: cash by shard and positions against the journal, to 1e-6 dollars
{found.entries} journal entries, {found.anchors} daily anchors
{_verdict(found)}
"""


def _verdict(found: WeekBooks) -> str:
    if found.problems:
        return f"{len(found.problems)} THINGS ARE WRONG"
    return "every result is explained, the parts are the change of cash, the journal is whole and replays to the same"


def _ends(found: WeekBooks) -> dict[str, int]:
    """How baskets ended, beside how their markets did."""
    rows = Counter(
        line.row.state.value if line.row.state is BasketState.FLAT else line.lot.value for line in found.lines
    )
    unwound = sum(any(o.purpose is Purpose.UNWIND and o.filled for o in line.row.orders) for line in found.lines)
    return {**dict(rows.most_common()), "with something unwound": unwound}
