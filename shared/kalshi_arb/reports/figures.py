"""The figures of a report, from the journal's entries, the baskets' rows and the names of groups. Pure.

A report is of its period and as of its end, whenever it is made: what was settled later is open in it. Every amount is
the difference of two states of the books, the one at the end less the one at the beginning, so the parts add up to the
change of cash whatever was corrected in between; where they do not there is no report. Cash is in 1e-6 dollars, signed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import DomainError, ExplanationError
from kalshi_arb.domain.money import Cash, Count, dollars
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_by_shard, cash_change, refusal_code
from kalshi_arb.domain.positions import Books, Holding, Line, lines, replay, settled_profits, with_results
from kalshi_arb.execution.explain import Part, explain, own_fills
from kalshi_arb.journal_view import NOBODY, UNKNOWN, Balance, By, Names, Result, balance
from kalshi_arb.reports.lots import TaxRow, tax_rows
from kalshi_arb.reports.period import Period, PeriodError, day_of

CORRECTIONS = "corrections of earlier days"
TRADING = "trading"
"""The end of a basket that had none yet."""


class ReportError(DomainError):
    """Figures that contradict each other: nothing of them is shown."""


@dataclass(frozen=True, slots=True)
class CashParts:
    """Why cash changed. ``realised`` is the gain of closed pairs and settlements before fees, ``fees`` what was charged
    (a cost is negative), ``opened`` the cost of what is held more or less than before, ``freed`` dollars that pairs of
    two baskets freed and that belong to no basket yet, ``moved`` what came or went without a trade.

    :raises ReportError: the parts are not the change.
    """

    change: Cash
    realised: Cash
    fees: Cash
    opened: Cash
    freed: Cash
    moved: Cash

    def __post_init__(self) -> None:
        left = self.change - sum(amount for _, amount in self.parts())
        if left:
            raise ReportError(f"{dollars(Cash(left))} of the change of cash have no cause: nothing is reported")

    def parts(self) -> tuple[tuple[str, Cash], ...]:
        """Every part with its name for a person."""
        return (
            ("realised before fees", self.realised),
            ("fees", self.fees),
            ("put into what is held", self.opened),
            ("freed by pairs of two baskets", self.freed),
            ("moved without a trade", self.moved),
        )

    @property
    def profit(self) -> Cash:
        """Realised after fees."""
        return Cash(self.realised + self.fees)


@dataclass(frozen=True, slots=True)
class BasketLine:
    """One basket as of the period's end. ``end`` is the state that it ended in, settled or still trading.

    ``expected`` plus all ``parts`` is ``settled`` where it is settled or flat, else ``locked``, its worst state.
    ``provisional`` is what it makes if the results of now are paid; results may be disputed and amended until then.
    ``problem`` says why there are no parts.
    """

    basket_id: str
    event: str
    family: str
    end: str
    expected: Cash
    locked: Cash | None
    settled: Cash | None
    provisional: Cash | None
    parts: tuple[tuple[Part, Cash], ...]
    problem: str

    @property
    def result(self) -> Cash | None:
        """What the parts lead to."""
        return self.locked if self.settled is None else self.settled

    @property
    def difference(self) -> Cash | None:
        """The result against what was expected."""
        return None if self.result is None else Cash(self.result - self.expected)

    @property
    def unexplained(self) -> Cash | None:
        """What the parts leave of the difference: always nothing where there are parts."""
        if self.difference is None or self.problem:
            return None
        return Cash(self.difference - sum(amount for _, amount in self.parts))


@dataclass(frozen=True, slots=True)
class EndSum:
    """All baskets of one end. ``result`` adds up what is known of them."""

    end: str
    baskets: int
    expected: Cash
    locked: Cash
    settled: Cash
    parts: tuple[tuple[Part, Cash], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """``cash_before`` and ``cash_after`` are the account's cash at both ends of the period; ``refused`` counts refused
    baskets of the period by the code of their first finding; ``lots`` are what a tax office asks for.
    ``proposals`` are sentences on what had better be sold early, as of ``made_ms``: no part of the figures."""

    period: Period
    mode: str
    made_ms: int
    entries: int
    accepted: int
    cash_before: Cash
    cash_after: Cash
    cash: CashParts
    by_day: tuple[Result, ...]
    by_event: tuple[Result, ...]
    by_family: tuple[Result, ...]
    baskets: tuple[BasketLine, ...]
    ends: tuple[EndSum, ...]
    open: tuple[Line, ...]
    refused: tuple[tuple[str, int], ...]
    lots: tuple[TaxRow, ...]
    proposals: tuple[str, ...]

    @property
    def locked_capital(self) -> Cash:
        """What everything held at the end cost."""
        return Cash(sum(line.open_cost for line in self.open))


def report(
    entries: Sequence[LedgerEntry],
    baskets: Iterable[Basket],
    names: Names,
    period: Period,
    *,
    mode: str,
    now_ms: int,
    proposals: Sequence[str] = (),
) -> Report:
    """The report of a period.

    :param entries: the whole journal, by time
    :param baskets: rows of all baskets of the period; one that is missing is listed without its parts
    :param mode: of the stack, named on everything that is shown
    :param proposals: of now; left out of a period that is over
    :raises PeriodError: the journal begins after the period, or the period after now.
    :raises ReportError: the figures contradict each other.
    """
    _check_known(entries, period, now_ms)
    first, last = (
        [entry for entry in entries if entry.created_ms < moment] for moment in (period.start_ms, period.end_ms)
    )
    before, after = replay(first), replay(last)
    cash = _cash_parts(balance(first, cash_change(first)), balance(last, cash_change(last)), before, after)
    own = [entry for entry in last if entry.created_ms >= period.start_ms]
    rows = list(baskets)
    then = {row.basket_id: _as_of(row, period.end_ms) for row in rows}
    listed = tuple(_basket_lines(last, own, then, names, after))
    cash_after = Cash(sum(cash_by_shard(last).values()))
    made = Report(
        period=period,
        mode=mode,
        made_ms=now_ms,
        entries=len(own),
        accepted=sum(entry.kind is EntryKind.DECISION and entry.entry_id.startswith("accepted-") for entry in own),
        cash_before=Cash(cash_after - cash.change),
        cash_after=cash_after,
        cash=cash,
        by_day=tuple(_by_day(after, period, cash)),
        by_event=tuple(_by(By.EVENT, names, before, after)),
        by_family=tuple(_by(By.FAMILY, names, before, after)),
        baskets=listed,
        ends=tuple(_ends(listed)),
        open=tuple(_open(after, names)),
        refused=tuple(_refused(own)),
        lots=tuple(row for row in tax_rows(last) if row.closed_ms >= period.start_ms),
        proposals=tuple(proposals) if now_ms < period.end_ms else (),
    )
    _check(made)
    return made


def _as_of(row: Basket, end_ms: int) -> Basket:
    """The row without what an early sale did to it later."""
    orders = tuple(order for order in row.orders if order.planned_ms < end_ms)
    return row if orders == row.orders else replace(row, orders=orders, locked_profit=None)


def _check_known(entries: Sequence[LedgerEntry], period: Period, now_ms: int) -> None:
    if not entries:
        raise PeriodError("the journal is empty: there is nothing to report yet")
    begins, today = day_of(min(entry.created_ms for entry in entries)), day_of(now_ms)
    if period.last < begins or period.first > today:
        raise PeriodError(f"nothing is known of {period}: the journal begins on {begins}, and today is {today}")


def _cash_parts(first: Balance, last: Balance, before: Books, after: Books) -> CashParts:
    fees = sum(held.fees for held in after.virtual.values()) - sum(held.fees for held in before.virtual.values())
    return CashParts(
        change=Cash(last.change - first.change),
        realised=Cash(last.profit - first.profit + fees),
        fees=Cash(-fees),
        opened=Cash(first.open_cost - last.open_cost),
        freed=Cash(last.freed - first.freed),
        moved=Cash(last.moved - first.moved),
    )


def _by_day(after: Books, period: Period, cash: CashParts) -> Iterable[Result]:
    """By the day of what was realised. What later entries changed of days before the period is a line of its own."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for gain in after.gains:
        if gain.ms >= period.start_ms:
            day = sums[day_of(gain.ms).isoformat()]
            day[0] += gain.realised
            day[1] += gain.fee
    rest = (
        cash.realised - sum(realised for realised, _ in sums.values()),
        -cash.fees - sum(fees for _, fees in sums.values()),
    )
    for name, (realised, fees) in sorted(sums.items()):
        yield Result(name, Cash(realised), Cash(fees))
    if any(rest):
        yield Result(CORRECTIONS, Cash(rest[0]), Cash(rest[1]))


