"""The operator's verdicts on references: how one is written down, and which reference a text means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from ingestion import errors
from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table

Triple = tuple[str, str, str]
"""(source table, source column, target table)."""

_ESCAPES = {"\\": "\\\\", "\t": "\\t"}
_ESCAPED = re.compile(r"\\([\\t])")


def of(relation: ImplicitRelationship) -> Triple:
    """What a verdict on this relation is about."""
    return relation.source_table, relation.source_column, relation.target_table


def subject(triple: Triple) -> str:
    """The three names in one text, as a verdict is stored: parted by tabs; a tab inside a name is escaped."""
    return "\t".join(re.sub(r"[\\\t]", lambda m: _ESCAPES[m[0]], name) for name in triple)


def from_subject(text: str) -> Triple | None:
    """The names that `subject` wrote; None for what it cannot have written."""
    parts = [_ESCAPED.sub(lambda m: "\t" if m[1] == "t" else "\\", part) for part in text.split("\t")]
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None


def find(text: str, schema: SchemaMap) -> Triple:
    """The reference that `TABLE.COLUMN=TARGET` means; names may hold dots and equal signs themselves.

    Raises SchemaError with the nearest spelling for a table, column or target that is not there.
    """
    columns = [triple for table in schema.tables for triple in _columns_before(text, table)]
    for table, column, target in columns:
        if schema.has_table(target):
            return table, column, target
    raise errors.SchemaError(
        f"{text!r} names no reference of this database", hint=_nearest(text, schema, columns)
    )


def of_column(text: str, known: Iterable[Triple]) -> list[Triple]:
    """Those of `known` that a text means: `TABLE.COLUMN=TARGET`, or `TABLE.COLUMN` for all of a column."""
    triples = list(known)
    found = [t for t in triples if text in (f"{t[0]}.{t[1]}={t[2]}", f"{t[0]}.{t[1]}")]
    if found:
        return found
    near = get_close_matches(text, [f"{t[0]}.{t[1]}={t[2]}" for t in triples], 2, 0.4)
    raise errors.SchemaError(
        f"there is no verdict on {text!r}",
        hint=f"Did you mean {' or '.join(near)}?" if near else "None has been given that it could mean.",
    )


def _columns_before(text: str, table: Table) -> Iterator[Triple]:
    """(table, column, what stands behind the equal sign) for each way to read `text` as a column of `table`."""
    if not text.startswith(f"{table.name}."):
        return
    rest = text[len(table.name) + 1 :]
    for column in table.columns:
        if rest.startswith(f"{column.name}="):
            yield table.name, column.name, rest[len(column.name) + 1 :]


def _nearest(text: str, schema: SchemaMap, columns: Sequence[Triple]) -> str:
    usage = "Write it as TABLE.COLUMN=TARGET_TABLE."
    if columns:
        table, column, target = columns[0]
        near = get_close_matches(target, [t.name for t in schema.tables], 2)
        return f"Did you mean {' or '.join(f'{table}.{column}={name}' for name in near)}?" if near else usage
    place = text.rpartition("=")[0]
    known = [f"{t.name}.{c.name}" for t in schema.tables for c in t.columns]
    near = get_close_matches(place, known, 2) if place else []
    return f"Did you mean {' or '.join(near)} before the equal sign? {usage}" if near else usage
