"""Planted dislocations on recorded books: every basket explained to the cent, every loss beside its bound.

    python -m infra.bench.dislocations BOOKS... [--baskets 100] [--seed 1] [--json FILE] [--docs FOLDER]

From recorded passes events are drawn, a bundle is planted in the books of each, and the product trades it on an
exchange that holds them, while something goes wrong: levels vanish or shrink between the waves, the tape moves on to
its next recorded books, answers are lost, markets pause or close. Then the difference between what was expected and
what the fills leave in the worst state is itemised, and compared with the exchange's own account and with the bound.

It ends with an error if a single basket is not explained to 1e-6 dollars, differs from the exchange's account, or lost
more than its bound.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from random import Random
from typing import Any

from infra.bench.dislocation_run import Ended, run
from infra.bench.dislocation_tape import SMALLEST_FILL, Moment, Planted, moments, plant, scene
from infra.bench.plot import Line, draw
from infra.exchange.faults import (
    ORDERS,
    BookThinned,
    Fault,
    HttpError,
    MarketClosed,
    MarketPaused,
    ReadsLagging,
    ReplyLost,
)
from infra.exchange.tape_terms import Tape, load_tape
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, count_to_wire, dollars
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.explain import Explanation, Part, explain
from kalshi_arb.kalshi.tape import TapeError, find_tapes
from kalshi_arb.kalshi.tape_facts import Described, read_described
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.risk.limits import parse_limits

LIMITS: dict[str, object] = {"min_profit": "0.05", "max_loss_per_basket": "100.00"}
_PROFITS = (60_000, 2_000_000)
_AFTER_MS = 1_000
_DRAWS = 60
_TENTHS = 10


class DislocationError(KalshiArbError):
    """A basket that is not explained, differs from the exchange's account, or is beyond its bound."""


@unique
class Misfortune(StrEnum):
    """What goes wrong between the waves, or nothing."""

    NONE = "nothing"
    TAPE_FIRST = "the tape moves on before the first order"
    TAPE_SECOND = "the tape moves on before the second wave"
    GONE = "a level vanishes before the second wave"
    SHRUNK = "levels shrink before the second wave"
    NO_WAY_BACK = "books empty on both sides before the second wave"
    PAUSED = "markets pause before the second wave"
    PAUSED_A_WHILE = "markets pause for a minute before the second wave"
    CLOSED = "markets close before the second wave"
    ANSWER_LOST = "the answer to the second wave is lost"
    REQUEST_LOST = "the second wave is lost on its way"
    FAILED_AFTER = "500 after the second wave was carried out"
    RATE_LIMITED = "429 from the second wave on"
    SHRUNK_AND_LOST = "levels shrink and the answer is lost"
    READS_LAG = "levels shrink and reads lag"


@dataclass(frozen=True, slots=True)
class Case:
    """One dislocation with its misfortune and how it ended. ``explained`` is None where nothing was reserved."""

    number: int
    moment: Moment
    group: Group
    planted: Planted
    misfortune: Misfortune
    ended: Ended
    explained: Explanation | None

    @property
    def basket(self) -> Basket | None:
        """The basket's last row."""
        return self.ended.basket

    @property
    def traded(self) -> bool:
        """Whether anything was bought."""
        return bool(self.ended.fills)

    @property
    def is_partial(self) -> bool:
        """Whether something was bought, and not the whole of every leg."""
        row = self.basket
        return self.traded and row is not None and row.state is not BasketState.LOCK


def cases(tape: Tape, told: Described, *, baskets: int, seed: int) -> Iterator[Case]:
    """Dislocations until so many baskets were reserved, each checked; those that were refused come in between, under
    the number of the next basket.

    :raises DislocationError: see the module
    """
    chance = Random(seed)  # noqa: S311 - the same seed gives the same dislocations again
    drawn = list(moments(tape))
    if not drawn:
        raise DislocationError("the tape shows no event with a book of each of its markets")
    known: dict[str, tuple[Group, ...]] = {}
    number = 0
    for _ in range(baskets * _DRAWS):
        if number == baskets:
            return
        moment = chance.choice(drawn)
        if moment.event not in known:
            known[moment.event] = build_groups(told.listings(list(moment.books))).groups
        for group in known[moment.event]:
            least = Cash(chance.randint(*_PROFITS))
            planted = plant(group, moment.books, chance, moment.ms, least)
            if planted is None or number == baskets:
                continue
            case = _case(tape, moment, group, planted, chance, number + 1)
            number += case.explained is not None
            yield case
    if number < baskets:
        raise DislocationError(f"only {number} of {baskets} baskets could be planted on this tape")


