"""How large the layers may be. Lambda unpacks them at every cold start, and 250 MB is the most that it takes."""

from pathlib import Path

LARGEST_LAYERS = {"SharedLayer": 60.0, "SolverLayer": 110.0}
"""MB (2**20 bytes) unpacked, by logical id."""


def size_of(folder: Path) -> float:
    """MB of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
