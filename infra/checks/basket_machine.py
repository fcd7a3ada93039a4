"""What the lint must know about the basket's state machine."""

from infra.checks.asl_flow import Promises

BASKET_MACHINE = "infra/statemachines/basket.asl.json"
EXECUTION_INPUT = frozenset({"basket_id", "attempt"})
"""The fields every execution is started with."""
PROMISES = Promises(
    orders=("ExecuteWave", "Unwind"),
    assesses="Assess",
    closes="Close",
    hands_over="HandOver",
    counter="$.step.turns",
    payload=frozenset({"basket_id", "attempt", "wave", "gave_up"}),
)
"""Orders are assessed before anything else happens, every way ends closed or handed over, and every loop is counted."""
