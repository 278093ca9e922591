"""Rows found again by the keys of their documents, and the keys that a source holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing

from ingestion.sync.source_queries import Query
from ingestion.sync.source_reader import Row, SourceReader
from ingestion.transform import document_ids
from ingestion.transform.documents import DocumentBuilder

_KEYS_PER_QUERY = 2000
_IRREVERSIBLE = ("~~", "masked-", "REDACTED", "~EF~BF~BD")
"""What a key's text holds where it is a hash, or where something of the value was replaced (U+FFFD)."""


def key_parts(key: str, columns: int) -> list[str] | None:
    """The key columns' text that a document's key was made of; None where it cannot be told."""
    if any(mark in key for mark in _IRREVERSIBLE):
        return None
    parts = key.split(":")
    return [document_ids.unescape(part) for part in parts] if len(parts) == columns else None


async def find_rows(
    reader: SourceReader, builder: DocumentBuilder, keys: Collection[str]
) -> AsyncGenerator[list[Row], None]:
    """All rows that hold one of `keys`, in a snapshot of its own or the one that the task holds.

    Keys that tell their columns' values are looked up; for others the table is read through once.
    A table without a key is read through once, and rows are told by their content.
    """
    wanted = set(keys)
    width = len(reader.table.key_columns)
    parts = {key: key_parts(key, width) for key in wanted} if width else {}
    known = [part for part in parts.values() if part is not None]
    if len(known) < len(wanted):
        async with aclosing(_rows(reader, reader.queries.everything())) as batches:
            async for rows in batches:
                found = [row for row in rows if builder.key_of(row.values) in wanted]
                if found:
                    yield found
        return
    for start in range(0, len(known), _KEYS_PER_QUERY):
        query = reader.queries.with_keys(known[start : start + _KEYS_PER_QUERY])
        async with aclosing(_rows(reader, query)) as batches:
            async for rows in batches:
                # Equal to PostgreSQL may still be another key to us: 1.0 and 1.00, or a nondeterministic collation.
                found = [row for row in rows if builder.key_of(row.values) in wanted]
                if found:
                    yield found


async def find_keys(
    reader: SourceReader, builder: DocumentBuilder, keys: Collection[str]
) -> AsyncGenerator[set[str], None]:
    """Those of `keys` that the source holds; identical rows of a table without a key are numbered apart."""
    if reader.table.key_columns:
        async with aclosing(find_rows(reader, builder, keys)) as batches:
            async for rows in batches:
                yield {builder.key_of(row.values) or "" for row in rows}
        return
    copies: dict[str, int] = dict.fromkeys((key.partition("-")[0] for key in keys), 0)
    async with aclosing(_rows(reader, reader.queries.everything())) as batches:
        async for rows in batches:
            found: set[str] = set()
            for row in rows:
                content = builder.key_of(row.values) or ""
                if content in copies:
                    number = copies[content]
                    found.add(f"{content}-{number}" if number else content)
                    copies[content] += 1
            yield found


async def source_keys(reader: SourceReader, builder: DocumentBuilder) -> AsyncGenerator[list[str], None]:
    """The document key of every row that has one, in no order, repeated where rows share it."""
    async with aclosing(reader.texts(reader.queries.keys())) as batches:
        async for batch in batches:
            yield _keys(builder, batch)


async def duplicated_keys(reader: SourceReader, builder: DocumentBuilder) -> set[str]:
    """The keys that more than one row holds."""
    return set(await copies_of_keys(reader, builder))


async def copies_of_keys(reader: SourceReader, builder: DocumentBuilder) -> dict[str, int]:
    """How many rows hold each key that more than one does."""
    found: dict[str, int] = {}
    async with aclosing(reader.texts(reader.queries.duplicate_keys())) as batches:
        async for batch in batches:
            for *key, copies in batch:
                name = builder.key_from(key)
                if name is not None:
                    found[name] = found.get(name, 0) + int(copies or 0)
    return found


def _keys(builder: DocumentBuilder, batch: Sequence[tuple[str | None, ...]]) -> list[str]:
    return [key for row in batch if (key := builder.key_from(row)) is not None]


async def _rows(reader: SourceReader, query: Query) -> AsyncGenerator[list[Row], None]:
    async with reader.db.transaction(), aclosing(reader.rows(query)) as batches:
        async for rows in batches:
            yield rows
