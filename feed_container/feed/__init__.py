"""The feed: keeps the books of accepted groups, screens every change, and hands candidates on. It proves nothing."""
