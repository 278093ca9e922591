"""One job in this process: prerequisites, discovery, the sync itself, and the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from ingestion import discovering, errors, inspecting
from ingestion import plan as plans
from ingestion.checkpoint import CheckpointStore
from ingestion.connections import Connections
from ingestion.discovery import schema_documents
from ingestion.events import Publish
from ingestion.file_detector import FileDetector
from ingestion.files import paths
from ingestion.files.stage import FileStage, download_dir
from ingestion.jobs import job_reports
from ingestion.reports import JobKind, JobReport, JobRequest
from ingestion.schema_discovery import OnProgress, SchemaMap
from ingestion.settings import Settings
from ingestion.state.store import StateStore
from ingestion.state.types import SUCCESSES, Job
from ingestion.sync import namespaces
from ingestion.sync.job_control import JobControl
from ingestion.sync.sync_io import FileSink, SyncIO
from ingestion.sync_manager import SyncConfig, SyncManager, SyncResult
from ingestion.transform import masks
from ingestion.transform.transform import Transform
from ingestion.vespa import queries
from ingestion.vespa.feeding import Feeder

KEPT_JOBS = 500
"""Ended jobs whose events stay in the state; a daemon makes hundreds a day."""
RESUMABLE = ("full", "incremental")

T = TypeVar("T")


async def run(
    connections: Connections,
    request: JobRequest,
    *,
    publish: Publish | None = None,
    stop: asyncio.Event | None = None,
    on_start: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> JobReport:
    """Run the job to its end; setting `stop` ends it at the next checkpoint, as `cancelled`.

    Raises CancelledError when `stop` is set before there is a job.
    Raises what kept it from starting, and errors.SourceUnavailable, errors.VespaUnavailable or
    errors.StateError when one of them ended it; what was settled until then is stored, and the job resumable.
    """
    state = await connections.state()
    schema = await unless_stopped(stop, _prepared(connections, request, on_progress))
    control = JobControl()
    job_id = ""

    def started(job: Job) -> None:
        nonlocal job_id
        job_id = job.id
        if on_start is not None:
            on_start(job.id)

    manager, stages = await _manager(connections, schema, request, control, publish, started)
    obeying = asyncio.create_task(_obey(stop, control), name="stop") if stop is not None else None
    try:
        result = await _sync(manager, request, connections.settings)
    finally:
        if obeying is not None:
            obeying.cancel()
            with suppress(asyncio.CancelledError):
                await obeying
        for stage in stages:
            await stage.aclose()
    if result.fault is not None:
        raise _resumable(result.fault, result.job_id)
    await _explain(connections, schema, [table.table for table in result.tables])
    await state.prune_jobs(KEPT_JOBS)
    report = await job_reports.of_job(state, result.job_id)
    assert report is not None
    return report


async def _prepared(
    connections: Connections, request: JobRequest, on_progress: OnProgress | None
) -> SchemaMap:
    """Everything that could keep the job from starting, asked before it is made."""
    state = await connections.state()
    await require_writer(state)
    if request.resume is not None:
        await require_resumable(state, request.resume)
    if await _fetches_files(state, request):
        paths.require_room(download_dir(connections.settings, connections.state_path))
    await require_index(connections)
    schema = await discovering.discover(connections, on_progress=on_progress)
    if request.resume is None:
        require_tables(schema, request)
    await claim_namespace(connections)
    return schema


async def _fetches_files(state: StateStore, request: JobRequest) -> bool:
    if request.resume is None:
        return request.plan.download_files
    job = await state.find_job(request.resume)
    return job is not None and bool(job.plan.get("config", {}).get("download_files"))


def require_tables(schema: SchemaMap, request: JobRequest) -> None:
    """Raise errors.SchemaError for a glob that matches nothing, and for a plan that leaves every table out."""
    names = [table.name for table in schema.tables]
    chosen = plans.select(names, request.plan.include, request.plan.exclude)
    if names and not chosen:
        raise errors.SchemaError(
            "the plan leaves every table out",
            hint="Exclude fewer; `procore-ingest discover` lists the tables.",
        )


async def unless_stopped(stop: asyncio.Event | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; raises CancelledError, `work` cancelled, when `stop` is set before its end."""
    if stop is None:
        return await work
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise asyncio.CancelledError("stopped before the job began")
        return working.result()
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _resumable(fault: Exception, job_id: str) -> Exception:
    """The fault that ended a job, with how to go on once it is mended."""
    if isinstance(fault, errors.IngestionError):
        fault.hint = f"{fault.hint} Then `procore-ingest ingest --resume {job_id}` goes on.".strip()
    return fault


