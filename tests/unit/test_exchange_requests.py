"""Who may call, and how requests are read: signatures, parameters, pages, order bodies."""

import base64
import uuid
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.auth import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, KeyRing, read_public_key
from infra.exchange.bodies import (
    read_amendment,
    read_cancel,
    read_decrease,
    read_group,
    read_json,
    read_limit,
    read_netting,
    read_order,
    read_transfer,
)
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.query import Query, page
from infra.exchange.terms import KEEP, SelfTradePrevention, TimeInForce
from infra.exchange.testkit import START_MS
from kalshi_arb.domain.market import Outcome

PATH = "/trade-api/v2/portfolio/balance"
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def ring() -> KeyRing:
    keys = KeyRing()
    keys.add("rsa", read_public_key(pem(RSA.public_key())), "ann")
    keys.add("ed", read_public_key(pem(ED.public_key())), "bob")
    return keys


def headers(key_id: str, text: str, timestamp: int = START_MS, salt: int = 32) -> dict[str, str]:
    if key_id == "ed":
        raw = ED.sign(text.encode())
    else:
        raw = RSA.sign(text.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    return {
        KEY_HEADER: key_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: base64.b64encode(raw).decode(),
    }


@pytest.mark.parametrize(("key_id", "account", "salt"), [("rsa", "ann", 32), ("rsa", "ann", 222), ("ed", "bob", 0)])
def test_both_kinds_of_key_are_accepted_with_any_salt_length(key_id: str, account: str, salt: int) -> None:
    signed = headers(key_id, f"{START_MS}GET{PATH}", salt=salt)
    assert ring().authenticate(signed, "get", PATH, START_MS + 30_000) == account
    assert ring().authenticate(signed, "GET", PATH + "?subaccount=0", START_MS) == account


def refused(signed: dict[str, str], now_ms: int = START_MS, path: str = PATH) -> tuple[int, str, str]:
    with pytest.raises(ExchangeRefusalError) as caught:
        ring().authenticate(signed, "GET", path, now_ms)
    return caught.value.status, caught.value.code, caught.value.details


@pytest.mark.parametrize("key_id", ["rsa", "ed"])
@pytest.mark.parametrize(
    "text",
    [
        f"{START_MS}GET{PATH}?subaccount=0",
        f"{START_MS}GET/portfolio/balance",
        f"{START_MS}POST{PATH}",
        f"{START_MS + 1}GET{PATH}",
    ],
)
def test_a_signature_over_anything_else_is_refused(key_id: str, text: str) -> None:
    assert refused(headers(key_id, text)) == (401, "authentication_error", "INCORRECT_API_KEY_SIGNATURE")


def test_the_other_causes_of_a_401() -> None:
    good = headers("ed", f"{START_MS}GET{PATH}")
    for missing in good:
        kept = {name: value for name, value in good.items() if name != missing}
        assert refused(kept)[:2] == (401, "authentication_error")
    assert refused(good, START_MS + 30_001) == (401, "header_timestamp_expired", "")
    assert refused(good, START_MS - 30_001) == (401, "header_timestamp_expired", "")
    assert refused(good | {KEY_HEADER: "other"})[2] == "API_KEY_NOT_FOUND"
    assert refused(good | {SIGNATURE_HEADER: "not base64!"})[2] == "INCORRECT_API_KEY_SIGNATURE"
    assert refused(good | {TIMESTAMP_HEADER: "yesterday"})[2] == "INVALID_TIMESTAMP"


def test_a_key_must_be_a_pem_of_a_known_kind() -> None:
    with pytest.raises(ExchangeStartError, match="PEM"):
        read_public_key(b"garbage")
    with pytest.raises(ExchangeStartError, match="RSA or Ed25519"):
        read_public_key(pem(ec.generate_private_key(ec.SECP256R1()).public_key()))


def test_pages_cover_every_row_once_even_while_new_rows_arrive() -> None:
    rows = [f"{number:03d}" for number in range(10)]
    seen: list[str] = []
    cursor = ""
    for arrival in ("100", "101", "102", "103"):
        chosen, cursor = page(rows, str, 3, cursor)
        seen += chosen
        rows.append(arrival)
        if not cursor:
            break
    assert seen == [f"{number:03d}" for number in range(9, -1, -1)]
    with pytest.raises(ExchangeRefusalError, match="invalid cursor"):
        page(rows, str, 3, "é")


def test_parameters_are_never_ignored() -> None:
    with pytest.raises(ExchangeRefusalError, match="min_close_ts is not supported"):
        Query([("min_close_ts", "1")], ("limit",))
    query = Query([("limit", "1001"), ("depth", "x"), ("flag", "1"), ("one", "a"), ("one", "b")],
                  ("limit", "depth", "flag", "one"))  # fmt: skip
    for read in (
        lambda: query.whole("limit", 100, 1, 1_000),
        lambda: query.whole("depth", 0, 0, 100),
        lambda: query.flag("flag"),
        lambda: query.text("one"),
    ):
        with pytest.raises(ExchangeRefusalError, match="parameter"):
            read()
    assert query.repeated("one") == ["a", "b"]


BODY: dict[str, object] = {
    "ticker": "KX-1",
    "side": "ask",
    "count": "2.50",
    "price": "0.56",
    "time_in_force": "fill_or_kill",
    "self_trade_prevention_type": "taker_at_cross",
}


def test_an_ask_buys_no_at_the_complement() -> None:
    order = read_order(BODY | {"exchange_index": -1})
    assert (order.outcome, order.limit, order.count) == (Outcome.NO, 4_400, 250)
    assert (order.time_in_force, order.self_trade) == (TimeInForce.FILL_OR_KILL, SelfTradePrevention.TAKER_AT_CROSS)
    assert (order.shard, order.client_order_id) == (None, None)
    assert read_order(BODY | {"side": "bid", "exchange_index": 2}).shard == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ticker": None}, "missing_parameters"),
        ({"price": ""}, "missing_parameters"),
        ({"price": "0.56005"}, "invalid_order"),
        ({"price": 0.56}, "invalid_order"),
        ({"price": "1.2"}, "invalid_order"),
        ({"count": "1.005"}, "invalid_order_size"),
        ({"count": 3}, "invalid_order_size"),
        ({"side": "yes"}, "bad_request"),
        ({"time_in_force": "GTT"}, "bad_request"),
        ({"yes_price": 56}, "bad_request"),
        ({"post_only": "true"}, "bad_request"),
        ({"exchange_index": "0"}, "bad_request"),
        ({"client_order_id": 7}, "bad_request"),
        ({"subaccount": 3}, "not_found"),
        ({"expiration_time": "1"}, "bad_request"),
        ({"expiration_time": -1}, "bad_request"),
        ({"order_group_id": 5}, "bad_request"),
    ],
)
def test_malformed_orders_are_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises(ExchangeRefusalError) as caught:
        read_order(BODY | change)
    assert caught.value.code == code


