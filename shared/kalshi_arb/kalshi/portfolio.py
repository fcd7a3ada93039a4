"""What the account holds."""

from collections.abc import Iterator, Sequence

from kalshi_arb.kalshi.client import Endpoint, RestClient
from kalshi_arb.kalshi.models import account as models
from kalshi_arb.kalshi.models.orders import FillsReply, FillWire
from kalshi_arb.kalshi.requests import query

PAGE = 1_000

_BALANCE = Endpoint("GET", "portfolio/balance", signed=True)
_FILLS = Endpoint("GET", "portfolio/fills", signed=True)
_POSITIONS = Endpoint("GET", "portfolio/positions", signed=True)
_SETTLEMENTS = Endpoint("GET", "portfolio/settlements", signed=True)
_RESTING = Endpoint("GET", "portfolio/summary/total_resting_order_value", signed=True)


class Portfolio:
    """Reads lag writes by up to about a second. All raise an ``ExchangeError`` when the exchange cannot answer."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def balance(self, *, subaccount: int | None = None, shard: int | None = None) -> models.BalanceReply:
        """Cash in total and by shard."""
        narrowed = query(subaccount=subaccount, exchange_index=shard)
        return self._client.read(_BALANCE, models.BalanceReply, narrowed)

    def fills(
        self,
        *,
        tickers: Sequence[str] = (),
        order_id: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        subaccount: int | None = None,
        shard: int | None = None,
    ) -> Iterator[FillWire]:
        """Our fills on at most 100 markets; times are Unix seconds."""
        narrowed = query(
            ticker=tickers, order_id=order_id, min_ts=min_ts, max_ts=max_ts, subaccount=subaccount,
            exchange_index=shard, limit=PAGE,
        )  # fmt: skip
        for page in self._client.pages(_FILLS, FillsReply, narrowed):
            yield from page.fills

    def position_pages(
        self,
        *,
        ticker: str | None = None,
        event_ticker: str | None = None,
        count_filter: str | None = None,
        settlement_status: str | None = None,
        subaccount: int | None = None,
        shard: int | None = None,
    ) -> Iterator[models.PositionsReply]:
        """Net positions by market and by event.

        :param count_filter: position, total_traded or both with a comma: only rows where these are not 0
        :param settlement_status: unsettled, settled or all
        """
        narrowed = query(
            ticker=ticker, event_ticker=event_ticker, count_filter=count_filter, settlement_status=settlement_status,
            subaccount=subaccount, exchange_index=shard, limit=PAGE,
        )  # fmt: skip
        return self._client.pages(_POSITIONS, models.PositionsReply, narrowed)

    def settlements(
        self,
        *,
        ticker: str | None = None,
        event_ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        subaccount: int | None = None,
    ) -> Iterator[models.SettlementWire]:
        """Paid settlements; times are Unix seconds."""
        narrowed = query(
            ticker=ticker, event_ticker=event_ticker, min_ts=min_ts, max_ts=max_ts, subaccount=subaccount, limit=PAGE
        )
        for page in self._client.pages(_SETTLEMENTS, models.SettlementsReply, narrowed):
            yield from page.settlements

    def resting_value(self) -> models.RestingValueReply:
        """What all resting orders would cost."""
        return self._client.read(_RESTING, models.RestingValueReply)
