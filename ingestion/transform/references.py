"""References from one record to others, as documents name them and as digests count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from ingestion.postgres.sql import base_type, is_array
from ingestion.schema_discovery import ImplicitRelationship, Table
from ingestion.transform import document_ids
from ingestion.transform.sensitivity import snake
from ingestion.values import JSON_TYPES

_MAX_IDS = 1000
"""Ids taken from one array or JSON list of references."""

_NO_IDS = frozenset({"[]", "{}", "null"})

Named = dict[str, str]
Cells = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Reference:
    """A compiled relationship: where the id stands and when it counts."""

    column: str
    relation: str
    target_table: str
    is_list: bool
    type_column: str | None
    type_value: str | None


class References:
    """All references of a table."""

    def __init__(self, references: Sequence[Reference]) -> None:
        self._all = tuple(references)
        places = [(reference.relation, reference.column) for reference in self._all]
        # Digests take references sorted, which is by role and column: their order is known before any row.
        self._order = tuple(sorted(range(len(places)), key=places.__getitem__))
        self._ordered = len(set(places)) == len(places)

    def of(self, metadata: Mapping[str, str]) -> list[Named]:
        """The references of one record."""
        found: list[Named] = []
        for reference in self._all:
            value = metadata.get(reference.column)
            if value is None or value == "":
                continue
            if reference.type_column and metadata.get(reference.type_column) != reference.type_value:
                continue
            for target in ids_in(value) if reference.is_list else (value,):
                found.append(_named(reference, document_ids.user_part((target,), reference.target_table)))
        return found

    def of_batch(self, columns: Mapping[str, Cells], count: int) -> tuple[list[list[Named]], list[Any]]:
        """Those of many records, given as columns; beside each record's, what its digest takes of them."""
        if not self._all:
            return [[] for _ in range(count)], [()] * count
        if not self._ordered:
            return self._of_each(columns, count)
        # A row's entries are lists where any reference of the table may name several records.
        several = any(reference.is_list for reference in self._all)
        named: list[Sequence[Any]] = []
        digested: list[Sequence[Any]] = []
        for reference in self._all:
            if reference.column not in columns:
                named.append([()] * count)
                digested.append([()] * count)
                continue
            relation, table, column = reference.relation, reference.target_table, reference.column
            first, second, last = ("relation", relation), ("source_column", column), ("target_table", table)
            cells = _counting(reference, columns, count)
            if reference.is_list:
                lists = [_targets(cell, table) for cell in cells]
                named.append([[_named(reference, one) for one in ids] for ids in lists])
                digested.append(
                    [[(first, second, ("target_id", one), last) for one in sorted(ids)] for ids in lists]
                )
                continue
            ids = document_ids.user_parts(cells, table)
            entries = [
                {"relation": relation, "target_table": table, "target_id": one, "source_column": column}
                if one
                else None
                for one in ids
            ]
            pairs = [(first, second, ("target_id", one), last) if one else None for one in ids]
            named.append([(entry,) if entry else () for entry in entries] if several else entries)
            digested.append([(pair,) if pair else () for pair in pairs] if several else pairs)
        digested = [digested[n] for n in self._order]
        if several:
            flat = chain.from_iterable
            return (
                [list(flat(row)) for row in zip(*named, strict=True)],
                [tuple(flat(row)) for row in zip(*digested, strict=True)],
            )
        return (
            [list(filter(None, row)) for row in zip(*named, strict=True)],
            [tuple(filter(None, row)) for row in zip(*digested, strict=True)],
        )

    def _of_each(self, columns: Mapping[str, Cells], count: int) -> tuple[list[list[Named]], list[Any]]:
        names = {r.column for r in self._all} | {r.type_column for r in self._all if r.type_column}
        taken = {name: columns[name] for name in names if name in columns}
        found = []
        for position in range(count):
            cells = ((name, column[position]) for name, column in taken.items())
            found.append(self.of({name: value for name, value in cells if value is not None}))
        return found, [sorted([tuple(sorted(r.items())) for r in row]) for row in found]


def compiled(relation: ImplicitRelationship, table: Table) -> Reference:
    """A relationship of discovery's as records need it."""
    kind = base_type(table.column(relation.source_column))
    return Reference(
        column=relation.source_column,
        relation=relation.relation or relation_name(relation.source_column),
        target_table=relation.target_table,
        is_list=is_array(kind) or kind in JSON_TYPES,
        type_column=relation.type_column,
        type_value=relation.type_value,
    )


def relation_name(column: str) -> str:
    """The role that a reference's column name gives: `created_by_id` → `created_by`, `projectId` → `project`."""
    role = snake(column)
    for suffix in ("_ids", "_id", "_uuid"):
        if role.endswith(suffix) and len(role) > len(suffix):
            return role[: -len(suffix)]
    return role


def ids_in(text: str) -> list[str]:
    """The ids in a JSON list of numbers, strings, or objects with an `id`, or in one such; each once, in order."""
    try:
        items = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    found: dict[str, None] = {}
    for item in items if isinstance(items, list) else [items]:
        value = item.get("id") if isinstance(item, dict) else item
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            found[str(value)] = None
        if len(found) >= _MAX_IDS:
            break
    return list(found)


def _named(reference: Reference, target: str) -> Named:
    return {
        "relation": reference.relation,
        "target_table": reference.target_table,
        "target_id": target,
        "source_column": reference.column,
    }


def _targets(cell: str | None, table: str) -> Sequence[str]:
    if not cell or cell in _NO_IDS:
        return ()
    return [document_ids.user_part((one,), table) for one in ids_in(cell)]


def _counting(reference: Reference, columns: Mapping[str, Cells], count: int) -> Cells:
    """The column's cells, those left out whose row says that they refer to another table."""
    cells = columns[reference.column]
    if not reference.type_column:
        return cells
    kinds = columns.get(reference.type_column) or [None] * count
    return [cell if kind == reference.type_value else None for cell, kind in zip(cells, kinds, strict=True)]
