"""Our file stage beside curl and aria2c on the same store, and how much memory it takes.

    python -m tests.benchmarks.files [--files 5000] [--size 20000] [--large 100000000] [--runs 3] [--profile]
        [--home /dev/shm]

In alternation, so that a noisy machine is noisy for all of them: (a) the downloader alone; (b) the whole stage,
that is state, conditional bookkeeping, checksums, extraction in its child process, and documents fed to a sink;
(c) `curl --parallel` and (d) `aria2c`, where they are installed. All fetch `--files` small files and then one large
one over the same number of connections, and write them to disk. Rates leave the start of the process out for us
and are whole runs for the others, whose start takes milliseconds. Memory is the largest resident sum of the process
and its children, beside that of the same process with everything open and nothing to fetch.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks import measuring, sinks

WORKERS = 8
ALONE, STAGE, CURL, ARIA2 = "downloader alone", "whole stage", "curl --parallel", "aria2c"


@dataclass(frozen=True, slots=True)
class Task:
    """What is fetched, and from where."""

    store_url: str
    vespa_url: str
    files: int
    size: int
    large: int

    def urls(self) -> list[str]:
        small = [f"{self.store_url}/{self.size}/{n}.jpg" for n in range(self.files)]
        return [*small, f"{self.store_url}/{self.large}/large.jpg"] if self.large else small


@dataclass(frozen=True, slots=True)
class Run:
    """One client, once; `cpu_s` of it and its children."""

    files: int
    seconds: float
    cpu_s: float
    peak_bytes: int


def ours(task: Task, what: str, home: Path, profile: bool = False) -> Run:
    """(a) or (b) in a process of its own."""
    folder = Path(tempfile.mkdtemp(dir=home))
    argv = [sys.executable, "-m", "tests.benchmarks.files", "--work", what, "--folder", str(folder)]
    argv += ["--store-url", task.store_url, "--vespa-url", task.vespa_url, "--files", str(task.files)]
    argv += ["--size", str(task.size), "--large", str(task.large)] + (["--profile"] if profile else [])
    measured = measuring.run(argv)
    shutil.rmtree(folder)
    lines = measured.output.decode().splitlines()
    if profile:
        print("\n".join(lines[:-1]))
    report = json.loads(lines[-1])
    if report["downloaded"] != len(task.urls()):
        raise SystemExit(f"{what} lost some: {report}")
    return Run(report["downloaded"], report["seconds"], report["cpu_s"], measured.peak_bytes)


def curl(task: Task, home: Path) -> Run:
    folder = Path(tempfile.mkdtemp(dir=home))
    config = "".join(f'url = "{u}"\noutput = "{folder}/{n}.jpg"\n' for n, u in enumerate(task.urls()))
    argv = [
        "curl",
        "--silent",
        "--no-progress-meter",
        "--fail",
        "--parallel",
        "--parallel-max",
        str(WORKERS),
        "--config",
        "-",
    ]
    return _theirs(argv, config.encode(), folder, task)


def aria2(task: Task, home: Path) -> Run:
    folder = Path(tempfile.mkdtemp(dir=home))
    listed = "".join(f"{u}\n out={n}.jpg\n" for n, u in enumerate(task.urls()))
    argv = ["aria2c", "--quiet", "--input-file=-", f"--dir={folder}", f"--max-concurrent-downloads={WORKERS}"]
    argv += ["--file-allocation=none", "--max-connection-per-server=1", "--split=1"]
    return _theirs(argv, listed.encode(), folder, task)


def _theirs(argv: list[str], stdin: bytes, folder: Path, task: Task) -> Run:
    measured = measuring.run(argv, stdin=stdin)
    fetched = sum(1 for p in folder.iterdir() if p.stat().st_size)
    shutil.rmtree(folder)
    if fetched != len(task.urls()):
        raise SystemExit(f"{argv[0]} lost some: {fetched}")
    return Run(fetched, measured.wall_s, measured.cpu_s, measured.peak_bytes)


async def work(task: Task, what: str, folder: Path) -> dict[str, Any]:
    """This process's part: fetch everything, say how long it took."""
    from ingestion.file_detector import DetectedFile, FileDetector
    from ingestion.file_downloader import FileDownloader
    from ingestion.files.extraction import Extractor
    from ingestion.files.ingester import FileIngester
    from ingestion.files.places import FindCopy
    from ingestion.files.twins import Twins
    from ingestion.schema_discovery import Column, FileReferenceColumn, FileReferenceType, SchemaMap, Table
    from ingestion.state.store import StateStore
    from ingestion.state.types import JobTable
    from ingestion.sync.sync_io import ReadSequence
    from ingestion.transform.documents import DocumentBuilder
    from ingestion.vespa import client
    from ingestion.vespa.client import VespaSession
    from ingestion.vespa.feeding import Feeder

    def downloading(find_copy: FindCopy | None = None) -> FileDownloader:
        return FileDownloader(
            folder / "files",
            allow_private=True,
            concurrency=WORKERS,
            max_file_size=2**31,
            find_copy=find_copy,
        )

    if what == "alone":
        downloader = downloading()
        files = [DetectedFile("", "photos", str(n), "url", None, None, u) for n, u in enumerate(task.urls())]
        started, cpu = time.perf_counter(), _cpu_s()
        downloaded = 0
        async for result in downloader.download_batch(files, workers=WORKERS):
            downloaded += result.success
        return {"downloaded": downloaded, "seconds": time.perf_counter() - started, "cpu_s": _cpu_s() - cpu}
    table = Table(
        "photos", 0, [Column("id", "bigint", False), Column("url", "text", True)],
        file_reference_columns=[FileReferenceColumn("url", FileReferenceType.URL, "")],
        key_columns=["id"], key_basis="primary_key",
    )  # fmt: skip
    schema = SchemaMap("", "d", [table])
    builder = DocumentBuilder(schema, table, file_detector=FileDetector(schema))
    documents = [builder.build([str(n), u]) for n, u in enumerate(task.urls())]
    async with (
        await StateStore.open(folder / "state" / "state.db") as state,
        VespaSession(client.build(task.vespa_url), namespace="files") as session,
        state.writer(None, "benchmark"),
    ):
        twins = Twins(state)

        async def find_copy(checksum: str) -> Path | None:
            row = await twins.of(checksum)
            return folder / "files" / row.path if row is not None else None

        job = await state.create_job("full", {})
        await state.start_job(job.id)
        await state.set_job_tables(job.id, [JobTable(job_id=job.id, table="photos")])
        ingester = FileIngester(
            state=state, feeder=Feeder(session), sequence=ReadSequence(state), job_id=job.id,
            publish=lambda event: None, downloader=downloading(find_copy), extractor=Extractor(),
            workers=WORKERS, twins=twins,
        )  # fmt: skip
        started, cpu = time.perf_counter(), _cpu_s()
        async with ingester:
            for start in range(0, len(documents), 500):
                await ingester.settle("photos", documents[start : start + 500])
            await ingester.drain()
        seconds, cpu_s = time.perf_counter() - started, _cpu_s() - cpu
        counts = (await state.job_tables(job.id))[0].files
    return {"downloaded": counts.downloaded, "seconds": seconds, "cpu_s": cpu_s}


