"""Wire models of what an account and its keys may do, and of the exchange's own state. Unknown fields are ignored."""

import msgspec


class BucketWire(msgspec.Struct):
    """One token bucket: tokens a second and how many it holds."""

    refill_rate: int | float
    bucket_capacity: int | float


class LimitsReply(msgspec.Struct):
    """``GET /account/limits``."""

    usage_tier: str
    read: BucketWire
    write: BucketWire


class ApiKeyWire(msgspec.Struct):
    """One key of the account, never its secret part."""

    api_key_id: str
    name: str = ""
    scopes: list[str] | None = None
    subaccount: int | None = None


class ApiKeysReply(msgspec.Struct):
    """``GET /api_keys``. After ``api_key_region_expiration_ts`` (Unix seconds) keys cannot trade some categories until
    the account's location is attested again."""

    api_keys: list[ApiKeyWire]
    api_key_region_expiration_ts: int | None = None


class ExchangeStatusReply(msgspec.Struct):
    """``GET /exchange/status``."""

    exchange_active: bool
    trading_active: bool
