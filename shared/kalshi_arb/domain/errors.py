"""Every error this project raises on purpose descends from one root.

KalshiArbError
+-- SettingsError          the configuration cannot be used
+-- DomainError            a value or a transition the domain forbids
|   +-- AmountError        a price, count or cash that is off its unit
|   +-- GridError          a price off the market's tick grid
|   +-- FeeError           fee terms that contradict themselves
|   +-- BookError          an order book message that cannot be true
|   +-- ProofError         a bundle or group the verifier cannot judge
|   |   +-- UnfitBookError     a book it rests on is missing, too old or crossed
|   |   +-- DepthError         the books do not hold the bundle up to its limits
|   +-- TransitionError    a basket or leg moved along a forbidden edge
|   +-- ExplanationError   a basket's cash that its fills do not account for
+-- SolverError            a solver ended without an optimum: says nothing about whether there is a bundle
+-- SchemaError            a message or item of an unknown kind or version
+-- DetectionError         the detection function ended without an answer
+-- StoreError             a table or queue refused
|   +-- ConflictError      a conditional write lost against another writer
|       +-- OvertakenError     what was judged is not so any more
+-- ExchangeError          see kalshi_arb.kalshi.errors for the tree below it
"""


class KalshiArbError(Exception):
    """Root of the tree. The message is one line that a person can act on."""


class SettingsError(KalshiArbError):
    """The configuration cannot be used; the message names the setting and what it must be."""


class DomainError(KalshiArbError):
    """A value or a change that the domain forbids."""


class AmountError(DomainError):
    """A price, count or cash amount is malformed or finer than its unit."""


class GridError(DomainError):
    """A price is off the market's tick grid, or a grid is not one."""


class FeeError(DomainError):
    """Fee terms that contradict themselves, or a fee asked for in a way no account is charged."""


class BookError(DomainError):
    """An order book message that cannot be true, such as a level that would become negative."""


class ProofError(DomainError):
    """A bundle cannot be judged against the group it claims to belong to."""


class UnfitBookError(ProofError):
    """A book that a bundle rests on is missing, too old or crossed."""


class DepthError(ProofError):
    """The books do not offer a leg's whole count at its limit or better."""


class TransitionError(DomainError):
    """A basket or an order was asked to move along a forbidden edge."""


class ExplanationError(DomainError):
    """A basket's cash cannot be explained: its fills are not there, not its own, or say something else than its row."""


class SolverError(KalshiArbError):
    """A solver ended without an optimum. It is never an answer: whether there is a bundle stays unknown."""


class SchemaError(KalshiArbError):
    """A message or item of an unknown kind or version, or one that does not parse."""


class DetectionError(KalshiArbError):
    """The detection function was asked and ended without an answer, or not in time."""


class StoreError(KalshiArbError):
    """A table, queue or other store refused or did not answer."""


class ConflictError(StoreError):
    """A conditional write lost: somebody else changed the item first."""


class OvertakenError(ConflictError):
    """What a decision rests on changed before it was stored: read it again and decide anew."""


class ExchangeError(KalshiArbError):
    """Root of everything the exchange can do to us; see kalshi_arb.kalshi.errors."""
