"""Databases with known foreign keys: restored into an embedded PostgreSQL, renamed, stripped of their keys."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from ingestion.postgres.sql import ident
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

Triple = tuple[str, str, str]
"""(source table, source column, target table)."""

_FOREIGN_KEYS = """
SELECT sn.nspname AS source_schema, a.attname AS column, tn.nspname AS target_schema,
  coalesce(ps.relname, s.relname) AS source_root, coalesce(pt.relname, t.relname) AS target_root
FROM pg_constraint k JOIN pg_class s ON s.oid = k.conrelid JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_class t ON t.oid = k.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
CROSS JOIN unnest(k.conkey) AS c(number)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number
LEFT JOIN pg_inherits si ON si.inhrelid = s.oid AND s.relispartition LEFT JOIN pg_class ps ON ps.oid = si.inhparent
LEFT JOIN pg_inherits ti ON ti.inhrelid = t.oid AND t.relispartition LEFT JOIN pg_class pt ON pt.oid = ti.inhparent
WHERE k.contype = 'f' AND k.conparentid = 0"""
_CONSTRAINTS = """
SELECT format('%I.%I', n.nspname, c.relname) AS relation, k.conname AS name
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = ANY($1::"char"[]) AND k.conparentid = 0 AND n.nspname !~ '^pg_|^information_schema$'"""
_UNIQUE_INDEXES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisunique AND n.nspname !~ '^pg_' AND NOT c.relispartition"""
_VIEWS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind = 'm' AS kept
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_|^information_schema$'"""
_COLUMNS = """
SELECT n.nspname AS schema, c.relname AS relation, a.attname AS column
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname !~ '^pg_|^information_schema$'
ORDER BY 1, 2, a.attnum"""


@dataclass(frozen=True, slots=True)
class Habit:
    """A way to name things: what a table's and a column's words become; `refers` tells reference columns."""

    table: Callable[[list[str]], str]
    column: Callable[[list[str], bool], str]
    own_key: bool = False
    """Key columns called `id` are called after their table."""


def _snake(parts: list[str]) -> str:
    return "_".join(parts)


def _compact(parts: list[str]) -> str:
    return "".join(parts)


def _pascal(parts: list[str]) -> str:
    return "".join(part.capitalize() for part in parts)


def _camel(parts: list[str]) -> str:
    return parts[0] + _pascal(parts[1:])


def _upper_id(parts: list[str]) -> str:
    return parts[0] + "".join("ID" if part == "id" else part.capitalize() for part in parts[1:])


def _singular(parts: list[str]) -> str:
    last = parts[-1]
    if last.endswith("ies"):
        last = last[:-3] + "y"
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return "_".join([*parts[:-1], last])


def _without_id(parts: list[str]) -> list[str]:
    return parts[:-1] if len(parts) > 1 and parts[-1] == "id" else parts


HABITS = {
    "mixed case": Habit(_pascal, lambda p, r: _camel(p)),
    "userID": Habit(_pascal, lambda p, r: _upper_id(p)),
    "run together": Habit(_compact, lambda p, r: _compact(p)),
    "named after the table": Habit(_singular, lambda p, r: _snake(_without_id(p) if r else p)),
    "trailing underscore": Habit(_snake, lambda p, r: _snake(p) + "_"),
    "id first": Habit(_snake, lambda p, r: _snake(["id", *_without_id(p)] if p[-1] == "id" and p[1:] else p)),
    "fk first": Habit(_snake, lambda p, r: _snake(["fk", *_without_id(p)] if r else p)),
    "singular, table_id": Habit(_singular, lambda p, r: _snake(p), own_key=True),
    "prefixed tables": Habit(lambda p: "app_" + _snake(p), lambda p, r: _snake(p)),
}
"""The same databases as others would have named them: what no rule was fitted to."""


def _name(schema: str, relation: str) -> str:
    return relation if schema == "public" else f"{schema}.{relation}"


