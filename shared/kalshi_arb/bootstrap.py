"""Composes everything, late: nothing is read or built before a process asks for it, and then once.

The functions without arguments build the use case of one function from this process's own environment. Those with
settings build one port. Imports stand inside the functions because a function should load only what it uses: the
exchange client and its cryptography alone take a quarter of a second.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from kalshi_arb.aws.stores import Stores as Stores  # part of this module's surface
from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.domain.errors import SettingsError, StoreError
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Count, cash_from_wire
from kalshi_arb.kalshi.rate_limit import Budget, Caller, Tier, Use
from kalshi_arb.ports import (
    AccountReads,
    AlertStore,
    BasketStore,
    BookStore,
    CollateralReads,
    Detection,
    GroupStore,
    LedgerStore,
    Listings,
    MarketTerms,
    Notifier,
    OpportunityStore,
    Queue,
    ReservationStore,
    StatusStore,
    Trading,
    Workflow,
)
from kalshi_arb.settings import Mode, Settings, read_settings

if TYPE_CHECKING:
    from kalshi_arb.alerts import AlertDelivery
    from kalshi_arb.api import Api
    from kalshi_arb.aws.deployment import Deployment
    from kalshi_arb.aws.secrets import Vault
    from kalshi_arb.aws.stack import DeployedStack as DeployedStack
    from kalshi_arb.detection.detect import Detector
    from kalshi_arb.detection.rounds import GroupRound
    from kalshi_arb.detection.scan import Scanner
    from kalshi_arb.execution.arming import Terms
    from kalshi_arb.execution.assess import Assessor
    from kalshi_arb.execution.audit import Auditor
    from kalshi_arb.execution.close import Closer
    from kalshi_arb.execution.review import HeldReview
    from kalshi_arb.execution.settle import Settler
    from kalshi_arb.execution.sweep import Sweeper
    from kalshi_arb.execution.waves import WaveExecutor
    from kalshi_arb.kalshi.client import RestClient
    from kalshi_arb.kalshi.order_caps import OrderCaps
    from kalshi_arb.kalshi.signing import Credentials
    from kalshi_arb.observability import Observability
    from kalshi_arb.paper import PaperTrading
    from kalshi_arb.relations.discover import Discovery
    from kalshi_arb.relations.user import UserRelations
    from kalshi_arb.relations_view import RelationsDesk
    from kalshi_arb.reports.digest import Digest
    from kalshi_arb.risk.breaker import Breaker
    from kalshi_arb.risk.check import RiskCheck
    from kalshi_arb.risk.limits import Limits
    from kalshi_arb.stop_desk import StopDesk
    from kalshi_arb.webhooks import WebhookTarget

_lock = threading.Lock()


@cache
def settings() -> Settings:
    """This process's settings. :raises SettingsError: they cannot be used; the message names each."""
    return read_settings(os.environ)


@cache
def clock() -> Clock:
    """The machine's clock."""
    return SystemClock()


@cache
def _session() -> Any:
    from kalshi_arb.aws.clients import new_session

    # Lambda sets both, Fargate only the first, and boto3 reads only the second.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise SettingsError("AWS_REGION is not set")
    return new_session(region)


@cache
def _client(service: str) -> Any:
    from kalshi_arb.aws.clients import new_client

    return new_client(_session(), service)


def aws_client(service: str) -> Any:
    """The process's one client of an AWS service. Building clients is not safe in several threads, using them is.

    :raises SettingsError: the region is not set.
    """
    with _lock:
        return _client(service)


@cache
def stores(settings: Settings) -> Stores:
    """The stores of the stack that the settings name."""
    return Stores(settings, aws_client)


def status_store(settings: Settings) -> StatusStore:
    """The status table."""
    return stores(settings).status


def group_store(settings: Settings) -> GroupStore:
    """The groups table."""
    return stores(settings).groups


def book_store(settings: Settings) -> BookStore:
    """The books table."""
    return stores(settings).books