def _by(by: By, names: Names, before: Books, after: Books) -> Iterable[Result]:
    known = names.events if by is By.EVENT else names.families
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for books, sign in ((after, 1), (before, -1)):
        for (basket_id, _), held in books.virtual.items():
            one = sums[known.get(basket_id, UNKNOWN if basket_id else NOBODY)]
            one[0] += sign * held.realised
            one[1] += sign * held.fees
    for name, (realised, fees) in sorted(sums.items()):
        if realised or fees:
            yield Result(name, Cash(realised), Cash(fees))


def _basket_lines(
    last: Sequence[LedgerEntry],
    own: Sequence[LedgerEntry],
    rows: Mapping[str, Basket],
    names: Names,
    after: Books,
) -> Iterable[BasketLine]:
    wanted = {entry.basket_id for entry in own if entry.basket_id and refusal_code(entry) is None}
    by_basket: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in last:
        if entry.basket_id in wanted:
            by_basket[entry.basket_id].append(entry)
    profits: Counter[str] = Counter()
    for (basket_id, _), held in after.virtual.items():
        profits[basket_id] += held.profit
    final, likely = settled_profits(last), settled_profits(with_results(last))
    for basket_id in sorted(wanted):
        own_decisions = [entry for entry in by_basket[basket_id] if entry.kind is EntryKind.DECISION]
        ends = [entry for entry in own_decisions if entry.entry_id.startswith("end-")]
        # A basket that was sold early has ended once more.
        ended = max(ends, key=lambda entry: entry.created_ms, default=None)
        settled = any(entry.entry_id == f"settled-{basket_id}" for entry in own_decisions)
        end = TRADING if ended is None else ended.note.partition(":")[0]
        line = BasketLine(
            basket_id=basket_id,
            event=names.events.get(basket_id, UNKNOWN),
            family=names.families.get(basket_id, UNKNOWN),
            end=BasketState.SETTLED.value if settled else end,
            expected=Cash(0),
            locked=None,
            settled=None,
            provisional=None if settled or basket_id in final else likely.get(basket_id),
            parts=(),
            problem="",
        )
        row = rows.get(basket_id)
        if row is None:
            yield replace(line, problem="its row is gone")
        elif ended is None:
            yield replace(line, expected=row.expected_profit, problem="it still traded")
        else:
            state = BasketState.SETTLED if settled else BasketState(end)
            then = replace(row, state=state, settled_profit=Cash(profits[basket_id]) if settled else None)
            yield _explained(line, then, by_basket[basket_id])


