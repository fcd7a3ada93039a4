"""What the layer carries."""


def greeting() -> str:
    """Proof that the layer was found."""
    return "from the layer"