def opportunity_store(settings: Settings) -> OpportunityStore:
    """The opportunities table."""
    return stores(settings).opportunities


def basket_store(settings: Settings) -> BasketStore:
    """The baskets table."""
    return stores(settings).baskets


def ledger_store(settings: Settings) -> LedgerStore:
    """The ledger table."""
    return stores(settings).ledger


def reservation_store(settings: Settings) -> ReservationStore:
    """The reservations table."""
    return stores(settings).reservations


def alert_store(settings: Settings) -> AlertStore:
    """The alerts table."""
    return stores(settings).alerts


def candidates_queue(settings: Settings) -> Queue:
    """The queue from the feed to detection."""
    return stores(settings).candidates


def lifecycle_queue(settings: Settings) -> Queue:
    """The queue from the feed to discovery."""
    return stores(settings).lifecycle


def audits_queue(settings: Settings) -> Queue:
    """The queue from close to settlement: audits wanted after baskets."""
    return stores(settings).audits


def workflow(settings: Settings) -> Workflow:
    """The state machine of baskets."""
    return stores(settings).workflow


def detection(settings: Settings) -> Detection:
    """The detection function, for those who ask it."""
    return stores(settings).detection


def notifier(settings: Settings) -> Notifier:
    """The alerts topic."""
    return stores(settings).notifier


@cache
def _vault() -> "Vault":
    from kalshi_arb.aws.secrets import Vault

    return Vault(secrets=lambda: aws_client("secretsmanager"), parameters=lambda: aws_client("ssm"), clock=clock())


def read_key(settings: Settings) -> "Credentials":
    """The exchange's API key for looking alone. :raises SettingsError: the secret is malformed. :raises StoreError: it
    is unreachable."""
    return _key(settings.need("read_key_secret"))


def trade_key(settings: Settings) -> "Credentials":
    """The exchange's API key that orders are signed with. Errors as :func:`read_key`."""
    return _key(settings.need("trade_key_secret"))


def _key(secret: str) -> "Credentials":
    from kalshi_arb.kalshi.signing import credentials_from_secret

    return credentials_from_secret(_vault().secret(secret))


@cache
def _public_exchange(settings: Settings, caller: Caller) -> "RestClient":
    from kalshi_arb.kalshi.client import RestClient

    # Reads without a key are counted by address, at the lowest tier.
    budget = Budget(Tier.BASIC.limits, caller.share, clock().now_ms())
    return RestClient(base_url=settings.rest_url, credentials=None, clock=clock(), budget=budget)


@cache
def _own_exchange(settings: Settings, caller: Caller) -> "RestClient":
    from kalshi_arb.kalshi.client import RestClient

    budget = Budget(settings.rate_tier.limits, caller.share, clock().now_ms())
    return RestClient(base_url=settings.rest_url, credentials=trade_key(settings), clock=clock(), budget=budget)


@cache
def market_data(settings: Settings, caller: Caller) -> Listings:
    """Public reads of the exchange within the caller's share of the rate limit; needs no key."""
    from kalshi_arb.kalshi.market_data import KalshiMarketData

    return KalshiMarketData(_public_exchange(settings, caller), clock())


@cache
def trading(settings: Settings, caller: Caller, use: Use = Use.OPENING) -> Trading:
    """Our own orders, fills and cash: on paper in mode paper, at the exchange otherwise. Nothing else knows which.

    :param use: what the orders placed are for: only cancels and unwinds may spend the tokens that are kept back
    :raises SettingsError: the key cannot be used.
    """
    if settings.mode is Mode.PAPER:
        from kalshi_arb.kalshi.market_data import KalshiMarketData

        market = KalshiMarketData(_public_exchange(settings, caller), clock())
        return paper_trading(settings, stores(settings), market)
    from kalshi_arb.kalshi.trading import KalshiTrading

    client = _own_exchange(settings, caller)
    return KalshiTrading(client, use, _order_caps(settings, client) if use is Use.OPENING else None)


