"""Samples and statistics of columns: from the planner's statistics where it has them, else counted.

Secrets never leave the server: their cells are masked, and their statistics are not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.postgres.sql import ident, rows_of, text_column
from ingestion.schema_discovery import Column, Table

SAMPLE_ROWS = 5
_LONGEST_CELL = 200
_MOST_TOP_VALUES = 5
_QUERY_LIMIT_S = 3.0
_SAMPLE_OF_ROWS = 10_000
_TEXTS = frozenset({"text", "json"})
_NO_ORDER = frozenset({"json", "other", "composite", "binary", "array", "boolean", "range"})

_PLANNER = """
SELECT s.schemaname::text AS schema, s.tablename::text AS relname, s.attname::text AS column,
  s.null_frac::float8 AS null_share, s.n_distinct::float8 AS distinct_figure,
  s.most_common_vals::text::text[] AS common, s.histogram_bounds::text::text[] AS bounds
FROM pg_catalog.pg_stats s
WHERE s.schemaname = ANY($1::text[]) AND NOT s.inherited AND ($2::text IS NULL OR s.tablename = $2)"""


async def add_samples(db: DatabaseConnection, table: Table, rows: int = SAMPLE_ROWS) -> None:
    """First rows of the table as text, cells cut at 200 characters, secrets masked."""
    from ingestion.transform.sensitivity import MASKED, SECRET

    shown = [c for c in table.columns if c.sensitivity != SECRET]
    picked = ", ".join(f"left({text_column(c)}, {_LONGEST_CELL + 1}) AS c{i}" for i, c in enumerate(shown))
    if not table.columns:
        return
    found = await limited.fetch(
        db, f"SELECT {picked or '1'} FROM {rows_of(table)} LIMIT {int(rows)}", timeout_s=_QUERY_LIMIT_S
    )
    places = {c.name: i for i, c in enumerate(shown)}
    table.samples = [
        {c.name: _cell(row[f"c{places[c.name]}"]) if c.name in places else MASKED for c in table.columns}
        for row in found
    ]


def _cell(text: str | None) -> str | None:
    """A value as it is shown: signatures redacted, members named like secrets masked, cut JSON included."""
    from ingestion.redaction import redact_text
    from ingestion.transform.json_text import looks_like_json, mask_members
    from ingestion.transform.sensitivity import is_secret_name

    if text is None:
        return None
    if looks_like_json(text):
        text = mask_members(text, is_secret_name)
    text = redact_text(text)
    return text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + "…"


async def planner_statistics(
    db: DatabaseConnection, schemas: Sequence[str], relname: str | None = None
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What ANALYZE left, by (schema, relation, column), of one relation or of all; empty where it never ran."""
    rows = await limited.fetch(db, _PLANNER, list(schemas), relname, timeout_s=10.0)
    return {(r["schema"], r["relname"], r["column"]): r for r in rows}


