"""By which columns the rows of a table are told apart, and how that is known.

A declared primary key; else a unique index that is neither partial nor on expressions and whose columns are
all NOT NULL; else `id` where at least 90 % of its values are distinct; else the hash of the row. The same
counting pass gives exact row counts and what the values of possible keys look like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ingestion import errors
from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.discovery.relationship_keys import Vocabulary
from ingestion.discovery.relationship_parsing import type_family
from ingestion.postgres.sql import ident, rows_of
from ingestion.schema_discovery import Column, Index, Table
from ingestion.sync.pipeline import together

PROVEN_SHARE = 0.9
"""Least share of distinct values by which `id` is taken for the key."""

TABLE_LIMIT_S = 5.0
TOTAL_LIMIT_S = 30.0
_COMBINED_ROWS = 1_000_000
"""Up to here keys are looked at in the same pass as the count: sorting them costs more than counting."""

_QUANTILES = 20
_MOST_KEYS = 2
_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """What one pass over a possible key showed; `quantiles` (ascending) only for whole numbers."""

    rows: int
    nulls: int
    distinct: int
    quantiles: tuple[int, ...] = ()

    @property
    def is_unique(self) -> bool:
        """Whether the values name rows: all distinct but for dirt, as in a mirror that enforces nothing."""
        filled = self.rows - self.nulls
        return self.distinct >= 0.98 * filled and self.nulls <= 0.02 * self.rows


@dataclass(slots=True)
class Counted:
    """Figures of possible keys by (table, column)."""

    figures: dict[tuple[str, str], KeyFigures] = field(default_factory=dict)


def choose(table: Table, figures: Mapping[tuple[str, str], KeyFigures]) -> None:
    """Set the key fields of `table` from its indexes and, where it has none, from what was counted."""
    nullable = {c.name: c.is_nullable for c in table.columns}
    index = _best_index(table, nullable)
    table.key_duplicates = table.key_nulls = None
    if index is not None:
        table.key_columns = list(index.columns)
        table.key_basis = "primary_key" if index.is_primary else "unique_index"
    else:
        _prove_id(table, figures.get((table.name, "id")))
    table.key_indexed = any(
        i.method == "btree" and not i.is_partial and i.columns == table.key_columns for i in table.indexes
    )
    texts = [c for c in table.key_columns if type_family(table.column(c)) == "text"]
    if texts and table.key_indexed:
        table.key_note = f"{', '.join(texts)} is text: pages follow the collation of its index"


def _best_index(table: Table, nullable: Mapping[str, bool]) -> Index | None:
    usable = [
        index
        for index in table.indexes
        if index.is_unique
        and not index.is_partial
        and index.columns
        and all(name in nullable for name in index.columns)
        and (index.is_primary or not any(nullable[name] for name in index.columns))
    ]
    return min(usable, key=lambda i: (not i.is_primary, len(i.columns), i.name), default=None)


def _prove_id(table: Table, found: KeyFigures | None) -> None:
    table.key_columns, table.key_basis = [], "row_hash"
    if found is None and not table.readable:
        table.key_note = "not known: the table cannot be read"
        return
    if found is None:
        has_id = table.has_column("id")
        if has_id and not table.row_count and table.row_count_exact:
            table.key_columns, table.key_basis = ["id"], "proven_id"
            table.key_note = "the table is empty, so nothing speaks against id"
            return
        why = "id could not be counted in time" if has_id else "it has no id"
        table.key_note = f"no declared key, and {why}: rows are told apart by their content"
        if table.row_count or not table.row_count_exact:
            table.warnings.append(table.key_note)
        return
    filled = found.rows - found.nulls
    duplicates = filled - found.distinct
    if found.rows and found.distinct < PROVEN_SHARE * found.rows:
        table.key_note = f"id has only {found.distinct:,} distinct values in {found.rows:,} rows"
        table.warnings.append(f"{table.key_note}: rows are told apart by their content")
        return
    table.key_columns, table.key_basis = ["id"], "proven_id"
    table.key_duplicates, table.key_nulls = duplicates, found.nulls
    values, rows = (f"{n:,} {noun}{'' if n == 1 else 's'}" for n, noun in (
        (found.distinct, "distinct value"), (found.rows, "row")))  # fmt: skip
    table.key_note = f"{values} of id in {rows}"
    dirt = [
        *(
            [f"{duplicates:,} row{'s repeat' if duplicates > 1 else ' repeats'} another's id"]
            if duplicates
            else []
        ),
        *([f"{found.nulls:,} row{'s have' if found.nulls > 1 else ' has'} no id"] if found.nulls else []),
    ]
    if dirt:
        table.warnings.append(" and ".join(dirt))


async def count(
    db: DatabaseConnection,
    tables: Sequence[Table],
    estimates: Mapping[str, int | None],
    vocabulary: Vocabulary,
    on_table: Callable[[], None] | None = None,
    *,
    table_limit_s: float = TABLE_LIMIT_S,
    total_limit_s: float = TOTAL_LIMIT_S,
) -> Counted:
    """Set `row_count` and `row_count_exact` of every readable table; look at possible keys on the way.

    A table whose query takes longer than `table_limit_s`, or that is still uncounted after `total_limit_s`,
    keeps the planner's estimate. Raises ConnectionError only when the server is gone.
    """
    counted = Counted()
    deadline = time.monotonic() + total_limit_s
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(table: Table) -> None:
        async with gate:
            left = min(table_limit_s, deadline - time.monotonic())
            estimate = estimates.get(table.name)
            if left <= 0:
                _use_estimate(table, estimate, "counting all tables took too long")
            else:
                await _count_table(db, table, estimate, vocabulary, counted, left)
        if on_table:
            on_table()

    # Small tables first, so that the time limit costs as few exact counts as it can.
    order = sorted(
        (t for t in tables if t.readable), key=lambda t: estimates.get(t.name) or t.size_bytes // 100
    )
    await together(one(table) for table in order)
    return counted


async def _count_table(
    db: DatabaseConnection,
    table: Table,
    estimate: int | None,
    vocabulary: Vocabulary,
    counted: Counted,
    limit_s: float,
) -> None:
    columns = _key_columns(table, vocabulary)
    large = (estimate if estimate is not None else table.size_bytes // 50) > _COMBINED_ROWS
    try:
        if large:
            rows = await limited.fetch(db, f"SELECT count(*) AS n FROM {rows_of(table)}", timeout_s=limit_s)
            table.row_count, table.row_count_exact = rows[0]["n"], True
            columns = [c for c in columns if c.name == "id" and _best_index(table, _nullable(table)) is None]
        if not large or columns:
            rows = await limited.fetch(db, _count_query(table, columns), timeout_s=limit_s)
            table.row_count, table.row_count_exact = rows[0]["n"], True
            for place, column in enumerate(columns):
                counted.figures[table.name, column.name] = _figures(rows[0], place)
    except limited.TableProblem as problem:
        if table.row_count_exact:
            return
        if problem.timed_out:
            _use_estimate(table, estimate, "counting it took too long")
        else:
            table.readable, table.problem = False, str(problem)


def _nullable(table: Table) -> dict[str, bool]:
    return {c.name: c.is_nullable for c in table.columns}


def _key_columns(table: Table, vocabulary: Vocabulary) -> list[Column]:
    entry = vocabulary.entries.get(table.name)
    found = [key.column for key in entry.keys[:_MOST_KEYS]] if entry else []
    if table.has_column("id") and all(c.name != "id" for c in found):
        found.append(table.column("id"))
    return found


def _count_query(table: Table, columns: Sequence[Column]) -> str:
    parts = ["count(*) AS n"]
    for place, column in enumerate(columns):
        name = ident(column.name)
        parts += [f"count({name}) AS filled{place}", f"count(DISTINCT {name}) AS distinct{place}"]
        if type_family(column) == "int":
            steps = ", ".join(f"{step / _QUANTILES:g}" for step in range(_QUANTILES + 1))
            parts.append(
                f"percentile_disc(ARRAY[{steps}]::float8[]) WITHIN GROUP (ORDER BY {name}::int8)"
                f" AS quantiles{place}"
            )
    return f"SELECT {', '.join(parts)} FROM {rows_of(table)}"


def _figures(row: Mapping[str, object], place: int) -> KeyFigures:
    rows, filled, distinct = row["n"], row[f"filled{place}"], row[f"distinct{place}"]
    quantiles = row.get(f"quantiles{place}") or ()
    assert isinstance(rows, int)
    assert isinstance(filled, int)
    assert isinstance(distinct, int)
    assert isinstance(quantiles, list | tuple)
    return KeyFigures(rows, rows - filled, distinct, tuple(q for q in quantiles if q is not None))


def _use_estimate(table: Table, estimate: int | None, why: str) -> None:
    """The planner's figure, or what the size suggests where the table was never analysed; never negative."""
    table.row_count_exact = False
    if estimate is not None:
        table.row_count = estimate
        table.warnings.append(f"{why}: about {estimate:,} rows by the planner's statistics")
        return
    width = 32 + sum(_width(c) for c in table.columns)
    table.row_count = table.size_bytes // width
    table.warnings.append(f"{why}, and it was never analysed: about {table.row_count:,} rows by its size")


def _width(column: Column) -> int:
    return {"number": 8, "time": 8, "boolean": 1, "uuid": 16}.get(column.type_category, 24)


async def exact_count(db: DatabaseConnection, table: Table) -> int:
    """Rows of one table, counted without our time limit; raises SchemaError when it cannot be read."""
    try:
        rows = await db.execute(f"SELECT count(*) AS n FROM {rows_of(table)}")
    except errors.SchemaError as error:
        raise errors.SchemaError(f"{table.name} cannot be counted: {error}", hint=error.hint) from error
    return int(rows[0]["n"])
