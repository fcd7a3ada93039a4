"""Reading template.yaml: the short forms of intrinsic functions become their long ones, nothing is evaluated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # ships no type information

Properties = Mapping[str, Any]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # its base has no type information
    """A safe loader that knows the short forms, as data."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    body: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read a template's text."""
        return cls(yaml.load(text, Loader=_Loader))  # noqa: S506 - descends from SafeLoader

    @classmethod
    def read(cls, path: Path) -> "Template":
        """Read a template's file."""
        return cls.parse(path.read_text(encoding="utf-8"))

    def of_type(self, *kinds: str) -> Iterator[tuple[str, Properties]]:
        """Logical id and properties of every resource of these types."""
        for name, resource in self.body["Resources"].items():
            if resource["Type"] in kinds:
                yield name, resource.get("Properties", {})

    def functions(self) -> Iterator[tuple[str, Properties]]:
        """Every function, with the global settings merged in: its own win, environment variables add up."""
        common = self.body.get("Globals", {}).get("Function", {})
        shared_environment = common.get("Environment", {}).get("Variables", {})
        for name, properties in self.of_type("AWS::Serverless::Function"):
            own = properties.get("Environment", {}).get("Variables", {})
            yield name, {**common, **properties, "Environment": {"Variables": {**shared_environment, **own}}}


def referred(value: object) -> str | None:
    """The logical id that a Ref, a GetAtt or a Sub of nothing but one reference points to; None for anything else."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    ((kind, argument),) = value.items()
    if kind == "Ref":
        return str(argument)
    if kind == "Fn::GetAtt":
        return str(argument[0])
    if kind == "Fn::Sub" and isinstance(argument, str) and argument.startswith("${") and argument.endswith("}"):
        return argument[2:-1].split(".", 1)[0]
    return None


def texts(value: object) -> Iterator[str]:
    """Every string inside a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts(inner)


def as_list(value: Any) -> list[Any]:
    """One or many, as many."""
    return list(value) if isinstance(value, list) else [value]
