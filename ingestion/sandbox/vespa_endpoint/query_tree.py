"""A parsed query: what YQL and the simple query language both become."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.sandbox.vespa_endpoint.grouping import Grouping


@dataclass(frozen=True, slots=True)
class Term:
    """`field contains "text"`; `prefix` matches the beginning of an attribute's value."""

    field: str
    text: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in this order, next to each other."""

    field: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """Words in any order, the first of them and the last at most `distance` positions apart."""

    field: str
    words: tuple[str, ...]
    distance: int


@dataclass(frozen=True, slots=True)
class Matches:
    """An attribute in which the regular expression is found."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """An attribute at most `most` edits away from the text; the first `frozen` characters must be the same."""

    field: str
    text: str
    most: int
    frozen: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A number field against a number; `op` is one of = < <= > >=."""

    field: str
    op: str
    value: int | float | bool


@dataclass(frozen=True, slots=True)
class In:
    """`field in (…)`."""

    field: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SameElement:
    """One element of `field` fulfils all conditions, whose terms name its members (or a map's key and value).

    They are made of terms, AllOf, AnyOf and Not.
    """

    field: str
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One item holds: `or`, and `weakAnd`, which only ranks where it may skip the worst."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item does not hold."""

    item: Node


@dataclass(frozen=True, slots=True)
class Rank:
    """Matches what `item` matches; the others count for ranking."""

    item: Node
    others: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Unranked:
    """The item, which does not count for ranking."""

    item: Node


@dataclass(frozen=True, slots=True)
class Constant:
    """`true` or `false`."""

    value: bool


Node = (
    Term
    | Phrase
    | Near
    | Matches
    | Fuzzy
    | Compare
    | In
    | SameElement
    | AllOf
    | AnyOf
    | Not
    | Rank
    | Unranked
    | Constant
)


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One `order by` key; `[rank]` is the relevance. `raw` strings sort by their bytes, others without case."""

    field: str
    descending: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    """A whole YQL statement; None where the statement leaves the request's parameter alone."""

    fields: tuple[str, ...] | None
    sources: tuple[str, ...]
    where: Node
    order: tuple[OrderBy, ...] = ()
    limit: int | None = None
    offset: int | None = None
    timeout_ms: int | None = None
    groupings: tuple[tuple[Grouping, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class UserText:
    """What `userQuery()` reads from the request."""

    text: str = ""
    type: str = "weakAnd"
    default_index: str = "default"
    restrict: tuple[str, ...] = ()
    """Document types of `model.restrict`; none named means any."""
