"""The checks of a basket, each on its own over the facts. Pure: every one says all that it finds, with the figures.

A check whose fact could not be read finds nothing: that it could not be read is a finding already.
"""

from collections.abc import Iterator, Mapping, Sequence

from kalshi_arb.domain.basket import Basket, Finding
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Market, MarketStatus
from kalshi_arb.domain.money import (
    ONE_CONTRACT,
    ONE_DOLLAR,
    Cash,
    Count,
    count_to_wire,
    dollars,
    price_to_wire,
)
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.risk.facts import Facts
from kalshi_arb.risk.limits import MILLION, Limits, share_text
from kalshi_arb.risk.refusals import Refusal, finding


def permission(row: Basket, facts: Facts, mode: str, *, may_trade_on_its_fees: bool) -> Iterator[Finding]:
    """Whether anything may be bought at all."""
    if facts.stop is not None and facts.stop.reason is not None:
        word, _, text = facts.stop.reason.partition(": ")
        yield finding(Refusal(word), text or word)
    if row.mode != mode:
        yield finding(Refusal.MODE, f"the basket was made in mode {row.mode}, this stack's mode is {mode}")
    if not may_trade_on_its_fees:
        yield finding(
            Refusal.SMALLEST_FILL_NOT_DECLARED,
            "fees of a cent account have no bound until the smallest fill is declared (KALSHI_ARB_SMALLEST_FILL)",
        )


def relation(row: Basket, facts: Facts) -> Iterator[Finding]:
    """Whether the group is still the one that the basket was proved on."""
    if facts.record is None:
        return
    if not facts.record:
        yield finding(Refusal.GROUP_GONE, f"group {row.group_id} is not accepted any more")
        return
    (record,) = facts.record
    if record.suspension is not None:
        yield finding(
            Refusal.GROUP_SUSPENDED, f"{record.suspension.reason.value}: {record.suspension.words}"
        )  # fmt: skip
    if record.group.fingerprint != row.certificate.fingerprint:
        then, now = row.certificate.fingerprint[:12], record.group.fingerprint[:12]
        yield finding(Refusal.FINGERPRINT_CHANGED, f"the basket rests on version {then}, the group is {now}")
    known = frozenset(record.group.tickers)
    for ticker in dict.fromkeys(leg.ticker for leg in row.legs):
        if ticker not in known:
            yield finding(Refusal.UNPROVABLE, f"{ticker} is not in group {row.group_id}")
    for ticker in sorted({leg.ticker for leg in row.legs if [one.ticker for one in row.legs].count(leg.ticker) > 1}):
        yield finding(Refusal.SAME_MARKET_TWICE, f"two legs are in {ticker}")


def markets(row: Basket, group: Group | None, facts: Facts, policy: ExecutionPolicy) -> Iterator[Finding]:
    """Whether every market trades, at the fees of the proof, for as long as the basket may need: what the operator
    asks for, without limits what the policy can take at worst."""
    if group is not None and facts.fees is not None:
        for market in _own(row, group):
            charged = facts.fees.get(market.ticker)
            if charged != market.fees:
                now = "nothing that is known" if charged is None else f"{charged.fee_type.value} x {charged.multiplier}"
                then = f"{market.fees.fee_type.value} x {market.fees.multiplier}"
                yield finding(Refusal.FEES_CHANGED, f"{market.ticker} charges {now}, the proof rests on {then}")
    needed = policy.worst_completion_ms if facts.limits is None else facts.limits.min_time_to_close_s * 1_000
    until = facts.now_ms + needed
    for ticker in dict.fromkeys(leg.ticker for leg in row.legs):
        if facts.states is None:
            break
        state = facts.states.get(ticker)
        if state is None:
            yield finding(Refusal.NOT_TRADABLE, f"{ticker} is not listed")
        elif state.status is not MarketStatus.ACTIVE:
            yield finding(Refusal.NOT_TRADABLE, f"{ticker} is {state.status.value}")
        elif state.close_ms <= until:
            yield finding(Refusal.CLOSES_SOON, _soon(f"{ticker} closes", state.close_ms, facts.now_ms, needed))
    for market in () if group is None else _own(row, group):
        if market.paid_by_ms is not None and market.paid_by_ms <= until:
            yield finding(
                Refusal.SETTLES_SOON,
                _soon(f"{market.ticker} is expected to be paid", market.paid_by_ms, facts.now_ms, needed),
            )
    if facts.closure is not None and facts.closure.closes_ms is not None and facts.closure.closes_ms <= until:
        yield finding(
            Refusal.EXCHANGE_CLOSES,
            _soon("the exchange stops trading", facts.closure.closes_ms, facts.now_ms, needed),
        )


