"""Secrets and parameters, kept for a short time so that a change is seen without a restart."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import SettingsError

_KEEP_MS = 60_000


@dataclass(frozen=True, slots=True)
class _Kept:
    text: str
    read_ms: int


class Vault:
    """Reads JSON objects from Secrets Manager and Systems Manager; clients are built at the first read of each."""

    def __init__(
        self, *, secrets: Callable[[], Client], parameters: Callable[[], Client], clock: Clock, keep_ms: int = _KEEP_MS
    ) -> None:
        self._secrets = secrets
        self._parameters = parameters
        self._clock = clock
        self._keep_ms = keep_ms
        self._kept: dict[tuple[str, str], _Kept] = {}

    def secret(self, name: str) -> dict[str, object]:
        """A secret whose string is a JSON object.

        :raises StoreError: it cannot be read.
        :raises SettingsError: it is not a JSON object; the message never repeats its content.
        """
        return self._read("secret", name, self._read_secret)

    def parameter(self, name: str) -> dict[str, object]:
        """A parameter whose value is a JSON object. Errors as :meth:`secret`."""
        return self._read("parameter", name, self._read_parameter)

    def parameter_text(self, name: str) -> str:
        """A parameter whose value is a text of its own kind. :raises StoreError: it cannot be read."""
        return self._text("parameter", name, self._read_parameter)

    def _read_secret(self, name: str) -> str:
        with translated(f"read secret {name}"):
            return str(self._secrets().get_secret_value(SecretId=name).get("SecretString", ""))

    def _read_parameter(self, name: str) -> str:
        with translated(f"read parameter {name}"):
            return str(self._parameters().get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

    def _read(self, kind: str, name: str, fetch: Callable[[str], str]) -> dict[str, object]:
        text = self._text(kind, name, fetch)
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            # Without the cause: a JSON error quotes the text, and this one may be a key.
            del self._kept[kind, name]
            raise SettingsError(f"{kind} {name} must be a JSON object") from None
        return value

    def _text(self, kind: str, name: str, fetch: Callable[[str], str]) -> str:
        now = self._clock.now_ms()
        kept = self._kept.get((kind, name))
        if kept is None or now - kept.read_ms >= self._keep_ms:
            kept = self._kept[kind, name] = _Kept(fetch(name), now)
        return kept.text
