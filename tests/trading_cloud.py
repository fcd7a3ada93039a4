"""The project's own stack on the embedded AWS, trading on an exchange whose markets and books are a chaos world's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.chaos.schedules import UNBROKEN, bases
from infra.chaos.worlds import World, WorldPlan
from infra.exchange.testserver import ServedExchange
from infra.local.cloud import EmbeddedCloud
from infra.local.runner import FEED_IMAGE, settings_of
from infra.local.template import Clients, StackReport, deploy
from kalshi_arb import bootstrap
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import ENDED_STATES, Basket
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.group_record import accept
from kalshi_arb.schemas import Candidate, encode
from kalshi_arb.settings import PREFIX, Mode, read_settings
from tests.integration.local_cloud_support import QUICK, wait_for

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 4


@dataclass
class TradingCloud:
    """The stack, and the exchange that it trades on."""

    world: World
    served: ServedExchange
    stores: bootstrap.Stores
    client: Clients
    report: StackReport

    def put_key(self, secret: str, key_id: str) -> None:
        """Store the member's key under an id."""
        key = {"key_id": key_id, "private_key": self.served.credentials.private_key}
        self.client("secretsmanager").put_secret_value(
            SecretId=self.report.resources[secret], SecretString=json.dumps(key)
        )

    def put_limits(self, limits: Mapping[str, object]) -> None:
        """Store the operator's limits."""
        self.client("ssm").put_parameter(
            Name=self.report.resources["LimitsParameter"], Value=json.dumps(limits), Type="String", Overwrite=True
        )

    def offer(self, number: int) -> None:
        """Let a candidate of a group arrive, on its books of this moment."""
        site, now = self.world.sites[number], SystemClock().now_ms()
        books = self.served.do(lambda: tuple(self._book(ticker, number, now) for ticker in site.group.tickers))
        self.stores.candidates.send(
            encode(Candidate(site.group.group_id, site.group.fingerprint, books, 10**8, now, now))
        )

    def end_of(self, number: int) -> Basket:
        """The basket of a group, which has one, once it has ended."""
        group_id = self.world.sites[number].group.group_id

        def found() -> list[Basket]:
            return [row for row in self.stores.baskets.recent(1_000) if row.group_id == group_id]

        def ended() -> Basket | None:
            return next((row for row in found() if row.state in ENDED_STATES), None)

        for _ in range(PATIENCE):
            try:
                row: Basket = wait_for(ended)
            except AssertionError:
                self._sweep()
            else:
                return row
        raise AssertionError(f"it did not end: {found()}; detection: {self.stores.status.counters('detection')}")

    def _sweep(self) -> None:
        event = (ROOT / "events" / "schedule_sweeper.json").read_bytes()
        self.client("lambda").invoke(FunctionName=self.report.resources["SweeperFunction"], Payload=event)

    def _book(self, ticker: str, number: int, now_ms: int) -> BookSnapshot:
        book = self.world.core.markets[ticker].book
        return BookSnapshot(ticker, BookVersion(1, 1, number), now_ms, now_ms, tuple(book.yes), tuple(book.no))


def in_the_account(cloud: TradingCloud, monkeypatch: pytest.MonkeyPatch, nothing: Path) -> None:
    """Make the embedded AWS the account of the person at the command line, who has nothing else.

    :param nothing: an empty folder
    """
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.client.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(nothing / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(nothing / "credentials"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def trading_cloud(folder: Path, plan: WorldPlan, mode: Mode = Mode.SIMULATED) -> Iterator[TradingCloud]:
    """A world's exchange, and the stack of a mode with its groups accepted; both end with the block."""
    clock = SystemClock()
    world = World(plan)
    with ExitStack() as parts:
        served = parts.enter_context(ServedExchange(world.core, clock.now_ms))
        running = parts.enter_context(
            EmbeddedCloud(state_dir=folder / "cloud", log_file=folder / "cloud.log", options=QUICK)
        )
        client = Clients(running.url)
        parts.callback(client.close)
        urls = {"ExchangeRestUrl": served.server.rest_url, "ExchangeWsUrl": served.server.ws_url}
        report = deploy(
            running.url,
            ROOT / "template.yaml",
            {"Mode": mode.value, "RateTier": "prestige", "FeedImageUri": FEED_IMAGE, **urls},
            # They know Kalshi's own hosts, which this exchange stands in for.
            left_out=() if mode is Mode.SIMULATED else ("Rules",),
        )
        # The groups are not discovery's: it finds nothing of the kind in this world, and would take them away within
        # a minute. Nor may a scheduled sweep start baskets of groups whose turn has not come.
        for schedule in ("discovery", "detection"):
            client("scheduler").delete_schedule(Name=f"kalshi-arb-{mode.value}-{schedule}")
        settings = read_settings(
            settings_of(report.outputs, {f"{PREFIX}MODE": mode.value, f"{PREFIX}REST_URL": served.server.rest_url})
        )
        made = TradingCloud(world, served, bootstrap.Stores(settings, client), client, report)
        for secret in ("ReadKeySecret", "TradeKeySecret"):
            made.put_key(secret, served.credentials.key_id)
        made.put_limits({**bases()["lock"].limits, **UNBROKEN})
        now = clock.now_ms()
        made.stores.groups.write([accept(group, read_ms=now, now_ms=now) for group in world.groups])
        yield made
