"""A small recorded payload: a ladder of two markets and one that is closed."""

import json
from pathlib import Path
from typing import Any

MARKET: dict[str, Any] = {
    "ticker": "KXA-1-T5", "event_ticker": "KXA-1", "status": "active", "close_time": "2026-12-31T00:00:00Z",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}], "rules_primary": "If it is above 5.",
    "strike_type": "greater", "floor_strike": 5, "exchange_index": 2, "title": "Above 5?",
}  # fmt: skip
SECOND = {**MARKET, "ticker": "KXA-1-T6", "floor_strike": 6.25}
CLOSED = {**MARKET, "ticker": "KXA-1-X", "floor_strike": 7, "status": "finalized"}
EVENT: dict[str, Any] = {
    "event_ticker": "KXA-1", "series_ticker": "KXA", "mutually_exclusive": False, "title": "A",
    "settlement_sources": [{"name": "the office", "url": ""}], "markets": [MARKET, SECOND],
}  # fmt: skip
SERIES = {"ticker": "KXA", "fee_type": "quadratic_with_maker_fees", "fee_multiplier": 2, "title": "A"}


def write(path: Path, document: object) -> str:
    """Write a document as JSON and return the path."""
    path.write_text(json.dumps(document))
    return str(path)
