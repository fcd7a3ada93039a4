"""The basket under seeded faults in virtual time: the state machine and handlers on the exchange's own core."""
