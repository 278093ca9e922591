"""What work outside a sync needs: the services of a job, for retries, verification and repair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ingestion import discovering
from ingestion.connections import Connections
from ingestion.events import Counts, FileCounts, JobFinished, JobStarted, TableFinished, TableTotal
from ingestion.file_detector import FileDetector
from ingestion.files.stage import FileStage
from ingestion.schema_discovery import SchemaMap
from ingestion.state.store import StateStore
from ingestion.state.types import Failure, Job, JobTable, TableState
from ingestion.sync import table_removal
from ingestion.sync.job_control import JobControl
from ingestion.sync.settlement import TableRun
from ingestion.sync.sync_io import ReadSequence, SyncIO
from ingestion.sync.table_sync import TableSync
from ingestion.transform import masks
from ingestion.transform.transform import Transform
from ingestion.verification import retry_files
from ingestion.vespa import queries
from ingestion.vespa.client import VespaSession
from ingestion.vespa.feeding import Feeder

_LOOK_BACK = 50
"""Jobs looked through for the newest sync."""


@dataclass(slots=True)
class JobServices:
    """Source, index and state of one job, and what the state knows of each table."""

    io: SyncIO
    index: VespaSession
    transform: Transform
    states: Mapping[str, TableState]
    files: FileStage

    async def table_run(self, table: str) -> TableRun:
        """A table ready to be read and settled; raises errors.SchemaError if it is gone or unreadable."""
        return await TableSync(self.io, self.transform, table, full=True).opened()

    async def follow(self, table: str) -> None:
        """Read and settle what changed in the table since its last sync, which moves its checkpoint."""
        await TableSync(self.io, self.transform, table, full=False).run(Counts())

    async def leave(self, table: str, message: str) -> None:
        """Note that the job cannot go on with a table; where its last sync left it, it stands."""
        await self.io.state.set_job_table(self.io.job.id, table, "failed", message=message)
        counts = next(t.counts for t in await self.io.state.job_tables(self.io.job.id) if t.table == table)
        await self.io.tell(
            TableFinished(
                job_id=self.io.job.id, table=table, status="failed", counts=counts, message=message
            )
        )  # fmt: skip

    async def retry_files(self, run: TableRun, failures: Sequence[Failure]) -> None:
        """Fetch the files of these failures again, from the URLs that their rows hold now."""
        await retry_files.retry(run, self.files, failures)

    async def remove_table(self, table: str) -> int:
        """Remove every document of a table that the source no longer has, or that is left out; how many."""
        return await table_removal.remove_table(self.io, self.index, table)


@asynccontextmanager
async def opened(
    connections: Connections,
    kind: str,
    tables: Sequence[str],
    *,
    schema: SchemaMap | None = None,
    write: bool = True,
    fetch_files: bool = False,
    allow_mass_delete: bool = False,
) -> AsyncIterator[JobServices]:
    """The services of a job of this kind. With `write` it is stored, and holds the writer lock until its end.

    Files of records are fetched as the last sync did, and with `fetch_files` in any case.

    Raises errors.WriterLocked naming the holder, errors.SourceUnavailable, errors.VespaUnavailable.
    """
    state = await connections.state()
    index = await connections.index()
    db = await connections.source()
    schema = schema or await discovering.discover(connections)
    transform = Transform(
        schema,
        await masks.in_force(connections),
        connections.settings.source_timezone,
        FileDetector(schema, connections.logger),
    )
    info = await db.server_info()
    floor = await queries.largest_read_seq(index)

    def io_of(job: Job) -> SyncIO:
        return SyncIO(
            db=db,
            state=state,
            feeder=Feeder(index, max_in_flight=connections.settings.max_in_flight),
            sequence=ReadSequence(state, floor),
            job=job,
            publish=lambda event: None,
            control=JobControl(),
            log=connections.logger,
            version_num=info.version_num,
            source=info.source,
            delete_share=connections.settings.delete_share,
            allow_mass_delete=allow_mass_delete,
        )

    states = await state.table_states()
    download = fetch_files or await _last_sync_fetched(state)
    if not write:
        io = io_of(Job(id="", kind=kind))
        yield JobServices(io, index, transform, states, _file_stage(io, transform, connections, download))
        return
    async with state.writer(None, kind):
        job = await state.create_job(kind, {"tables": list(tables)})
        await state.set_job_tables(job.id, [JobTable(job_id=job.id, table=name) for name in tables])
        job = await state.start_job(job.id)
        io = io_of(job)
        await io.tell(
            JobStarted(job_id=job.id, kind=kind, tables=tuple(TableTotal(table=t, rows=0) for t in tables))
        )
        io.files = stage = _file_stage(io, transform, connections, download)
        status = "failed"
        try:
            yield JobServices(io, index, transform, states, stage)
            await stage.drain()
            status = "completed"
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        finally:
            await stage.aclose()
            await _finish(io, status)


async def _finish(io: SyncIO, status: str) -> None:
    """Store and tell how the job ended: `partial` where something failed again or a table could not be read."""
    tables = await io.state.job_tables(io.job.id)
    for table in tables:
        if table.status in ("pending", "running"):
            failed = table.counts.failed or table.files.failed
            ended = "partial" if status == "completed" and failed else status
            await io.state.set_job_table(io.job.id, table.table, ended)
    counts = sum((table.counts for table in tables), Counts())
    files = sum((table.files for table in tables), FileCounts())
    left = sum(table.status == "failed" for table in tables)
    if status == "completed" and left and left == len(tables):
        status = "failed"
    elif status == "completed" and (counts.failed or files.failed or left):
        status = "partial"
    await io.state.finish_job(io.job.id, status)
    seconds = max(0.0, io.clock() - (io.job.started_at or io.clock()))
    await io.tell(JobFinished(job_id=io.job.id, status=status, counts=counts, files=files, seconds=seconds))


async def _last_sync_fetched(state: StateStore) -> bool:
    """Whether the newest sync fetched files: what is mended afterwards is mended alike."""
    for job in await state.list_jobs(_LOOK_BACK):
        if job.kind in ("full", "incremental"):
            return bool(job.plan.get("config", {}).get("download_files"))
    return False


def _file_stage(io: SyncIO, transform: Transform, connections: Connections, download: bool) -> FileStage:
    settings = connections.settings
    return FileStage(
        io, transform, settings, download=download, workers=settings.file_workers, left_over=False
    )