def test_a_body_must_be_an_object() -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        with pytest.raises(ValueError, match="the body is no JSON"):
            read_json(body)


def test_an_order_says_when_it_expires_and_what_it_belongs_to() -> None:
    order = read_order(BODY | {"expiration_time": 1_795_000_000, "order_group_id": "g", "cancel_order_on_pause": True})
    assert (order.expiration_ms, order.order_group_id, order.cancel_on_pause) == (1_795_000_000_000, "g", True)
    plain = read_order(BODY)
    assert (plain.expiration_ms, plain.order_group_id, plain.cancel_on_pause) == (None, None, False)


AMENDMENT: dict[str, object] = {"ticker": "KX-1", "side": "ask", "price": "0.56", "count": "3"}


def test_an_amendment_keeps_clears_or_sets_the_expiry() -> None:
    kept = read_amendment("o", AMENDMENT)
    assert (kept.order_id, kept.outcome, kept.limit, kept.count) == ("o", Outcome.NO, 4_400, 300)
    assert kept.expiration_ms is KEEP
    assert read_amendment("o", AMENDMENT | {"expiration_time": 0}).expiration_ms is None
    assert read_amendment("o", AMENDMENT | {"expiration_time": 7}).expiration_ms == 7_000
    named = read_amendment("o", AMENDMENT | {"client_order_id": "a", "updated_client_order_id": "b"})
    assert (named.client_order_id, named.updated_client_order_id) == ("a", "b")


def test_a_decrease_has_exactly_one_size() -> None:
    by = read_decrease("o", {"reduce_by": "1.50", "market_ticker": "KX-1"})
    assert (by.reduce_by, by.reduce_to, by.target.ticker, by.target.shard) == (150, None, "KX-1", None)
    to = read_decrease("o", {"reduce_to": "0", "exchange_index": 3})
    assert (to.reduce_by, to.reduce_to, to.target.shard) == (None, 0, 3)
    for wrong in ({}, {"reduce_by": "1", "reduce_to": "1"}, {"reduce_by": None}):
        with pytest.raises(ExchangeRefusalError, match="exactly one of reduce_by and reduce_to"):
            read_decrease("o", wrong)


def test_a_limit_is_whole_or_exact_and_never_two_different_ones() -> None:
    assert read_limit({"contracts_limit": 10}) == 1_000
    assert read_limit({"contracts_limit_fp": "2.50"}) == 250
    assert read_limit({"contracts_limit": 10, "contracts_limit_fp": "10.00"}) == 1_000
    assert read_group({"contracts_limit": 10}) == (1_000, 0)
    assert read_group({"contracts_limit": 10, "exchange_index": 2}) == (1_000, 2)
    for wrong, code in (
        ({}, "missing_parameters"),
        ({"contracts_limit": 10, "contracts_limit_fp": "9"}, "bad_request"),
        ({"contracts_limit": "10"}, "bad_request"),
        ({"contracts_limit_fp": "0.001"}, "invalid_order_size"),
    ):
        with pytest.raises(ExchangeRefusalError) as caught:
            read_limit(wrong)
        assert caught.value.code == code