def books(row: Basket, facts: Facts) -> Iterator[Finding]:
    """Whether the books can be believed: there, not crossed, young and of one moment."""
    if facts.books is None:
        return
    own = [facts.books[leg.ticker] for leg in row.legs if leg.ticker in facts.books]
    for ticker in dict.fromkeys(leg.ticker for leg in row.legs):
        book = facts.books.get(ticker)
        if book is None:
            yield finding(Refusal.UNFIT_BOOK, f"the exchange left the book of {ticker} out")
        elif book.yes_bids and book.no_bids and book.yes_bids[0].price + book.no_bids[0].price >= ONE_DOLLAR:
            yield finding(
                Refusal.UNFIT_BOOK,
                f"the book of {ticker} is crossed: {price_to_wire(book.yes_bids[0].price)} is bid for YES and "
                f"{price_to_wire(book.no_bids[0].price)} for NO",
            )
        elif facts.limits is not None and facts.now_ms - book.alive_ms > facts.limits.max_book_age_ms:
            yield finding(
                Refusal.MAX_BOOK_AGE,
                f"the book of {ticker} is {facts.now_ms - book.alive_ms} ms old, at most "
                f"{facts.limits.max_book_age_ms} may be",
            )
    moments = [book.alive_ms for book in own]
    if facts.limits is not None and moments and max(moments) - min(moments) > facts.limits.max_book_skew_ms:
        yield finding(
            Refusal.MAX_BOOK_SKEW,
            f"the books are {max(moments) - min(moments)} ms apart, at most {facts.limits.max_book_skew_ms} may be",
        )


def depth(legs: Sequence[Leg], shown: Mapping[str, BookSnapshot], limits: Limits | None) -> Iterator[Finding]:
    """Whether each leg's size is there within its limit, and is no larger a part of it than it may be."""
    most = MILLION if limits is None else limits.max_depth_share
    for leg in legs:
        size = sum(level.size for level in shown[leg.ticker].asks(leg.outcome) if level.price <= leg.limit)
        offered = (
            f"{leg.ticker} {leg.outcome.value} shows {count_to_wire(Count(size))} up to {price_to_wire(leg.limit)}"
        )
        if size < leg.count:
            yield finding(Refusal.DEPTH, f"{offered}, {count_to_wire(leg.count)} is needed")
        elif leg.count * MILLION > size * most:
            yield finding(
                Refusal.MAX_DEPTH_SHARE,
                f"{offered}, of which {count_to_wire(leg.count)} is more than the share {share_text(most)}",
            )


def size(planned: Basket, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Whether a planned basket stays within what one basket may take and lose."""
    if planned.reserved > limits.max_outlay_per_basket:
        yield _above(Refusal.MAX_OUTLAY_PER_BASKET, "its outlay", planned.reserved, limits.max_outlay_per_basket)
    if planned.exposure_bound > limits.max_loss_per_basket:
        yield _above(Refusal.MAX_LOSS_PER_BASKET, "its worst loss", planned.exposure_bound, limits.max_loss_per_basket)
    if facts.held is not None and facts.held.lost_today + planned.exposure_bound > limits.max_daily_loss:
        yield finding(
            Refusal.MAX_DAILY_LOSS,
            f"{dollars(facts.held.lost_today)} is lost since midnight in New York and the basket can lose "
            f"{dollars(planned.exposure_bound)}, together at most {dollars(limits.max_daily_loss)} may be",
        )
    largest = max(leg.count for leg in planned.legs)
    if facts.traded is not None and facts.traded < limits.ramp_baskets and largest > limits.ramp_contracts:
        yield finding(
            Refusal.RAMP_CONTRACTS,
            f"{facts.traded} of the first {limits.ramp_baskets} baskets have traded: until then at most "
            f"{count_to_wire(limits.ramp_contracts)} contracts of a leg, not {count_to_wire(largest)}",
        )


def profit(expected: Cash, legs: Sequence[Leg], limits: Limits) -> Iterator[Finding]:
    """Whether it is worth it. A set is one contract of the largest leg."""
    if expected < limits.min_profit:
        yield finding(
            Refusal.MIN_PROFIT,
            f"it gains {dollars(expected)} in the worst state, at least {dollars(limits.min_profit)} is asked",
        )
    largest = max(leg.count for leg in legs)
    if expected * ONE_CONTRACT < limits.min_profit_per_set * largest:
        each = Cash(expected * ONE_CONTRACT // largest)
        yield finding(
            Refusal.MIN_PROFIT_PER_SET,
            f"it gains {dollars(each)} a set in the worst state, {dollars(limits.min_profit_per_set)} is asked",
        )


def _own(row: Basket, group: Group) -> list[Market]:
    own = {leg.ticker for leg in row.legs}
    return [market for market in group.markets if market.ticker in own]


def _soon(what: str, at_ms: int, now_ms: int, needed_ms: int) -> str:
    left = max(0, at_ms - now_ms)
    return f"{what} in {left // 1000} s, a basket is given {needed_ms // 1000} s to be complete or given up"


def _above(code: Refusal, what: str, amount: Cash, most: Cash) -> Finding:
    return finding(code, f"{what} is {dollars(amount)}, at most {dollars(most)} may be")
