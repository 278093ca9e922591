"""What a plan would cost before anything is read: rows, bytes, seconds, and references left dangling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingestion import plan as plans
from ingestion.plan import Plan
from ingestion.reports import Estimate, TableEstimate
from ingestion.schema_discovery import SchemaMap

USUAL_ROWS_PER_S = 2500.0
"""Taken until a job of this source has shown its own rate."""


def estimate(schema: SchemaMap, plan: Plan, rows_per_s: float | None = None) -> Estimate:
    """The plan's cost; raises errors.SchemaError for a glob that matches nothing."""
    names = [table.name for table in schema.tables]
    chosen = plans.select(names, plan.include, plan.exclude)
    tables = tuple(
        TableEstimate(t.name, t.row_count, t.row_count_exact, t.size_bytes, len(t.file_reference_columns))
        for t in schema.tables
        if t.name in set(chosen)
    )
    rows = sum(table.rows for table in tables)
    return Estimate(
        tables=tables,
        rows=rows,
        size_bytes=sum(table.size_bytes for table in tables),
        seconds=rows / (rows_per_s or USUAL_ROWS_PER_S),
        dangling=_dangling(schema, chosen),
    )


def files(estimate: Estimate, files_per_row: Mapping[str, float]) -> int:
    """How many files the rows of an estimate refer to, from what sampled rows do."""
    return round(sum(table.rows * files_per_row.get(table.table, 0.0) for table in estimate.tables))


def _dangling(schema: SchemaMap, chosen: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    taken = set(chosen)
    return tuple(
        (r.source_table, r.source_column, r.target_table)
        for r in schema.relationships
        if r.source_table in taken and r.target_table not in taken
    )