async def require_resumable(state: StateStore, job_id: str) -> None:
    """Raise errors.SettingsError for a job that is not there, or has nothing left to go on with."""
    job = await state.find_job(job_id)
    if job is None:
        raise errors.SettingsError(
            f"there is no job {job_id!r}", hint="`procore-ingest jobs list` lists them."
        )
    if job.kind not in RESUMABLE:
        raise errors.SettingsError(
            f"job {job_id} is of kind {job.kind}, which cannot be resumed", hint="Run its command again."
        )
    if job.status in SUCCESSES:
        raise errors.SettingsError(
            f"job {job_id} is {job.status}: it has reached its end",
            hint="`failures retry` tries its failures again; `ingest --full` starts a new job.",
        )


async def require_writer(state: StateStore) -> None:
    """Raise errors.WriterLocked, naming the holder, when another process writes to the state."""
    async with state.writer(None, "starting a job"):
        pass


async def require_index(connections: Connections) -> None:
    """Raise errors.IndexError naming what the deployed application lacks, errors.VespaUnavailable if it is down."""
    index = await connections.index()
    if not await index.is_up():
        raise errors.VespaUnavailable(
            f"Vespa at {index.url} answers, but is not up", hint="Wait, then try again."
        )
    missing = await index.missing_fields(inspecting.needed_fields())
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise errors.IndexError(
            f"the application at {index.url} lacks {shown}",
            hint="Run `procore-ingest vespa deploy`, then try again.",
        )


async def claim_namespace(connections: Connections) -> None:
    """Mark the index's namespace as this source's, or refuse another one's."""
    index = await connections.index()
    db = await connections.source()
    state = await connections.state()
    floor = await queries.largest_read_seq(index)
    identity = namespaces.source_identity(await db.server_info(), connections.config.where)
    await namespaces.claim(
        index,
        Feeder(index),
        identity,
        await state.reserve_read_seq(floor),
        adopt=connections.settings.adopt_namespace,
    )


async def _manager(
    connections: Connections,
    schema: SchemaMap,
    request: JobRequest,
    control: JobControl,
    publish: Publish | None,
    started: Callable[[Job], None],
) -> tuple[SyncManager, list[FileStage]]:
    settings = connections.settings
    detector = FileDetector(schema, connections.logger)
    policy = await masks.of_job(connections, schema, request)
    transform = Transform(schema, policy, settings.source_timezone, detector)
    stages: list[FileStage] = []

    def file_stage(io: SyncIO, config: SyncConfig) -> FileSink:
        stage = FileStage(
            io, transform, settings, download=config.download_files, workers=config.file_workers
        )
        stages.append(stage)
        return stage

    manager = SyncManager(
        await connections.source(),
        connections.vespa(),
        schema,
        CheckpointStore(connections.state_path),
        connections.logger,
        state=await connections.state(),
        session=await connections.index(),
        namespace=settings.namespace,
        max_in_flight=settings.max_in_flight,
        masks=policy,
        source_timezone=settings.source_timezone,
        detector=detector,
        file_sink=file_stage,
        publish=publish,
        control=control,
        on_start=started,
        notes=await discovering.notes(await connections.state(), schema),
        delete_share=settings.delete_share,
    )
    return manager, stages


async def _sync(manager: SyncManager, request: JobRequest, settings: Settings) -> SyncResult:
    if request.resume is not None:
        return await manager.resume(request.resume)
    plan = request.plan
    config = SyncConfig(
        tables=list(plan.include),
        exclude_tables=list(plan.exclude),
        batch_size=plan.batch_size or settings.batch_size,
        download_files=plan.download_files,
        file_workers=plan.file_workers or settings.file_workers,
        workers=plan.workers or settings.workers,
        allow_mass_delete=request.allow_mass_delete,
    )
    if request.kind is JobKind.INCREMENTAL:
        return await manager.run_incremental_sync(config)
    return await manager.run_full_sync(config)


async def _obey(stop: asyncio.Event, control: JobControl) -> None:
    await stop.wait()
    control.stop()


async def _explain(connections: Connections, schema: SchemaMap, tables: list[str]) -> None:
    """Feed the schema's documents, so that the index explains the tables it holds; the job is done without."""
    index = await connections.index()
    state = await connections.state()
    read_seq = await state.reserve_read_seq(0)
    try:
        await Feeder(index).feed(schema_documents.operations(schema, tables, read_seq))
    except errors.VespaUnavailable as error:
        connections.logger.warning("the tables' own documents are not indexed: %s", error)