def _order_caps(settings: Settings, client: "RestClient") -> "OrderCaps":
    from kalshi_arb.kalshi.order_caps import OrderCaps
    from kalshi_arb.kalshi.orders import Orders

    return OrderCaps(
        orders=Orders(client),
        status=status_store(settings),
        clock=clock(),
        limit=lambda: limits(settings).max_total_contracts,
    )


def paper_trading(settings: Settings, stores: Stores, market: MarketTerms) -> "PaperTrading":
    """The paper account of a stack. :raises SettingsError: its table is not named."""
    from kalshi_arb.paper import PaperTrading

    return PaperTrading(
        market=market,
        store=stores.paper,
        clock=clock(),
        opening_cash=cash_from_wire(settings.paper_cash),
        precision=settings.account.precision,
    )


@cache
def observability(service: str) -> "Observability":
    """Logger and metrics of a service: a function's name, or ``feed``."""
    from kalshi_arb.observability import observe

    own = settings()
    return observe(service, own.mode.value, own.log_level)


def api_token() -> dict[str, object]:
    """The secret that holds the API's token."""
    return _vault().secret(settings().need("api_token_secret"))


def _metered_status(service: str) -> StatusStore:
    from kalshi_arb.metering import MeteredStatusStore

    return MeteredStatusStore(status_store(settings()), observability(service).metrics)


def _metered_baskets(service: str) -> BasketStore:
    from kalshi_arb.metering import MeteredBasketStore

    return MeteredBasketStore(basket_store(settings()), observability(service).metrics)


@cache
def discovery() -> "Discovery":
    """The use case of the discovery function."""
    from kalshi_arb.relations.discover import Discovery

    own = settings()
    return Discovery(
        market_data=market_data(own, Caller.DISCOVERY),
        groups=group_store(own),
        status=_metered_status("discovery"),
        notifier=notifier(own),
        clock=clock(),
        mode=own.mode.value,
        user=lambda: user_relations(own),
    )


def user_relations(settings: Settings) -> "UserRelations":
    """The user's relations, at most a minute old.

    :raises UserRelationError: they cannot be used.
    :raises StoreError: they cannot be read.
    """
    from kalshi_arb.relations.user_file import parse_relations

    name = settings.need("relations_parameter")
    return parse_relations(_vault().parameter_text(name), name)


@cache
def detector() -> "Detector":
    """The use case of the detection function."""
    from kalshi_arb.detection.allocate import Claim, room
    from kalshi_arb.detection.detect import Detector

    own = settings()

    def free(claims: Sequence[Claim]) -> Mapping[str, int]:
        share = Caller.EXECUTION.share
        tokens = own.rate_tier.limits.write.capacity * share.write * (100 - share.kept_back) // 100**2
        return room(claims, limits(own), reservation_store(own).used(), tokens)

    return Detector(
        groups=group_store(own),
        opportunities=opportunity_store(own),
        baskets=_metered_baskets("detection"),
        workflow=workflow(own),
        status=_metered_status("detection"),
        notifier=notifier(own),
        clock=clock(),
        mode=own.mode.value,
        precision=own.account.precision,
        smallest_fill=Count(own.assumed_smallest_fill),
        max_book_age_ms=own.max_book_age_ms,
        netting=own.collateral_return,
        free=free,
    )


@cache
def group_round() -> "GroupRound":
    """The scheduled sweep of the detection function."""
    from kalshi_arb.detection.rounds import GroupRound

    own = settings()
    return GroupRound(
        market_data=market_data(own, Caller.SCAN),
        groups=group_store(own),
        detector=detector(),
        status=status_store(own),
        clock=clock(),
    )


@cache
def scanner() -> "Scanner":
    """The on-demand scan."""
    from kalshi_arb.detection.scan import Scanner

    own = settings()
    return Scanner(
        market_data=market_data(own, Caller.SCAN),
        groups=group_store(own),
        clock=clock(),
        precision=own.account.precision,
        smallest_fill=Count(own.assumed_smallest_fill),
        netting=own.collateral_return,
    )


