"""Finds, proves and trades riskless bundles of related Kalshi markets."""

__version__ = "0.1.0"
