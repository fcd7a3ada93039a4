"""An embedded exchange that speaks Kalshi's wire format on loopback: a pure core and a server around it.

The core (``core``, ``account``, ``market``, ``universe``, ``stream``) does no I/O and takes its time and randomness
from outside; only ``server`` opens a socket. Usable on its own: ``python -m infra.exchange --help``.
"""