def _case(tape: Tape, moment: Moment, group: Group, planted: Planted, chance: Random, number: int) -> Case:
    misfortune = chance.choice(tuple(Misfortune))
    if moment.later is None and misfortune in _TAPE_MOVES:
        misfortune = Misfortune.SHRUNK
    later = moment.later or planted.books
    ended = run(
        scene(tape, moment, planted.books, later, _AFTER_MS),
        group.group_id,
        seed=chance.getrandbits(32),
        limits=parse_limits(LIMITS),
        smallest_fill=SMALLEST_FILL,
        faults=_faults(misfortune, planted.legs, chance),
        moves_before=_TAPE_MOVES.get(misfortune),
    )
    row = ended.basket
    reserved = row is not None and row.state is not BasketState.REFUSED
    explained = explain(row, ended.fills) if row is not None and reserved else None
    case = Case(number, moment, group, planted, misfortune, ended, explained)
    check(case)
    return case


_TAPE_MOVES = {Misfortune.TAPE_FIRST: 0, Misfortune.TAPE_SECOND: 1}


def _faults(misfortune: Misfortune, legs: Sequence[Leg], chance: Random) -> list[Fault]:
    some = chance.sample(legs, chance.randint(1, max(1, len(legs) - 1)))
    markets = tuple(leg.ticker for leg in some)
    share = chance.choice((2, 3, 5))

    def shrunk() -> list[Fault]:
        return [
            BookThinned(
                markets=(leg.ticker,), outcome=leg.outcome, leave=f"{leg.count // 100 // share}.00", before=ORDERS,
                skip=1,
            )
            for leg in some
        ]  # fmt: skip

    match misfortune:
        case Misfortune.GONE:
            return [BookThinned(markets=markets[:1], outcome=some[0].outcome, before=ORDERS, skip=1)]
        case Misfortune.SHRUNK:
            return shrunk()
        case Misfortune.NO_WAY_BACK:
            return [BookThinned(markets=tuple(leg.ticker for leg in legs), before=ORDERS, skip=1)]
        case Misfortune.PAUSED:
            return [MarketPaused(markets=markets, before=ORDERS, skip=1)]
        case Misfortune.PAUSED_A_WHILE:
            return [MarketPaused(markets=markets, resume_after_ms=60_000, before=ORDERS, skip=1)]
        case Misfortune.CLOSED:
            return [MarketClosed(markets=markets, before=ORDERS, skip=1)]
        case Misfortune.ANSWER_LOST:
            return [ReplyLost(scope=ORDERS, skip=1)]
        case Misfortune.REQUEST_LOST:
            return [ReplyLost(scope=ORDERS, skip=1, executed=False)]
        case Misfortune.FAILED_AFTER:
            return [HttpError(status=500, scope=ORDERS, skip=1, executed=True)]
        case Misfortune.RATE_LIMITED:
            return [HttpError(status=429, scope=ORDERS, skip=1, for_ms=20_000)]
        case Misfortune.SHRUNK_AND_LOST:
            return [*shrunk(), ReplyLost(scope=ORDERS, skip=1)]
        case Misfortune.READS_LAG:
            return [*shrunk(), ReadsLagging(ms=1_500, for_ms=600_000)]
        case Misfortune.NONE | Misfortune.TAPE_FIRST | Misfortune.TAPE_SECOND:
            return []


def check(case: Case) -> None:
    """:raises DislocationError: the account holds something else than the explanation says, or more than the bound
    was lost."""
    row, explained = case.basket, case.explained
    if row is None or explained is None:
        if case.ended.fills or case.ended.positions or case.ended.cash:
            raise DislocationError(f"dislocation {case.number} was refused and traded all the same")
        return
    worst = Cash(case.ended.cash + min(_payout(row, state, case.ended) for state in row.payouts))
    if worst != explained.locked:
        raise DislocationError(
            f"basket {case.number}: the exchange's account is worth {dollars(worst)} in the worst state, the "
            f"explanation says {dollars(explained.locked)}"
        )
    if explained.loss > explained.bound:
        raise DislocationError(
            f"basket {case.number} can lose {dollars(explained.loss)}, its bound was {dollars(explained.bound)}"
        )


def _payout(row: Basket, state: Sequence[int], ended: Ended) -> int:
    """What the account's positions pay in one state, 1e-6 dollars."""
    total = 0
    for leg, payout in zip(row.legs, state, strict=True):
        held = ended.positions.get(leg.ticker, 0)
        own = held if leg.outcome is Outcome.YES else -held
        total += payout * own if own > 0 else (ONE_DOLLAR - payout) * -own
    return total


# What is shown ------------------------------------------------------------------------------------------------------


