"""What a planned basket needs of everything that is limited, and how much of it there may be: the content of its
reservation. Pure.

Cash that other live baskets have spent already is still held by them too: that errs on the safe side until they end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain import reservation_keys as keys
from kalshi_arb.domain.basket import Basket, Finding
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import Cash, Count, count_to_wire, dollars
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import FeeRules
from kalshi_arb.execution.plan import write_tokens
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.risk.limits import MILLION, Limits, share_text
from kalshi_arb.risk.planned import outlays
from kalshi_arb.risk.refusals import Refusal, finding

DAY_MS = 86_400_000


@unique
class Unit(Enum):
    """What an amount counts."""

    DOLLARS = "dollars"
    CONTRACTS = "contracts"
    PLAIN = ""

    def text(self, amount: int) -> str:
        """An amount for a person."""
        if self is Unit.DOLLARS:
            return dollars(Cash(amount))
        return f"{count_to_wire(Count(amount))} contracts" if self is Unit.CONTRACTS else str(amount)


@dataclass(frozen=True, slots=True)
class Need:
    """``amount`` of what a key stands for, of which all baskets together may hold ``room``. ``code`` is the limit that
    says so, ``what`` and ``why`` are it in words."""

    amount: int
    room: int
    code: Refusal
    unit: Unit
    what: str
    why: str

    def lacks(self, used: int) -> bool:
        """Whether there is no room while others hold ``used``."""
        return self.amount > self.room - used

    def finding(self, used: int) -> Finding:
        """That there is no room, with the figures."""
        held = f", {self.unit.text(used)} is held already" if used else ""
        return finding(
            self.code,
            f"{self.what}: {self.unit.text(self.amount)} is needed{held}, at most {self.unit.text(self.room)} may be "
            f"({self.why})",
        )


@dataclass(frozen=True, slots=True)
class Purse:
    """What there is to spend: cash by shard, and the equity that shares are shares of (1e-6 dollars)."""

    balance: Mapping[int, Cash]
    equity: Cash


def needs(
    row: Basket,
    group: Group,
    rules: FeeRules,
    *,
    limits: Limits,
    purse: Purse | None,
    policy: ExecutionPolicy,
    tokens: int,
    now_ms: int,
) -> dict[str, Need]:
    """By reservation key what a planned row needs. Without a ``purse`` cash and shares of equity are left out: that it
    could not be read is a reason of its own.

    :param tokens: write tokens that may be held at the same time
    """
    found: dict[str, Need] = {}
    markets = [group.markets[group.index(leg.ticker)] for leg in row.legs]
    costs = outlays(row.legs, row.terms, rules)
    of_all = Cash(sum(costs))
    shares = _Shares(limits, purse)
    for leg, market, cost in zip(row.legs, markets, costs, strict=True):
        _add(found, keys.MARKET_KEY + market.ticker, shares.of_market(market, cost))
        found[keys.CONTRACTS_KEY + market.ticker] = _limited(
            leg.count, limits.max_contracts_per_market, Refusal.MAX_CONTRACTS_PER_MARKET, Unit.CONTRACTS,
            f"contracts in {market.ticker}",
        )  # fmt: skip
    for event in dict.fromkeys(market.event_ticker for market in markets):
        cost = _sum(costs, [market.event_ticker == event for market in markets])
        _add(found, keys.EVENT_KEY + event, shares.of_event(event, cost))
    for series in dict.fromkeys(market.series_ticker for market in markets):
        cost = _sum(costs, [market.series_ticker == series for market in markets])
        share = shares.of_equity(cost, limits.max_share_per_series, Refusal.MAX_SHARE_PER_SERIES, f"series {series}")
        _add(found, keys.SERIES_KEY + series, share)
    for value in group.observed_values:
        name = f"all that settles on {value}"
        share = shares.of_equity(of_all, limits.max_share_per_underlying, Refusal.MAX_SHARE_PER_UNDERLYING, name)
        _add(found, keys.UNDERLYING_KEY + value, share)
    beyond = now_ms + limits.long_lock_days * DAY_MS
    late = _sum(costs, [_returns_ms(market) > beyond for market in markets])
    if late:
        found[keys.ALL_LONG] = _limited(
            late, limits.max_long_locked, Refusal.MAX_LONG_LOCKED, Unit.DOLLARS,
            f"cash that comes back later than in {limits.long_lock_days} days",
        )  # fmt: skip
    found[keys.ALL_CONTRACTS] = _limited(
        sum(leg.count for leg in row.legs), limits.max_total_contracts, Refusal.MAX_TOTAL_CONTRACTS, Unit.CONTRACTS,
        "contracts in all markets",
    )  # fmt: skip
    if purse is not None:
        found |= _cash(row, purse)
    found[keys.ALL_OUTLAY] = _limited(
        of_all, limits.max_open_outlay, Refusal.MAX_OPEN_OUTLAY, Unit.DOLLARS, "outlay of baskets that trade"
    )  # fmt: skip
    return found | _trading(row, limits, policy, tokens)


def release_needs(
    row: Basket,
    cash: Mapping[int, Cash],
    *,
    limits: Limits,
    balance: Mapping[int, Cash],
    policy: ExecutionPolicy,
    tokens: int,
) -> dict[str, Need]:
    """By reservation key what the early sale of a basket needs. Buying the other outcome takes its price and its fee
    before a dollar a pair comes back, and what only fills in part may have to be unwound as when it was bought.

    :param cash: the most that the sale's orders take, by shard
    :param balance: cash by shard
    :param tokens: write tokens that may be held at the same time
    """
    wanted = dict(cash)
    for shard, amount in () if row.bound is None else row.bound.unwind_cash:
        wanted[shard] = Cash(wanted.get(shard, 0) + amount)
    found = {
        f"{keys.CASH_KEY}{shard}": Need(
            amount, balance.get(shard, Cash(0)), Refusal.BALANCE, Unit.DOLLARS, f"cash on shard {shard}", "its cash"
        )
        for shard, amount in sorted(wanted.items())
    }
    return found | _trading(row, limits, policy, tokens)


def lacking(wanted: Mapping[str, Need], used: Mapping[str, int]) -> list[Finding]:
    """What there is no room for while others hold ``used``."""
    return [need.finding(used.get(key, 0)) for key, need in wanted.items() if need.lacks(used.get(key, 0))]


class _Shares:
    """Limits on locked cash: an absolute one, a share of equity, or the smaller of both."""

    def __init__(self, limits: Limits, purse: Purse | None) -> None:
        self._limits = limits
        self._purse = purse

    def of_market(self, market: Market, cost: int) -> list[Need]:
        own, what = self._limits, f"market {market.ticker}"
        return [
            _limited(
                cost, own.max_exposure_per_market, Refusal.MAX_EXPOSURE_PER_MARKET, Unit.DOLLARS, f"locked in {what}"
            ),
            *self.of_equity(cost, own.max_share_per_market, Refusal.MAX_SHARE_PER_MARKET, what),
        ]

    def of_event(self, event: str, cost: int) -> list[Need]:
        own, what = self._limits, f"event {event}"
        return [
            _limited(
                cost, own.max_exposure_per_event, Refusal.MAX_EXPOSURE_PER_EVENT, Unit.DOLLARS, f"locked in {what}"
            ),
            *self.of_equity(cost, own.max_share_per_event, Refusal.MAX_SHARE_PER_EVENT, what),
        ]

    def of_equity(self, cost: int, share: int, code: Refusal, what: str) -> list[Need]:
        if self._purse is None:
            return []
        worth = self._purse.equity
        why = f"{code.value}: {share_text(share)} of an equity of {dollars(worth)}"
        return [Need(cost, share * worth // MILLION, code, Unit.DOLLARS, f"locked in {what}", why)]


def _add(found: dict[str, Need], key: str, rules: Iterable[Need]) -> None:
    """Under one key the rule that leaves least."""
    strictest = min(rules, key=lambda need: need.room, default=None)
    if strictest is not None:
        found[key] = strictest


def _limited(amount: int, most: int, code: Refusal, unit: Unit, what: str) -> Need:
    return Need(amount, most, code, unit, what, code.value)


def _sum(costs: Iterable[Cash], chosen: Iterable[bool]) -> Cash:
    return Cash(sum(cost for cost, own in zip(costs, chosen, strict=True) if own))


def _returns_ms(market: Market) -> int:
    """When the cash in a market is expected back; where the listing does not say, not before it closes."""
    return market.close_ms if market.paid_by_ms is None else market.paid_by_ms


def _trading(row: Basket, limits: Limits, policy: ExecutionPolicy, tokens: int) -> dict[str, Need]:
    """What a basket needs because it trades, whichever way."""
    return {
        keys.ALL_OPEN: _limited(
            1, limits.max_open_baskets, Refusal.MAX_OPEN_BASKETS, Unit.PLAIN, "baskets that trade"
        ),
        keys.ALL_TOKENS: Need(
            write_tokens(row.waves, policy), tokens, Refusal.WRITE_TOKENS, Unit.PLAIN,
            "write tokens to complete and to unwind", "the account's rate limit",
        ),
    }  # fmt: skip


def _cash(row: Basket, purse: Purse) -> dict[str, Need]:
    """The entry's cash by shard and, on top, what unwinding may need; where one is short, where more lies."""
    if row.bound is None:
        raise ValueError(f"basket {row.basket_id} is not planned")
    wanted = dict(row.bound.cash)
    for shard, amount in row.bound.unwind_cash:
        wanted[shard] = Cash(wanted.get(shard, 0) + amount)
    found = {}
    for shard, amount in sorted(wanted.items()):
        there = purse.balance.get(shard, Cash(0))
        hint = _hint(shard, amount - there, wanted, purse.balance) if amount > there else "its cash"
        found[f"{keys.CASH_KEY}{shard}"] = Need(
            amount, there, Refusal.BALANCE, Unit.DOLLARS, f"cash on shard {shard}", hint
        )  # fmt: skip
    return found


def _hint(shard: int, short: int, wanted: Mapping[int, Cash], balance: Mapping[int, Cash]) -> str:
    """Where the missing cash lies: orders draw on their own shard only (Kalshi API documentation, sharding)."""
    spare = {
        other: Cash(cash - wanted.get(other, 0))
        for other, cash in sorted(balance.items())
        if other != shard and cash > wanted.get(other, 0)
    }
    if not spare:
        return f"{dollars(Cash(short))} is missing and no other shard has any to spare"
    lies = ", ".join(f"{dollars(cash)} on shard {other}" for other, cash in spare.items())
    best = max(spare, key=lambda other: spare[other])
    return (
        f"{dollars(Cash(short))} is missing while {lies} lies idle: move it from shard {best} to shard {shard} with "
        "POST /portfolio/intra_exchange_instance_transfer"
    )
