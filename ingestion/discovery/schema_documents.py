"""The schema map as documents: one `procore_schema` per table, so that whoever searches can ask what it means."""

from __future__ import annotations

import time
from typing import Any

from ingestion.discovery.relationship_words import singular, split_words
from ingestion.schema_discovery import SchemaMap, Table
from ingestion.transform import document_ids
from ingestion.vespa.client import SCHEMA
from ingestion.vespa.operations import Operation


def operations(schema: SchemaMap, tables: list[str], read_seq: int) -> list[Operation]:
    """A put for each of the tables."""
    now = int(time.time() * 1000)
    return [
        Operation(
            "put", SCHEMA, document_ids.escape(name), read_seq, _fields(schema, schema.table(name), now)
        )
        for name in tables
    ]


def describe(schema: SchemaMap, table: Table) -> str:
    """A few plain sentences about a table, for full text search: names stand whole and as words."""
    *before, last = split_words(table.name) or [table.name]
    one = " ".join([*before, singular(last)])
    told = f", told from others by {', '.join(table.key_columns)}" if table.key_columns else ""
    sentences = [f"Table {_named(table.name)} has {table.row_count:,} rows. Each row is one {one}{told}."]
    if table.comment:
        sentences.append(table.comment.rstrip(". ") + ".")
    roles = _roles(schema, table)
    listed = []
    for column in table.columns:
        known = [text for text in (roles.get(column.name), column.comment) if text]
        listed.append(
            f"{_named(column.name)} {column.data_type}" + (f", {'; '.join(known)}" if known else "")
        )
    sentences.append(f"Columns: {'. '.join(listed)}.")
    incoming = sorted({r.source_table for r in schema.relations_to(table.name)})
    if incoming:
        sentences.append(f"It is referred to by {', '.join(incoming)}.")
    return " ".join(sentences)


def _named(name: str) -> str:
    """`punch_items (punch items)`: a search for either finds it."""
    words = " ".join(split_words(name))
    return name if words == name else f"{name} ({words})"


def _roles(schema: SchemaMap, table: Table) -> dict[str, str]:
    """What a column is for, by its name: key, reference, file, time of change, or withheld."""
    roles = dict.fromkeys(table.key_columns, "part of the key")
    if len(table.key_columns) == 1:
        roles = {table.key_columns[0]: "the key"}
    if table.timestamp_column:
        roles[table.timestamp_column] = "when the row last changed"
    for relation in schema.relations_from(table.name):
        only = f" where {relation.type_column} is {relation.type_value}" if relation.type_column else ""
        said = f"refers to {relation.target_table}.{relation.target_column}{only}"
        had = roles.get(relation.source_column)
        roles[relation.source_column] = f"{had}; {said}" if had else said
    for file in table.file_reference_columns:
        roles[file.column_name] = f"points at files ({file.reference_type.value})"
    for column in table.columns:
        if column.sensitivity == "secret":
            roles[column.name] = "secret, never indexed"
    return roles


def _fields(schema: SchemaMap, table: Table, now: int) -> dict[str, Any]:
    roles = _roles(schema, table)
    return {
        "table_name": table.name,
        "schema": table.schema,
        "description": describe(schema, table),
        "row_count": table.row_count,
        "columns": [
            {"name": c.name, "type": c.data_type, "sensitivity": c.sensitivity}
            | ({"role": roles[c.name]} if c.name in roles else {})
            | ({"comment": c.comment} if c.comment else {})
            for c in table.columns
        ],
        "relations": [
            {"column": r.source_column, "target_table": r.target_table, "target_column": r.target_column}
            for r in schema.relations_from(table.name)
        ],
        "referrers": [
            {"source_table": r.source_table, "source_column": r.source_column}
            for r in schema.relations_to(table.name)
        ],
        "key_columns": list(table.key_columns),
        **({"time_column": table.timestamp_column} if table.timestamp_column else {}),
        "ingested_at": now,
    }
