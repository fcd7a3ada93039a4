"""From books to opportunities: the screen, the exact methods, and the verifier that trusts neither."""
