"""REST under ``/trade-api/v2``: market data for anyone, the portfolio for who signs, orders through the core.

Handlers read the request, ask or change the core, and shape the answer; every rule is in the core.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from infra.exchange import (
    rest_account,
    rest_exchange,
    rest_fees,
    rest_groups,
    rest_market_data,
    rest_orders,
    rest_past,
    rest_portfolio,
)
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.rest_desk import (
    RestDesk,
    TooManyRequestsError,
    UnreadableBodyError,
    definitions,
    json_response,
    refusal_response,
)
from infra.exchange.rest_exchange import costs_route

_ROUTES = (
    *rest_exchange.ROUTES,
    *rest_past.ROUTES,
    *rest_fees.ROUTES,
    *rest_market_data.ROUTES,
    *rest_portfolio.ROUTES,
    *rest_orders.ROUTES,
    *rest_groups.ROUTES,
    *rest_account.ROUTES,
)


class RestApi:
    """The REST routes of one exchange."""

    def __init__(self, desk: RestDesk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Every route."""
        return definitions(self._desk, (*_ROUTES, costs_route(_ROUTES)))

    @web.middleware
    async def answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Turn refusals into error bodies, and give every request the exchange of this moment."""
        self._desk.tick()
        try:
            return await handler(request)
        except UnreadableBodyError as refusal:
            return json_response(refusal.body(), refusal.status)
        except TooManyRequestsError as refusal:
            self._desk.budgets.refused += 1
            return json_response({"error": refusal.shown()}, refusal.status)
        except ExchangeRefusalError as refusal:
            return refusal_response(refusal)
        except web.HTTPMethodNotAllowed:
            return refusal_response(ExchangeRefusalError(405, "method_not_allowed"))
        except web.HTTPNotFound:
            return refusal_response(ExchangeRefusalError(404, "not_found"))
