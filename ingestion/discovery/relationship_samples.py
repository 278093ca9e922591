"""Sampled pairs of one implied reference: values of the column, and the rows of the target that they lead to.

What a person looks at before accepting or rejecting: bounded samples, each query under a time limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited, relationship_elements
from ingestion.discovery.relationship_evidence import which_exist
from ingestion.postgres import sql
from ingestion.reports import RelationSample, SampledPair
from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table
from ingestion.transform.documents import ids_in
from ingestion.transform.sensitivity import MaskPolicy

MOST_VALUES = 300
"""Distinct values that are looked up in the target."""

MOST_SHOWN = 12
"""Values of each kind, found and not found, that are given with the answer."""

_SAMPLE_ROWS = 20_000
_SAMPLE_DOCUMENTS = 4_000
_LONGEST_BYTES = 8_000
"""A longer value holds more than ids."""

_QUERY_LIMIT_S = 5.0
_LABELS = (
    "name",
    "title",
    "subject",
    "display_name",
    "full_name",
    "number",
    "code",
    "filename",
    "description",
)
_LABEL_CHARS = 60


async def sample(
    db: DatabaseConnection, schema: SchemaMap, relation: ImplicitRelationship, masks: MaskPolicy
) -> RelationSample:
    """The pairs; `problem` says why there are none, where a query took too long or values are masked."""
    source, target = schema.table(relation.source_table), schema.table(relation.target_table)
    column, key = source.column(relation.source_column), target.column(relation.target_column)
    if masks.masks(source.name, column.name, column.sensitivity):
        return RelationSample(problem="the column is masked: its values are not shown")
    try:
        values = await _values(db, source, column, relation)
        there = await which_exist(db, target, key, [value for value, _ in values]) if values else set()
        found = [(value, rows) for value, rows in values if value in there]
        labels = await _labels(db, target, key, [value for value, _ in found[:MOST_SHOWN]], masks)
    except limited.TableProblem as problem:
        return RelationSample(problem=f"not sampled: {problem}")
    orphans = [(value, rows) for value, rows in values if value not in there]
    pairs = [SampledPair(value, rows, True, labels.get(value, "")) for value, rows in found[:MOST_SHOWN]]
    pairs += [SampledPair(value, rows, False) for value, rows in orphans[:MOST_SHOWN]]
    return RelationSample(
        pairs=tuple(pairs),
        values=len(values),
        found=len(found),
        rows=sum(rows for _, rows in values),
        rows_found=sum(rows for _, rows in found),
        label=_label_of(target, masks) or "",
    )


async def _values(
    db: DatabaseConnection, table: Table, column: Column, relation: ImplicitRelationship
) -> list[tuple[str, int]]:
    """(distinct value, sampled rows that hold it), the most frequent first."""
    name = sql.ident(column.name)
    where, args = f"{name} IS NOT NULL", []
    if relation.type_column:
        where += f" AND {sql.ident(relation.type_column)}::text = $1"
        args.append(relation.type_value)
    part = ""
    if table.kind in ("table", "partitioned") and table.row_count > 2 * _SAMPLE_ROWS:
        share = min(100.0, 150.0 * _SAMPLE_ROWS / table.row_count)
        part = f" TABLESAMPLE SYSTEM ({share:.4f}) REPEATABLE (1)"
    rows_of = f"{sql.rows_of(table)}{part} WHERE {where}"
    if relationship_elements.may_hold_ids(column):
        return await _elements(db, f"SELECT to_jsonb({name})::text AS v FROM {rows_of}", name, args)
    query = (
        f"WITH s AS MATERIALIZED (SELECT {name}::text AS v FROM {rows_of} LIMIT {_SAMPLE_ROWS}),"
        f" d AS (SELECT v, count(*) AS n FROM s GROUP BY v ORDER BY md5(v) LIMIT {MOST_VALUES})"
        " SELECT v, n FROM d ORDER BY n DESC, v"
    )
    rows = await limited.fetch(db, query, *args, timeout_s=_QUERY_LIMIT_S)
    return [(row["v"], row["n"]) for row in rows]


async def _elements(
    db: DatabaseConnection, query: str, name: str, args: Sequence[str | None]
) -> list[tuple[str, int]]:
    """Likewise of a column whose arrays or JSON hold ids, as a sync takes them out."""
    query += f" AND pg_column_size({name}) <= {_LONGEST_BYTES} LIMIT {_SAMPLE_DOCUMENTS}"
    rows = await limited.fetch(db, query, *args, timeout_s=_QUERY_LIMIT_S)
    counts = Counter(id_ for row in rows for id_ in dict.fromkeys(ids_in(row["v"])))
    chosen = relationship_elements.most_common(counts, MOST_VALUES)
    return sorted(chosen, key=lambda one: (-one[1], one[0]))


def _label_of(table: Table, masks: MaskPolicy) -> str | None:
    """The column that says best what a row is; none that is masked."""
    names = {
        column.name.lower(): column.name
        for column in table.columns
        if not masks.masks(table.name, column.name, column.sensitivity)
        and column.type_category in ("text", "number", "")
    }
    return next((names[label] for label in _LABELS if label in names), None)


async def _labels(
    db: DatabaseConnection, table: Table, key: Column, values: Sequence[str], masks: MaskPolicy
) -> dict[str, str]:
    from ingestion.redaction import redact_text

    label = _label_of(table, masks)
    if label is None or not values or masks.masks(table.name, key.name, key.sensitivity):
        return {}
    rows = await limited.fetch(
        db,
        f"SELECT {sql.ident(key.name)}::text AS v, left({sql.ident(label)}::text, {_LABEL_CHARS}) AS label"
        f" FROM {sql.table_ref(table)} WHERE {sql.ident(key.name)}::text = ANY($1::text[])",
        list(values),
        timeout_s=_QUERY_LIMIT_S,
    )
    return {row["v"]: redact_text(row["label"]) for row in rows if row["label"]}
