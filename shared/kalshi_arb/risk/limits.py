"""The limits an operator sets: one JSON object, read anew for every check, so that a change needs no deployment.

Every limit has a default, so an empty object is a whole set of limits. A limit is an absolute figure or a share of the
account's equity, which is cash and what is locked: never a share of what is open, which would refuse the first trade
for ever. What is locked counts at its whole cost, as if the proof were wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, unique
from typing import Any

from kalshi_arb.domain.errors import AmountError, SettingsError
from kalshi_arb.domain.money import Cash, Count, cash_from_wire, cash_to_wire, count_from_wire, scale_decimal

MILLION = 10**6
"""Shares are counted in millionths."""
_SHARE_DECIMALS = 6
_MOST_DOLLARS = Cash(10_000_000 * MILLION)
_MOST_CONTRACTS = Count(10_000_000 * 100)
_MOST_MS = 600_000
_MOST_SECONDS = 7 * 86_400
_MOST_DAYS = 3_650
_MOST_EVENTS = 1_000_000


@unique
class Kind(Enum):
    """How a limit is written, and in words what it must be."""

    DOLLARS = 'dollars as a decimal string such as "250.00", from 0 to 10000000'
    CONTRACTS = "a whole number of contracts from 0 to 10000000"
    SHARE = 'a share as a decimal string such as "0.2", from 0 to 1'
    MILLISECONDS = f"a whole number of milliseconds from 0 to {_MOST_MS}"
    SECONDS = f"a whole number of seconds from 1 to {_MOST_SECONDS}"
    DAYS = f"a whole number of days from 0 to {_MOST_DAYS}"
    NUMBER = f"a whole number from 0 to {_MOST_EVENTS}"
    SWITCH = "true or false"


def _of(kind: Kind, default: int | bool) -> Any:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True)
class Limits:
    """Dollars in 1e-6 dollars, contracts in 1e-2 contracts, shares in millionths, times as their names say.

    * of one market: ``max_contracts_per_market``; ``max_exposure_per_market`` and, of equity, ``max_share_per_market``
      for the cash locked there. An event, a series and an underlying (all groups that settle on one observed value)
      have a share each; an event has an absolute limit too.
    * of one basket: ``max_outlay_per_basket`` at limit prices with the highest fees, ``max_loss_per_basket`` for the
      worst outcome over every way its orders can fill, ``min_profit`` in its worst state and ``min_profit_per_set`` of
      it for each contract of its largest leg
    * of all baskets: ``max_total_contracts``, ``max_open_outlay`` and ``max_open_baskets`` of those that still trade,
      ``max_long_locked`` for cash that comes back later than ``long_lock_days`` from now, ``max_daily_loss`` for what
      baskets that ended since midnight in New York have lost together
    * of the books: ``max_book_age_ms``, ``max_book_skew_ms`` between the oldest and the newest,
      ``max_depth_share`` for the part of the size shown within its limit that a leg may need
    * of time: every market must trade for ``min_time_to_close_s`` seconds more; the default is longer than a basket
      can take when every answer is lost
    * of what is held: ``cost_of_capital`` a year is what waiting for a payment costs; selling early is proposed where
      it beats that by ``min_profit``, and with ``auto_release`` (off unless it is set) it is done
    * the first ``ramp_baskets`` that trade real money take at most ``ramp_contracts`` of each leg

    What starts with ``breaker_max_`` may happen within ``breaker_window_s`` seconds without tripping the breaker.
    """

    max_contracts_per_market: Count = _of(Kind.CONTRACTS, 1_000 * 100)
    max_total_contracts: Count = _of(Kind.CONTRACTS, 10_000 * 100)
    max_exposure_per_market: Cash = _of(Kind.DOLLARS, 200 * MILLION)
    max_exposure_per_event: Cash = _of(Kind.DOLLARS, 400 * MILLION)
    max_share_per_market: int = _of(Kind.SHARE, 200_000)
    max_share_per_event: int = _of(Kind.SHARE, 200_000)
    max_share_per_series: int = _of(Kind.SHARE, 200_000)
    max_share_per_underlying: int = _of(Kind.SHARE, 200_000)
    max_outlay_per_basket: Cash = _of(Kind.DOLLARS, 100 * MILLION)
    max_loss_per_basket: Cash = _of(Kind.DOLLARS, 25 * MILLION)
    max_open_outlay: Cash = _of(Kind.DOLLARS, 1_000 * MILLION)
    max_open_baskets: int = _of(Kind.NUMBER, 10)
    max_daily_loss: Cash = _of(Kind.DOLLARS, 500 * MILLION)
    min_profit: Cash = _of(Kind.DOLLARS, 50_000)
    min_profit_per_set: Cash = _of(Kind.DOLLARS, 1_000)
    max_book_age_ms: int = _of(Kind.MILLISECONDS, 3_000)
    max_book_skew_ms: int = _of(Kind.MILLISECONDS, 1_000)
    max_depth_share: int = _of(Kind.SHARE, MILLION)
    min_time_to_close_s: int = _of(Kind.SECONDS, 90)
    max_long_locked: Cash = _of(Kind.DOLLARS, 500 * MILLION)
    long_lock_days: int = _of(Kind.DAYS, 90)
    cost_of_capital: int = _of(Kind.SHARE, 50_000)
    auto_release: bool = _of(Kind.SWITCH, default=False)
    ramp_baskets: int = _of(Kind.NUMBER, 20)
    ramp_contracts: Count = _of(Kind.CONTRACTS, 10 * 100)
    breaker_window_s: int = _of(Kind.SECONDS, 900)
    breaker_max_loss: Cash = _of(Kind.DOLLARS, 100 * MILLION)
    breaker_max_rejects: int = _of(Kind.NUMBER, 10)
    breaker_max_unknowns: int = _of(Kind.NUMBER, 5)
    breaker_max_stale: int = _of(Kind.NUMBER, 3)
    breaker_max_differences: int = _of(Kind.NUMBER, 0)


def parse_limits(document: Mapping[str, object]) -> Limits:
    """Read the JSON object of the limits parameter; what it does not name has its default.

    :raises SettingsError: a limit is unknown, malformed, negative or absurd. The message names every such limit.
    """
    kinds: dict[str, Kind] = {one.name: one.metadata["kind"] for one in fields(Limits)}
    problems = [f"unknown limit {name}; known are {', '.join(kinds)}" for name in sorted(set(document) - set(kinds))]
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name not in kinds:
            continue
        try:
            values[name] = _READERS[kinds[name]](value)
        except AmountError:
            problems.append(f"limit {name} must be {kinds[name].value}, not {value!r}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Limits(**values)


def _dollars(value: object) -> int:
    if not isinstance(value, str):
        raise AmountError("a bare number of dollars is not exact")
    return _within(cash_from_wire(value), 0, _MOST_DOLLARS)


def _share(value: object) -> int:
    if not isinstance(value, str):
        raise AmountError("a bare share is not exact")
    return _within(scale_decimal(value, _SHARE_DECIMALS), 0, MILLION)


def _contracts(value: object) -> int:
    return _within(count_from_wire(_whole(value)), 0, _MOST_CONTRACTS)


def _number(least: int, most: int) -> Callable[[object], int]:
    return lambda value: _within(_whole(value), least, most)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise AmountError("not a whole number")
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise AmountError("neither true nor false")
    return value


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise AmountError(f"not from {least} to {most}")
    return value


_READERS: dict[Kind, Callable[[object], int]] = {
    Kind.DOLLARS: _dollars,
    Kind.CONTRACTS: _contracts,
    Kind.SHARE: _share,
    Kind.MILLISECONDS: _number(0, _MOST_MS),
    Kind.SECONDS: _number(1, _MOST_SECONDS),
    Kind.DAYS: _number(0, _MOST_DAYS),
    Kind.NUMBER: _number(0, _MOST_EVENTS),
    Kind.SWITCH: _switch,
}


def share_text(share: int) -> str:
    """A share as it is written: the shortest decimal."""
    whole, _, fraction = cash_to_wire(Cash(share)).partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"
