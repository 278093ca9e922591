"""The schema map as documents: one `procore_schema` per table, so that whoever searches can ask what it means."""

from __future__ import annotations

import time
from typing import Any

from ingestion.schema_discovery import SchemaMap, Table
from ingestion.transform import document_ids
from ingestion.vespa.client import SCHEMA
from ingestion.vespa.feeding import Operation


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
    """A few plain sentences about a table, for full text search."""
    sentences = [f"Table {table.name.replace('_', ' ')} has {table.row_count:,} rows."]
    if table.comment:
        sentences.append(table.comment)
    sentences.append("Columns: " + ", ".join(column.name for column in table.columns) + ".")
    outgoing = schema.relations_from(table.name)
    if outgoing:
        listed = ", ".join(f"{r.source_column} to {r.target_table}" for r in outgoing)
        sentences.append(f"It refers by {listed}.")
    incoming = sorted({r.source_table for r in schema.relations_to(table.name)})
    if incoming:
        sentences.append(f"It is referred to by {', '.join(incoming)}.")
    if table.file_reference_columns:
        sentences.append("Files: " + ", ".join(f.column_name for f in table.file_reference_columns) + ".")
    return " ".join(sentences)


def _fields(schema: SchemaMap, table: Table, now: int) -> dict[str, Any]:
    return {
        "table_name": table.name,
        "schema": table.schema,
        "description": describe(schema, table),
        "row_count": table.row_count,
        "columns": [
            {"name": c.name, "type": c.data_type, "sensitivity": c.sensitivity} for c in table.columns
        ],
        "relations": [
            {"column": r.source_column, "target_table": r.target_table, "target_column": r.target_column}
            for r in schema.relations_from(table.name)
        ],
        "ingested_at": now,
    }
