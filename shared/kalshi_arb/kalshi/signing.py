"""API credentials and the signature of a call: ``{timestamp_ms}{METHOD}{path}``, path from the root, no query.

The PEM header does not tell RSA from Ed25519 (both may be PKCS#8), so the key is parsed and its type decides
(Kalshi API documentation, API keys). Nothing here ever prints or logs key material.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalshi_arb.domain.errors import SettingsError

KEY_ID = "KALSHI_KEY_ID"
PRIVATE_KEY = "KALSHI_PRIVATE_KEY"
PRIVATE_KEY_FILE = "KALSHI_PRIVATE_KEY_FILE"

_SMALLEST_RSA_BITS = 2048
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key: its id and the private key as PEM text (PKCS#1 or PKCS#8 RSA, PKCS#8 Ed25519)."""

    key_id: str
    private_key: str = field(repr=False)


def credentials_from_secret(secret: Mapping[str, object]) -> Credentials:
    """Read the key secret, ``{"key_id": "...", "private_key": "<PEM>"}``.

    :raises SettingsError: a part is missing, empty or no text.
    """
    key_id, private_key = secret.get("key_id"), secret.get("private_key")
    if isinstance(key_id, str) and key_id and isinstance(private_key, str) and private_key:
        return Credentials(key_id, private_key)
    raise SettingsError('the key secret must be JSON: {"key_id": "<id>", "private_key": "<PEM text>"}')


def credentials_from_file(path: Path, key_id: str) -> Credentials:
    """Read the private key from a PEM file. :raises SettingsError: it cannot be read, or the id is none."""
    try:
        pem = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the key file {path} cannot be read ({type(error).__name__})") from None
    if not key_id.strip():
        raise SettingsError("the key id is empty: copy it from the page where the key was made")
    return Credentials(key_id.strip(), pem)


def credentials_from_environment(environ: Mapping[str, str]) -> Credentials | None:
    """Read the key from ``KALSHI_KEY_ID`` and either ``KALSHI_PRIVATE_KEY_FILE`` (a path) or ``KALSHI_PRIVATE_KEY``
    (PEM text; line ends may be written as backslash and n); None when none of the three is set.

    :raises SettingsError: a part is missing, both forms of the key are given, or the file cannot be read.
    """
    key_id, text, file = (environ.get(name, "").strip() for name in (KEY_ID, PRIVATE_KEY, PRIVATE_KEY_FILE))
    if not (key_id or text or file):
        return None
    if not key_id or bool(text) == bool(file):
        raise SettingsError(f"a key needs {KEY_ID} and one of {PRIVATE_KEY_FILE} and {PRIVATE_KEY}")
    if file:
        return credentials_from_file(Path(file), key_id)
    return Credentials(key_id, text.replace("\\n", "\n"))


class Signer:
    """Signs calls with one key.

    :raises SettingsError: the PEM is not a usable private key; the message never repeats it.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._key_id = credentials.key_id
        self._sign = _signing_function(credentials.private_key)

    def sign(self, timestamp_ms: int, method: str, path: str) -> str:
        """The base64 signature. ``path`` starts at the root (``/trade-api/v2/...``); a query is cut off."""
        text = f"{timestamp_ms}{method.upper()}{path.partition('?')[0]}"
        return base64.b64encode(self._sign(text.encode())).decode("ascii")

    def headers(self, timestamp_ms: int, method: str, path: str) -> dict[str, str]:
        """The three headers that authenticate one call or one WebSocket handshake."""
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(timestamp_ms),
            "KALSHI-ACCESS-SIGNATURE": self.sign(timestamp_ms, method, path),
        }


def _signing_function(pem: str) -> Callable[[bytes], bytes]:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        # The library's word for "this PEM is encrypted and you gave no password".
        raise SettingsError("the API private key is encrypted; store it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        # The cause is dropped on purpose: parser messages may quote what they read.
        raise SettingsError(
            "the API private key is not a readable PEM private key; paste the whole file, BEGIN and END lines included"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return key.sign
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA_BITS:
            raise SettingsError(f"the API private key is RSA of {key.key_size} bits; at least 2048 are needed")
        rsa_key = key
        return lambda text: rsa_key.sign(text, _PSS, hashes.SHA256())
    raise SettingsError(f"the API private key must be RSA or Ed25519, this is {type(key).__name__}")
