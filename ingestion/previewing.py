"""A source row as it is shown, and beside the document that it becomes; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from ingestion import errors
from ingestion.connections import Connections
from ingestion.file_detector import FileDetector
from ingestion.plan import Plan
from ingestion.postgres import sql
from ingestion.reports import Preview
from ingestion.schema_discovery import SchemaMap, Table
from ingestion.sync import source_reader
from ingestion.sync.key_lookup import find_rows
from ingestion.sync.source_reader import SourceReader
from ingestion.transform import masks
from ingestion.transform.documents import DocumentBuilder
from ingestion.transform.sensitivity import MaskPolicy


def builder_of(
    connections: Connections, schema: SchemaMap, table: Table, masks: MaskPolicy
) -> DocumentBuilder:
    """The builder that a sync with these settings would use."""
    return DocumentBuilder(
        schema,
        table,
        masks=masks,
        source_timezone=connections.settings.source_timezone,
        file_detector=FileDetector(schema, connections.logger),
    )


async def sample_rows(
    connections: Connections, schema: SchemaMap, table_name: str, limit: int
) -> Sequence[Mapping[str, str | None]]:
    """The first rows, masked as they would be indexed."""
    table = schema.table(table_name)
    builder = builder_of(connections, schema, table, await masks.in_force(connections))
    db = await connections.source()
    query = f"SELECT {sql.text_columns(table.columns)} FROM {sql.rows_of(table)} LIMIT {int(limit)}"
    rows: list[Mapping[str, str | None]] = []
    if not table.columns:
        return rows
    async with aclosing(db.text_batches(query)) as batches:
        async for batch in batches:
            rows += [builder.masked_row(row) for row in batch]
    return rows


async def preview(
    connections: Connections, schema: SchemaMap, table_name: str, key: str | None, plan: Plan | None = None
) -> Preview:
    """The first row, or the one with this key, under a plan's masks as well.

    Raises errors.SchemaError where there is no such row.
    """
    table = schema.table(table_name)
    policy = await masks.in_force(connections)
    if plan is not None:
        policy = masks.union(policy, masks.of_plan(plan))
    builder = builder_of(connections, schema, table, policy)
    values = await _row(connections, table, builder, key)
    if values is None:
        what = f"no row with key {key}" if key else "no rows"
        raise errors.SchemaError(f"{table_name} has {what}", hint="It may have been deleted since.")
    return _preview_of(builder, table_name, values)


async def previews(
    connections: Connections,
    schema: SchemaMap,
    table_name: str,
    plan: Plan | None = None,
    *,
    column: str = "",
    value: str = "",
    limit: int = 100,
) -> Sequence[Preview]:
    """The first rows, or the first whose `column` reads `value`, each beside its document.

    Works for tables without a key too; of identical rows each is numbered as a job would. Where a row gets no
    document, `warnings` says why. Raises errors.SchemaError for an unknown column.
    """
    table = schema.table(table_name)
    policy = await masks.in_force(connections)
    if plan is not None:
        policy = masks.union(policy, masks.of_plan(plan))
    builder = builder_of(connections, schema, table, policy)
    where, args = "", []
    if column:
        where, args = f" WHERE {sql.text_column(table.column(column))} = $1", [value]
    query = f"SELECT {sql.text_columns(table.columns)} FROM {sql.rows_of(table)}{where} LIMIT {int(limit)}"
    db = await connections.source()
    found: list[Preview] = []
    copies: Counter[str] = Counter()
    if not table.columns:
        return found
    async with aclosing(db.text_batches(query, *args)) as batches:
        async for batch in batches:
            for values in batch:
                content = "" if table.key_columns else builder.key_of(values) or ""
                found.append(_preview_of(builder, table_name, values, copies[content]))
                copies[content] += 1 if content else 0
    return found


def _preview_of(
    builder: DocumentBuilder, table_name: str, values: Sequence[str | None], ordinal: int = 0
) -> Preview:
    masked = builder.masked_row(values)
    try:
        document = builder.build(values, ordinal=ordinal)
    except errors.TransformError as error:
        return Preview(table_name, None, masked, {}, (str(error),))
    warnings = tuple(f"{w.column}: {w.message}" for w in document.warnings)
    return Preview(table_name, document.key, masked, document.fields, warnings)


async def _row(
    connections: Connections, table: Table, builder: DocumentBuilder, key: str | None
) -> Sequence[str | None] | None:
    db = await connections.source()
    if key is None:
        query = f"SELECT {sql.text_columns(table.columns)} FROM {sql.rows_of(table)} LIMIT 1"
        async with aclosing(db.text_batches(query)) as batches:
            async for batch in batches:
                return batch[0]
        return None
    info = await db.server_info()
    layout = await source_reader.layout(db, table)
    reader = SourceReader(db, table, layout, info.version_num, 1000, connections.logger)
    async with aclosing(find_rows(reader, builder, [key])) as found:
        async for rows in found:
            return rows[0].values
    return None
