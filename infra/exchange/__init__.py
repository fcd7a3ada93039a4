"""An embedded exchange that speaks Kalshi's wire format on loopback: a pure core and a server around it.

The core (``core``, ``account``, ``market``, ``universe``, ``stream``) does no I/O and takes its time and randomness
from outside; only ``server`` opens a socket and only ``journal`` writes a file. What lives on it is generated
(``universe``) or recorded (``tape``, ``playback``), and what goes wrong on a real exchange can be made to go wrong
(``faults``). Usable on its own: ``kalshi-arb exchange --help``.
"""
