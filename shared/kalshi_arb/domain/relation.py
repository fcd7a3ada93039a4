"""Logical statements between markets, each with the reason it holds."""

from dataclasses import dataclass
from enum import Enum, unique


@unique
class RelationKind(Enum):
    """What is claimed of the markets of a relation, in the order they are listed."""

    SUBSET = "subset"  # the first implies the second
    DISJOINT = "disjoint"  # never both
    COMPLEMENT = "complement"  # exactly one of two
    EQUAL = "equal"  # both or neither
    EXCLUSIVE = "exclusive"  # at most one
    EXHAUSTIVE = "exhaustive"  # at least one
    PARTITION = "partition"  # exactly one

    def holds(self, results: tuple[bool, ...]) -> bool:
        """Whether the claim is true when the markets, in the listed order, resolve YES as ``results`` say."""
        match self:
            case RelationKind.SUBSET:
                return results[1] or not results[0]
            case RelationKind.EQUAL:
                return len(set(results)) == 1
            case RelationKind.DISJOINT | RelationKind.EXCLUSIVE:
                return sum(results) <= 1
            case RelationKind.EXHAUSTIVE:
                return any(results)
            case RelationKind.COMPLEMENT | RelationKind.PARTITION:
                return sum(results) == 1


@dataclass(frozen=True, slots=True)
class Relation:
    """A statement about which of ``tickers`` resolve YES and, in words a person can check, why it holds.

    A settlement at a price is no such result: where the rules allow one, it is a state of the group.
    """

    kind: RelationKind
    tickers: tuple[str, ...]
    reason: str
