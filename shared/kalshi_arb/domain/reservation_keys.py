"""What baskets hold of what is limited: the keys under which they reserve, and for how long they keep them."""

from collections.abc import Iterable

MARKET_KEY = "market#"
"""Followed by a ticker: 1e-6 dollars that are locked there."""
CONTRACTS_KEY = "contracts#"
"""Followed by a ticker: 1e-2 contracts."""
EVENT_KEY = "event#"
"""Followed by an event ticker: 1e-6 dollars, and so are the next three."""
SERIES_KEY = "series#"
UNDERLYING_KEY = "underlying#"
"""Followed by what the market settles on, where its rules have been reviewed."""
LONG_KEY = "long#"
TOTAL_KEY = "total#"
"""1e-2 contracts over all markets."""
CASH_KEY = "cash#"
"""Followed by a shard: 1e-6 dollars, what unwinding may need included."""
OUTLAY_KEY = "outlay#"
"""1e-6 dollars over all baskets that still trade."""
OPEN_KEY = "open#"
"""Baskets that still trade."""
TOKENS_KEY = "tokens#"
"""Write tokens that completing and unwinding can need."""

UNTIL_END = (CASH_KEY, OUTLAY_KEY, OPEN_KEY, TOKENS_KEY)
"""Given back when a basket stops trading."""
UNTIL_SETTLED = (MARKET_KEY, CONTRACTS_KEY, EVENT_KEY, SERIES_KEY, UNDERLYING_KEY, LONG_KEY, TOTAL_KEY)
"""Kept by a lock or a held basket until its markets have paid."""

ALL_LONG = LONG_KEY + "locked"
ALL_CONTRACTS = TOTAL_KEY + "contracts"
ALL_OUTLAY = OUTLAY_KEY + "all"
ALL_OPEN = OPEN_KEY + "baskets"
ALL_TOKENS = TOKENS_KEY + "write"


def prefix_of(key: str) -> str:
    """The kind of a key: everything up to its first ``#``, with it."""
    return key.partition("#")[0] + "#"


def item_of(key: str) -> str:
    """The stored item that a key is counted in: the dollars and the contracts of a market share one."""
    return MARKET_KEY + key.removeprefix(CONTRACTS_KEY) if key.startswith(CONTRACTS_KEY) else key


def items_of(keys: Iterable[str]) -> int:
    """How many items a reservation of these keys changes."""
    return len({item_of(key) for key in keys})


MOST_ITEMS = 99
"""What one reservation may change: a transaction takes 100 actions (DynamoDB API reference, TransactWriteItems), one of
which is the basket's own record."""
