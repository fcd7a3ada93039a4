"""What the lint must know about the basket's state machine."""

from infra.checks.asl import Reaches

BASKET_MACHINE = "infra/statemachines/basket.asl.json"
EXECUTION_INPUT = frozenset({"basket_id", "attempt"})
"""The fields every execution is started with."""
REACHES = (Reaches("ExecuteWave", "Assess"),)
"""Once orders may have been sent, no execution may end before they were assessed."""
