"""The account itself: its limits, costs and keys, netting, and its cash between shards."""

from collections.abc import Iterator

from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.money import Cash
from kalshi_arb.kalshi.client import Drawn, Endpoint, Kind, RestClient
from kalshi_arb.kalshi.models import membership as models
from kalshi_arb.kalshi.rate_limit import Costs, cost_key
from kalshi_arb.kalshi.requests import present, query

_CASH_PER_CENTICENT = 100

_NETTING = Endpoint("GET", "portfolio/subaccounts/netting", signed=True)
_SET_NETTING = Endpoint("PUT", "portfolio/subaccounts/netting", Kind.WRITE, signed=True)
_TRANSFER = Endpoint("POST", "portfolio/intra_exchange_instance_transfer", Kind.WRITE, signed=True)
_TRANSFERS = Endpoint("GET", "portfolio/intra_exchange_instance_transfers", signed=True)
_ONE_TRANSFER = Endpoint("GET", "portfolio/intra_exchange_instance_transfers/{transfer_id}", signed=True)
_LIMITS = Endpoint("GET", "account/limits", signed=True)
_COSTS = Endpoint("GET", "account/endpoint_costs")
_KEYS = Endpoint("GET", "api_keys", signed=True)


class Membership:
    """All raise an ``ExchangeError`` when the exchange cannot answer."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    # Netting and shards

    def netting(self) -> list[models.NettingWire]:
        """Whether collateral is returned across the markets of an event, by subaccount."""
        return self._client.read(_NETTING, models.NettingReply).netting_configs

    def set_netting(self, subaccount: int, *, enabled: bool) -> None:
        """Switch it, for future positions."""
        self._client.command(_SET_NETTING, {"subaccount_number": subaccount, "enabled": enabled})

    def transfer(self, amount: Cash, *, source_shard: int, target_shard: int, transfer_id: str | None = None) -> str:
        """Move cash between shards; returns the transfer's id. Repeating one with the same ``transfer_id`` (a UUID)
        moves nothing twice.

        :param amount: 1e-6 dollars, whole 1e-4 dollars
        :raises AmountError: nothing, or finer than that.
        """
        centicents, rest = divmod(amount, _CASH_PER_CENTICENT)
        if centicents <= 0 or rest:
            raise AmountError(f"a transfer of {amount} (1e-6 dollars) is not a positive number of 1e-4 dollars")
        body: dict[str, object] = {
            "source": "event_contract",
            "destination": "event_contract",
            "amount": centicents,
            "source_exchange_shard": source_shard,
            "destination_exchange_shard": target_shard,
        }
        body |= present({"client_transfer_id": transfer_id})
        drawn = Drawn(source_shard)
        return self._client.write(_TRANSFER, models.TransferReply, body, drawn=drawn).transfer_id

    def transfers(self) -> Iterator[models.TransferWire]:
        """Every movement between shards, newest first."""
        for page in self._client.pages(_TRANSFERS, models.TransfersReply, query(limit=100)):
            yield from page.transfers

    def one_transfer(self, transfer_id: str) -> models.TransferWire:
        """One movement between shards."""
        return self._client.read(_ONE_TRANSFER, models.TransferStatusReply, (), transfer_id).transfer

    # The account and its keys

    def limits(self) -> models.LimitsReply:
        """The account's tier and token buckets."""
        return self._client.read(_LIMITS, models.LimitsReply)

    def endpoint_costs(self) -> Costs:
        """What each call costs."""
        reply = self._client.read(_COSTS, models.EndpointCostsReply)
        listed = {cost_key(row.method, row.path): row.cost for row in reply.endpoint_costs}
        return Costs(reply.default_cost, listed)

    def api_keys(self) -> models.ApiKeysReply:
        """The account's keys, without their secret parts."""
        return self._client.read(_KEYS, models.ApiKeysReply)
