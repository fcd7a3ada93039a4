"""Small, valid domain values for tests of stores, messages and screens."""

from dataclasses import replace
from typing import Any

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, Purpose, client_order_id
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.market import Market, Outcome, StrikeType
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import BookReference, Capital, Certificate, Grade, Leg, Opportunity, Quality
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, OrderRequest, TimeInForce
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.ports import Alert, AlertKind
from kalshi_arb.schemas import Candidate

NOW = 1_800_000_000_000
LOW, HIGH = "KXTEST-26-T10", "KXTEST-26-T20"


def market(ticker: str, floor: int) -> Market:
    """A market "above ``floor``" of the test event."""
    return Market(
        ticker=ticker,
        event_ticker="KXTEST-26",
        series_ticker="KXTEST",
        strike_type=StrikeType.GREATER,
        floor=None,
        cap=None,
        subject="",
        title=f"Above {floor}",
        grid=CENT_GRID,
        fees=FeeSchedule(FeeType.QUADRATIC),
        shard=0,
        close_ms=NOW + 3_600_000,
        rules_fingerprint="rules",
    )


def group(group_id: str = "ladder-KXTEST-26", fingerprint: str = "f1") -> Group:
    """A ladder of two markets."""
    return Group(
        group_id=group_id,
        family=Family.LADDER,
        event_ticker="KXTEST-26",
        markets=(market(LOW, 10), market(HIGH, 20)),
        states=(
            State("10 or below", (Price(0), Price(0)), Basis.CERTAIN),
            State("between 10 and 20", (Price(10_000), Price(0)), Basis.CERTAIN),
            State("above 20", (Price(10_000), Price(10_000)), Basis.CERTAIN),
        ),
        relations=(Relation(RelationKind.SUBSET, (HIGH, LOW), "above 20 implies above 10"),),
        fingerprint=fingerprint,
    )


def group_record(group_id: str = "ladder-KXTEST-26", fingerprint: str = "f1") -> GroupRecord:
    """The same as it is kept."""
    return GroupRecord(group(group_id, fingerprint), 1, 1, NOW, NOW)


def large_group(group_id: str, markets: int) -> Group:
    """A partition whose JSON is large: one state for each market."""
    tickers = [f"KXBIG-26-B{position:04d}" for position in range(markets)]
    return Group(
        group_id=group_id,
        family=Family.PARTITION,
        event_ticker="KXBIG-26",
        markets=tuple(market(ticker, position) for position, ticker in enumerate(tickers)),
        states=tuple(
            State(f"bracket {row}", tuple(Price(10_000 if row == column else 0) for column in range(markets)),
                  Basis.CERTAIN)
            for row in range(markets)
        ),
        relations=(Relation(RelationKind.PARTITION, tuple(tickers), "brackets without a gap"),),
        fingerprint="big",
    )  # fmt: skip


def book(ticker: str = LOW, version: tuple[int, int, int] = (1, 1, 1)) -> BookSnapshot:
    """A book with one level a side."""
    level = (Level(Price(4_000), Count(10_000)),)
    return BookSnapshot(ticker, BookVersion(*version), NOW - 20, NOW - 12, level, level)


CAPITAL = Capital({0: Cash(114_000_000)}, Cash(114_000_000), Cash(0), Cash(114_000_000), Cash(0), Cash(114_000_000),
                  None, 25_438, None, None)  # fmt: skip
QUALITY = Quality(1_000_000, 12, 4)
LEGS = (
    Leg(LOW, Outcome.YES, Count(12_000), Price(4_300)),
    Leg(HIGH, Outcome.NO, Count(12_000), Price(5_200)),
)


def certificate(group_id: str = "ladder-KXTEST-26") -> Certificate:
    """A proof of a gain of at least $3 on an outlay of $114."""
    return Certificate(
        group_id=group_id,
        fingerprint="f1",
        grade=Grade.PROVED,
        outlay=Cash(114_000_000),
        fee_bound=Cash(3_000_000),
        worst_profit=Cash(3_000_000),
        floor_profit=Cash(2_900_000),
        worst_state="10 or below",
        breaking_state=None,
        states_checked=3,
        smallest_fill=Count(100),
        precision=int(Precision.DIRECT),
        books=(
            BookReference(LOW, BookVersion(1, 1, 1), 12, NOW - 20),
            BookReference(HIGH, BookVersion(1, 1, 2), 8, NOW - 20),
        ),
        judged_ms=NOW,
        legs=(),
        states=(),
        assumptions=(),
        max_age_ms=5_000,
        seal="",
    )


def opportunity(opportunity_id: str = "o1", found_ms: int = NOW, group_id: str = "ladder-KXTEST-26") -> Opportunity:
    """A proved opportunity of two legs."""
    return Opportunity(
        opportunity_id, group_id, "KXTEST-26", LEGS, certificate(group_id), found_ms, found_ms - 30, CAPITAL, QUALITY
    )


def basket(basket_id: str = "b1", group_id: str = "ladder-KXTEST-26", created_ms: int = NOW) -> Basket:
    """A basket that was just proposed."""
    return Basket(
        basket_id=basket_id,
        opportunity_id="o1",
        group_id=group_id,
        event_ticker="KXTEST-26",
        family="ladder",
        mode="simulated",
        state=BasketState.PROPOSED,
        attempt=1,
        revision=1,
        legs=LEGS,
        waves=((0,), (1,)),
        orders=(),
        certificate=certificate(group_id),
        expected_profit=Cash(2_900_000),
        exposure_bound=Cash(54_000_000),
        locked_profit=None,
        settled_profit=None,
        reserved=Cash(0),
        reason="",
        candidate_ms=created_ms - 30,
        created_ms=created_ms,
        updated_ms=created_ms,
    )


def with_order(row: Basket) -> Basket:
    """The basket with one order planned."""
    leg = row.legs[0]
    request = OrderRequest(
        client_order_id(row.basket_id, 0, 0), leg.ticker, leg.outcome, leg.count, leg.limit, TimeInForce.FILL_OR_KILL, 0
    )
    return replace(row, orders=(BasketOrder(request, 0, 0, Purpose.ENTER),))


def entry(entry_id: str, created_ms: int = NOW) -> LedgerEntry:
    """A fill of one YES at 43 cents."""
    return LedgerEntry(
        entry_id, EntryKind.FILL, "b1", LOW, Outcome.YES, Count(100), Price(4_300), Cash(18_000), Cash(-448_000),
        created_ms,
    )  # fmt: skip


def alert(alert_id: str = "a1", created_ms: int = NOW) -> Alert:
    """An alert about the end of a basket."""
    return Alert(alert_id, AlertKind.BASKET, "simulated", "basket b1 locked", "at least $2.90", created_ms)


def candidate() -> Candidate:
    """A candidate for the ladder with both books inside."""
    return Candidate("ladder-KXTEST-26", "f1", (book(LOW), book(HIGH)), 250_000, NOW - 5, NOW)


def create_ledger_table(client: Any) -> None:
    """The journal's table, with the keys and the index of the template."""
    client.create_table(
        TableName="ledger",
        AttributeDefinitions=[
            {"AttributeName": "chain", "AttributeType": "S"},
            {"AttributeName": "place", "AttributeType": "S"},
            {"AttributeName": "written_ms", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "chain", "KeyType": "HASH"},
            {"AttributeName": "place", "KeyType": "RANGE"},
        ],
        LocalSecondaryIndexes=[
            {
                "IndexName": "by_time",
                "KeySchema": [
                    {"AttributeName": "chain", "KeyType": "HASH"},
                    {"AttributeName": "written_ms", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
