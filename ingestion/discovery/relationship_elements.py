"""Ids inside arrays and JSON: `assignee_ids bigint[]`, `[17, "18"]`, `{"id": 17, "name": …}`.

A column whose values hold ids refers to rows like any other, only to several at once. What its values are
made of is found by looking; from then on it takes part under the type of its elements.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.postgres.sql import ident, rows_of
from ingestion.schema_discovery import Column, Table
from ingestion.transform.documents import ids_in

_ARRAYS = frozenset(
    {"_int2", "_int4", "_int8", "_numeric", "_uuid", "_text", "_varchar", "int2vector", "_bpchar"}
)
_INTEGER = re.compile(r"-?\d{1,19}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_VALUES = 400
"""Non-empty values looked at of one column."""

_LOOKED_AT_ROWS = 4_000
_LONGEST_BYTES = 8_000
"""A longer value holds more than ids."""

_LEAST_SHARE = 0.9
"""Of the values, that hold nothing but ids of one kind."""

_QUERY_LIMIT_S = 3.0
LIST, OBJECT = "a list of ids", "the id inside its JSON"


@dataclass(frozen=True, slots=True)
class Elements:
    """What the values of one column hold: ids as a column of their own would, and how many rows hold each."""

    column: Column
    """As if it stood in the table: the type is that of the ids, the name in the singular."""
    how: str
    counts: Mapping[str, int]
    embedded: bool = False
    """The ids are those of objects that lie in the value itself: references only where a table has them too."""


def may_hold_ids(column: Column) -> bool:
    return column.sensitivity != "secret" and (column.type_category == "json" or column.base_type in _ARRAYS)


async def look(db: DatabaseConnection, table: Table) -> dict[str, Elements]:
    """What the array and JSON columns of one table hold, by column; those that hold no ids are left out.

    Raises TableProblem when the table cannot be read in time.
    """
    columns = [c for c in table.columns if may_hold_ids(c)]
    if not columns or not table.row_count:
        return {}
    picked = ", ".join(
        f"CASE WHEN pg_column_size({ident(c.name)}) <= {_LONGEST_BYTES} THEN to_jsonb({ident(c.name)}) END AS c{i}"
        for i, c in enumerate(columns)
    )
    outputs = ", ".join(
        f"ARRAY(SELECT c{i}::text FROM s WHERE c{i} IS NOT NULL AND c{i}::text NOT IN ('[]', '{{}}', 'null')"
        f" LIMIT {_VALUES}) AS v{i}"
        for i in range(len(columns))
    )
    part = ""
    if table.kind == "table" and table.row_count > 2 * _LOOKED_AT_ROWS:
        share = min(100.0, 150.0 * _LOOKED_AT_ROWS / table.row_count)
        part = f" TABLESAMPLE SYSTEM ({share:.4f}) REPEATABLE (5)"
    (row,) = await limited.fetch(
        db,
        f"WITH s AS MATERIALIZED (SELECT {picked} FROM {rows_of(table)}{part} LIMIT {_LOOKED_AT_ROWS})"
        f" SELECT {outputs}",
        timeout_s=_QUERY_LIMIT_S,
    )
    found = {c.name: elements_of(c, row[f"v{i}"]) for i, c in enumerate(columns)}
    return {name: elements for name, elements in found.items() if elements is not None}


def elements_of(column: Column, values: Sequence[str]) -> Elements | None:
    """The ids in sampled values (JSON texts); None where they are no ids, or none can be told."""
    if not values:
        return None
    counts: Counter[str] = Counter()
    clean = 0
    for value in values:
        ids = ids_in(value)
        if len({_kind(text) for text in ids} - {""}) == 1 and all(map(_kind, ids)):
            clean += 1
            counts.update(ids)
    kinds = {_kind(text) for text in counts}
    if clean < _LEAST_SHARE * len(values) or len(kinds) != 1:
        return None
    listed = sum(value.startswith("[") for value in values) * 2 >= len(values)
    (kind,) = kinds
    element = replace(
        column,
        name=singular_name(column.name),
        data_type={"int8": "bigint"}.get(kind, kind),
        base_type=kind,
        type_category="uuid" if kind == "uuid" else "number",
        max_length=None,
        default_value=None,
    )
    embedded = listed and any("{" in value for value in values)
    return Elements(element, LIST if listed else OBJECT, counts, embedded)


def singular_name(name: str) -> str:
    """`assignee_ids` → `assignee_id`, `roleIDs` → `roleID`; `created_by` gets an id: `created_by_id`."""
    if re.search(r"(?:_|\b)(?:id|uuid|guid)s$|(?:Id|ID|Uuid)s$", name):
        return name[:-1]
    return f"{name}_id"


def most_common(counts: Mapping[str, int], most: int) -> list[tuple[str, int]]:
    """An even choice of the ids with how many values hold each, in the order of the ids."""
    names: Iterable[str] = sorted(counts)
    step = max(1, -(-len(counts) // most))
    return [(name, counts[name]) for place, name in enumerate(names) if place % step == 0]


def _kind(text: str) -> str:
    """`int8`, `uuid`, or nothing for what names no row."""
    if _INTEGER.fullmatch(text):
        return "int8"
    return "uuid" if _UUID.fullmatch(text) else ""
