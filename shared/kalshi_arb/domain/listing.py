"""Events and markets as the exchange lists them: what the relations are derived from.

``None`` always means that the input does not say. A field that a whole payload lacks is named in ``absent``: it is
reported as absent and never read as a difference between markets.
"""

from dataclasses import dataclass

from kalshi_arb.domain.market import Market, MarketStatus


@dataclass(frozen=True, slots=True)
class ListedMarket:
    """One market with what only its listing tells.

    ``rules`` is the whole rules text (primary and secondary part); ``early_close`` the early close condition;
    ``strike_text`` the strike type as the exchange wrote it, for types that are unknown or wrong;
    ``fee_change_ms`` when the market is going to charge something else than now, as far as that is announced. Times are
    UTC milliseconds.
    """

    market: Market
    status: MarketStatus
    rules: str | None = None
    early_close: str | None = None
    can_close_early: bool | None = None
    expected_expiration_ms: int | None = None
    occurrence_ms: int | None = None
    strike_text: str | None = None
    fee_change_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EventListing:
    """An open event with its markets, each of which names this event as its own.

    ``mutually_exclusive`` means at most one, never exactly one. ``sources`` are the names of the settlement sources;
    ``collateral_return`` is the event's ``collateral_return_type``. Times are UTC milliseconds. ``absent`` holds the
    wire names of fields that the payload lacks altogether.
    """

    event_ticker: str
    series_ticker: str
    title: str
    mutually_exclusive: bool | None
    markets: tuple[ListedMarket, ...]
    sources: tuple[str, ...] | None = None
    collateral_return: str | None = None
    strike_date_ms: int | None = None
    updated_ms: int | None = None
    absent: frozenset[str] = frozenset()