TRANSFER: dict[str, object] = {"source": "event_contract", "destination": "event_contract", "amount": 125_000}


def test_a_transfer_is_in_hundredths_of_a_cent_and_between_shard_0_unless_it_says_otherwise() -> None:
    plain = read_transfer(TRANSFER)
    assert (plain.amount, plain.source_shard, plain.destination_shard) == (12_500_000, 0, 0)
    to = read_transfer(TRANSFER | {"destination_exchange_shard": 3, "client_transfer_id": str(uuid.UUID(int=1))})
    assert (to.destination_shard, to.client_transfer_id) == (3, str(uuid.UUID(int=1)))
    for wrong in ({"source": "margined"}, {"client_transfer_id": "again"}, {"amount": "1"}, {"amount": -1}):
        with pytest.raises(ExchangeRefusalError) as caught:
            read_transfer(TRANSFER | wrong)
        assert caught.value.code == "bad_request"


def test_only_the_first_subaccount_exists() -> None:
    assert read_netting({"subaccount_number": 0, "enabled": True})
    assert not read_netting({"subaccount_number": 0, "enabled": False})
    assert read_cancel({"order_id": "o", "subaccount": 0, "exchange_index": -1}).shard is None
    for read, body in (
        (read_netting, {"subaccount_number": 1, "enabled": True}),
        (read_cancel, {"order_id": "o", "subaccount": 2}),
        (read_group, {"contracts_limit": 1, "subaccount": 63}),
        (read_transfer, TRANSFER | {"source_subaccount": 4}),
    ):
        with pytest.raises(ExchangeRefusalError, match="no such subaccount"):
            read(body)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("read",), {("GET", None), ("GET", "read::portfolio_balance")}),
        (
            ("read", "write"),
            {("GET", None), ("GET", "read::portfolio_balance"), ("POST", "write::trade"), ("PUT", None)},
        ),
        (("write::trade",), {("POST", "write::trade")}),
        (("read::portfolio_balance",), {("GET", "read::portfolio_balance")}),
        (("write::transfer",), set()),
    ],
)
def test_a_key_may_do_what_its_scopes_say_and_a_narrow_scope_opens_its_own_calls(
    scopes: tuple[str, ...], allowed: set[tuple[str, str | None]]
) -> None:
    keys = KeyRing()
    keys.add("ed", ED.public_key(), "bob", scopes)
    calls = (("GET", None), ("GET", "read::portfolio_balance"), ("POST", "write::trade"), ("PUT", None))
    for method, child in calls:
        signed = headers("ed", f"{START_MS}{method}{PATH}")
        if (method, child) in allowed:
            assert keys.authenticate(signed, method, PATH, START_MS, child) == "bob"
        else:
            with pytest.raises(ExchangeRefusalError) as caught:
                keys.authenticate(signed, method, PATH, START_MS, child)
            assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")


NAMES = st.sampled_from(
    [
        *BODY, "client_order_id", "post_only", "exchange_index", "expiration_time", "order_group_id", "reduce_by",
        "reduce_to", "market_ticker", "order_id", "contracts_limit", "contracts_limit_fp", "source", "destination",
        "amount", "source_exchange_shard", "client_transfer_id", "subaccount", "subaccount_number", "enabled",
    ]
)  # fmt: skip
LIKELY = st.sampled_from(["bid", "ask", "0.56", "1", "fill_or_kill", "taker_at_cross", "event_contract", "-1", "1e9"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | LIKELY,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)
READERS: tuple[Callable[[object], object], ...] = (
    read_order,
    lambda fields: read_amendment("o", fields),
    lambda fields: read_decrease("o", fields),
    read_cancel,
    read_group,
    read_limit,
    read_transfer,
    read_netting,
)


def refusal_of(read: Callable[[object], object], fields: object) -> ExchangeRefusalError | None:
    try:
        read(fields)
    except ExchangeRefusalError as refusal:
        return refusal
    return None


@given(st.dictionaries(NAMES, VALUES, max_size=8), st.sampled_from(READERS), st.sampled_from([{}, BODY, TRANSFER]))
def test_whatever_a_body_says_it_is_read_or_refused_with_a_code(
    change: dict[str, object], read: Callable[[object], object], base: dict[str, object]
) -> None:
    refusal = refusal_of(read, base | change)
    assert refusal is None or (refusal.status in (400, 404) and refusal.code)


@given(VALUES.filter(lambda value: not isinstance(value, dict)), st.sampled_from(READERS))
def test_what_is_no_object_is_refused(value: object, read: Callable[[object], object]) -> None:
    with pytest.raises(ExchangeRefusalError, match="must be an object"):
        read(value)
