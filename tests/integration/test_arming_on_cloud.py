"""`kalshi-arb arm --stack live` on a deployed stack: what it refuses, what it arms, and what disarms."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.chaos.schedules import UNBROKEN, bases
from infra.chaos.worlds import Shape, WorldPlan
from kalshi_arb.cli.main import cli
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.execution.arming import COMPONENT, HOUR_MS
from kalshi_arb.settings import Mode
from tests.trading_cloud import TradingCloud, in_the_account, trading_cloud

SEED = 5
GROUPS = 12
LIMITS = {**bases()["lock"].limits, **UNBROKEN}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TradingCloud]:
    plan = WorldPlan(SEED, (Shape.PARTITION,) * GROUPS, cash=50_000, start_ms=SystemClock().now_ms())
    with trading_cloud(tmp_path_factory.mktemp("arming"), plan, Mode.LIVE) as made:
        yield made


@pytest.fixture(scope="module")
def groups() -> Iterator[int]:
    """Each candidate is of a group of its own."""
    return iter(range(GROUPS))


@pytest.fixture(autouse=True)
def account(cloud: TradingCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_the_account(cloud, monkeypatch, tmp_path)


def arm(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["arm", "--stack", "live", *arguments], input=typed)


def armed(*arguments: str) -> None:
    result = arm("--hours", "8", "--yes", "--json", *arguments)
    assert result.exit_code == 0, result.output


def anew(cloud: TradingCloud) -> None:
    """Start the risk check's process anew: a warm one goes by what it has read within the last minute."""
    functions, name = cloud.client("lambda"), cloud.report.resources["RiskCheckFunction"]
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    functions.update_function_configuration(FunctionName=name, Environment=environment)


def traded(cloud: TradingCloud, groups: Iterator[int]) -> Basket:
    anew(cloud)
    number = next(groups)
    cloud.offer(number)
    return cloud.end_of(number)


def refusal(row: Basket) -> str:
    assert row.state is BasketState.REFUSED
    assert not row.orders
    (text,) = (finding.text for finding in row.findings if finding.code == "not_armed")
    return text


def limits_changed(cloud: TradingCloud) -> None:
    cloud.put_limits({**LIMITS, "max_daily_loss": "10001.00"})


def stack_updated(cloud: TradingCloud) -> None:
    cloudformation, name = cloud.client("cloudformation"), "kalshi-arb"
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]} | {"PaperCash": "1.00"}
    cloudformation.update_stack(
        StackName=name,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )


def key_changed(cloud: TradingCloud) -> None:
    cloud.put_key("TradeKeySecret", "another-key")


def time_passed(cloud: TradingCloud) -> None:
    item = cloud.stores.status.get(COMPONENT)
    assert item is not None
    over = SystemClock().now_ms() - 1
    cloud.stores.status.put(COMPONENT, {**item, "armed_ms": over - 8 * HOUR_MS, "until_ms": over})


def test_what_cannot_be_armed_is_refused_in_one_line(cloud: TradingCloud) -> None:
    for hours in ("0", "25", "eight", "1.5"):
        result = arm("--hours", hours, "--yes")
        assert result.exit_code == 2, hours
        assert "'--hours'" in result.stderr
    forgotten = arm("--yes")
    assert forgotten.exit_code == 2
    assert "mode live is armed for a time: give --hours" in forgotten.stderr
    nowhere = CliRunner().invoke(cli, ["arm", "--stack", "demo"])
    assert isinstance(nowhere.exception, SettingsError), "what the command line prints as its one line"
    assert str(nowhere.exception) == "expected one stack of mode demo in this account and region, found none"
    assert cloud.stores.status.get(COMPONENT) is None, "and nothing was armed on the way"


def test_real_money_is_not_moved_before_a_person_has_said_yes(cloud: TradingCloud, groups: Iterator[int]) -> None:
    declined = arm("--hours", "8", typed="n\n")
    assert declined.exit_code == 1
    assert "stack kalshi-arb, mode live. This will:" in declined.stderr
    assert f"and key {cloud.served.credentials.key_id}" in declined.stderr
    assert refusal(traded(cloud, groups)) == "nobody has armed this stack"
    accepted = arm("--hours", "8", typed="y\n")
    assert accepted.exit_code == 0, accepted.output
    assert "live: buying is allowed until 2" in accepted.stdout
    item = cloud.stores.status.get(COMPONENT)
    assert item is not None
    assert int(str(item["until_ms"])) - int(str(item["armed_ms"])) == 8 * HOUR_MS
    row = traded(cloud, groups)
    assert row.state is BasketState.LOCK
    assert max(leg.count for leg in row.legs) <= 1_000, "the first ones are small"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (limits_changed, "the limits changed since it was armed"),
        (stack_updated, "the deployed template changed since it was armed"),
        (key_changed, "the trading key changed since it was armed"),
        (time_passed, "the arming is over"),
    ],
)
def test_what_changes_after_the_arming_disarms_and_is_named(
    cloud: TradingCloud, groups: Iterator[int], change: Callable[[TradingCloud], None], reason: str
) -> None:
    armed()
    change(cloud)
    assert refusal(traded(cloud, groups)) == reason
    cloud.put_key("TradeKeySecret", cloud.served.credentials.key_id)
    armed()
    assert traded(cloud, groups).state is BasketState.LOCK, "armed anew, for what is deployed now"
