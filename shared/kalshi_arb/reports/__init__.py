"""What was earned in a period and why, from the journal alone: figures, tax lots, and the ways they are shown."""
