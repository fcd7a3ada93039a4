"""A key pair for who brings none: made once, kept with owner-only access, used again."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.exchange.errors import ExchangeStartError

KEY_FILE = "key.pem"


def member_key(folder: Path) -> Ed25519PrivateKey:
    """The key in a folder, a new one when there is none.

    :raises ExchangeStartError: the folder cannot be used, or the file is something else.
    """
    path = folder / KEY_FILE
    try:
        pem = path.read_bytes() if path.exists() else _made(path)
    except OSError as error:
        raise ExchangeStartError(f"cannot keep a key in {folder}: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ExchangeStartError(f"{path} is no private key: remove it and a new one is made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ExchangeStartError(f"{path} is no Ed25519 key: remove it and a new one is made")
    return key


def _made(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Whole or not at all: a half-written key would have to be removed by hand.
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    draft.replace(path)
    return pem
