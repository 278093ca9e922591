"""One ingest as a job runs it, in a process of its own; prints what it did as a line of JSON.

python -m tests.benchmarks.ingest --database-url URL --vespa-url URL --schema FILE --state DIR
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import resource
import time
from pathlib import Path

import uvloop

from ingestion import progress
from ingestion.checkpoint import CheckpointStore
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.events import Event, JobFinished
from ingestion.file_detector import FileDetector
from ingestion.files.stage import FileStage
from ingestion.run_view import RunView
from ingestion.schema_discovery import SchemaMap
from ingestion.settings import Settings
from ingestion.state.store import StateStore
from ingestion.state.types import BatchCommit
from ingestion.sync.sync_io import SyncIO
from ingestion.sync_manager import SyncConfig, SyncManager
from ingestion.transform import digest
from ingestion.transform.transform import Transform
from ingestion.vespa import client


async def ingest(args: argparse.Namespace) -> dict[str, object]:
    """Checkpoints, failures, digests, file detection and progress are on; `--files` feeds files' documents too."""
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.CRITICAL)
    schema = SchemaMap.from_json(Path(args.schema).read_text())
    config = ConnectionConfig.from_url(args.database_url)
    config.ssl = False
    db = DatabaseConnection(config, logger)
    await db.connect()
    view, waiting, shown_at = RunView(), list[Event](), 0.0

    def publish(event: Event) -> None:
        nonlocal view, shown_at
        waiting.append(event)
        # As often as the screen of a run is drawn.
        if (now := time.time()) - shown_at > 0.25 or isinstance(event, JobFinished):
            view, shown_at = progress.reduce_all(view, waiting, now), now
            waiting.clear()

    if args.bare:
        _leave_out_accounting()
    detector = FileDetector(schema, logger)
    stages: list[FileStage] = []

    def stage(io: SyncIO, config: SyncConfig) -> FileStage:
        transform = Transform(schema, detector=detector)
        stages.append(FileStage(io, transform, Settings(), download=False, workers=config.file_workers))
        return stages[-1]

    vespa = client.build(args.vespa_url)
    session = client.VespaSession(vespa, feed_url=args.feed_url)
    manager = SyncManager(
        db, vespa, schema, CheckpointStore(Path(args.state) / "state.db"), logger,
        session=session, detector=detector, publish=None if args.bare else publish,
        file_sink=stage if args.files else None,
        processes=args.processes,
    )  # fmt: skip
    started, cpu = time.perf_counter(), _cpu_s()
    sync = manager.run_incremental_sync if args.incremental else manager.run_full_sync
    result = await sync(SyncConfig(tables=args.tables or None))
    seconds, cpu_s = time.perf_counter() - started, _cpu_s() - cpu
    for one in stages:
        await one.aclose()
    await session.close()
    await db.close()
    if result.fault is not None:
        raise result.fault
    return {
        "seconds": seconds, "cpu_s": cpu_s, "workers_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN),
        "status": result.status, "read": result.records_processed,
        "indexed": result.records_indexed, "failed": result.records_failed, "skipped": result.records_skipped,
        "seen": view.counts.read, "tables": len(result.tables), "errors": result.errors[:5],
    }  # fmt: skip


def _leave_out_accounting() -> None:
    """Neither digests nor the ledger, no counts, positions, notes of what is under way, or events.

    Only what is needed for a run to reach its end stays: what is left is reading, making documents and feeding.
    """

    async def commit(self: StateStore, batch: BatchCommit) -> list[Event]:
        return [] if batch.table_state is None else await stored(self, batch)

    async def nothing(self: StateStore, *_: object) -> int:
        return 0

    async def unknown(self: StateStore, *_: object) -> dict[str, object]:
        return {}

    stored = StateStore.commit_batch
    StateStore.commit_batch = commit  # type: ignore[method-assign]
    StateStore.begin_feed = nothing  # type: ignore[assignment]
    StateStore.lookup = unknown  # type: ignore[assignment]
    digest.content = lambda metadata, relationships=(): b""
    digest.of = lambda data: 0


def _cpu_s(*of: int) -> float:
    """Of this process and of children that have ended, or of one of these."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, of or (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--database-url", required=True)
    options.add_argument("--vespa-url", required=True)
    options.add_argument(
        "--feed-url", help="where documents go, if the sink has a port of its own for HTTP/2"
    )
    options.add_argument("--schema", required=True)
    options.add_argument("--state", required=True)
    options.add_argument("--files", action="store_true")
    options.add_argument("--profile", action="store_true", help="print the costliest functions")
    options.add_argument("--incremental", action="store_true", help="what has changed since the last run")
    options.add_argument("--bare", action="store_true", help="without accounting, to see what it costs")
    options.add_argument("--processes", type=int, help="worker processes, instead of as many as are worth it")
    options.add_argument("--tables", nargs="*")
    args = options.parse_args()
    profile = cProfile.Profile()
    if args.profile:
        profile.enable()
    report = uvloop.run(ingest(args))
    if args.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
