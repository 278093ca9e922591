"""Peak memory of a sync at two sizes of a table, so that what grows with the rows is seen.

    python -m tests.benchmarks.memory [--rows 200000 1000000] [--kinds blocks pages content dirty]

Each size has a table and a state of its own. A full sync and then an incremental one run as processes; what
they and their children hold is summed. Documents go to a server that keeps none, so an incremental sync reads
and compares, but nobody stores. PostgreSQL's and that server's memory are not ours and not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import asyncpg

from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import schema_export
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import SchemaDiscovery
from tests.benchmarks import measuring, sinks

LIMIT_MIB = 250
COLUMNS = "id bigint{key}, title text, status text, amount numeric(12,2), note text, updated_at timestamptz"
ROW = (
    "{id}, 'Item ' || i, (ARRAY['open','closed','draft'])[1 + i % 3], i / 7.0, "
    "repeat(md5(i::text), 4), timestamptz '2026-01-01' + i * interval '1 second'"
)
KINDS = {
    "blocks": "an id without an index: block ranges",
    "pages": "a primary key: key pages",
    "content": "no key at all: rows told apart by their content",
    "dirty": "an id without an index, a tenth of the rows share theirs, a hundredth have none",
}


async def fill(url: str, kind: str, rows: int) -> None:
    connection = await asyncpg.connect(url)
    key = {"dirty": "CASE WHEN i % 100 = 0 THEN NULL WHEN i % 20 = 1 THEN i + 1 ELSE i END"}.get(kind, "i")
    columns = COLUMNS.format(key=" PRIMARY KEY" if kind == "pages" else "")
    row = ROW.format(id=key)
    if kind == "content":
        columns, row = columns.partition(", ")[2], row.partition(", ")[2]
    try:
        await connection.execute(f"CREATE TABLE items ({columns})")
        await connection.execute(f"INSERT INTO items SELECT {row} FROM generate_series(1, {rows}) i")
        await connection.execute("VACUUM ANALYZE items")
    finally:
        await connection.close()


async def discovered(url: str) -> str:
    db = DatabaseConnection(ConnectionConfig.from_url(url))
    await db.connect()
    try:
        return schema_export.to_json(await SchemaDiscovery(db).discover())
    finally:
        await db.close()


async def main(sizes: list[int], kinds: list[str]) -> int:
    """The exit status: 1 where a peak is over the limit, or grows by more than a fifth with the size."""
    bad = 0
    with tempfile.TemporaryDirectory(prefix="memory") as name, sinks.sink(Path(name) / "sink") as sink:
        home = Path(name)
        postgres = await asyncio.to_thread(EmbeddedPostgres.start, home / "postgres")
        admin = await asyncpg.connect(postgres.url("postgres"))
        try:
            for kind in kinds:
                peaks: dict[str, list[int]] = {"full": [], "incremental": []}
                for rows in sizes:
                    database = f"{kind}_{rows}"
                    await admin.execute(f'CREATE DATABASE "{database}"')
                    url = postgres.url(database)
                    await fill(url, kind, rows)
                    schema = home / f"{database}.json"
                    schema.write_text(await discovered(url))
                    for step, found in peaks.items():
                        argv = [sys.executable, "-m", "tests.benchmarks.ingest", "--database-url", url]
                        argv += [
                            "--vespa-url",
                            sink.url,
                            "--schema",
                            str(schema),
                            "--state",
                            str(home / database),
                        ]
                        argv += ["--incremental"] if step == "incremental" else []
                        run = await asyncio.to_thread(measuring.run, argv)
                        report = json.loads(run.output.splitlines()[-1])
                        assert report["read"] == rows or step == "incremental", report
                        peak = round(run.peak_bytes / 2**20)
                        found.append(peak)
                        print(
                            f"{kind:8} {step:11} {rows:>9,} rows: {peak:>4} MiB, {run.wall_s:6.1f} s, "
                            f"{run.cpu_s * 1e6 / rows:5.1f} µs of CPU a row",
                            flush=True,
                        )
                    await admin.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
                for found in peaks.values():
                    bad += max(found) > LIMIT_MIB or found[-1] > 1.2 * found[0]
        finally:
            await admin.close()
            await asyncio.to_thread(postgres.stop, remove=True)
    print("within the limit" if not bad else f"{bad} of {2 * len(kinds)} are over {LIMIT_MIB} MiB, or grow")
    return 1 if bad else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000])
    options.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    given = options.parse_args()
    sys.exit(asyncio.run(main(given.rows, given.kinds)))
