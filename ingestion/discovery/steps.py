"""The steps of a discovery, in order: catalog, counts and keys, times, files, references, samples.

Each step that reads rows asks one table at a time, under a time limit, and notes what failed on the table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ingestion import relationships
from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import (
    catalog,
    column_statistics,
    file_columns,
    keys,
    limited,
    relationship_context,
    relationship_evidence,
    timestamps,
)
from ingestion.discovery.relationship_keys import Vocabulary
from ingestion.discovery.relationship_names import NameMatcher
from ingestion.schema_discovery import (
    Decisions,
    OnProgress,
    SchemaMap,
    Table,
)
from ingestion.sync.pipeline import together

_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Options:
    """What a discovery looks at beyond the catalog; `rows=False` reads no table at all."""

    samples: bool = False
    statistics: bool = False
    rows: bool = True
    schemas: tuple[str, ...] = ()


async def run(
    db: DatabaseConnection,
    log: logging.Logger,
    options: Options,
    on_progress: OnProgress | None = None,
    decisions: Decisions | None = None,
    before: SchemaMap | None = None,
) -> SchemaMap:
    """Everything about the database; raises ConnectionError when it is gone, SchemaError for unknown schemas."""
    tell = on_progress or (lambda step, done, total: None)
    tell("catalog", 0, 1)
    info = await db.server_info()
    found = await catalog.load(db, options.schemas or None)
    mark_sensitive([*found.tables, *found.views])
    tell("catalog", 1, 1)
    figures = await _count(db, found, options, tell)
    for table in found.tables:
        keys.choose(table, figures)
    readable = [t for t in found.tables if t.readable]
    await _each(readable, "times", lambda t: _times(db, t, options), tell, log)
    await _each([*readable, *found.views], "files", lambda t: _files(db, t, options), tell, log)
    inferred = await _relations(db, log, found, figures, options, tell, decisions, before)
    if options.samples:
        await _each(readable, "samples", lambda t: column_statistics.add_samples(db, t), tell, log)
    if options.statistics:
        planner = await column_statistics.planner_statistics(db, found.schemas)
        await _each(
            readable, "statistics", lambda t: column_statistics.add_statistics(db, t, planner), tell, log
        )
    return SchemaMap(
        discovery_timestamp=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        database_name=info.database,
        tables=found.tables,
        relationships=inferred.relationships,
        views=found.views,
        candidates=inferred.candidates,
        external_columns=inferred.external,
        rejected=inferred.rejected,
        warnings=found.warnings + _overall_warnings(found.tables),
        schemas=found.schemas,
        server_version=info.version,
    )


def mark_sensitive(tables: Sequence[Table]) -> None:
    """Mark columns that hold secrets or personal data."""
    from ingestion.transform import sensitivity

    for table in tables:
        for column in table.columns:
            column.sensitivity, column.sensitivity_reason = sensitivity.classify(
                column.name, column.data_type, table.relname
            )


async def _count(
    db: DatabaseConnection, found: catalog.Catalog, options: Options, tell: OnProgress
) -> dict[tuple[str, str], keys.KeyFigures]:
    if not options.rows:
        for table in found.tables:
            table.row_count, table.row_count_exact = max(0, found.estimates.get(table.name) or 0), False
        return {}
    total = sum(t.readable for t in found.tables)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        tell("rows", done, total)

    counted = await keys.count(db, found.tables, found.estimates, Vocabulary(found.tables), one_more)
    return counted.figures


async def _times(db: DatabaseConnection, table: Table, options: Options) -> None:
    timestamps.by_name_only(table)
    if options.rows:
        await timestamps.examine(db, table)


async def _files(db: DatabaseConnection, table: Table, options: Options) -> None:
    found = [file_columns.judge(table, c, None) for c in table.columns]
    table.file_reference_columns = [f for f in found if f is not None]
    if options.rows and table.row_count:
        table.file_reference_columns = await file_columns.examine(db, table, table.columns)


async def _relations(
    db: DatabaseConnection,
    log: logging.Logger,
    found: catalog.Catalog,
    figures: dict[tuple[str, str], keys.KeyFigures],
    options: Options,
    tell: OnProgress,
    decisions: Decisions | None,
    before: SchemaMap | None,
) -> relationships.Inference:
    unique = {place: f.is_unique for place, f in figures.items() if f.rows}
    matcher = NameMatcher(found.tables, Vocabulary(found.tables, unique))
    declared = [(r.source_table, r.source_column) for r in found.foreign_keys]
    evidence = relationship_evidence.Evidence()
    if options.rows:
        evidence = await relationship_evidence.gather(db, found.tables, matcher, figures, declared, tell, log)
        await relationship_context.add_scopes(db, found.tables, matcher, evidence, log)
    inferred = relationships.infer(
        found.tables,
        matcher=matcher,
        declared=found.foreign_keys,
        evidence=evidence.pairs,
        extra=evidence.blind,
        tested=evidence.tested,
        decisions=decisions,
        before={
            (r.source_table, r.source_column, r.target_table)
            for r in (before.relationships if before else ())
            if r.basis == "inferred"
        },
    )
    if options.rows:
        # What the operator accepted may hold for one type among several: the others are looked for all the same.
        settled = [(r.source_table, r.source_column) for r in inferred.relationships if r.basis != "operator"]
        typed = await relationship_context.typed_references(db, found.tables, matcher, settled, log)
        inferred.settle_typed(typed, decisions or {})
    return inferred


async def relations_of(
    db: DatabaseConnection, log: logging.Logger, tables: Sequence[Table]
) -> relationships.Inference:
    """Implied references among `tables` as they are given, with evidence from their rows."""
    tables = [replace(t, warnings=list(t.warnings)) for t in tables]
    given = [t for t in tables if t.readable]
    estimates = {t.name: t.row_count for t in given}
    counted = await keys.count(db, given, estimates, Vocabulary(given))
    found = catalog.Catalog(tables=tables)
    return await _relations(
        db, log, found, counted.figures, Options(), lambda step, done, total: None, None, None
    )


async def _each(
    tables: Sequence[Table],
    step: str,
    work: Callable[[Table], Awaitable[None]],
    tell: OnProgress,
    log: logging.Logger,
) -> None:
    """Do `work` for each table, a few at a time; a table that fails is noted and costs only itself."""
    gate = asyncio.Semaphore(_PARALLEL)
    done = 0

    async def one(table: Table) -> None:
        nonlocal done
        async with gate:
            try:
                await work(table)
            except limited.TableProblem as problem:
                table.warnings.append(f"{step} not examined: {problem}")
                log.warning("%s: %s not examined: %s", table.name, step, problem)
        done += 1
        tell(step, done, len(tables))

    await together(one(table) for table in tables)


def _overall_warnings(tables: Sequence[Table]) -> list[str]:
    found = []
    unreadable = [t.name for t in tables if not t.readable]
    if unreadable:
        found.append(f"{_tables(unreadable)} cannot be read: {', '.join(unreadable[:10])}")
    estimated = [t.name for t in tables if t.readable and not t.row_count_exact]
    if estimated:
        are = "row count is an estimate" if len(estimated) == 1 else "row counts are estimates"
        found.append(f"{len(estimated):,} {are}: {', '.join(estimated[:10])}")
    return found


def _tables(names: Sequence[str]) -> str:
    return "1 table" if len(names) == 1 else f"{len(names):,} tables"
