"""Averages and other amounts that are only shown: no code of the system reads them, so no money rests on them.

Quantities come from the reply, cash and fees from fills and from an order's cost and fee totals.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = [path for folder in ("shared", "feed_container", "functions") for path in sorted((ROOT / folder).rglob("*.py"))]
SHOWN_ONLY = frozenset(
    {
        "average_fill_price",
        "average_fee_paid",
        "dollar_volume",
        "dollar_open_interest",
        "event_exposure_dollars",
        "market_exposure_dollars",
        "portfolio_value",
        "position_cost_dollars",
        "position_fee_cost_dollars",
        "realized_pnl_dollars",
        "total_cost_dollars",
        "total_traded_dollars",
    }
)


def reads(tree: ast.AST) -> Iterator[str]:
    """Every place that reads such an amount: an attribute, a key, a name in a pattern. Declaring a field is none."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in SHOWN_ONLY:
                yield name
            case ast.Subscript(slice=ast.Constant(value=str(name))) if name in SHOWN_ONLY:
                yield name
            case ast.Call(args=arguments):
                yield from (
                    argument.value
                    for argument in arguments
                    if isinstance(argument, ast.Constant) and argument.value in SHOWN_ONLY
                )
            case ast.MatchClass(kwd_attrs=names):
                yield from SHOWN_ONLY.intersection(names)


def test_the_search_finds_what_it_looks_for() -> None:
    written = [
        "x = reply.average_fill_price",
        "x = reply['average_fee_paid']",
        "x = getattr(reply, 'portfolio_value')",
        "x = reply.get('dollar_volume', 0)",
        "match x:\n case Reply(average_fee_paid=y): pass",
    ]
    assert all(list(reads(ast.parse(code))) for code in written)
    assert not list(reads(ast.parse("class Reply:\n    average_fill_price: str | None = None")))


def test_nothing_reads_an_amount_that_is_only_shown() -> None:
    assert len(CODE) > 50
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in CODE
        for name in reads(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found
