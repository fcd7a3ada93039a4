"""Who may call, and how requests are read: signatures, parameters, pages, order bodies."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.exchange.auth import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, KeyRing, read_public_key
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.query import Query, page, read_json, read_order
from infra.exchange.terms import SelfTradePrevention, TimeInForce
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
