"""Visiting: documents of a selection, in key order, a page at a time.

The continuation names the type and key after which the next page starts, so documents written in the
meantime may or may not be seen: like Vespa's, a visit is no snapshot.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint import selection
from ingestion.sandbox.vespa_endpoint.problems import Refused
from ingestion.sandbox.vespa_endpoint.selection_tree import Compare, FieldRef, IdRef, Literal, Node
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.sandbox.vespa_endpoint.tables import tables_of
from ingestion.vespa.schemas import SCHEMAS, Schema

Render = Callable[[dict[str, Any]], dict[str, Any]]

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "=": "="}
_FETCH = 500


@dataclass(frozen=True, slots=True)
class Visit:
    """Which documents, and how many a page."""

    schemas: tuple[Schema, ...]
    namespace: str | None
    node: Node | None
    wanted: int
    slices: int = 1
    slice_id: int = 0
    after: tuple[int, int] = (0, 0)
    """(position in `schemas`, last key seen)."""


@dataclass(frozen=True, slots=True)
class Found:
    """One visited document."""

    schema: Schema
    namespace: str
    user: str
    body: str

    @property
    def id(self) -> str:
        """Its document id."""
        return f"id:{self.namespace}:{self.schema.name}::{self.user}"


def page(store: Store, visit: Visit, deadline: float) -> tuple[list[Found], tuple[int, int] | None]:
    """Up to `wanted` documents and where to go on, None when all were seen.

    `deadline` is a `time.monotonic()` value: a slow selection ends its page early, as Vespa's does.
    """
    found: list[Found] = []
    position, key = visit.after
    while position < len(visit.schemas):
        schema = visit.schemas[position]
        sql, parameters = _statement(schema, visit, key)
        cursor = store.reader().execute(sql, parameters)
        while rows := cursor.fetchmany(min(_FETCH, visit.wanted)):
            for key, id, body in rows:
                namespace, _, user = id.partition(":")
                document = Found(schema, namespace, user, body)
                if visit.node is None or _selected(visit.node, document):
                    found.append(document)
                    if len(found) >= visit.wanted:
                        return found, (position, key)
            if time.monotonic() > deadline:
                return found, (position, key)
        position, key = position + 1, 0
    return found, None


def encode_continuation(after: tuple[int, int]) -> str:
    """The opaque token of a place in a visit."""
    return base64.urlsafe_b64encode(b"procore:%d:%d" % after).decode()


def decode_continuation(token: str) -> tuple[int, int]:
    """The place a token names. Raises Refused (400) for any other text."""
    try:
        name, position, key = base64.urlsafe_b64decode(token.encode()).split(b":")
        if name != b"procore":
            raise ValueError
        return int(position), int(key)
    except (ValueError, binascii.Error):
        raise Refused(f"Failed to parse request property 'continuation' value '{token}'") from None


def field_set(text: str) -> Render | None:
    """What a field set leaves of a document; None when that is everything.

    `[document]` and the like, or a document type, a colon and names of its fields. Raises Refused (400) for
    any other text.
    """
    if text in ("[document]", "[all]"):
        return None
    if text in ("[id]", "[none]", "[docid]"):
        return lambda _fields: {}
    if text.startswith("["):
        raise Refused(
            f"The only special names (enclosed in '[]') allowed are id, all, document, none, not '{text}'"
        )
    type_name, colon, names = text.partition(":")
    if not colon or not names or ":" in names:
        raise Refused(
            "The field set list must consist of a document type, then a colon (:), then a comma-separated list "
            f"of field names, not '{text}'"
        )
    schema = SCHEMAS.get(type_name)
    if schema is None:
        raise Refused(f"Unknown document type '{type_name}' in field set '{text}'")
    wanted = {name.strip() for name in names.split(",")}
    if "[document]" in wanted:
        return None
    for name in wanted:
        if schema.field(name) is None:
            raise Refused(f"No such field '{name}' in field set '{text}'")
    return lambda fields: {name: value for name, value in fields.items() if name in wanted}


def _selected(node: Node, document: Found) -> bool:
    fields = orjson.loads(document.body)
    target = selection.Target(document.schema, document.namespace, document.user, fields)
    return selection.evaluate(node, target) is True


def _statement(schema: Schema, visit: Visit, after: int) -> tuple[str, list[Any]]:
    """The rows that can match, in key order: what SQLite can decide narrows them, the rest is evaluated."""
    narrowing = _narrowing(schema, visit.node)
    # Of one bucket there are few: finding and sorting those beats walking the table's index in key
    # order, and the unary plus tells the planner so.
    key = "+key" if any(condition.startswith('"key_bucket" =') for condition, _ in narrowing) else "key"
    where = [f"{key} > ?"]
    parameters: list[Any] = [after]
    if visit.slices > 1:
        where.append("key % ? = ?")
        parameters += [visit.slices, visit.slice_id]
    if visit.namespace is not None:
        # `;` follows `:`; the plus keeps the planner away from the id index, whose order is another.
        where.append("+id >= ? AND +id < ?")
        parameters += [f"{visit.namespace}:", f"{visit.namespace};"]
    for condition, value in narrowing:
        where.append(condition)
        parameters.append(value)
    return f"SELECT key, id, body FROM {schema.name} WHERE {' AND '.join(where)} ORDER BY {key}", parameters


def _narrowing(schema: Schema, node: Node | None) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for part in selection.conjuncts(node) if node is not None else ():
        if not isinstance(part, Compare):
            continue
        left, op, right = part.left, part.op, part.right
        if isinstance(left, Literal) and op in _FLIPPED:
            left, op, right = right, _FLIPPED[op], left
        if not isinstance(right, Literal) or isinstance(left, Literal | IdRef):
            continue
        if not isinstance(left, FieldRef) or left.path or left.lowercase or left.schema != schema.name:
            continue
        if left.name not in tables_of(schema.name).columns:
            continue
        item, value = schema.by_name[left.name], right.value
        if item.type == "string" and isinstance(value, str) and op == "==":
            # The column collates without case, which its index needs; the exact test comes after.
            out.append((f'"{left.name}" = ?', value))
        elif item.type in ("int", "long") and isinstance(value, int) and op in _FLIPPED:
            out.append((f'"{left.name}" {"=" if op == "==" else op} ?', value))
    return out