def limits(settings: Settings) -> "Limits":
    """The operator's limits, at most a minute old.

    :raises SettingsError: they are malformed.
    :raises StoreError: they cannot be read.
    """
    from kalshi_arb.risk.limits import parse_limits

    return parse_limits(_vault().parameter(settings.need("limits_parameter")))


@cache
def breaker(settings: Settings) -> "Breaker":
    """Counts what goes wrong. With limits that cannot be read it goes by the defaults: accounting must not wait for
    them, and the risk check refuses new baskets anyway."""
    from kalshi_arb.risk.breaker import Breaker
    from kalshi_arb.risk.limits import parse_limits

    def current() -> "Limits":
        try:
            return limits(settings)
        except (SettingsError, StoreError):
            return parse_limits({})

    return Breaker(
        status=status_store(settings),
        notifier=notifier(settings),
        clock=clock(),
        mode=settings.mode.value,
        limits=current,
    )


@cache
def risk_check() -> "RiskCheck":
    """The use case of the risk_check function."""
    from kalshi_arb.risk.check import RiskCheck

    own = settings()
    return RiskCheck(
        baskets=_metered_baskets("risk_check"),
        groups=group_store(own),
        ledger=ledger_store(own),
        market_data=market_data(own, Caller.RISK),
        trading=trading(own, Caller.RISK),
        reservations=reservation_store(own),
        status=_metered_status("risk_check"),
        notifier=notifier(own),
        clock=clock(),
        mode=own.mode.value,
        precision=own.account.precision,
        smallest_fill=Count(own.assumed_smallest_fill),
        may_trade_on_its_fees=own.may_trade_on_its_fees,
        write_tokens=_write_tokens(own),
        limits=lambda: limits(own),
        netting=own.collateral_return,
        terms=lambda: armed_for(own),
    )


def armed_for(settings: Settings) -> "Terms | None":
    """What an arming of this stack must have been made for, at most a minute old; None where no real money moves.

    :raises SettingsError: the key or the stack's name is missing or malformed
    :raises StoreError: something of it cannot be read
    """
    if settings.mode is not Mode.LIVE:
        return None
    from kalshi_arb.execution.arming import Terms, hash_of

    limits = _vault().parameter_text(settings.need("limits_parameter"))
    return Terms(template=_deployment(settings).hash(), limits=hash_of(limits), key_id=trade_key(settings).key_id)


@cache
def _deployment(settings: Settings) -> "Deployment":
    from kalshi_arb.aws.deployment import Deployment

    return Deployment(lambda: aws_client("cloudformation"), settings.need("stack_id"), clock())


@cache
def wave_executor() -> "WaveExecutor":
    """The use case of the execute_wave function."""
    from kalshi_arb.execution.machine import BUYING
    from kalshi_arb.execution.waves import WaveExecutor

    own = settings()
    return WaveExecutor(
        baskets=_metered_baskets("execute_wave"),
        trading=trading(own, Caller.EXECUTION),
        purposes=BUYING,
        status=_metered_status("execute_wave"),
        clock=clock(),
    )


@cache
def unwinder() -> "WaveExecutor":
    """The use case of the unwind function. It counts on the same share of the rate limit as execute_wave: what a basket
    needs of it is reserved before it begins, and a basket does one or the other."""
    from kalshi_arb.execution.machine import UNWINDING
    from kalshi_arb.execution.waves import WaveExecutor

    own = settings()
    return WaveExecutor(
        baskets=_metered_baskets("unwind"),
        trading=trading(own, Caller.EXECUTION, Use.REDUCING),
        purposes=UNWINDING,
        status=_metered_status("unwind"),
        clock=clock(),
    )


@cache
def assessor() -> "Assessor":
    """The use case of the assess function."""
    from kalshi_arb.execution.assess import Assessor

    own = settings()
    return Assessor(
        baskets=_metered_baskets("assess"),
        ledger=ledger_store(own),
        trading=trading(own, Caller.ASSESSMENT),
        market_data=market_data(own, Caller.ASSESSMENT),
        status=_metered_status("assess"),
        notifier=notifier(own),
        breaker=breaker(own),
        clock=clock(),
    )


