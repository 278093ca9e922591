"""Our whole ingest beside the official feed client and pyvespa, on the same documents and the same sink.

    python -m tests.benchmarks.feed [--scale 2] [--runs 5] [--files] [--pyvespa 10000]

An embedded PostgreSQL holds the Procore sample. In alternation, so that a noisy machine is noisy for all of them:
(a) `vespa feed` of the wheel vespacli on the JSON lines of the very operations that we send, as it comes (automatic
gzip) and with compression off, its fastest setting here; (b) our full ingest from PostgreSQL with checkpoints,
failures, digests, file detection and progress on; (c) pyvespa's `feed_async_iterable`, on the first of these
documents, because it takes so long. Twice more, our ingest in one process with and without its accounting: the
processor time tells what accounting costs.

Rates count from the first row or line to the last acknowledgement, without the start of the process. (a) and (c)
read a file: the work of reading PostgreSQL, of making documents and of accounting is ours alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import schema_export
from ingestion.sandbox import sample
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import SchemaDiscovery
from tests.benchmarks import measuring, sinks

GZIP, PLAIN, OURS, PYVESPA = "vespa feed", "vespa feed, no gzip", "our ingest", "pyvespa"
ONE, BARE = "ours, one process", "ours, no accounting"


@dataclass(frozen=True, slots=True)
class Run:
    """One feeder, once."""

    documents: int
    seconds: float
    cpu_s: float
    measured: measuring.Measured

    @property
    def rate(self) -> float:
        return self.documents / self.seconds

    @property
    def cpu_per_10k(self) -> float:
        return self.cpu_s / self.documents * 10_000


class Bench:
    """The sample, the sink, the recorded operations, and how each feeder is run on them."""

    def __init__(self, home: Path, server: EmbeddedPostgres, sink: sinks.Sink, files: bool) -> None:
        self.home, self.server, self.sink, self.files = home, server, sink, files
        self.url = server.url("sample")
        self.lines = home / "operations.jsonl"
        self.schema = home / "schema.json"
        self.documents = 0

    async def prepare(self, scale: float) -> None:
        """Load the sample, discover it, and record what an ingest sends."""
        admin = await asyncpg.connect(self.server.url("postgres"))
        await admin.execute("CREATE DATABASE sample")
        await admin.close()
        await sample.load(self.url, scale=scale, seed=1, manifest_path=self.home / "manifest.jsonl")
        config = ConnectionConfig.from_url(self.url)
        config.ssl = False
        db = DatabaseConnection(config)
        await db.connect()
        found = await SchemaDiscovery(db).discover()
        await db.close()
        self.schema.write_text(schema_export.to_json(found))
        async with sinks.recorder(self.lines) as url:
            report = await asyncio.to_thread(self.ingest, url)
        with self.lines.open("rb") as lines:
            self.documents = sum(1 for _ in lines)
        size = self.lines.stat().st_size / max(1, self.documents)
        print(f"{report.documents:,} rows of {len(found.tables)} tables; {self.documents:,} operations of"
              f" {size:,.0f} bytes recorded; sink: {self.sink.name}; {os.cpu_count()} cores")  # fmt: skip

    def ingest(self, vespa_url: str, *options: str) -> Run:
        state = Path(tempfile.mkdtemp(dir=self.home))
        argv = [sys.executable, "-m", "tests.benchmarks.ingest", "--database-url", self.url]
        argv += ["--vespa-url", vespa_url, "--schema", str(self.schema), "--state", str(state)]
        argv += ["--feed-url", self.sink.h2_url] if vespa_url == self.sink.url else []
        argv += ["--files"] if self.files else []
        argv += options
        measured = measuring.run(argv, (self.server.pid, self.sink.pid))
        shutil.rmtree(state)
        report = json.loads(measured.output.splitlines()[-1])
        if ("--bare" not in options and report["read"] != report["seen"]) or report["status"] not in (
            "completed",
            "partial",
        ):
            raise SystemExit(f"the ingest did not end well: {report}")
        return Run(self.documents or report["read"], report["seconds"], report["cpu_s"], measured)

    def vespa_feed(self, compression: str) -> Run:
        argv = [_vespa(), "feed", str(self.lines), "-t", self.sink.h2_url, "--compression", compression]
        measured = measuring.run(argv, (self.sink.pid,))
        report = json.loads(measured.output)
        if report["feeder.ok.count"] != self.documents:
            raise SystemExit(f"vespa feed lost some: {report}")
        return Run(self.documents, report["feeder.seconds"], measured.cpu_s, measured)

    def pyvespa(self, most: int) -> Run:
        argv = [
            sys.executable,
            "-m",
            "tests.benchmarks.pyvespa_feed",
            self.sink.h2_url,
            str(self.lines),
            str(most),
        ]
        measured = measuring.run(argv, (self.sink.pid,))
        report = json.loads(measured.output.splitlines()[-1])
        return Run(report["accepted"], report["seconds"], report["cpu_s"], measured)


def _vespa() -> str:
    """The client's own program, without its Python wrapper."""
    import vespacli

    return str(vespacli.get_binary_path())


