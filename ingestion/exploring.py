"""What a front end asks of a known schema, by table: statistics, sampled pairs of a reference, files a row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress

from ingestion import discovering, errors, previewing
from ingestion.connections import Connections
from ingestion.db_connection import TextRow
from ingestion.discovery import column_statistics, relationship_samples, verdicts
from ingestion.postgres import sql
from ingestion.reports import RelationSample
from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table
from ingestion.transform import masks

FILE_SAMPLE_ROWS = 400
"""Rows of a table from which its files a row are told."""

_PARALLEL = 3
_QUERY_LIMIT_MS = 5000


async def statistics(connections: Connections, schema: SchemaMap, name: str) -> Table:
    """The table with the figures of its columns filled in, in place; secrets and masked columns have none.

    Raises errors.SchemaError when they take too long.
    """
    table = schema.table(name)
    db = await connections.source()
    planner = await column_statistics.planner_statistics(db, [table.schema], table.relname)
    await column_statistics.add_statistics(db, table, planner)
    masks.hide(SchemaMap("", "", [table]), await masks.in_force(connections))
    return table


async def relation_sample(
    connections: Connections, schema: SchemaMap, relation: ImplicitRelationship
) -> RelationSample:
    """Values of the reference with the rows that they lead to, and values that lead nowhere."""
    db = await connections.source()
    return await relationship_samples.sample(db, schema, relation, await masks.in_force(connections))


async def withdraw_verdict(connections: Connections, relation: ImplicitRelationship) -> None:
    """As if the operator had never judged this relation; the next discovery judges for itself again."""
    state = await connections.state()
    await state.withdraw(discovering.RELATIONSHIP, verdicts.subject(verdicts.of(relation)))


async def files_per_row(connections: Connections, schema: SchemaMap) -> dict[str, float]:
    """How many files a row of each table with file columns refers to, from a few hundred of its rows.

    Detected as a job detects them. A table that cannot be sampled in time is left out.
    """
    policy = await masks.in_force(connections)
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(table: Table) -> tuple[str, float] | None:
        async with gate:
            builder = previewing.builder_of(connections, schema, table, policy)
            try:
                rows = await _sampled(connections, table)
            except errors.IngestionError as error:
                connections.logger.info("files of %s not sampled: %s", table.name, error)
                return None
        files = 0
        for row in rows:
            # A row without a key has no document, and so no files.
            with suppress(errors.TransformError):
                files += len(builder.build(row).files)
        return (table.name, files / len(rows)) if rows else None

    tables = [t for t in schema.tables if t.file_reference_columns and t.readable and t.row_count]
    found = await asyncio.gather(*(one(table) for table in tables))
    return dict(item for item in found if item is not None)


async def _sampled(connections: Connections, table: Table) -> Sequence[TextRow]:
    db = await connections.source()
    part = ""
    if table.kind == "table" and table.row_count > 20 * FILE_SAMPLE_ROWS:
        share = min(100.0, 500.0 * FILE_SAMPLE_ROWS / table.row_count)
        part = f" TABLESAMPLE SYSTEM ({share:.4f}) REPEATABLE (2)"
    query = (
        f"SELECT {sql.text_columns(table.columns)} FROM {sql.rows_of(table)}{part} LIMIT {FILE_SAMPLE_ROWS}"
    )
    async with db.transaction():
        await db.execute(f"SET LOCAL statement_timeout = {_QUERY_LIMIT_MS}")
        async with aclosing(db.text_batches(query, batch_size=FILE_SAMPLE_ROWS)) as batches:
            async for batch in batches:
                return batch  # all of the sample, or as much of it as fits 8 MiB
    return ()
