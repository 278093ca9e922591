"""A parsed document selection: comparisons of fields, ids and numbers, joined by `and`, `or` and `not`."""

from __future__ import annotations

from dataclasses import dataclass

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class FieldRef:
    """`type.field`, optionally with map keys, array positions or struct members behind it."""

    schema: str
    name: str
    path: tuple[str | int, ...] = ()
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class IdRef:
    """`id`, or one of its parts `namespace`, `type`, `specific`, `scheme`."""

    part: str = ""
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class Now:
    """`now()`: the time of evaluation, in seconds."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left op right` of numbers; `+` also joins strings."""

    left: Operand
    op: str
    right: Operand


Operand = Literal | FieldRef | IdRef | Now | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`."""

    left: Operand
    op: str
    right: Operand


@dataclass(frozen=True, slots=True)
class TypeTest:
    """A bare document type: true for its documents."""

    schema: str


@dataclass(frozen=True, slots=True)
class Constant:
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    """`not item`."""

    item: Node


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` or `or` of several."""

    op: str
    items: tuple[Node, ...]


Node = Compare | TypeTest | Constant | Not | Junction
