"""Signed requests: who is calling, or why the call is refused (Kalshi API documentation, API keys).

The signed text is the timestamp in milliseconds, the method in capitals and the path from the root without its query.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError

KEY_HEADER = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"
MAX_SKEW_MS = 30_000

PublicKey = RSAPublicKey | Ed25519PublicKey


def read_public_key(pem: bytes) -> PublicKey:
    """Read an RSA or Ed25519 public key. The PEM header does not tell the type, so the key itself is asked.

    :raises ExchangeStartError: not such a key.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ExchangeStartError("the public key is no PEM public key; give an RSA or Ed25519 one") from error
    if not isinstance(key, (RSAPublicKey, Ed25519PublicKey)):
        raise ExchangeStartError("the public key must be RSA or Ed25519")
    return key


@dataclass(frozen=True, slots=True)
class Holder:
    """A registered key: whose it is and what it may do."""

    key: PublicKey
    account_id: str
    scopes: tuple[str, ...]

    def may(self, method: str, child: str | None) -> bool:
        """Whether a call is in scope: ``read``, or for everything that changes something ``write``; a narrower scope
        opens the calls it is the ``child`` for by itself."""
        return ("read" if method == "GET" else "write") in self.scopes or child in self.scopes


class KeyRing:
    """The API keys the exchange knows, each with its account."""

    def __init__(self) -> None:
        self._holders: dict[str, Holder] = {}

    def add(self, key_id: str, key: PublicKey, account_id: str, scopes: tuple[str, ...] = ("read", "write")) -> None:
        """Register a key."""
        self._holders[key_id] = Holder(key, account_id, scopes)

    def of_account(self, account_id: str) -> dict[str, Holder]:
        """An account's keys by id."""
        return {key_id: holder for key_id, holder in self._holders.items() if holder.account_id == account_id}

    def authenticate(
        self, headers: Mapping[str, str], method: str, path: str, now_ms: int, child: str | None = None
    ) -> str:
        """The account that signed a request.

        :param path: from the root, query included or not: it is never part of the signed text
        :param child: the narrower scope that opens this call as well
        :raises ExchangeRefusalError: 401 with the cause, 403 for a key without the scope.
        """
        key_id = headers.get(KEY_HEADER)
        timestamp = headers.get(TIMESTAMP_HEADER)
        signature = headers.get(SIGNATURE_HEADER)
        if not key_id or not timestamp or not signature:
            raise ExchangeRefusalError(401, "authentication_error", "MISSING_AUTHENTICATION_HEADERS")
        holder = self._holders.get(key_id)
        if holder is None:
            raise ExchangeRefusalError(401, "authentication_error", "API_KEY_NOT_FOUND")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
            raise ExchangeRefusalError(401, "authentication_error", "INVALID_TIMESTAMP")
        text = f"{timestamp}{method.upper()}{path.partition('?')[0]}".encode()
        if not _verifies(holder.key, signature, text):
            raise ExchangeRefusalError(401, "authentication_error", "INCORRECT_API_KEY_SIGNATURE")
        if abs(now_ms - int(timestamp)) > MAX_SKEW_MS:
            raise ExchangeRefusalError(401, "header_timestamp_expired")
        if not holder.may(method.upper(), child):
            raise ExchangeRefusalError(403, "insufficient_scope")
        return holder.account_id


def _verifies(key: PublicKey, signature: str, text: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, text)
        else:
            # Members sign with salts of different lengths and all are accepted: the signature tells its own.
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
            key.verify(raw, text, pss, hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