async def restore(server: EmbeddedPostgres, source: Path, database: str) -> set[Triple]:
    """Make the database; return its true relations."""
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f"CREATE DATABASE {ident(database)}")
    await admin.close()
    if source.suffix == ".gz":
        psql = shutil.which("psql")
        if psql is None:
            raise SystemExit("psql is needed to restore dumps; install PostgreSQL's client programs")
        text = gzip.decompress(source.read_bytes())
        await asyncio.to_thread(
            subprocess.run, [psql, "-q", server.url(database)], input=text, capture_output=True, check=False
        )
        connection = await asyncpg.connect(server.url(database))
        rows = await connection.fetch(_FOREIGN_KEYS)
        await connection.close()
        return {
            (
                _name(row["source_schema"], row["source_root"]),
                row["column"],
                _name(row["target_schema"], row["target_root"]),
            )
            for row in rows
        }
    data = json.loads(source.read_text())
    connection = await asyncpg.connect(server.url(database))
    for table in data["schema"]["tables"]:
        await _create(connection, table)
    await connection.close()
    return {
        (
            _name(r["source_schema"], r["source_table"]),
            r["source_column"],
            _name(r["target_schema"], r["target_table"]),
        )
        for r in data["truth"]["relations"]
    }


async def _create(connection: Any, table: dict[str, Any]) -> None:
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(table['schema'])}")
    columns = []
    for column in table["columns"]:
        kind = column["data_type"]
        if not await connection.fetchval("SELECT to_regtype($1) IS NOT NULL", re.sub(r"\(.*?\)", "", kind)):
            # An enum or an extension's type: its name is what counts.
            bare = re.sub(r"\(.*?\)|\[\]", "", kind).rpartition(".")[2].strip('"')
            if not await connection.fetchval("SELECT to_regtype($1) IS NOT NULL", ident(bare)):
                await connection.execute(f"CREATE TYPE {ident(bare)} AS ENUM ('a')")
            kind = ident(bare)
        columns.append(f"{ident(column['name'])} {kind}{'' if column['is_nullable'] else ' NOT NULL'}")
    await connection.execute(
        f"CREATE TABLE {ident(table['schema'])}.{ident(table['name'])} ({', '.join(columns)})"
    )


async def strip(url: str, *, all_keys: bool) -> None:
    connection = await asyncpg.connect(url)
    for row in await connection.fetch(_CONSTRAINTS, [b"f"]):
        await connection.execute(f"ALTER TABLE {row['relation']} DROP CONSTRAINT {ident(row['name'])}")
    if all_keys:
        for row in await connection.fetch(_CONSTRAINTS, [b"p", b"u"]):
            await connection.execute(
                f"ALTER TABLE {row['relation']} DROP CONSTRAINT {ident(row['name'])} CASCADE"
            )
        for row in await connection.fetch(_UNIQUE_INDEXES):
            await connection.execute(f"DROP INDEX IF EXISTS {row['name']}")
    await connection.close()


async def rename(url: str, references: set[Triple], habit: Habit) -> dict[Triple, Triple]:
    """Name every table and column anew; each reference with what it is called now. Views are dropped."""
    connection = await asyncpg.connect(url)
    for row in await connection.fetch(_VIEWS):
        kind = "MATERIALIZED VIEW" if row["kept"] else "VIEW"
        await connection.execute(f"DROP {kind} IF EXISTS {row['name']} CASCADE")
    columns: dict[tuple[str, str], list[str]] = {}
    for row in await connection.fetch(_COLUMNS):
        columns.setdefault((row["schema"], row["relation"]), []).append(row["column"])
    referring = {triple[:2] for triple in references}
    tables: dict[str, str] = {}
    renamed: dict[tuple[str, str], str] = {}
    for (schema, relation), names in columns.items():
        old = _name(schema, relation)
        ref = f"{ident(schema)}.{ident(relation)}"
        taken = set(names)
        for name in names:
            parts = _words(name)
            if habit.own_key and name == "id":
                parts = [*_words(_singular(_words(relation))), "id"]
            new = habit.column(parts, (old, name) in referring)
            if new in taken:
                new = name  # two columns cannot be called alike
            elif new != name:
                await connection.execute(f"ALTER TABLE {ref} RENAME COLUMN {ident(name)} TO {ident(new)}")
            taken.add(new)
            renamed[old, name] = new
        new = habit.table(_words(relation))
        if _name(schema, new) in tables.values():
            new = relation
        elif new != relation:
            await connection.execute(f"ALTER TABLE {ref} RENAME TO {ident(new)}")
        tables[old] = _name(schema, new)
    await connection.close()
    return {(s, c, t): (tables[s], renamed[s, c], tables[t]) for s, c, t in references}


def _words(name: str) -> list[str]:
    return [part.lower() for part in re.split(r"_+|(?<=[a-z])(?=[A-Z])", name) if part]
