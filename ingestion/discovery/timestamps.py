"""Which time columns may narrow an incremental read, which may not, and why; the chosen one of each table.

A fit column moves forward whenever its row changes, so far as names, values and row versions tell. The
column only narrows a read and shows freshness: what proves that a row changed is its row version.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingestion.db_connection import DatabaseConnection, Row
from ingestion.discovery import limited
from ingestion.discovery.relationship_words import split_words, word_set
from ingestion.postgres.sql import ident, rows_of
from ingestion.schema_discovery import Column, Table, TimestampFitness

TIME_TYPES = frozenset({"timestamp", "timestamptz"})
MOST_NULLS = 0.05
"""Share of rows without a value above which a column narrows nothing."""

MOST_BACKWARDS = 0.02
"""Share of sampled rows whose value is older than that of rows written before, above which it misleads."""

_SAMPLE_ROWS = 20_000
_QUERY_LIMIT_S = 3.0

_SYNCED = word_set("airbyte extracted fivetran ingested loaded sync synced")
_CHANGED = word_set(
    """change changed edited lastmodified lastupdate lastupdated modification modified modifieddate modify mutated
    revised touched update updated updatedat updatedate"""
)
_CREATED = word_set("added create created createdat createdate createddate creation inserted recorded")
_OCCURRED = word_set("event logged occurred received timestamp ts")
_NOT_OURS = word_set("by confirmed deleted due expire expires")


def time_columns(columns: Sequence[Column]) -> list[str]:
    """All columns that hold a moment, in table order."""
    return [c.name for c in columns if is_moment(c)]


def is_moment(column: Column) -> bool:
    if column.base_type:
        return column.base_type in TIME_TYPES
    return column.data_type.startswith("timestamp")


def rank(name: str) -> int | None:
    """0 for the copy's own clock, 1 for a change, 2 for creation, 3 for an event; None for any other moment."""
    words = set(split_words(name))
    if words & _NOT_OURS:
        return None
    if words & _SYNCED:
        return 0
    if words & _CHANGED:
        return 1
    if words & _CREATED:
        return 2
    if words <= (_OCCURRED | {"at", "time", "on", "date", "processed", "submitted"}) and words & _OCCURRED:
        return 3
    return None


def candidates(columns: Sequence[Column]) -> list[Column]:
    """Columns whose name lets them narrow an incremental read, best first."""
    ranked = [(r, i, c) for i, c in enumerate(columns) if is_moment(c) and (r := rank(c.name)) is not None]
    return [c for _, _, c in sorted(ranked, key=lambda entry: entry[:2])]


async def examine(db: DatabaseConnection, table: Table) -> None:
    """Set the time fields of `table`; raises TableProblem when its rows cannot be read in time."""
    by_name_only(table)
    found = candidates(table.columns)
    if not found or not table.row_count or not table.readable:
        return
    (row,) = await limited.fetch(db, _query(table, found), timeout_s=_QUERY_LIMIT_S)
    table.timestamps = [_judge(c, row, place) for place, c in enumerate(found)]
    table.timestamps += _not_candidates(table)
    _choose(table)


def by_name_only(table: Table) -> None:
    """The choice where no row can be looked at."""
    table.timestamp_columns = time_columns(table.columns)
    found = candidates(table.columns)
    table.timestamps = [
        TimestampFitness(c.name, True, [_meaning(c.name), "no rows were looked at"]) for c in found
    ] + _not_candidates(table)
    _choose(table)


def _choose(table: Table) -> None:
    table.timestamp_column = next((t.column for t in table.timestamps if t.fit), None)


def _not_candidates(table: Table) -> list[TimestampFitness]:
    return [
        TimestampFitness(name, False, ["its name does not say that it moves when a row changes"])
        for name in table.timestamp_columns
        if rank(name) is None
    ]


def _meaning(name: str) -> str:
    return {
        0: "moves when the copy is refreshed",
        1: "moves when the record changes",
        2: "stands still after a record is made, so later changes show only in the row version",
        3: "says when something happened, so later changes show only in the row version",
    }[rank(name) or 0]


def _query(table: Table, columns: Sequence[Column]) -> str:
    """One pass over (a sample of) the table; row versions tell in which order rows were written."""
    plain = table.kind == "table"
    part = ""
    if plain and table.row_count > 2 * _SAMPLE_ROWS:
        part = (
            f" TABLESAMPLE SYSTEM ({min(100.0, 150.0 * _SAMPLE_ROWS / table.row_count):.4f}) REPEATABLE (2)"
        )
    version = "age(xmin)" if plain else "0"
    picked = ", ".join(f"{ident(c.name)} AS c{i}" for i, c in enumerate(columns))
    outputs = ["count(*) AS n", "count(DISTINCT version) AS versions"]
    steps = []
    for i in range(len(columns)):
        # A row is backwards when one written earlier (older version) already carries a later moment.
        steps.append(
            f"max(c{i}) FILTER (WHERE isfinite(c{i}) AND c{i} <= now() + interval '1 day')"
            f" OVER (ORDER BY version DESC GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before{i}"
        )
        outputs += [
            f"count(c{i}) AS filled{i}",
            f"count(DISTINCT c{i}) AS distinct{i}",
            f"count(*) FILTER (WHERE c{i} > now() + interval '1 day') AS future{i}",
            f"count(*) FILTER (WHERE NOT isfinite(c{i})) AS infinite{i}",
            f"count(*) FILTER (WHERE c{i} < before{i} - interval '1 hour') AS backwards{i}",
            f"count(before{i}) AS compared{i}",
        ]
    return (
        f"WITH s AS MATERIALIZED (SELECT {version} AS version, {picked} FROM {rows_of(table)}{part}"
        f" LIMIT {_SAMPLE_ROWS}), w AS (SELECT *, {', '.join(steps)} FROM s)"
        f" SELECT {', '.join(outputs)} FROM w"
    )


def _judge(column: Column, row: Row, place: int) -> TimestampFitness:
    rows = row["n"] or 1
    filled, backwards, compared = row[f"filled{place}"], row[f"backwards{place}"], row[f"compared{place}"]
    reasons = [_meaning(column.name)]
    fit = True
    nulls = rows - filled
    if nulls:
        reasons.append(f"{_share(nulls, rows)} of the rows have none")
        if nulls > MOST_NULLS * rows:
            fit = False
    if row[f"infinite{place}"]:
        reasons.append(f"{row[f'infinite{place}']:,} of the values are infinite")
    if row[f"future{place}"]:
        reasons.append(f"{row[f'future{place}']:,} of the values lie in the future")
        if row[f"future{place}"] > 0.2 * rows:
            fit = False
    if filled and row[f"distinct{place}"] < filled / 20:
        reasons.append(f"many rows share a value: {row[f'distinct{place}']:,} distinct ones in {filled:,}")
    if row["versions"] < 2:
        reasons.append("all rows were written at once, so their order cannot be checked")
    elif compared:
        reasons.append(
            f"{_share(backwards, compared)} of the rows carry an older value than rows written before them"
        )
        if backwards > MOST_BACKWARDS * compared:
            fit = False
    return TimestampFitness(column.name, fit, reasons)


def _share(part: int, whole: int) -> str:
    share = part / whole
    if not part:
        return "none"
    return f"{share:.1%}" if share >= 0.001 else "under 0.1 %"