def row_of(case: Case) -> dict[str, Any]:
    """One basket as JSON; amounts are in 1e-6 dollars."""
    row, explained = case.basket, case.explained
    if row is None or explained is None:
        raise DislocationError(f"dislocation {case.number} became no basket")
    return {
        "number": case.number,
        "event": case.moment.event,
        "at": case.moment.at,
        "family": case.group.family.value,
        "planted": {"way": case.planted.way.value, "changes": list(case.planted.changes)},
        "misfortune": case.misfortune.value,
        "misfortune_struck": case.ended.struck > 0,
        "end": row.state.value,
        "reason": row.reason,
        "partial": case.is_partial,
        "attempts": case.ended.attempts,
        "legs": [
            {
                "ticker": leg.ticker,
                "outcome": leg.outcome.value,
                "planned": count_to_wire(leg.count),
                "held": count_to_wire(row.leg_position(place)),
            }
            for place, leg in enumerate(row.legs)
        ],
        "expected": explained.expected,
        "parts": {part.value: explained.total(part) for part in Part},
        "items": [
            {
                "part": item.part.value,
                "ticker": None if item.leg is None else row.legs[item.leg].ticker,
                "amount": item.amount,
                "why": item.why,
            }
            for item in explained.items
        ],
        "realised": explained.realised,
        "loss": explained.loss,
        "bound": explained.bound,
        "bound_unwound": None if row.bound is None else row.bound.loss_unwound,
    }


