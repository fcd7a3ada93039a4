"""The places in the embedded AWS that our patches take hold of, checked one by one before the first is touched.

The package is pinned and none of this is its public interface. A new version that moved something must fail here, in
one line that names the place, and not later as behaviour that is quietly wrong.
"""

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from infra.local.errors import SeamError

PACKAGE = "ministack"


def installed_version() -> str:
    """The version the environment holds. :raises SeamError: none."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise SeamError(f"{PACKAGE} is not installed: rebuild the environment") from error


@dataclass(frozen=True, slots=True)
class Seam:
    """One name in one module of the embedded AWS."""

    module: str
    name: str

    @property
    def place(self) -> str:
        """For a person."""
        return f"{PACKAGE}.{self.module}.{self.name}"

    def _owner(self) -> ModuleType:
        try:
            return importlib.import_module(f"{PACKAGE}.{self.module}")
        except ImportError as error:
            raise self.broken(f"the module cannot be imported: {error}") from error

    def broken(self, why: str) -> SeamError:
        """The error to raise when this seam is not as expected."""
        return SeamError(f"{self.place} of version {installed_version()} does not fit our patch: {why}")

    def value(self) -> Any:
        """What is there now. :raises SeamError: nothing."""
        owner = self._owner()
        if not hasattr(owner, self.name):
            raise self.broken("it is not there")
        return getattr(owner, self.name)

    def function(self, parameters: Sequence[str]) -> Callable[..., Any]:
        """The function there. :raises SeamError: it is none, or takes other parameters."""
        value = self.value()
        if not inspect.isfunction(value):
            raise self.broken(f"it is a {type(value).__name__}, not a function")
        found = list(inspect.signature(value).parameters)
        if found != list(parameters):
            raise self.broken(f"it takes ({', '.join(found)}), expected ({', '.join(parameters)})")
        return value

    def of_type(self, expected: type | tuple[type, ...]) -> Any:
        """The object there. :raises SeamError: it is of another type."""
        value = self.value()
        if not isinstance(value, expected):
            raise self.broken(f"it is a {type(value).__name__}")
        return value

    def replace(self, value: Any) -> None:
        """Put ours in its place."""
        self.value()
        setattr(self._owner(), self.name, value)
