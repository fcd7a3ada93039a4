"""Signatures verify under the exchange's rules, and a bad key is one clear line that never shows the key."""

import base64
from functools import cache
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.kalshi.signing import (
    Credentials,
    Signer,
    credentials_from_environment,
    credentials_from_file,
    credentials_from_secret,
)

PATH = "/trade-api/v2/portfolio/events/orders"
TEXT = f"1760000000000POST{PATH}".encode()
PKCS1, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


ED25519_KEY = Ed25519PrivateKey.generate()


def pem(key: rsa.RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat = PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def signer(text: str) -> Signer:
    return Signer(Credentials("key-id", text))


@pytest.mark.parametrize("form", [PKCS1, PKCS8])
def test_rsa_signs_with_pss_and_a_salt_of_the_digest_length(form: PrivateFormat) -> None:
    signature = base64.b64decode(signer(pem(rsa_key(), form)).sign(1_760_000_000_000, "post", PATH), validate=True)
    # Verifying with a fixed salt length fails for any other length.
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    rsa_key().public_key().verify(signature, TEXT, pss, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        rsa_key().public_key().verify(signature, TEXT + b"x", pss, hashes.SHA256())


def test_ed25519_signs_the_plain_text() -> None:
    signature = signer(pem(ED25519_KEY)).sign(1_760_000_000_000, "POST", PATH)
    ED25519_KEY.public_key().verify(base64.b64decode(signature, validate=True), TEXT)


def test_the_query_is_not_signed() -> None:
    # Ed25519 is deterministic, so equal signatures mean equal texts.
    one = signer(pem(ED25519_KEY))
    assert one.sign(1, "GET", "/trade-api/v2/markets?limit=5") == one.sign(1, "GET", "/trade-api/v2/markets")
    assert one.sign(1, "GET", "/trade-api/v2/markets") != one.sign(2, "GET", "/trade-api/v2/markets")


def test_the_three_headers_of_a_handshake() -> None:
    headers = signer(pem(ED25519_KEY)).headers(1_760_000_000_000, "GET", "/trade-api/ws/v2")
    assert headers["KALSHI-ACCESS-KEY"] == "key-id"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1760000000000"
    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)
    ED25519_KEY.public_key().verify(signature, b"1760000000000GET/trade-api/ws/v2")


def encrypted() -> str:
    return ED25519_KEY.private_bytes(Encoding.PEM, PKCS8, BestAvailableEncryption(b"word")).decode()


def public() -> str:
    return ED25519_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a readable PEM private key"),
        ("hunter2", "not a readable PEM private key"),
        (pem(ED25519_KEY)[:-40], "not a readable PEM private key"),
        (pem(ED25519_KEY).replace("\n", "\\n"), "not a readable PEM private key"),
        (public(), "not a readable PEM private key"),
        (encrypted(), "encrypted"),
        (pem(rsa.generate_private_key(public_exponent=65_537, key_size=1024)), "1024 bits"),  # noqa: S505 - refused
        (pem(ec.generate_private_key(ec.SECP256R1())), "must be RSA or Ed25519"),
    ],
    ids=["empty", "no PEM", "cut off", "escaped line ends", "public", "encrypted", "short RSA", "other curve"],
)
def test_an_unusable_key_is_one_line_without_the_key(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        signer(text)
    line = str(caught.value)
    assert "\n" not in line
    assert not any(piece in line for piece in text.split() if len(piece) > 10)


def test_credentials_never_show_the_key() -> None:
    credentials = credentials_from_secret({"key_id": "key-id", "private_key": pem(ED25519_KEY)})
    assert credentials == Credentials("key-id", pem(ED25519_KEY))
    assert "PRIVATE" not in repr(credentials)


@pytest.mark.parametrize(
    "secret", [{}, {"key_id": "a"}, {"key_id": "", "private_key": "b"}, {"key_id": 1, "private_key": "b"}]
)
def test_a_secret_with_a_part_missing_is_refused(secret: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="key secret"):
        credentials_from_secret(secret)


def test_a_key_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    text = pem(ED25519_KEY)
    (tmp_path / "key.pem").write_text(text)
    expected = Credentials("key-id", text)
    assert credentials_from_file(tmp_path / "key.pem", " key-id\n") == expected
    file = {"KALSHI_KEY_ID": "key-id", "KALSHI_PRIVATE_KEY_FILE": str(tmp_path / "key.pem")}
    assert credentials_from_environment(file) == expected
    for line_ends in ("\n", "\\n"):
        found = credentials_from_environment(
            {"KALSHI_KEY_ID": "key-id", "KALSHI_PRIVATE_KEY": text.replace("\n", line_ends)}
        )
        assert found is not None
        Signer(found)
    assert credentials_from_environment({"HOME": "/"}) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"KALSHI_KEY_ID": "key-id"},
        {"KALSHI_PRIVATE_KEY": "x"},
        {"KALSHI_KEY_ID": "key-id", "KALSHI_PRIVATE_KEY": "x", "KALSHI_PRIVATE_KEY_FILE": "y"},
    ],
)
def test_half_a_key_in_the_environment_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="KALSHI_KEY_ID and one of"):
        credentials_from_environment(environ)


def test_a_key_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        credentials_from_file(tmp_path / "absent", "id")
