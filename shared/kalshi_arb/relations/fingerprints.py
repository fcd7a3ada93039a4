"""Names that survive restarts: group ids, and the fingerprint of everything a proof rests on."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal

from kalshi_arb.domain.grid import grid_to_wire
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.state_space import Family, State

# Raise it when the rules that turn markets into states change meaning: stored groups then stop matching.
RULES_VERSION = 2


def digest(parts: Iterable[object]) -> str:
    """SHA-256 in hex of a canonical JSON text of ``parts``."""
    text = json.dumps(list(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def group_id(event_ticker: str, family: Family, subject: str) -> str:
    """The id of the only group that an event can have of this family and subject.

    An event without subjects has the short form ``EVENT:family``.
    """
    base = f"{event_ticker}:{family.value}"
    return f"{base}:{digest([subject])[:8]}" if subject else base


def fingerprint(family: Family, markets: Sequence[Market], states: Sequence[State]) -> str:
    """A hash that changes whenever something a proof rests on does: identity, strikes, subject, rules, a combo's legs,
    closing time, tick grid, fees and the states themselves. Titles are left out because nothing rests on them, shards
    because an order reads its own."""
    return digest(
        [
            RULES_VERSION,
            family.value,
            [
                [
                    market.ticker,
                    market.event_ticker,
                    market.series_ticker,
                    market.strike_type.value,
                    _number(market.floor),
                    _number(market.cap),
                    market.subject,
                    market.rules_fingerprint,
                    [[leg.event_ticker, leg.ticker, leg.outcome.value] for leg in market.legs],
                    market.close_ms,
                    grid_to_wire(market.grid),
                    market.fees.fee_type.value,
                    market.fees.multiplier,
                ]
                for market in markets
            ],
            [[state.name, state.basis.value, state.yes_payouts, state.highest] for state in states],
        ]
    )


def _number(strike: Decimal | None) -> str | None:
    """The same text for 93, 93.0 and 9.3E+1, so that a different spelling is not a different contract."""
    return None if strike is None else f"{strike.normalize():f}"
