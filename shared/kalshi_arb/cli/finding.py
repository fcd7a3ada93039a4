"""What a check found: the line that `doctor` prints, and the reason why a run does not start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` says what to do when it is not ok."""

    check: str
    ok: bool
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding in one line, with its advice when there is something to do."""
        return self.found if self.ok else f"{self.found}: {self.advice}"