def _told(name: str, runs: list[Run]) -> str:
    middle = statistics.median(run.rate for run in runs)
    cpu = statistics.median(run.cpu_per_10k for run in runs)
    others = statistics.median(run.measured.others_s / run.documents * 10_000 for run in runs)
    peak = max(run.measured.peak_bytes for run in runs) / 2**20
    spread = f"{min(run.rate for run in runs):,.0f}-{max(run.rate for run in runs):,.0f}"
    return f"{name:<22} {middle:>9,.0f} {spread:>16} {cpu:>9.2f} {others:>9.2f} {peak:>8.0f}"


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--scale", type=float, default=2.0, help="of the sample; 1 is some 50,000 rows")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument(
        "--files", action="store_true", help="feed the documents of referenced files as well"
    )
    options.add_argument(
        "--pyvespa", type=int, default=10_000, help="documents that the slowest gets; 0: none"
    )
    args = options.parse_args()
    runs: dict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="feed-", dir="/var/tmp") as folder:
        home = Path(folder)
        server = EmbeddedPostgres.start(home / "data")
        try:
            with sinks.sink(home / "sink") as sink:
                bench = Bench(home, server, sink, args.files)
                asyncio.run(bench.prepare(args.scale))
                for number in range(1, args.runs + 1):
                    runs[GZIP].append(bench.vespa_feed("auto"))
                    runs[OURS].append(bench.ingest(sink.url))
                    runs[PLAIN].append(bench.vespa_feed("none"))
                    if args.pyvespa:
                        runs[PYVESPA].append(bench.pyvespa(args.pyvespa))
                    print(f"run {number} of {args.runs}: our ingest {runs[OURS][-1].rate:,.0f}/s", flush=True)
                for _ in range(min(2, args.runs)):
                    runs[ONE].append(bench.ingest(sink.url, "--processes", "0"))
                    runs[BARE].append(bench.ingest(sink.url, "--processes", "0", "--bare"))
        finally:
            server.stop()
    print(f"\n{'median of ' + str(args.runs):<22} {'docs/s':>9} {'range':>16} {'CPU s/10k':>9} {'servers':>9}"
          f" {'peak MB':>8}")  # fmt: skip
    for name, all_of in runs.items():
        print(_told(name, all_of))
    print()
    for name in (GZIP, PLAIN, PYVESPA):
        pairs = [ours.rate / other.rate for ours, other in zip(runs[OURS], runs[name], strict=False)]
        if pairs:
            print(f"our ingest / {name}: {statistics.median(pairs):.2f}"
                  f" ({min(pairs):.2f}-{max(pairs):.2f})")  # fmt: skip
    whole, bare = (statistics.median(run.cpu_per_10k for run in runs[name]) for name in (ONE, BARE))
    print(f"progress, digests and accounting: {(whole - bare) / whole:.0%} of one process's processor time")
    print(
        f"peak memory of all our processes: {max(r.measured.peak_bytes for r in runs[OURS]) / 2**20:.0f} MB"
    )


if __name__ == "__main__":
    main()
