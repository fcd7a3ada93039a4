"""What a use case does when another writer was first: it reads again and decides anew, a bounded number of times."""

from collections.abc import Callable
from typing import TypeVar

from kalshi_arb.domain.errors import ConflictError

T = TypeVar("T")

CONFLICT_TRIES = 4


def undisturbed(attempt: Callable[[], T]) -> T:
    """The answer of the first attempt that no other writer interrupted. Each attempt has to read anew what it changes.

    :raises ConflictError: others were first every time.
    """
    for _ in range(CONFLICT_TRIES - 1):
        try:
            return attempt()
        except ConflictError:
            continue
    return attempt()
