"""A sync from the first event to the report: opens what it needs, runs the job, says how it ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion import errors, plan
from ingestion.checkpoint import CheckpointStore
from ingestion.db_connection import DatabaseConnection
from ingestion.events import Backoff, Counts, Event, FileCounts, JobStarted, Noted, Publish, TableTotal
from ingestion.schema_discovery import SchemaMap
from ingestion.state.store import StateStore
from ingestion.state.types import Job, JobTable, SourceIdentity
from ingestion.sync import index_counts, job_run, load, metrics
from ingestion.sync.job_control import JobControl
from ingestion.sync.job_run import JobResult, JobRun, TableResult
from ingestion.sync.partitions import BLOCKS_PER_PARTITION
from ingestion.sync.sync_io import FileSink, ReadSequence, SyncIO
from ingestion.sync.workers import Workers
from ingestion.transform.documents import Detector
from ingestion.transform.sensitivity import NO_MASKS, MaskPolicy
from ingestion.transform.transform import Transform
from ingestion.vespa import queries
from ingestion.vespa.client import VespaSession
from ingestion.vespa.feeding import Feeder

if TYPE_CHECKING:
    from vespa.application import Vespa

_BACKOFF_INTERVAL_S = 1.0
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

FileSinkFactory = Callable[[SyncIO, "SyncConfig"], FileSink]
OnStart = Callable[[Job], None]


@dataclass
class SyncConfig:
    """What a sync takes; names in `tables` and `exclude_tables` may be globs, exclude wins.

    `workers` is how many tables are read at the same time.
    """

    tables: list[str] | None = None  # None = all
    exclude_tables: list[str] = field(default_factory=list)
    batch_size: int = 1000
    download_files: bool = False
    file_workers: int = 2
    workers: int = 2
    allow_mass_delete: bool = False


@dataclass
class SyncResult:
    """How a sync ended; records_processed = indexed + failed + skipped.

    `fault` is what stopped it before its end: the source, Vespa or the state. None when it reached its end.
    """

    job_id: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    tables_processed: int
    records_processed: int
    records_failed: int
    files_downloaded: int
    files_failed: int
    errors: list[str]
    records_indexed: int = 0
    records_skipped: int = 0
    records_warned: int = 0
    records_deleted: int = 0
    records_inserted: int = 0
    records_updated: int = 0
    tables: list[TableResult] = field(default_factory=list)
    files: FileCounts = field(default_factory=FileCounts)
    fault: Exception | None = None


class SyncManager:
    """Orchestrate database sync operations.

    Works with the first five arguments alone, opening the state at the checkpoint store's path. `control` stops,
    pauses and resumes the job under way; commands in the state reach it as well. `notes` are told as it starts.
    """

    def __init__(
        self,
        db: DatabaseConnection,
        vespa: Vespa,
        schema_map: SchemaMap,
        checkpoint_store: CheckpointStore,
        logger: logging.Logger | None = None,
        *,
        state: StateStore | None = None,
        session: VespaSession | None = None,
        namespace: str = "procore",
        max_in_flight: int = 64,
        feed_deadline_s: float = 120.0,
        masks: MaskPolicy = NO_MASKS,
        source_timezone: str = "UTC",
        detector: Detector | None = None,
        file_sink: FileSinkFactory | None = None,
        publish: Publish | None = None,
        control: JobControl | None = None,
        on_start: OnStart | None = None,
        notes: Sequence[Noted] = (),
        delete_share: float = 0.2,
        delete_floor: int = 10,
        blocks_per_partition: int = BLOCKS_PER_PARTITION,
        processes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.db, self.schema_map = db, schema_map
        self.control = control or JobControl()
        self._vespa, self._store = vespa, checkpoint_store
        self._log = logger or logging.getLogger(__name__)
        self._state, self._session, self._namespace = state, session, namespace
        self._max_in_flight, self._feed_deadline_s = max_in_flight, feed_deadline_s
        self._masks, self._zone, self._detector = masks, source_timezone, detector
        self._file_sink, self._publish, self._on_start = file_sink, publish, on_start
        self._delete_share, self._delete_floor, self._clock = delete_share, delete_floor, clock
        self._blocks_per_partition, self._processes = blocks_per_partition, processes
        self._notes = notes
        self._telling: set[asyncio.Task[None]] = set()

    # -- contract -----------------------------------------------------------------------------------------

    async def run_full_sync(self, config: SyncConfig) -> SyncResult:
        """Run full ingestion of all data.

        Raises what keeps it from starting: SchemaError for a glob without match, SourceUnavailable,
        VespaUnavailable, WriterLocked. Cancelled: the batch in hand is committed, then CancelledError.
        """
        return await self._start("full", config)

    async def run_incremental_sync(self, config: SyncConfig) -> SyncResult:
        """Run incremental sync from last checkpoints; a table without one is read in full. Raises likewise."""
        return await self._start("incremental", config)

    async def resume(self, job_id: str) -> SyncResult:
        """Go on with an interrupted, cancelled or failed job where it stands, with the plan that it has.

        Raises StateError when there is no such job, or it has reached its end.
        """
        async with self._opened() as (state, session):
            job = await state.get_job(job_id)
            if job.kind not in ("full", "incremental"):
                raise errors.StateError(f"Job {job_id} is of kind {job.kind}, which cannot be resumed.")
            config = SyncConfig(**job.plan["config"])
            # Killed before its tables were stored, it would otherwise have nothing to do and call that success.
            tables = await state.job_tables(job_id) or await self._with_tables(
                state, job_id, job.plan["tables"]
            )
            return await self._run(state, session, job, config, tables, resumed=True)

    async def sync_table(self, table: str, full: bool = False, config: SyncConfig | None = None) -> int:
        """Sync a single table. Returns records processed.

        Raises SchemaError when the table cannot be read, and whatever stopped the job before its end.
        """
        base = config or SyncConfig()
        only = SyncConfig(**{**asdict(base), "tables": [table], "exclude_tables": []})
        result = await self._start(
            "full" if full else "incremental", only, [self.schema_map.table(table).name]
        )
        if result.fault is not None:
            raise result.fault
        if result.status == "failed":
            raise errors.SchemaError("; ".join(result.errors))
        return result.records_processed

    async def get_status(self) -> dict[str, Any]:
        """Get current sync status for all tables: `{"job": …, "tables": {name: …}}`, JSON-safe.

        A table that was never synced is `pending`.
        """
        async with self._state_open() as state:
            checkpoints = {row["table_name"]: row for row in await state.checkpoint_rows()}
            jobs = await state.list_jobs(1)
            indexed = await state.ledger_counts()
        tables: dict[str, Any] = {}
        for table in self.schema_map.tables:
            row = checkpoints.get(table.name)
            tables[table.name] = {
                "status": row["sync_status"] if row else "pending",
                "last_sync_timestamp": _iso(row["last_sync_timestamp"]) if row else None,
                "last_record_id": row["last_record_id"] if row else None,
                "records_processed": row["records_processed"] if row else 0,
                "records_failed": row["records_failed"] if row else 0,
                "error_message": row["error_message"] if row else None,
                "records_indexed": indexed.get(table.name, 0),
                "row_count": table.row_count,
            }
        job = {"id": jobs[0].id, "kind": jobs[0].kind, "status": jobs[0].status} if jobs else None
        return {"job": job, "tables": tables}

    def get_tables_to_sync(self, config: SyncConfig) -> list[str]:
        """Get list of tables to sync based on config, in the schema's order.

        Raises SchemaError for a pattern that matches no table, with the nearest names.
        """
        names = [table.name for table in self.schema_map.tables]
        include = ["*"] if config.tables is None else config.tables
        return plan.select(names, include, config.exclude_tables)

    # -- one job ------------------------------------------------------------------------------------------

    async def _start(self, kind: str, config: SyncConfig, tables: list[str] | None = None) -> SyncResult:
        names = tables if tables is not None else self.get_tables_to_sync(config)
        async with self._opened() as (state, session):
            await state.settle_interrupted()
            holder = await state.lock_holder()
            if holder is not None:
                # Refused before the job is made, so that no trace of it is left.
                await state.acquire_writer(None, kind)
            job = await state.create_job(kind, {"config": asdict(config), "tables": names})
            job_tables = await self._with_tables(state, job.id, names)
            return await self._run(state, session, job, config, job_tables, resumed=False)

    async def _with_tables(self, state: StateStore, job_id: str, names: Sequence[str]) -> list[JobTable]:
        """Store which tables the job is to read; as stored."""
        rows = [self.schema_map.table(name) for name in names]
        await state.set_job_tables(
            job_id,
            [
                JobTable(job_id=job_id, table=t.name, expected=t.row_count, exact=t.row_count_exact)
                for t in rows
            ],
        )
        return await state.job_tables(job_id)

    async def _run(
        self,
        state: StateStore,
        session: VespaSession,
        job: Job,
        config: SyncConfig,
        tables: list[JobTable],
        *,
        resumed: bool,
    ) -> SyncResult:
        async with state.writer(job.id, f"{job.kind} sync"):
            job = await state.start_job(job.id)
            if self._on_start is not None:
                self._on_start(job)
            io = await self._io(state, session, job, config)
            began = self._clock()
            await io.tell(
                JobStarted(
                    job_id=job.id,
                    kind=job.kind,
                    tables=tuple(TableTotal(table=t.table, rows=t.expected, exact=t.exact) for t in tables),
                    resumed=resumed,
                )
            )
            for note in self._notes:
                await io.tell(replace(note, job_id=job.id))
            transform = Transform(self.schema_map, self._masks, self._zone, self._detector)

            def measured() -> Mapping[str, Any]:
                return metrics.of(metrics.of_feeding(io), io.rows_settled, self._clock() - began)

            expected = sum(t.expected for t in tables) if job.kind == "full" and not resumed else 0
            io.workers = self._workers(session, transform, io.feeder, expected)
            io.workers.open()
            run = JobRun(io, transform, full=job.kind == "full", workers=config.workers, metrics=measured)
            try:
                async with load.told(io):
                    with _rarely_collected():
                        result = await run.run(tables)
            except asyncio.CancelledError:
                await io.workers.close()
                await self._finish(io, run.interrupted(tables), began)
                raise
            finally:
                await io.workers.close()
            if result.fault is None and result.status != "cancelled":
                result = job_run.of_tables(await index_counts.checked(io, session, result.tables))
            return await self._finish(io, result, began)

    def _workers(self, session: VespaSession, transform: Transform, feeder: Feeder, expected: int) -> Workers:
        return Workers(
            session, transform, count=self._processes, expected=expected, max_in_flight=self._max_in_flight,
            deadline_s=self._feed_deadline_s, on_backoff=feeder.on_backoff,
            on_start=feeder.narrow, log=self._log,
        )  # fmt: skip

    async def _io(self, state: StateStore, session: VespaSession, job: Job, config: SyncConfig) -> SyncIO:
        info = await self.db.server_info()
        floor = await queries.largest_read_seq(session)

        def publish(event: Event) -> None:
            if self._publish is not None:
                self._publish(event)

        told_at = -_BACKOFF_INTERVAL_S

        def on_backoff(reason: str, wait_s: float) -> None:
            # Dozens of requests may be waiting; one fact a second says it.
            nonlocal told_at
            now = time.monotonic()
            if wait_s and now - told_at < _BACKOFF_INTERVAL_S:
                return
            told_at = now
            task = asyncio.get_running_loop().create_task(
                io.tell(Backoff(job_id=job.id, service="vespa", reason=reason, wait_s=wait_s)), name="backoff"
            )
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

        feeder = Feeder(
            session,
            max_in_flight=self._max_in_flight,
            deadline_s=self._feed_deadline_s,
            on_backoff=on_backoff,
        )
        io = SyncIO(
            db=self.db,
            state=state,
            feeder=feeder,
            sequence=ReadSequence(state, floor),
            job=job,
            publish=publish,
            control=self.control,
            log=self._log,
            batch_size=config.batch_size,
            places=asyncio.Semaphore(max(1, config.workers)),
            blocks_per_partition=self._blocks_per_partition,
            version_num=info.version_num,
            source=info.source,
            delete_share=self._delete_share,
            delete_floor=self._delete_floor,
            allow_mass_delete=config.allow_mass_delete,
            clock=self._clock,
        )
        if self._file_sink is not None:
            io.files = self._file_sink(io, config)
        await state.set_source_identity(
            SourceIdentity(
                system_identifier=str(info.system_identifier or ""),
                timeline=info.timeline,
                xid=info.snapshot_xmin,
                database=info.database,
            )
        )
        return io

    async def _finish(self, io: SyncIO, result: JobResult, began: float) -> SyncResult:
        await asyncio.gather(*self._telling, return_exceptions=True)
        rows = await io.state.job_tables(io.job.id)
        files = sum((row.files for row in rows), FileCounts())
        now = self._clock()
        await job_run.finish(
            io, result, files, now - began, metrics.of(metrics.of_feeding(io), io.rows_settled, now - began)
        )
        counts: Counts = result.counts
        if result.status in ("completed", "partial") and now > began and counts.read >= 1000:
            await io.state.set_meta("rows_per_s", round(counts.read / (now - began), 1))
        said = [f"{table.table}: {table.message}" for table in result.tables if table.message]
        if result.fault is not None:
            said.insert(0, result.message)
        return SyncResult(
            job_id=io.job.id,
            status=result.status,
            started_at=datetime.fromtimestamp(io.job.started_at or began, UTC),
            completed_at=datetime.fromtimestamp(now, UTC),
            tables_processed=sum(table.status in ("completed", "partial") for table in result.tables),
            records_processed=counts.read,
            records_failed=counts.failed,
            files_downloaded=files.downloaded,
            files_failed=files.failed,
            errors=said,
            records_indexed=counts.indexed,
            records_skipped=counts.skipped,
            records_warned=counts.warned,
            records_deleted=counts.deleted,
            records_inserted=counts.inserted,
            records_updated=counts.updated,
            tables=result.tables,
            files=files,
            fault=result.fault,
        )

    # -- services -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[StateStore, VespaSession]]:
        if not self.db.is_connected:
            await self.db.connect()
        async with self._state_open() as state:
            if self._session is not None:
                yield state, self._session
                return
            async with VespaSession(self._vespa, namespace=self._namespace) as session:
                # Asked before a job is made of it: an index that is not there is no job that failed.
                await queries.largest_read_seq(session)
                yield state, session

    @asynccontextmanager
    async def _state_open(self) -> AsyncIterator[StateStore]:
        if self._state is not None:
            yield self._state
            return
        async with await StateStore.open(self._store.db_path) as state:
            yield state


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Fewer garbage collections meanwhile: a batch is thousands of objects, none of them in a cycle.

    Looking through them every 700 objects took a twelfth of an ingest's time.
    """
    usual = gc.get_threshold()
    if usual[0] == 0 or usual[0] >= _OBJECTS_BETWEEN_COLLECTIONS:
        yield  # off, or set by the application or another sync
        return
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