@cache
def closer() -> "Closer":
    """The use case of the close function."""
    from kalshi_arb.execution.close import Closer

    own = settings()
    return Closer(
        baskets=_metered_baskets("close"),
        ledger=ledger_store(own),
        reservations=reservation_store(own),
        audits=audits_queue(own),
        status=_metered_status("close"),
        notifier=notifier(own),
        breaker=breaker(own),
        clock=clock(),
        write_problem=observability("close").logger.error,
    )


@cache
def account_reads(settings: Settings, caller: Caller) -> AccountReads:
    """Everything of the account, whoever traded: on paper in mode paper, at the exchange otherwise.

    :raises SettingsError: the key cannot be used.
    """
    if settings.mode is Mode.PAPER:
        return paper_trading(settings, stores(settings), market_data(settings, caller))
    from kalshi_arb.kalshi.account import KalshiAccount

    return KalshiAccount(_own_exchange(settings, caller))


@cache
def collateral_reads(settings: Settings, caller: Caller) -> CollateralReads | None:
    """What events give collateral back for; None where nothing ever comes back. Needs no key."""
    if settings.collateral_return is Netting.OFF:
        return None
    from kalshi_arb.kalshi.collateral import KalshiCollateral

    return KalshiCollateral(_public_exchange(settings, caller))


@cache
def auditor() -> "Auditor":
    """Holds the journal against the exchange's account."""
    from kalshi_arb.execution.audit import Auditor

    own = settings()
    return Auditor(
        baskets=_metered_baskets("settlement"),
        ledger=ledger_store(own),
        account=account_reads(own, Caller.SETTLEMENT),
        status=_metered_status("settlement"),
        notifier=notifier(own),
        breaker=breaker(own),
        clock=clock(),
        mode=own.mode.value,
        collateral=collateral_reads(own, Caller.SETTLEMENT),
    )


@cache
def settler() -> "Settler":
    """The use case of the settlement function."""
    from kalshi_arb.execution.settle import Settler

    own = settings()
    return Settler(
        baskets=_metered_baskets("settlement"),
        ledger=ledger_store(own),
        account=account_reads(own, Caller.SETTLEMENT),
        market_data=market_data(own, Caller.SETTLEMENT),
        auditor=auditor(),
        reservations=reservation_store(own),
        status=_metered_status("settlement"),
        notifier=notifier(own),
        clock=clock(),
        mode=own.mode.value,
        precision=own.account.precision,
    )


@cache
def held_review() -> "HeldReview":
    """Proposes to sell early what gains by it, and has it sold where the limits say so."""
    from kalshi_arb.execution.early_sale import EarlySale
    from kalshi_arb.execution.review import HeldReview

    own = settings()
    early_sale = EarlySale(
        baskets=_metered_baskets("settlement"),
        workflow=workflow(own),
        reservations=reservation_store(own),
        account=account_reads(own, Caller.SETTLEMENT),
        market_data=market_data(own, Caller.SETTLEMENT),
        status=_metered_status("settlement"),
        clock=clock(),
        mode=own.mode.value,
        netting=own.collateral_return,
        write_tokens=_write_tokens(own),
    )
    return HeldReview(
        baskets=_metered_baskets("settlement"),
        groups=group_store(own),
        market_data=market_data(own, Caller.SETTLEMENT),
        status=_metered_status("settlement"),
        notifier=notifier(own),
        clock=clock(),
        netting=own.collateral_return,
        limits=lambda: limits(own),
        early_sale=early_sale,
    )


def _write_tokens(settings: Settings) -> int:
    """Write tokens that baskets may hold together. What is kept back for unwinding counts: it is what a basket in
    trouble may spend."""
    return settings.rate_tier.limits.write.capacity * Caller.EXECUTION.share.write // 100


