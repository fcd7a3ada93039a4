"""Reading requests: query parameters and pages, with the exchange's own refusals."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from infra.exchange.errors import ExchangeRefusalError

T = TypeVar("T")

AUTO_ROUTE = -1
"""The ``exchange_index`` that has the exchange find the shard by the ticker."""


def bad_request(details: str) -> ExchangeRefusalError:
    """A 400 for a request that cannot be read."""
    return ExchangeRefusalError(400, "bad_request", details)


class Query:
    """The parameters of one request. A parameter that this exchange does not know is refused, never ignored."""

    def __init__(self, items: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            if name not in known:
                raise bad_request(f"parameter {name} is not supported here")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """One value, "" when absent."""
        values = self._values.get(name, [""])
        if len(values) > 1:
            raise bad_request(f"parameter {name} may be given once")
        return values[0]

    def repeated(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return self._values.get(name, [])

    def listed(self, name: str) -> list[str]:
        """A comma-separated list."""
        return [part for part in self.text(name).split(",") if part]

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        value = self.text(name)
        if value not in ("", "true", "false"):
            raise bad_request(f"parameter {name} must be true or false")
        return value == "true"

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.text(name)
        if not value:
            return default
        if not (value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()):
            raise bad_request(f"parameter {name} must be a whole number")
        number = int(value)
        if not low <= number <= high:
            raise bad_request(f"parameter {name} must be {low} to {high}")
        return number

    def seconds_as_ms(self, name: str) -> int | None:
        """A Unix time in seconds as milliseconds, or None."""
        value = self.whole(name, -1, 0, 10**12)
        return None if value < 0 else value * 1_000

    def shard(self, name: str = "exchange_index") -> int | None:
        """A shard filter, or None for all."""
        value = self.whole(name, AUTO_ROUTE, AUTO_ROUTE, 1_000)
        return None if value == AUTO_ROUTE else value


def page(rows: Iterable[T], key: Callable[[T], str], limit: int, cursor: str) -> tuple[list[T], str]:
    """One page of rows by descending key, and the cursor of the next one ("" at the end).

    :raises ExchangeRefusalError: a cursor this exchange never gave.
    """
    ordered = sorted(rows, key=key, reverse=True)
    if cursor:
        try:
            after = base64.urlsafe_b64decode(cursor.encode("ascii")).decode()
        except (binascii.Error, UnicodeError, ValueError) as error:
            raise bad_request("invalid cursor") from error
        ordered = [row for row in ordered if key(row) < after]
    chosen = ordered[:limit]
    more = len(ordered) > limit and bool(chosen)
    return chosen, base64.urlsafe_b64encode(key(chosen[-1]).encode()).decode() if more else ""