def _cpu_s() -> float:
    """Of this process and of children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def compare(task: Task, runs: int, home: Path) -> None:
    """Alternate the clients, print medians and ratios, then memory."""
    found: dict[str, list[Run]] = defaultdict(list)
    for _ in range(runs):
        found[ALONE].append(ours(task, "alone", home))
        found[STAGE].append(ours(task, "stage", home))
        for name, program, run in ((CURL, "curl", curl), (ARIA2, "aria2c", aria2)):
            if shutil.which(program):
                found[name].append(run(task, home))
            else:
                print(f"{program} is not installed: left out")
    print(f"{task.files:,} files of {task.size:,} bytes and one of {task.large:,}; {WORKERS} connections")
    print(f"{'median of ' + str(runs):<20} {'files/s':>9} {'seconds':>8} {'CPU ms/file':>12} {'peak MB':>8}")
    for name, many in found.items():
        seconds = statistics.median(r.seconds for r in many)
        cpu = statistics.median(r.cpu_s for r in many) / many[0].files * 1000
        peak = max(r.peak_bytes for r in many) / 2**20
        print(f"{name:<20} {many[0].files / seconds:>9,.0f} {seconds:>8.2f} {cpu:>12.2f} {peak:>8.0f}")
    for other in (CURL, ARIA2):
        for name in (ALONE, STAGE):
            pairs = [them.seconds / us.seconds for us, them in zip(found[name], found[other], strict=False)]
            if pairs:
                print(f"throughput of {name} / {other}: {statistics.median(pairs):.2f}"
                      f" ({min(pairs):.2f}-{max(pairs):.2f})")  # fmt: skip
    idle = ours(Task(task.store_url, task.vespa_url, 1, task.size, 0), "stage", home).peak_bytes
    above = (max(r.peak_bytes for r in found[STAGE]) - idle) / 2**20
    print(f"memory above the idle process, extraction's child included in both: {above:.0f} MB"
          f" ({'under' if above < 150 else 'NOT UNDER'} 150)")  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--files", type=int, default=5000)
    options.add_argument("--size", type=int, default=20_000)
    options.add_argument("--large", type=int, default=100_000_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--home", default="/var/tmp", help="the disk that is written to (default /var/tmp)")
    options.add_argument("--profile", action="store_true", help="print the stage's costliest functions only")
    options.add_argument("--work", choices=("alone", "stage"), help=argparse.SUPPRESS)
    options.add_argument("--folder", help=argparse.SUPPRESS)
    options.add_argument("--store-url", help=argparse.SUPPRESS)
    options.add_argument("--vespa-url", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.work:
        task = Task(args.store_url, args.vespa_url, args.files, args.size, args.large)
        profile = cProfile.Profile(time.process_time)  # waiting for a slow disk is not ours
        if args.profile:
            profile.enable()
        report = uvloop.run(work(task, args.work, Path(args.folder)))  # as jobs do
        if args.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        print(json.dumps(report))
        return
    store = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.file_store"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert store.stdout is not None
    with tempfile.TemporaryDirectory(prefix="files-", dir=args.home) as folder:
        home = Path(folder)
        try:
            with sinks.sink(home / "sink") as sink:
                task = Task(
                    store.stdout.readline().decode().strip(), sink.url, args.files, args.size, args.large
                )
                if args.profile:
                    ours(task, "stage", home, profile=True)
                else:
                    compare(task, args.runs, home)
        finally:
            store.communicate()


if __name__ == "__main__":
    main()
