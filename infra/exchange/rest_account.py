"""REST: a member's limits, keys and cash beside trading: transfers between shards, netting."""

from aiohttp import web

from infra.exchange import wire, wire_portfolio
from infra.exchange.account import TransferView
from infra.exchange.bodies import read_netting, read_transfer
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.lag import ReadSide
from infra.exchange.rest_desk import Call, Pays, Route, json_response, private
from infra.exchange.rest_market_data import PAGE
from infra.exchange.rest_portfolio import listing
from infra.exchange.tokens import DEFAULT_COST, Limit, Tier

_TRANSFERS = "/portfolio/intra_exchange_instance_transfers"
_NETTING = "/portfolio/subaccounts/netting"


def _limit(limit: Limit) -> dict[str, int]:
    return {"refill_rate": limit.refill_rate, "bucket_capacity": limit.bucket_capacity}


async def limits(call: Call) -> web.Response:
    """GET /account/limits: the tier by which this very call was paid."""
    call.query()
    tier = call.desk.budgets.of_member(call.account.account_id, call.desk.core.now_ms).tier
    grant = {"exchange_instance": wire_portfolio.EVENT_CONTRACT, "level": tier.word, "source": "manual"}
    return json_response(
        {
            "usage_tier": tier.word,
            "read": _limit(tier.read),
            "write": _limit(tier.write),
            "grants": [] if tier is Tier.BASIC else [grant],
        }
    )


async def upgrade(call: Call) -> web.Response:
    """POST /account/api_usage_level/upgrade: anyone below may have the second tier for the asking."""
    call.query()
    if not call.desk.budgets.upgrade(call.account.account_id, Tier.ADVANCED, call.desk.core.now_ms):
        raise ExchangeRefusalError(409, "conflict", "the account has this level or a higher one already")
    return web.Response(status=201)


async def api_keys(call: Call) -> web.Response:
    """GET /api_keys."""
    call.query("fcm_subtrader_id")
    keys = [
        {"api_key_id": key_id, "name": key_id, "scopes": list(holder.scopes)}
        for key_id, holder in call.desk.keys.of_account(call.account.account_id).items()
    ]
    return json_response({"api_keys": keys})


async def transfer(call: Call) -> web.Response:
    """POST /portfolio/intra_exchange_instance_transfer."""
    wanted = read_transfer(await call.body())
    call.pay_routed(DEFAULT_COST, wanted.source_shard)
    view = call.desk.gate.transfer(
        call.account.account_id, wanted.amount, wanted.source_shard, wanted.destination_shard,
        wanted.client_transfer_id,
    )  # fmt: skip
    return await call.desk.answer_order({"transfer_id": view.transfer_id})


async def transfers(call: Call) -> web.Response:
    """GET /portfolio/intra_exchange_instance_transfers."""
    query = call.query(*PAGE)
    return json_response(listing("transfers", query, _readable(call), _transfer_key, wire_portfolio.transfer_json))


def _transfer_key(row: TransferView) -> str:
    return f"{row.ms:015d}:{row.transfer_id}"


def _readable(call: Call) -> list[TransferView]:
    as_of_ms = call.desk.as_of_ms(ReadSide.BALANCE)
    return [row for row in call.account.transfers if row.ms <= as_of_ms]


async def one_transfer(call: Call) -> web.Response:
    """GET /portfolio/intra_exchange_instance_transfers/{transfer_id}."""
    call.query()
    for row in _readable(call):
        if row.transfer_id == call.part("transfer_id"):
            return json_response({"transfer": wire_portfolio.transfer_json(row)})
    raise ExchangeRefusalError(404, "not_found")


async def subaccount_balances(call: Call) -> web.Response:
    """GET /portfolio/subaccounts/balances: of the first subaccount, which is the only one, by shard."""
    call.query()
    as_of_ms = call.desk.as_of_ms(ReadSide.BALANCE)
    shards = call.account.balance_history.at(as_of_ms) or call.account.initial_cash
    rows = [
        {
            "subaccount_number": 0,
            "exchange_index": shard,
            "balance": wire.amount(cash),
            "updated_ts": as_of_ms // 1_000,
        }
        for shard, cash in sorted(shards.items())
    ]
    return json_response({"subaccount_balances": rows})


async def netting(call: Call) -> web.Response:
    """GET /portfolio/subaccounts/netting: one setting, shown for every shard."""
    call.query()
    rows = [
        {"subaccount_number": 0, "enabled": call.account.netting, "exchange_index": shard}
        for shard in sorted(call.account.cash)
    ]
    return json_response({"netting_configs": rows})


async def set_netting(call: Call) -> web.Response:
    """PUT /portfolio/subaccounts/netting."""
    enabled = read_netting(await call.body())
    call.desk.gate.set_netting(call.account.account_id, enabled=enabled)
    call.desk.flush()
    return web.Response(status=200)


ROUTES = (
    private("/account/limits", limits),
    Route("POST", "/account/api_usage_level/upgrade", upgrade, pays=Pays.WRITE),
    private("/api_keys", api_keys),
    Route("POST", "/portfolio/intra_exchange_instance_transfer", transfer, child="write::transfer"),
    private(_TRANSFERS, transfers),
    private(f"{_TRANSFERS}/{{transfer_id}}", one_transfer),
    private("/portfolio/subaccounts/balances", subaccount_balances, "read::portfolio_balance"),
    private(_NETTING, netting),
    Route("PUT", _NETTING, set_netting, pays=Pays.WRITE),
)
