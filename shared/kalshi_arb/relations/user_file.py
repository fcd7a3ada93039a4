"""``relations.yaml``: the user's own relations, read strictly.

.. code-block:: yaml

    relations:
      - kind: subset
        members: [KXA-1-YES, KXB-1-YES]
        reason: Who wins the final has reached it.
      - kind: exclusive
        members: ["KXC-26-*"]
        reason: The statute knows one office.

Kinds are those of ``RelationKind``. Members are tickers or patterns; the first of a subset implies the second.
"""

from collections.abc import Mapping

import yaml  # type: ignore[import-untyped]  # ships no type information

from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.relations.user import PAIR_KINDS, UserRelation, UserRelationError, UserRelations, is_pattern

_FIELDS = ("kind", "members", "reason")
_PAIR = 2
_KINDS = {kind.value: kind for kind in RelationKind}


def parse_relations(text: str, file: str) -> UserRelations:
    """Read the user's relations and look for contradictions among them.

    :param file: the file's name, for messages
    :raises UserRelationError: anything that is not exactly as it must be, with its line
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise UserRelationError(file, line, f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UserRelationError(file, 1, f"not YAML: {error}".splitlines()[0]) from error
    if root is None:
        return UserRelations(file, ())
    fields = _mapping(root, file, "the file")
    _only(fields, ("relations",), file)
    if "relations" not in fields:
        raise UserRelationError(file, _line(root), "the field relations is missing")
    rows = fields["relations"]
    if not isinstance(rows, yaml.SequenceNode):
        raise UserRelationError(file, _line(rows), "relations must be a list")
    user = UserRelations(file, tuple(_relation(node, file) for node in rows.value))
    user.check()
    return user


def _relation(node: yaml.Node, file: str) -> UserRelation:
    fields = _mapping(node, file, "a relation")
    line = _line(node)
    _only(fields, _FIELDS, file)
    for name in _FIELDS:
        if name not in fields:
            raise UserRelationError(file, line, f"the field {name} is missing")
    kind = _KINDS.get(_text(fields["kind"], file, "kind"))
    if kind is None:
        raise UserRelationError(file, _line(fields["kind"]), f"kind must be one of {', '.join(_KINDS)}")
    listed = fields["members"]
    if not isinstance(listed, yaml.SequenceNode):
        raise UserRelationError(file, _line(listed), "members must be a list of tickers or patterns")
    members = tuple(_text(member, file, "a member") for member in listed.value)
    if len(set(members)) < len(members):
        raise UserRelationError(file, _line(listed), "a member is listed twice")
    patterns = any(map(is_pattern, members))
    if not patterns and (len(members) < _PAIR or (kind in PAIR_KINDS and len(members) != _PAIR)):
        needed = "two members" if kind in PAIR_KINDS else "at least two members"
        raise UserRelationError(file, _line(listed), f"{kind.value} needs {needed}, not {len(members)}")
    if kind in PAIR_KINDS and len(members) > _PAIR:
        raise UserRelationError(file, _line(listed), f"{kind.value} needs two members, not {len(members)}")
    return UserRelation(kind, members, _text(fields["reason"], file, "reason"), line)


def _mapping(node: yaml.Node, file: str, what: str) -> Mapping[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise UserRelationError(file, _line(node), f"{what} must be a mapping of fields")
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(key, file, "a field's name")
        if name in fields:
            raise UserRelationError(file, _line(key), f"the field {name} stands there twice")
        fields[name] = value
    return fields


def _only(fields: Mapping[str, yaml.Node], allowed: tuple[str, ...], file: str) -> None:
    for name, node in fields.items():
        if name not in allowed:
            raise UserRelationError(file, _line(node), f"unknown field {name}, known are {', '.join(allowed)}")


def _text(node: yaml.Node, file: str, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not isinstance(node.value, str) or not node.value.strip():
        raise UserRelationError(file, _line(node), f"{what} must be a text")
    return node.value.strip()


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
