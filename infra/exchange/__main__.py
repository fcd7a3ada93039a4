"""``python -m infra.exchange``: the same as ``kalshi-arb exchange``, with the same options."""

from infra.exchange.command import exchange
from kalshi_arb.cli.main import run

if __name__ == "__main__":
    run(exchange, "python -m infra.exchange")