async def add_statistics(
    db: DatabaseConnection, table: Table, planner: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    """Fill the figures of each column that is no secret; raises TableProblem when they take too long."""
    from ingestion.transform.sensitivity import SECRET

    counted: list[Column] = []
    for column in table.columns:
        if column.sensitivity == SECRET:
            continue
        known = planner.get((table.schema, table.relname, column.name))
        if known is None:
            counted.append(column)
        else:
            _from_planner(column, known, table.row_count)
    if table.row_count:
        await _count(db, table, counted)
        await _measure(db, table)


def _from_planner(column: Column, known: dict[str, Any], rows: int) -> None:
    column.null_share = round(known["null_share"], 4)
    figure = known["distinct_figure"]
    column.distinct = int(figure) if figure >= 0 else round(-figure * rows)
    column.minimum, column.maximum = extremes(column, known["bounds"] or (), known["common"] or ())
    common = (known["common"] or ())[:_MOST_TOP_VALUES]
    if column.base_type == "bool":
        common = [{"t": "true", "f": "false"}.get(v, v) for v in common]
    column.top_values = [_short(v) for v in common]


def extremes(column: Column, bounds: Sequence[str], common: Sequence[str]) -> tuple[str | None, str | None]:
    """Least and greatest value that the planner knows: its bounds leave the most common values out."""
    # Texts follow a collation that we do not know, money a locale; the bounds are in order as they are.
    values = [] if column.type_category in _NO_ORDER else list(bounds)
    if column.type_category == "number" and column.base_type != "money":
        with suppress(InvalidOperation):
            values = sorted({*bounds, *common} - {"NaN"}, key=Decimal)
    elif column.type_category == "time" and column.base_type not in ("interval", "time", "timetz"):
        values = sorted({*bounds, *common}, key=_moment)
    return (_short(values[0]), _short(values[-1])) if values else (None, None)


def _moment(text: str) -> tuple[int, int, str]:
    """PostgreSQL's ISO output in the order of time: years of any length, BC, infinity."""
    if text.endswith("infinity"):
        return (-2 if text.startswith("-") else 2), 0, ""
    years = len(text.partition("-")[0])
    if text.endswith(" BC"):
        year = int(text[:years])
        return -1, -year, text[years:]
    return 1, years, text


async def _measure(db: DatabaseConnection, table: Table) -> None:
    """The longest text of each column; the planner leaves long values out of what it knows."""
    from ingestion.transform.sensitivity import SECRET

    columns = [c for c in table.columns if c.type_category in _TEXTS and c.sensitivity != SECRET]
    if not columns:
        return
    outputs = ", ".join(f"max(length({ident(c.name)}::text)) AS l{i}" for i, c in enumerate(columns))
    picked = ", ".join(ident(c.name) for c in columns)
    with suppress(limited.TableProblem):  # documents too large to be measured in time
        (row,) = await limited.fetch(
            db,
            f"SELECT {outputs} FROM (SELECT {picked} FROM {rows_of(table)}{_part(table)}"
            f" LIMIT {_SAMPLE_OF_ROWS}) s",
            timeout_s=_QUERY_LIMIT_S,
        )
        for i, column in enumerate(columns):
            column.longest = row[f"l{i}"]


def _part(table: Table) -> str:
    """The clause that samples a large table; nothing for a small one."""
    if table.kind != "table" or table.row_count <= 2 * _SAMPLE_OF_ROWS:
        return ""
    return f" TABLESAMPLE SYSTEM ({min(100.0, 150.0 * _SAMPLE_OF_ROWS / table.row_count):.4f}) REPEATABLE (4)"


async def _count(db: DatabaseConnection, table: Table, columns: Sequence[Column]) -> None:
    if not columns:
        return
    picked = ", ".join(f"left({text_column(c)}, 4096) AS c{i}" for i, c in enumerate(columns))
    ordered = [i for i, c in enumerate(columns) if c.type_category not in _NO_ORDER]
    raw = "".join(f", {ident(columns[i].name)} AS o{i}" for i in ordered)
    outputs = []
    for i in range(len(columns)):
        outputs += [
            f"(SELECT count(c{i}) FROM s) AS filled{i}",
            f"(SELECT count(DISTINCT c{i}) FROM s) AS distinct{i}",
            f"ARRAY(SELECT c{i} FROM s WHERE c{i} IS NOT NULL GROUP BY c{i} HAVING count(*) > 1"
            f" ORDER BY count(*) DESC, c{i} LIMIT {_MOST_TOP_VALUES}) AS top{i}",
        ]
    for i in ordered:
        for member, direction in (("min", "ASC"), ("max", "DESC")):
            outputs.append(
                f"(SELECT c{i} FROM s WHERE o{i} IS NOT NULL ORDER BY o{i} {direction} LIMIT 1) AS {member}{i}"
            )
    query = (
        f"WITH s AS MATERIALIZED (SELECT {picked}{raw} FROM {rows_of(table)}{_part(table)} LIMIT {_SAMPLE_OF_ROWS})"
        f" SELECT (SELECT count(*) FROM s) AS n, {', '.join(outputs)}"
    )
    (row,) = await limited.fetch(db, query, timeout_s=_QUERY_LIMIT_S)
    rows = row["n"]
    if not rows:
        return
    for i, column in enumerate(columns):
        column.null_share = round(1 - row[f"filled{i}"] / rows, 4)
        column.distinct = _scaled(row[f"distinct{i}"], row[f"filled{i}"], rows, table.row_count)
        column.top_values = [_short(v) for v in row[f"top{i}"]]
        if i in ordered:
            low, high = row[f"min{i}"], row[f"max{i}"]
            column.minimum = None if low is None else _short(low)
            column.maximum = None if high is None else _short(high)


def _scaled(distinct: int, filled: int, rows: int, all_rows: int) -> int:
    """Distinct values of the whole table: a column that is nearly unique in the sample grows with it."""
    return round(distinct * all_rows / rows) if all_rows > rows and distinct > 0.9 * filled else distinct


def _short(text: str) -> str:
    return _cell(text[:_LONGEST_CELL]) or ""
