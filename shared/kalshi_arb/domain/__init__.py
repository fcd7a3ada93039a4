"""The words of the trade and their arithmetic. Standard library only, no I/O, no clock, no randomness."""
