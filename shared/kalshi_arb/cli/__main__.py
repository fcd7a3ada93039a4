"""``python -m kalshi_arb.cli``."""

from kalshi_arb.cli.main import main

main()