@cache
def digest() -> "Digest":
    """Tells the report of each day that is over."""
    from kalshi_arb.reports.digest import Digest

    own = settings()
    return Digest(
        ledger=ledger_store(own),
        baskets=_metered_baskets("settlement"),
        status=_metered_status("settlement"),
        notifier=notifier(own),
        clock=clock(),
        mode=own.mode.value,
    )


@cache
def sweeper() -> "Sweeper":
    """The use case of the sweeper function."""
    from kalshi_arb.execution.sweep import Sweeper

    own = settings()
    return Sweeper(
        baskets=_metered_baskets("sweeper"),
        ledger=ledger_store(own),
        workflow=workflow(own),
        reservations=reservation_store(own),
        status=_metered_status("sweeper"),
        notifier=notifier(own),
        breaker=breaker(own),
        clock=clock(),
        mode=own.mode.value,
    )


def webhook_of(settings: Settings) -> "WebhookTarget | None":
    """Where the stack's webhook secret, at most a minute old, says to post; None for nowhere.

    :raises SettingsError: the secret is malformed.
    :raises StoreError: it cannot be read.
    """
    from kalshi_arb.webhooks import webhook_target

    return webhook_target(_vault().secret(settings.need("webhook_secret")))


@cache
def alert_delivery() -> "AlertDelivery":
    """The use case of the alerts function. The webhook secret is looked up for each alert."""
    from kalshi_arb.alerts import AlertDelivery
    from kalshi_arb.webhooks import HttpWebhook

    own = settings()
    observed = observability("alerts")

    def webhook() -> HttpWebhook | None:
        target = webhook_of(own)
        return None if target is None else HttpWebhook(target, clock())

    return AlertDelivery(
        store=alert_store(own),
        status=status_store(own),
        webhook=webhook,
        write_line=lambda alert, line: observed.logger.info(
            line, extra={"alert_id": alert.alert_id, "kind": alert.kind.value}
        ),
        write_problem=observed.logger.error,
        metrics=observed.metrics,
        clock=clock(),
        mode=own.mode.value,
    )


@cache
def api() -> "Api":
    """The use cases of the API function."""
    from kalshi_arb.api import Api

    own = settings()
    return Api(
        status=status_store(own),
        opportunities=opportunity_store(own),
        baskets=basket_store(own),
        groups=group_store(own),
        alerts=alert_store(own),
        detection=detection(own),
        clock=clock(),
        mode=own.mode.value,
    )


@cache
def relations_desk() -> "RelationsDesk":
    """What a person sees of the groups and says about them."""
    from kalshi_arb.relations_view import RelationsDesk

    own = settings()
    return RelationsDesk(groups=group_store(own), clock=clock(), mode=own.mode.value)


@cache
def stop_desk() -> "StopDesk":
    """What a person sees of the stops, sets and takes back."""
    from kalshi_arb.stop_desk import StopDesk

    own = settings()
    return StopDesk(status=status_store(own), clock=clock(), mode=own.mode.value)


def deployed_stack(mode: str) -> "DeployedStack":
    """The stack of a mode in the person's own AWS account, with their credentials.

    :raises SettingsError: there is none, or more than one
    :raises StoreError: AWS cannot be asked
    """
    from kalshi_arb.aws.clients import new_client, new_session
    from kalshi_arb.aws.stack import find_stack

    session = new_session(os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"))
    return find_stack(mode, cache(lambda service: new_client(session, service)))


def local_stack(mode: str, address: str) -> "DeployedStack":
    """The stack of the local run, whose cloud is at this address. Errors as :func:`deployed_stack`."""
    from kalshi_arb.aws.clients import new_local_client
    from kalshi_arb.aws.stack import find_stack

    return find_stack(mode, cache(lambda service: new_local_client(address, service)))


def reset() -> None:
    """Forget everything built so far: for tests, which change the environment between cases."""
    for built in list(globals().values()):
        if hasattr(built, "cache_clear"):
            built.cache_clear()
