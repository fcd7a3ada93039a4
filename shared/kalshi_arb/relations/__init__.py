"""From markets to groups: which markets belong together, every way they can settle, and why."""
