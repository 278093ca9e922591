"""What a row costs as a table grows: full sync, incremental cycles with 0 and 1 % changes, detection of deletes.

    python -m tests.benchmarks.scale [--rows 50000 200000 1000000] [--endpoint-rows 50000]

Each size is a table and a state of its own; documents go to a sink that only answers. Then the commands of the
product at the local endpoint, which keeps what it gets: discovery, a full ingest, a verification.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.sandbox.vespa_endpoint import process
from tests.benchmarks import measuring, memory, sinks

CYCLES = (
    ("full", ""),
    ("nothing changed", ""),
    ("1 % changed", "UPDATE items SET note = note || '.' WHERE id % 100 = 7"),
    ("1 % deleted", "DELETE FROM items WHERE id % 100 = 9"),
)


async def curve(server: EmbeddedPostgres, home: Path, sink: sinks.Sink, rows: int) -> None:
    """One size through all cycles; each line is one sync."""
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f"CREATE DATABASE rows_{rows}")
    url = server.url(f"rows_{rows}")
    await memory.fill(url, "blocks", rows)
    schema = home / f"{rows}.json"
    schema.write_text(await memory.discovered(url))
    argv = [sys.executable, "-m", "tests.benchmarks.ingest", "--database-url", url, "--vespa-url", sink.url]
    argv += ["--feed-url", sink.h2_url, "--schema", str(schema), "--state", str(home / str(rows))]
    for name, statement in CYCLES:
        if statement:
            writer = await asyncpg.connect(url)
            await writer.execute(statement)
            await writer.close()
        run = await asyncio.to_thread(
            measuring.run, argv + (["--incremental"] if name != "full" else []), (server.pid,)
        )
        report = json.loads(run.output.splitlines()[-1])
        print(
            f"{rows:>9,} rows  {name:16} {report['seconds']:7.2f} s {rows / report['seconds']:>9,.0f} rows/s"
            f" {report['cpu_s'] * 1e6 / rows:>6.1f} µs of CPU a row {run.peak_bytes / 2**20:>5.0f} MB",
            flush=True,
        )
    await admin.execute(f"DROP DATABASE rows_{rows} WITH (FORCE)")
    await admin.close()


async def commands(server: EmbeddedPostgres, home: Path, rows: int) -> None:
    """The commands at the local endpoint, each timed as a whole."""
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute("CREATE DATABASE commands")
    await admin.close()
    url = server.url("commands")
    await memory.fill(url, "blocks", rows)
    endpoint = await asyncio.to_thread(process.start, home / "vespa")
    common = ["--database-url", url, "--vespa-url", endpoint.url, "--state-dir", str(home / "state")]
    try:
        for words in (["discover", "--output", str(home / "schema")], ["ingest", "--full"], ["verify"]):
            started = time.perf_counter()
            argv = [sys.executable, "-m", "app", *words, *common, "--progress", "none"]
            await asyncio.to_thread(measuring.run, argv)
            seconds = time.perf_counter() - started
            print(
                f"{rows:>9,} rows  {words[0]:16} {seconds:7.2f} s {rows / seconds:>9,.0f} rows/s, local endpoint"
            )
    finally:
        await asyncio.to_thread(endpoint.stop)


async def main(sizes: list[int], endpoint_rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="scale-", dir="/var/tmp") as name:
        home = Path(name)
        with sinks.sink(home / "sink") as sink:
            print(f"{os.cpu_count()} cores, sink: {sink.name}")
            server = await asyncio.to_thread(EmbeddedPostgres.start, home / "data")
            try:
                for rows in sizes:
                    await curve(server, home, sink, rows)
                if endpoint_rows:
                    await commands(server, home, endpoint_rows)
            finally:
                await asyncio.to_thread(server.stop)


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    options.add_argument("--endpoint-rows", type=int, default=50_000, help="0: leave the local endpoint out")
    chosen = options.parse_args()
    asyncio.run(main(chosen.rows, chosen.endpoint_rows))
