"""Precision and recall of implied references, against foreign keys that were declared and then dropped.

    python tests/benchmarks/relationships.py FOLDER [--errors] [--only NAME]

FOLDER holds databases as `NAME.sql.gz` (a dump with rows) or `NAME.json` (`schema.tables` without rows, and
`truth.relations`). Each is restored into an embedded PostgreSQL, its foreign keys are remembered and dropped,
in the variant `no keys` its primary keys and unique constraints too, and what discovery asserts is compared.

Scored is (source table, source column, target table). A prediction that no key declares counts as wrong,
unless the same column name with the same target is declared elsewhere in that database. The threshold of
assertion is fitted for each database on all the others; the rules themselves know no database.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import logging
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from ingestion import relationships
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import catalog, keys, relationship_evidence, steps
from ingestion.discovery.relationship_keys import Vocabulary
from ingestion.discovery.relationship_names import NameMatcher
from ingestion.postgres.sql import ident
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

Triple = tuple[str, str, str]

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
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


@dataclass(slots=True)
class Case:
    """One database in one variant, with what its inference needs at any threshold."""

    name: str
    variant: str
    has_rows: bool
    truth: set[Triple]
    tables: list[Any] = field(default_factory=list)
    matcher: NameMatcher | None = None
    evidence: relationship_evidence.Evidence = field(default_factory=relationship_evidence.Evidence)

    def score(self, threshold: float) -> Score:
        """What is asserted at this threshold, compared with the truth."""
        found = relationships.infer(
            self.tables,
            matcher=self.matcher,
            evidence=self.evidence.pairs,
            extra=self.evidence.blind,
            assert_at=threshold,
        )
        predicted = {(r.source_table, r.source_column, r.target_table) for r in found.relationships}
        elsewhere = {(column, target) for _, column, target in self.truth}
        declared = {triple[:2] for triple in self.truth}
        excused = {p for p in predicted - self.truth if p[1:] in elsewhere and p[:2] not in declared}
        return Score(
            predicted & self.truth, predicted - self.truth - excused, self.truth - predicted, excused
        )


@dataclass(frozen=True, slots=True)
class Score:
    right: set[Triple]
    wrong: set[Triple]
    missed: set[Triple]
    excused: set[Triple]

    @property
    def precision(self) -> float:
        return len(self.right) / max(1, len(self.right) + len(self.wrong))

    @property
    def recall(self) -> float:
        return len(self.right) / max(1, len(self.right) + len(self.missed))


def _name(schema: str, relation: str) -> str:
    return relation if schema == "public" else f"{schema}.{relation}"


async def _restore(server: EmbeddedPostgres, source: Path, database: str) -> set[Triple]:
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


async def _strip(url: str, *, all_keys: bool) -> None:
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


async def _case(server: EmbeddedPostgres, source: Path, variant: str) -> Case:
    name = source.name.partition(".")[0]
    database = f"{name}_{variant.replace(' ', '_')}"
    truth = await _restore(server, source, database)
    await _strip(server.url(database), all_keys=variant == "no keys")
    config = ConnectionConfig.from_url(server.url(database))
    config.ssl = False
    db = DatabaseConnection(config)
    await db.connect()
    try:
        found = await catalog.load(db)
        steps.mark_sensitive(found.tables)
        counted = await keys.count(db, found.tables, found.estimates, Vocabulary(found.tables))
        for table in found.tables:
            keys.choose(table, counted.figures)
        unique = {place: f.is_unique for place, f in counted.figures.items() if f.rows}
        matcher = NameMatcher(found.tables, Vocabulary(found.tables, unique))
        case = Case(name, variant, any(t.row_count for t in found.tables), truth, found.tables, matcher)
        case.evidence = await relationship_evidence.gather(db, found.tables, matcher, counted.figures)
    finally:
        await db.close()
    return case


def _names_only(case: Case) -> Case:
    """The same database as if it had no rows."""
    tables = [replace(t, row_count=0, key_basis="row_hash", key_columns=[]) for t in case.tables]
    return Case(case.name, f"{case.variant}, rows unseen", False, case.truth, tables, NameMatcher(tables))


def _fit(cases: list[Case]) -> float:
    """The threshold that finds most on these databases with a mean precision of 0.97, else the most precise."""

    def means(threshold: float) -> tuple[float, float]:
        scores = [case.score(threshold) for case in cases]
        return sum(s.precision for s in scores) / len(scores), sum(s.recall for s in scores) / len(scores)

    figures = {threshold: means(threshold) for threshold in THRESHOLDS}
    good = [t for t, (precision, _) in figures.items() if precision >= 0.97]
    if good:
        return max(good, key=lambda t: (figures[t][1], t == relationships.ASSERT_AT, t))
    return max(figures, key=lambda t: (sum(figures[t]), t == relationships.ASSERT_AT))


def _print(cases: list[Case], title: str, show_errors: bool) -> None:
    print(f"\n{title}")
    print(f"{'database':<12} {'variant':<22} {'truth':>5} {'right':>5} {'wrong':>5} {'missed':>6}"
          f" {'precision':>9} {'recall':>6} {'fitted at':>9} {'precision':>9} {'recall':>6}")  # fmt: skip
    sums = [0.0] * 4
    for case in cases:
        others = [c for c in cases if c.name != case.name]
        fitted = _fit(others) if others else relationships.ASSERT_AT
        usual, own = case.score(relationships.ASSERT_AT), case.score(fitted)
        for i, figure in enumerate((usual.precision, usual.recall, own.precision, own.recall)):
            sums[i] += figure / len(cases)
        print(f"{case.name:<12} {case.variant:<22} {len(case.truth):>5} {len(usual.right):>5} {len(usual.wrong):>5}"
              f" {len(usual.missed):>6} {usual.precision:>9.3f} {usual.recall:>6.3f} {fitted:>9.2f}"
              f" {own.precision:>9.3f} {own.recall:>6.3f}")  # fmt: skip
        if show_errors:
            for label, triples in (("wrong ", usual.wrong), ("missed", usual.missed)):
                for source, column, target in sorted(triples):
                    print(f"    {label} {source}.{column} -> {target}")
    print(f"{'mean':<12} {'':<22} {'':>5} {'':>5} {'':>5} {'':>6} {sums[0]:>9.3f} {sums[1]:>6.3f} {'':>9}"
          f" {sums[2]:>9.3f} {sums[3]:>6.3f}")  # fmt: skip


async def main() -> None:
    parser = argparse.ArgumentParser(description="Precision and recall of implied references.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--errors", action="store_true", help="list every wrong and missed relation")
    parser.add_argument("--only", action="append", default=[], help="these databases only")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    sources = sorted([*args.folder.glob("*.sql.gz"), *args.folder.glob("*.json")])
    sources = [s for s in sources if not args.only or s.name.partition(".")[0] in args.only]
    with tempfile.TemporaryDirectory(prefix="relationships-", dir="/var/tmp") as home:
        server = EmbeddedPostgres.start(Path(home) / "data")
        try:
            cases = []
            for source in sources:
                variants = ("keys kept", "no keys") if source.suffix == ".gz" else ("no keys",)
                for variant in variants:
                    cases.append(await _case(server, source, variant))
        finally:
            server.stop()
    with_rows = [c for c in cases if c.has_rows]
    without = [c for c in cases if not c.has_rows]
    if with_rows:
        _print(with_rows, "With rows: names, types and values", args.errors)
    _print([*without, *map(_names_only, with_rows)], "Without rows: names and types alone", args.errors)


if __name__ == "__main__":
    asyncio.run(main())
