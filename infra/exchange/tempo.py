"""How busy the market is from one moment to the next: never even, sometimes nearly still, sometimes a flood.

Two swings about a mean of one, slow (calm and lively spells) and fast (bunching). Their sizes are fitted to the
recorded stream's counts by second and by 100 ms (:mod:`infra.exchange.targets`).
"""

import math
from random import Random

import msgspec

_SLOW_MS, _SLOW = 1_500, 0.85
_FAST_MS, _FAST = 60, 0.7


class Tempo(msgspec.Struct):
    """The state of both swings, in standard deviations."""

    slow: float = 0.0
    fast: float = 0.0

    def pass_time(self, ms: int, random: Random) -> float:
        """Let time pass; returns how many times as busy as in the mean it is now."""
        self.slow = _swing(self.slow, ms / _SLOW_MS, random)
        self.fast = _swing(self.fast, ms / _FAST_MS, random)
        return math.exp(_SLOW * self.slow + _FAST * self.fast - (_SLOW**2 + _FAST**2) / 2)


def _swing(state: float, times: float, random: Random) -> float:
    kept = math.exp(-times)
    return state * kept + random.gauss(0.0, math.sqrt(1.0 - kept * kept))
