"""Finding rows again by the keys that documents and failures carry."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from ingestion import document_ids, source_reader
from ingestion.db_connection import DatabaseConnection
from ingestion.documents import DocumentBuilder
from ingestion.schema_discovery import Table
from ingestion.source_reader import Row, SourceReader

_KEYS_PER_QUERY = 500


async def reader_of(db: DatabaseConnection, table: Table, logger: logging.Logger) -> SourceReader:
    """A reader of the table as it lies now; raises errors.SchemaError if it is gone."""
    info = await db.server_info()
    layout = await source_reader.layout(db, table)
    return SourceReader(db, table, layout, info.version_num, 1000, logger)


def key_values(table: Table, key: str) -> list[str] | None:
    """The key columns' text that a document key was made of; None where it cannot be told (a hash)."""
    if not table.key_columns or "~~" in key:
        return None
    parts = [document_ids.unescape(part) for part in key.split(":")]
    return parts if len(parts) == len(table.key_columns) else None


async def rows_with_keys(
    reader: SourceReader, builder: DocumentBuilder, keys: Collection[str]
) -> AsyncGenerator[tuple[str, list[Row]], None]:
    """Each key that the source still has, with all rows that hold it.

    Keys that carry a hash are found by reading the whole table once, which is what they cost.
    """
    table = reader.table
    known = {key: values for key in keys if (values := key_values(table, key)) is not None}
    listed = list(known.items())
    for start in range(0, len(listed), _KEYS_PER_QUERY):
        part = listed[start : start + _KEYS_PER_QUERY]
        query = reader.queries.with_keys([values for _, values in part])
        found: dict[str, list[Row]] = {}
        async with reader.db.transaction(), aclosing(reader.rows(query)) as batches:
            async for batch in batches:
                for row in batch:
                    found.setdefault(builder.key_of(row.values) or "", []).append(row)
        for key, _ in part:
            if key in found:
                yield key, found[key]
    hashed = set(keys) - set(known)
    if not hashed:
        return
    by_hash: dict[str, list[Row]] = {}
    async with reader.db.transaction(), aclosing(reader.rows(reader.queries.everything())) as batches:
        async for batch in batches:
            for row in batch:
                row_key = builder.key_of(row.values)
                if row_key in hashed:
                    by_hash.setdefault(row_key or "", []).append(row)
    for key, rows in by_hash.items():
        yield key, rows
