"""The command line ``kalshi-arb``."""
