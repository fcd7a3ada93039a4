"""Messages and items: what is written is read back the same, and anything else is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb import schemas
from kalshi_arb.domain.basket import Basket, Finding, PreSendBound, Releasing
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import SchemaError
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, HistoryKind
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.ports import Alert, AlertDigest, AlertWindow
from kalshi_arb.schemas import Candidate, Lifecycle, Look
from tests.cloud_samples import NOW, alert, basket, book, candidate, group_record, opportunity, with_order

HISTORY = HistoryEntry("g", HistoryKind.REPLACED, 2, 5, "f2", NOW, ("a strike changed",))
VALUES = [
    candidate(), Lifecycle("KXTEST", "settled", NOW), Look(NOW), book(), group_record(), HISTORY,
    opportunity(), with_order(basket()),
    alert(), AlertDigest(3, (AlertWindow("kind", NOW, 2, alert()),)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_kind_comes_back_as_it_went(value: object) -> None:
    text = schemas.encode(value)
    assert schemas.decode(text, type(value)) == value
    assert schemas.decode(text.encode(), type(value)) == value
    envelope = json.loads(text)
    assert envelope.keys() == {"v", "kind", "body"}
    assert envelope["v"] == schemas.version_of(type(value))


def test_a_basket_keeps_its_bound_its_findings_and_its_turns() -> None:
    bound = PreSendBound(Cash(5), Cash(4), ((0, Cash(9)), (2, Cash(1))), ((0, Cash(0)), (2, Cash(7))))
    row = replace(basket(), bound=bound, findings=(Finding("depth", "3 of 10 are there"),), turns=7)
    assert schemas.decode(schemas.encode(row), Basket) == row


def test_a_basket_keeps_its_early_sale() -> None:
    release = Releasing(2, (Count(100), Count(0)), 5, NOW, ((0, Cash(9)), (2, Cash(1))), Cash(3), 50_000, None)
    row = replace(basket(), release=release)
    assert schemas.decode(schemas.encode(row), Basket) == row
    earlier = json.loads(schemas.encode(basket()))
    del earlier["body"]["release"]
    assert schemas.decode(json.dumps(earlier), Basket).release is None, "rows of before there was such a thing"


def test_every_kind_has_its_own_name() -> None:
    kinds = [json.loads(schemas.encode(value))["kind"] for value in VALUES]
    assert len(set(kinds)) == len(kinds) == len(VALUES)


@pytest.mark.parametrize("body", [Basket, BookSnapshot, Candidate, GroupRecord, Lifecycle, Opportunity])
def test_another_kind_is_refused(body: type) -> None:
    with pytest.raises(SchemaError, match="got alert v1"):
        schemas.decode(schemas.encode(alert()), body)


def test_another_version_is_refused() -> None:
    envelope = json.loads(schemas.encode(alert())) | {"v": 2}
    with pytest.raises(SchemaError, match="expected alert v1, got alert v2"):
        schemas.decode(json.dumps(envelope), Alert)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"v":1,"kind":"alert"}',
        '{"v":"1","kind":"alert","body":{}}',
        '{"v":1,"kind":"alert","body":{}}',
        b"\xff",
    ],
)
def test_what_is_no_envelope_is_refused(text: str | bytes) -> None:
    with pytest.raises(SchemaError):
        schemas.decode(text, Alert)


def test_a_value_of_the_wrong_type_is_refused() -> None:
    envelope = json.loads(schemas.encode(alert()))
    for field, value in [("kind", "gossip"), ("created_ms", "now"), ("created_ms", 1.5), ("title", None)]:
        broken = envelope | {"body": envelope["body"] | {field: value}}
        with pytest.raises(SchemaError):
            schemas.decode(json.dumps(broken), Alert)


def test_a_body_that_contradicts_itself_is_refused() -> None:
    """The domain's own checks hold for what comes from outside too."""
    envelope = json.loads(schemas.encode(group_record()))
    envelope["body"]["group"]["states"][0]["yes_payouts"].append(0)
    with pytest.raises(SchemaError):
        schemas.decode(json.dumps(envelope), GroupRecord)


def test_a_type_without_a_kind_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        schemas.encode(object())


@given(
    version=st.tuples(*[st.integers(0, 2**53)] * 3),
    levels=st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 2**53)), max_size=5),
)
def test_books_keep_every_integer(version: tuple[int, int, int], levels: list[tuple[int, int]]) -> None:
    side = tuple(Level(Price(price), Count(size)) for price, size in levels)
    sent = BookSnapshot("T", BookVersion(*version), NOW, NOW, side, ())
    received = schemas.decode(schemas.encode(sent), BookSnapshot)
    assert received == sent
    assert isinstance(received.version, BookVersion)


@given(st.integers(-(2**53), 2**53), st.text())
def test_baskets_keep_amounts_and_words(cash: int, reason: str) -> None:
    row = replace(basket(), locked_profit=Cash(cash), reason=reason.encode(errors="replace").decode())
    assert schemas.decode(schemas.encode(row), Basket) == row


def test_unknown_fields_are_left_alone() -> None:
    """An older reader lives with what a newer writer of the same version adds."""
    envelope = json.loads(schemas.encode(alert()))
    envelope["body"]["mood"] = "good"
    assert schemas.decode(json.dumps(envelope), Alert) == alert()
