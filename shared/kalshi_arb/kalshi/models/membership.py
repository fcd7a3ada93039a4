"""What an account and its keys may do, how it is set up, and its cash between shards."""

from kalshi_arb.kalshi.wire import PageModel, WireCost, WireModel, WireNumber


class NettingWire(WireModel):
    """Whether collateral is returned across the markets of an event."""

    subaccount_number: int
    enabled: bool
    exchange_index: int | None = None


class NettingReply(WireModel):
    """``GET /portfolio/subaccounts/netting``."""

    netting_configs: list[NettingWire]


class TransferReply(WireModel):
    """``POST /portfolio/intra_exchange_instance_transfer``."""

    transfer_id: str


class TransferWire(WireModel):
    """A movement of cash between shards; ``created_ts`` in Unix seconds."""

    transfer_id: str
    source: str
    destination: str
    source_exchange_shard: int
    destination_exchange_shard: int
    amount: WireCost
    status: str
    created_ts: int


class TransferStatusReply(WireModel):
    """``GET /portfolio/intra_exchange_instance_transfers/{id}``."""

    transfer: TransferWire


class TransfersReply(PageModel):
    """One page of ``GET /portfolio/intra_exchange_instance_transfers``."""

    transfers: list[TransferWire]


class BucketWire(WireModel):
    """One token bucket: tokens a second and how many it holds."""

    refill_rate: WireNumber
    bucket_capacity: WireNumber


class GrantWire(WireModel):
    """Why the account has its tier; ``expires_ts`` in Unix seconds."""

    exchange_instance: str | None = None
    level: str | None = None
    expires_ts: int | None = None
    source: str | None = None


class LimitsReply(WireModel):
    """``GET /account/limits``."""

    usage_tier: str
    read: BucketWire
    write: BucketWire
    grants: list[GrantWire] | None = None


class EndpointCostWire(WireModel):
    """What one call costs, in tokens."""

    method: str
    path: str
    cost: int


class EndpointCostsReply(WireModel):
    """``GET /account/endpoint_costs``: every endpoint that does not cost the default."""

    default_cost: int
    endpoint_costs: list[EndpointCostWire]


class ApiKeyWire(WireModel):
    """One key of the account, never its secret part."""

    api_key_id: str
    name: str = ""
    scopes: list[str] | None = None
    subaccount: int | None = None
    key_type: str | None = None
    fcm_subtrader_id: str | None = None


class ApiKeysReply(WireModel):
    """``GET /api_keys``. After ``api_key_region_expiration_ts`` (Unix seconds) keys cannot trade some categories until
    the account's location is attested again."""

    api_keys: list[ApiKeyWire]
    api_key_region_expiration_ts: int | None = None