def report(files: Sequence[Path], seed: int, found: Sequence[Case]) -> dict[str, Any]:
    """Everything as JSON: the baskets, and how the losses lie beside the bounds."""
    rows = [row_of(case) for case in found if case.explained is not None]
    refused = [
        case.basket.reason if case.basket else case.ended.detected.outcome for case in found if not case.explained
    ]
    tenths = Counter(
        min(_TENTHS - 1, row["loss"] * _TENTHS // row["bound"]) for row in rows if row["loss"] and row["bound"]
    )
    return {
        "tapes": ["/".join(path.parts[-2:]) for path in files],
        "seed": seed,
        "baskets": len(rows),
        "traded": sum(case.traded for case in found),
        "partial": sum(row["partial"] for row in rows),
        "refused": dict(sorted(Counter(refused).items())),
        "ends": dict(sorted(Counter(row["end"] for row in rows).items())),
        "misfortunes": dict(sorted(Counter(row["misfortune"] for row in rows).items())),
        "without_a_loss": sum(row["loss"] == 0 for row in rows),
        "losses_by_tenth_of_bound": [tenths[tenth] for tenth in range(_TENTHS)],
        "beyond_bound": sum(row["loss"] > row["bound"] for row in rows),
        "expected": sum(row["expected"] for row in rows),
        "parts": {part.value: sum(row["parts"][part.value] for row in rows) for part in Part},
        "realised": sum(row["realised"] for row in rows),
        "rows": rows,
    }


def most_involved(told: dict[str, Any]) -> dict[str, Any]:
    """The basket with the most items among those that were filled in part, or among all."""
    rows = [row for row in told["rows"] if row["partial"]] or told["rows"]
    chosen: dict[str, Any] = max(
        rows, key=lambda row: (len({item["part"] for item in row["items"]}), len(row["items"]))
    )
    return chosen


def in_full(row: dict[str, Any]) -> Iterator[str]:
    """One basket's explanation, item by item."""
    yield f"expected {dollars(Cash(row['expected']))}"
    for item in row["items"]:
        yield f"{item['part']} {dollars(Cash(item['amount']))}: {item['why']}"
    yield f"realised {dollars(Cash(row['realised']))}, bound {dollars(Cash(row['bound']))}"


_COLUMNS = ("price", "fees", "missing", "unhedged", "unwind")


def table(told: dict[str, Any]) -> Iterator[str]:
    """One line a basket, in dollars: expected, the parts, realised, bound."""
    heads = ("#", "event", "end", "expected", *_COLUMNS, "realised", "bound", "misfortune")
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * 3 + "---:|" * (len(_COLUMNS) + 3) + "---|"
    for row in told["rows"]:
        amounts = (row["expected"], *(row["parts"][part] for part in _COLUMNS), row["realised"], row["bound"])
        cells = (str(row["number"]), row["event"], row["end"] + (" (partial)" if row["partial"] else ""))
        shown = tuple(dollars(Cash(amount)) if amount else "0" for amount in amounts)
        yield "| " + " | ".join((*cells, *shown, row["misfortune"])) + " |"


def distribution(told: dict[str, Any]) -> Iterator[str]:
    """How much of the bound was lost, in words."""
    yield f"no loss in the worst state: {told['without_a_loss']} of {told['baskets']}"
    for tenth, count in enumerate(told["losses_by_tenth_of_bound"]):
        yield f"{tenth * 10:>3} to {tenth * 10 + 10} % of the bound: {count}"
    yield f"beyond the bound: {told['beyond_bound']}"


def by_misfortune(told: dict[str, Any]) -> Iterator[str]:
    """One line for each misfortune: how its baskets ended, and what they lost of what they might have."""
    yield "| misfortune | baskets | lock | flat | held | lost in the worst states | of bounds |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in Misfortune:
        rows = [row for row in told["rows"] if row["misfortune"] == name.value]
        ends = Counter(row["end"] for row in rows)
        lost, bound = (dollars(Cash(sum(row[key] for row in rows))) for key in ("loss", "bound"))
        counts = " | ".join(str(ends[end.value]) for end in (BasketState.LOCK, BasketState.FLAT, BasketState.HELD))
        yield f"| {name.value} | {len(rows)} | {counts} | {lost} | {bound} |"


def chart(told: dict[str, Any]) -> bytes:
    """How many baskets lost at most which part of their bounds: of all, and of those that were filled in part."""
    lines = [
        Line(name, _cumulative([100 * row["loss"] / row["bound"] if row["bound"] else 0.0 for row in rows]))
        for name, rows in (
            ("all baskets", told["rows"]),
            ("filled in part", [row for row in told["rows"] if row["partial"]]),
        )
        if rows
    ]
    title = "Worst-state loss of planted baskets, in percent of their bounds"
    return draw(title, "lost at most so many percent of the bound", "percent", lines)


def _cumulative(lost: Sequence[float]) -> list[tuple[float, float]]:
    return [(percent, 100 * sum(one <= percent for one in lost) / len(lost)) for percent in range(0, 101, 5)]


def document(told: dict[str, Any]) -> str:
    """The table, the distribution and an explanation in full, as Markdown."""
    parts = ", ".join(f"{part} {dollars(Cash(told['parts'][part]))}" for part in told["parts"] if told["parts"][part])
    full = most_involved(told)
    lines = [
        "# Planted dislocations on recorded books",
        "",
        f"`make dislocations`, seed {told['seed']}: {told['baskets']} baskets on {', '.join(told['tapes'])}. The books "
        "are recorded, the dislocations are planted, and so is a misfortune for nearly every basket: these are no "
        "results of trading, and no forecast of any.",
        "",
        f"Ends: {', '.join(f'{count} {end}' for end, count in told['ends'].items())}; {told['partial']} baskets were "
        f"filled in part. Expected {dollars(Cash(told['expected']))} in all, {parts}, realised in the worst states "
        f"{dollars(Cash(told['realised']))}. Every basket is explained to 1e-6 dollars and agrees with the exchange's "
        "account.",
        "",
        "![losses beside their bounds](dislocations.png)",
        "",
        *(f"- {line.strip()}" for line in distribution(told)),
        "",
        *by_misfortune(told),
        "",
        "`expected` is the worst state with every contract at its limit and the highest fees; `realised` the worst "
        "state of the real fills. `missing` is the profit of sets that were not bought, `unhedged` what contracts "
        "beyond whole sets lose in the worst state, `unwind` what buying and selling again cost.",
        "",
        *table(told),
        "",
        f"## Basket {full['number']} item by item",
        "",
        f"{full['misfortune'].capitalize()}; it ended {full['end']}: {full['reason']}.",
        "",
        *(f"- {line}" for line in in_full(full)),
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.dislocations", description=__doc__.split("\n\n")[0])
    parser.add_argument("tapes", nargs="+", help="tapes of order books: files, folders or globs")
    parser.add_argument("--baskets", type=int, default=100, help="how many baskets to reserve")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything here, gzipped if it ends in .gz")
    parser.add_argument("--docs", type=Path, help="write dislocations.md and dislocations.png into this folder")
    options = parser.parse_args(arguments)
    if options.baskets < 1:
        parser.error("--baskets must be 1 or more")
    if options.docs is not None and not options.docs.is_dir():
        parser.error(f"--docs {options.docs} is no folder")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json} lies in no folder")
    try:
        told = report(find_tapes(options.tapes), options.seed, list(_read(options)))
    except (TapeError, DislocationError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    refused = ", ".join(f"{count} {reason}" for reason, count in told["refused"].items()) or "none"
    summary = f"{told['baskets']} baskets, {told['partial']} partial, all explained to 1e-6 dollars; refused: {refused}"
    sys.stdout.write("\n".join((*table(told), "", *by_misfortune(told), "", *distribution(told), summary, "")))
    if options.json is not None:
        content = json.dumps(told, indent=1).encode()
        options.json.write_bytes(gzip.compress(content) if options.json.suffix == ".gz" else content)
    if options.docs is not None:
        (options.docs / "dislocations.md").write_text(document(told), encoding="utf-8")
        (options.docs / "dislocations.png").write_bytes(chart(told))
    return 0


def _read(options: argparse.Namespace) -> Iterable[Case]:
    return cases(load_tape(options.tapes), read_described(options.tapes), baskets=options.baskets, seed=options.seed)


if __name__ == "__main__":
    sys.exit(main())
