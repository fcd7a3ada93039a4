"""The whole client in one hand, for use on its own: ``with Kalshi(url, credentials) as kalshi: ...``."""

from types import TracebackType
from typing import Self

import httpx

from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.kalshi.activity import Activity
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.history import History
from kalshi_arb.kalshi.markets import Markets
from kalshi_arb.kalshi.membership import Membership
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.kalshi.portfolio import Portfolio
from kalshi_arb.kalshi.rate_limit import Budget
from kalshi_arb.kalshi.signing import Credentials


class Kalshi:
    """Every call of the REST API that this project knows, on one connection pool and one token budget.

    :param rest_url: with the API's root; ``hosts.HOSTS`` has Kalshi's
    :param credentials: None for public market data only
    :param correct_clock: sign with the exchange's time as measured, not with this machine's
    :raises SettingsError: a private key that cannot be used
    """

    def __init__(
        self,
        rest_url: str,
        credentials: Credentials | None = None,
        *,
        clock: Clock | None = None,
        budget: Budget | None = None,
        transport: httpx.BaseTransport | None = None,
        correct_clock: bool = False,
    ) -> None:
        self.client = RestClient(
            base_url=rest_url,
            credentials=credentials,
            clock=clock or SystemClock(),
            budget=budget,
            transport=transport,
            correct_clock=correct_clock,
        )
        self.markets = Markets(self.client)
        self.orders = Orders(self.client)
        self.activity = Activity(self.client)
        self.portfolio = Portfolio(self.client)
        self.membership = Membership(self.client)
        self.history = History(self.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
