"""How long discovery takes: the Procore sample with everything, and a database of 2,000 tables.

    python tests/benchmarks/discovery.py [--scale 1] [--tables 2000]

Budgets on 2 cores: catalog, keys and exact counts of 49 tables 1 s; with evidence, files and times 6 s;
2,000 tables and 16,000 columns without counts 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

import asyncpg

from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.sandbox import sample
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import SchemaDiscovery


async def _connected(url: str) -> DatabaseConnection:
    config = ConnectionConfig.from_url(url)
    config.ssl = False
    db = DatabaseConnection(config)
    await db.connect()
    return db


async def _create(server: EmbeddedPostgres, name: str) -> str:
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()
    return server.url(name)


async def _sample(server: EmbeddedPostgres, home: Path, scale: float) -> None:
    url = await _create(server, "sample")
    await sample.load(url, scale=scale, seed=1, manifest_path=home / "manifest.jsonl")
    db = await _connected(url)
    for label, options in (
        ("catalog, keys, exact counts, times, files, references", {}),
        ("the same with samples and statistics", {"include_samples": True, "include_stats": True}),
    ):
        steps: dict[str, float] = {}
        started, busy = time.perf_counter(), time.process_time()

        def told(
            step: str, done: int, total: int, *, steps: dict[str, float] = steps, started: float = started
        ) -> None:
            steps[step] = time.perf_counter() - started

        found = await SchemaDiscovery(db).discover(**options, on_progress=told)  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        rows = sum(t.row_count for t in found.tables)
        own = time.process_time() - busy
        print(f"{label}: {len(found.tables)} tables, {rows:,} rows, {seconds:.2f} s ({own:.2f} s of our own)")
        print("    until " + ", ".join(f"{step} {at:.2f}" for step, at in steps.items()))
    await db.close()


async def _many(server: EmbeddedPostgres, count: int) -> None:
    url = await _create(server, "many")
    connection = await asyncpg.connect(url)
    nouns = ["order", "item", "customer", "user", "batch", "line", "status", "region", "price", "note"]
    for start in range(0, count, 200):
        statements = []
        for i in range(start, min(start + 200, count)):
            # Names as varied as in a large application: two words and a number that is no reference.
            table = f"{nouns[i % 10]}_{nouns[i // 10 % 10]}_{i}"
            other = f"{nouns[(i + 3) % 10]}_{nouns[(i + 3) // 10 % 10]}_{(i + 3) % count}"
            statements.append(
                f"CREATE TABLE {table} (id bigint, {other}_id bigint, created_by_id bigint, name text,"
                " status text, amount numeric(15,2), created_at timestamp, updated_at timestamp)"
            )
        await connection.execute(";".join(statements))
    await connection.close()
    db = await _connected(url)
    for label, read_rows in (("without rows", False), ("with rows counted (all tables empty)", True)):
        started, busy = time.perf_counter(), time.process_time()
        found = await SchemaDiscovery(db).discover(read_rows=read_rows)
        columns = sum(len(t.columns) for t in found.tables)
        seconds = time.perf_counter() - started
        print(f"{len(found.tables):,} tables, {columns:,} columns, {label}: {seconds:.2f} s"
              f" ({time.process_time() - busy:.2f} s of our own),"
              f" {len(found.relationships):,} references")  # fmt: skip
    await db.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description="How long discovery takes.")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--tables", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discovery-", dir="/var/tmp") as home:
        server = EmbeddedPostgres.start(Path(home) / "data")
        try:
            await _sample(server, Path(home), args.scale)
            await _many(server, args.tables)
        finally:
            server.stop()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    asyncio.run(main())
