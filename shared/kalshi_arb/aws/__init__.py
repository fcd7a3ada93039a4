"""One adapter for each port over AWS. Nothing here decides anything: it stores, reads, sends and translates errors."""