def _explained(line: BasketLine, row: Basket, entries: Sequence[LedgerEntry]) -> BasketLine:
    settled = row.settled_profit
    try:
        told = explain(row, own_fills(row.basket_id, entries))
    except ExplanationError as error:
        return replace(
            line, expected=row.expected_profit, locked=row.locked_profit, settled=settled, problem=f"{error}"
        )
    parts = tuple((part, told.total(part)) for part in Part if told.total(part))
    if row.state is BasketState.FLAT:
        settled = told.locked
    return replace(line, expected=told.expected, locked=told.locked, settled=settled, parts=parts)


def _ends(listed: Iterable[BasketLine]) -> Iterable[EndSum]:
    grouped: dict[str, list[BasketLine]] = defaultdict(list)
    for line in listed:
        grouped[line.end].append(line)
    for end, rows in sorted(grouped.items()):
        parts: Counter[Part] = Counter()
        for row in rows:
            parts.update(dict(row.parts))
        yield EndSum(
            end,
            len(rows),
            Cash(sum(row.expected for row in rows)),
            Cash(sum(row.locked or 0 for row in rows)),
            Cash(sum(row.settled or 0 for row in rows)),
            tuple((part, Cash(parts[part])) for part in Part if parts[part]),
        )


def _open(after: Books, names: Names) -> list[Line]:
    """What baskets hold, without a value: a report is of a past moment, and books are of now."""
    grouped: dict[str, list[tuple[str, Holding]]] = defaultdict(list)
    for (basket_id, ticker), held in sorted(after.virtual.items()):
        grouped[basket_id or NOBODY].append((ticker, held))
    return [line for line in lines(grouped, {}, names.release_ms) if line.contracts != Count(0)]


def _refused(own: Iterable[LedgerEntry]) -> list[tuple[str, int]]:
    counts = Counter(code for code in map(refusal_code, own) if code is not None)
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _check(made: Report) -> None:
    for by, rows in (("day", made.by_day), ("event", made.by_event), ("family", made.by_family)):
        if sum(row.profit for row in rows) != made.cash.profit:
            raise ReportError(f"results by {by} do not add up to the profit: nothing is reported")
    for line in made.baskets:
        if line.unexplained:
            raise ReportError(f"basket {line.basket_id}: {dollars(line.unexplained)} of its result have no cause")
