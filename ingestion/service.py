"""All that a front end calls: one facade over source, index and state.

Methods open what they need on first use, raise `ingestion.errors` with a next step, and answer nothing secret.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ingestion import errors, estimating
from ingestion.connections import Connections
from ingestion.jobs import launching
from ingestion.jobs.job_views import JobViews
from ingestion.plan import Plan
from ingestion.reports import (
    Estimate,
    JobReport,
    JobRequest,
    Preview,
    RelationSample,
    RetryReport,
    SourceInfo,
    VerifyReport,
    VespaInfo,
    Where,
)
from ingestion.settings import Settings
from ingestion.state.types import FailureFilter

if TYPE_CHECKING:
    from ingestion.checkpoint import Checkpoint
    from ingestion.discovering import Verdicts
    from ingestion.events import Event, Publish
    from ingestion.run_view import RunView
    from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table
    from ingestion.state.types import Failure, FailureCluster, FailurePage, Job
    from ingestion.vespa.queries import Related, SearchPage

OnProgress = Callable[[str, int, int], None]
LOGGER = "procore_ingest"


class IngestService:
    """One source and one index; an async context manager, or close it with `aclose`.

    `own` are the operator's settings where `settings` are the sandbox's: what other addresses are used with.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        logger: logging.Logger | None = None,
        sandbox: bool = False,
        own: Settings | None = None,
    ) -> None:
        self._logger = logger or logging.getLogger(LOGGER)
        self._connections = Connections(settings, self._logger)
        self._sandbox = sandbox
        self._started = settings, sandbox
        self._own = own or settings
        self._schema: SchemaMap | None = None
        self._views = JobViews()
        self._files_per_row: tuple[SchemaMap, Mapping[str, float]] | None = None

    @property
    def settings(self) -> Settings:
        return self._connections.settings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections and the state file; running jobs in their own processes go on."""
        await self._connections.close()

    # -- connect ---------------------------------------------------------------------------------------------

    def where(self) -> Where:
        """The addresses in use; never fails and connects to nothing."""
        return self._connections.where(sandbox=self._sandbox)

    async def reconnect(self, *, database_url: str, vespa_url: str, namespace: str) -> None:
        """Use other addresses from now on; an empty one keeps what is in use. Connects to nothing yet."""
        await self._use(self._with(database_url, vespa_url, namespace), sandbox=False)

    async def reconnect_to_start(self) -> None:
        """Use again what the command line, the environment or the settings file named at the start."""
        settings, sandbox = self._started
        await self._use(settings, sandbox=sandbox)

    def _with(self, database_url: str = "", vespa_url: str = "", namespace: str = "") -> Settings:
        # The sandbox's index, state folder and file store are its own: nothing of them goes on to another source.
        now = self._own if self._sandbox else self.settings
        return replace(
            now,
            database_url=database_url or now.database_url,
            vespa_url=vespa_url or now.vespa_url,
            namespace=namespace or now.namespace,
        )

    async def probe_source(self, database_url: str) -> SourceInfo:
        """Who answers at this address, without using it from now on; raises errors.SourceUnavailable."""
        from ingestion import inspecting

        probe = Connections(self._with(database_url), self._logger)
        try:
            return await inspecting.source_info(probe)
        finally:
            await probe.close()

    async def probe_vespa(self, vespa_url: str, namespace: str) -> VespaInfo:
        """How Vespa is at this address, without using it; raises errors.VespaUnavailable."""
        from ingestion import inspecting

        probe = Connections(self._with(vespa_url=vespa_url, namespace=namespace), self._logger)
        try:
            return await inspecting.vespa_info(probe)
        finally:
            await probe.close()

    async def start_sandbox(self, on_progress: OnProgress | None = None) -> None:
        """Bring up the sandbox, or find it running, and use it from now on."""
        from ingestion.sandbox import sandbox

        step = (lambda text: on_progress(text, 0, 0)) if on_progress else None
        info = await sandbox.up(sandbox.default_home(), on_progress=step)
        await self._use(sandbox.settings_on(self._own, info), sandbox=True)

    async def _use(self, settings: Settings, *, sandbox: bool) -> None:
        await self._connections.close()
        self._connections = Connections(settings, self._logger)
        self._schema, self._views, self._sandbox = None, JobViews(), sandbox

    async def source_info(self) -> SourceInfo:
        """Connect and say who answers; raises errors.SourceUnavailable."""
        from ingestion import inspecting

        return await inspecting.source_info(self._connections)

    async def vespa_info(self) -> VespaInfo:
        """Ask Vespa how it is and what it lacks; raises errors.VespaUnavailable when nothing answers."""
        from ingestion import inspecting

        return await inspecting.vespa_info(self._connections)

    # -- schema ----------------------------------------------------------------------------------------------

    async def schema(self) -> SchemaMap | None:
        """What was discovered last, from memory or the state; None when nothing was."""
        if self._schema is None:
            text = await (await self._connections.state()).get_meta("schema_map")
            if text:
                from ingestion.schema_discovery import SchemaMap

                self._schema = SchemaMap.from_json(text)
        return self._schema

    async def discover(
        self,
        *,
        include_samples: bool = False,
        include_stats: bool = False,
        schemas: Sequence[str] | None = None,
        on_progress: OnProgress | None = None,
    ) -> SchemaMap:
        """Discover now, and keep the result in the state."""
        from ingestion import discovering

        self._schema = await discovering.discover(
            self._connections,
            include_samples=include_samples,
            include_stats=include_stats,
            schemas=list(schemas) if schemas else None,
            on_progress=on_progress,
        )
        return self._schema

    async def _known_schema(self) -> SchemaMap:
        return await self.schema() or await self.discover()

    async def sample_rows(self, table: str, limit: int = 10) -> Sequence[Mapping[str, str | None]]:
        """First rows as text, secrets masked."""
        from ingestion import previewing

        return await previewing.sample_rows(self._connections, await self._known_schema(), table, limit)

    async def preview(self, table: str, key: str | None = None, *, plan: Plan | None = None) -> Preview:
        """A row, the first or the one with this key, beside the document that a plan makes of it."""
        from ingestion import previewing

        return await previewing.preview(self._connections, await self._known_schema(), table, key, plan)

    async def previews(
        self, table: str, *, plan: Plan | None = None, column: str = "", value: str = "", limit: int = 100
    ) -> Sequence[Preview]:
        """The first rows, or those whose `column` reads `value`, each beside the document it becomes."""
        from ingestion import previewing

        schema = await self._known_schema()
        return await previewing.previews(
            self._connections, schema, table, plan, column=column, value=value, limit=limit
        )

    async def statistics(self, table: str) -> Table:
        """The table with figures of its columns: share of NULL, distinct values, extremes, frequent values."""
        from ingestion import exploring

        return await exploring.statistics(self._connections, await self._known_schema(), table)

    async def files_per_row(self) -> Mapping[str, float]:
        """By table, how many files one of its rows refers to; sampled once for each schema."""
        from ingestion import exploring

        schema = await self._known_schema()
        if self._files_per_row is None or self._files_per_row[0] is not schema:
            self._files_per_row = schema, await exploring.files_per_row(self._connections, schema)
        return self._files_per_row[1]

    async def relation_sample(self, relation: ImplicitRelationship) -> RelationSample:
        """Values of a reference with the rows they lead to, and values that lead nowhere."""
        from ingestion import exploring

        return await exploring.relation_sample(self._connections, await self._known_schema(), relation)

    async def withdraw_verdict(self, relation: ImplicitRelationship) -> None:
        """As if the operator had never judged this relation; the next discovery judges for itself again."""
        from ingestion import exploring

        await exploring.withdraw_verdict(self._connections, relation)

    async def schema_text(self, format: str) -> str:
        """The schema as `json`, `markdown` or `mermaid`."""
        from ingestion.discovery import schema_export

        render = {
            "json": schema_export.to_json,
            "markdown": schema_export.to_markdown,
            "mermaid": schema_export.to_mermaid,
        }[format]
        return render(await self._known_schema())

    async def decide_relation(self, relation: ImplicitRelationship, accepted: bool) -> None:
        """Store the operator's verdict; the next discovery obeys it."""
        from ingestion import discovering
        from ingestion.discovery import verdicts

        await discovering.decide(await self._connections.state(), verdicts.of(relation), accepted)

    async def decide_relations(self, said: Verdicts) -> None:
        """Store verdicts given as text, all or none; raises errors.SchemaError for names that are not there."""
        from ingestion import discovering

        await discovering.decide_all(self._connections, said)

    # -- jobs ------------------------------------------------------------------------------------------------

    async def estimate(self, plan: Plan) -> Estimate:
        """What the plan would cost; raises errors.SchemaError for a glob that matches nothing."""
        from ingestion.transform import masks

        state = await self._connections.state()
        rate = await state.get_meta("rows_per_s")
        schema = await self._known_schema()
        masks.check(masks.union(masks.of_settings(self._connections), masks.of_plan(plan)), schema)
        return estimating.estimate(schema, plan, float(rate) if rate else None)

    async def run_job(
        self,
        request: JobRequest,
        *,
        publish: Publish | None = None,
        stop: asyncio.Event | None = None,
        on_progress: OnProgress | None = None,
    ) -> JobReport:
        """Run a job in this process to its end; setting `stop` ends it at the next checkpoint.

        `on_progress` is told the steps of the discovery before it; from its start on `publish` tells.
        """
        from ingestion.jobs import job_runner

        return await job_runner.run(
            self._connections, request, publish=publish, stop=stop, on_progress=on_progress
        )

    async def start_job(self, request: JobRequest) -> str:
        """Start a job in a process of its own; its id as soon as the job is stored."""
        log = self._connections.state_path.parent / "jobs.log"
        return await launching.start(self.settings, request, log)

    async def run_view(self, job_id: str) -> RunView | None:
        """The job's present picture, from its stored events; None for an unknown id."""
        return await self._views.view(await self._connections.state(), job_id, time.time())

    async def events_since(self, job_id: str, seq: int, limit: int = 500) -> Sequence[Event]:
        """Stored events after `seq`, oldest first."""
        return await (await self._connections.state()).events_since(job_id, seq, limit)

    async def pause(self, job_id: str) -> None:
        await (await self._connections.state()).request_command(job_id, "pause")

    async def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        await (await self._connections.state()).request_command(job_id, "resume")

    async def stop(self, job_id: str) -> None:
        """Ask for a stop at the next checkpoint; returns at once."""
        await (await self._connections.state()).request_command(job_id, "stop")

    async def skip(self, job_id: str, table: str) -> None:
        await (await self._connections.state()).request_command(job_id, "skip", table)

    async def jobs(self, limit: int = 200) -> Sequence[Job]:
        """Newest first."""
        return await (await self._connections.state()).list_jobs(limit)

    async def job_report(self, job_id: str) -> JobReport | None:
        """The counts so far of a running job, the final ones of an ended one; None for an unknown id."""
        from ingestion.jobs import job_reports

        return await job_reports.of_job(await self._connections.state(), job_id)

    # -- checkpoints -----------------------------------------------------------------------------------------

    async def checkpoints(self) -> Sequence[Checkpoint]:
        from ingestion.checkpoint import CheckpointStore

        await self._connections.state()
        store = CheckpointStore(self._connections.state_path)
        await store.initialize()
        return await store.get_all()

    async def clear_checkpoint(self, table: str | None = None) -> None:
        """Of one table, or of all; no document is touched."""
        from ingestion.checkpoint import CheckpointStore

        state = await self._connections.state()
        store = CheckpointStore(self._connections.state_path, state=state)
        if table is not None and await store.get(table) is None:
            raise errors.SchemaError(
                f"there is no checkpoint of {table!r}", hint="`checkpoints list` shows those there are."
            )
        async with state.writer(None, "clear checkpoints"):
            await store.clear(table)

    # -- failures --------------------------------------------------------------------------------------------

    async def failures(
        self, filter: FailureFilter, after: int | None = None, limit: int = 200
    ) -> FailurePage:
        return await (await self._connections.state()).failure_page(filter, after=after or 0, limit=limit)

    async def failure(self, failure_id: int) -> Failure:
        """Raises errors.SettingsError when there is none."""
        from ingestion import handling_failures

        return await handling_failures.find(await self._connections.state(), failure_id)

    async def failure_clusters(self, filter: FailureFilter) -> Sequence[FailureCluster]:
        return await (await self._connections.state()).failure_clusters(filter)

    async def failure_preview(self, failure_id: int) -> Preview:
        """The failed row as it is now, beside the document it would become."""
        failure = await self.failure(failure_id)
        return await self.preview(failure.table, failure.key or None)

    async def retry(self, filter: FailureFilter, *, canary: int | None = None) -> RetryReport:
        """Retry what the filter matches; with `canary` only so many, to see."""
        from ingestion.verification import retrying

        return await retrying.retry(self._connections, filter, canary=canary)

    async def dismiss(self, filter: FailureFilter, note: str) -> int:
        """Set aside what the filter matches; how many."""
        from ingestion import handling_failures

        return await handling_failures.dismiss(await self._connections.state(), filter, note)

    async def export_failures(self, filter: FailureFilter, path: Path) -> int:
        """CSV where the name ends in `.csv`, else JSON lines; how many."""
        from ingestion import failure_export

        return await failure_export.export(await self._connections.state(), filter, path)

    # -- verify and search -----------------------------------------------------------------------------------

    async def verify(
        self,
        tables: Sequence[str] | None = None,
        *,
        exclude: Sequence[str] = (),
        deep: bool = False,
        repair: bool = False,
        allow_mass_delete: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VerifyReport:
        """Compare source and index; `tables` and `exclude` are globs; `repair` mends exactly what differs."""
        from ingestion.verification import verifying

        return await verifying.verify(
            self._connections,
            include=tuple(tables) if tables else ("*",),
            exclude=tuple(exclude),
            deep=deep,
            repair=repair,
            allow_mass_delete=allow_mass_delete,
            on_progress=on_progress,
        )

    async def search(
        self,
        text: str,
        *,
        table: str | None = None,
        project: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> SearchPage:
        """Records that match, best first."""
        from ingestion.vespa import queries

        index = await self._connections.index()
        return await queries.search(index, text, table=table, project=project, limit=limit, offset=offset)

    async def indexed_tables(self) -> Mapping[str, int]:
        """Documents that the index holds of each table."""
        from ingestion.vespa import queries

        return await queries.counts_by_table(await self._connections.index())

    async def show(self, doc_id: str) -> Mapping[str, Any] | None:
        """A record's fields, or those of a table's document (`schema:TABLE`); None when there is none."""
        from ingestion.vespa import queries

        return await queries.document(await self._connections.index(), doc_id)

    async def related(self, doc_id: str) -> Sequence[Related]:
        """Records that this one refers to, then those that refer to it; of a file the records that hold it."""
        from ingestion.vespa import queries

        return await queries.links(await self._connections.index(), doc_id)

    async def files_of(self, doc_id: str) -> Sequence[Mapping[str, Any]]:
        from ingestion.vespa import queries

        return await queries.files_of(await self._connections.index(), doc_id)

    async def fetched_files(self, file_ids: Sequence[str]) -> Mapping[str, Path]:
        from ingestion.files import stage

        return await stage.fetched(self.settings, await self._connections.state(), file_ids)
