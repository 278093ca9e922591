"""What the application asks of the core: one Protocol, implemented by `ingestion.service.IngestService`.

Everything is asynchronous and may be slow; nothing here blocks the event loop. Failures are raised as
`ingestion.errors`, with a hint. Answers are the core's frozen facts and never hold a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from ingestion.checkpoint import Checkpoint
    from ingestion.events import Event
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
    from ingestion.run_view import RunView
    from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table
    from ingestion.state.types import FailureCluster, FailureFilter, FailurePage, Job
    from ingestion.vespa.queries import Related, SearchPage

OnProgress = Callable[[str, int, int], None]
"""A step's name, steps done, steps in all (0: unknown); called on the event loop."""


class ServicePort(Protocol):
    """Exactly what screens call, through the bridge."""

    # -- connect
    def where(self) -> Where:
        """The addresses in use, redacted; never fails and connects to nothing."""
        ...

    async def reconnect(self, *, database_url: str, vespa_url: str, namespace: str) -> None:
        """Use other addresses from now on; an empty one keeps what is in use. Connects to nothing yet."""
        ...

    async def reconnect_to_start(self) -> None:
        """Use again what the command line, the environment or the settings file named at the start."""
        ...

    async def probe_source(self, database_url: str) -> SourceInfo:
        """Who answers at this address, without using it from now on."""
        ...

    async def probe_vespa(self, vespa_url: str, namespace: str) -> VespaInfo: ...

    async def start_sandbox(self, on_progress: OnProgress | None = None) -> None:
        """Bring up the sandbox (or find it running) and use it; needs the sandbox extra."""
        ...

    async def source_info(self) -> SourceInfo: ...

    async def vespa_info(self) -> VespaInfo: ...

    # -- schema
    async def schema(self) -> SchemaMap | None:
        """What was discovered last, from memory or the state; None when nothing was. No database access."""
        ...

    async def discover(
        self, *, include_samples: bool = False, on_progress: OnProgress | None = None
    ) -> SchemaMap: ...

    async def sample_rows(self, table: str, limit: int = 10) -> Sequence[Mapping[str, str | None]]:
        """Rows as text, secrets masked."""
        ...

    async def preview(self, table: str, key: str | None = None) -> Preview: ...

    async def previews(
        self, table: str, *, plan: Plan | None = None, column: str = "", value: str = "", limit: int = 100
    ) -> Sequence[Preview]:
        """The first rows, or those whose `column` reads `value`, each beside the document it becomes."""
        ...

    async def statistics(self, table: str) -> Table:
        """The table with figures of its columns."""
        ...

    async def files_per_row(self) -> Mapping[str, float]:
        """By table, how many files one of its rows refers to."""
        ...

    async def relation_sample(self, relation: ImplicitRelationship) -> RelationSample: ...

    async def withdraw_verdict(self, relation: ImplicitRelationship) -> None: ...

    async def schema_text(self, format: str) -> str:
        """The schema as `json`, `markdown` or `mermaid`."""
        ...

    async def decide_relation(self, relation: ImplicitRelationship, accepted: bool) -> None:
        """Store the operator's verdict; the next discovery obeys it."""
        ...

    # -- plan and jobs
    async def estimate(self, plan: Plan) -> Estimate: ...

    async def start_job(self, request: JobRequest) -> str:
        """Start a job in a process of its own; returns its id as soon as the job is stored."""
        ...

    async def run_view(self, job_id: str) -> RunView | None:
        """The job's present picture, cheap enough for five calls a second; None for an unknown id."""
        ...

    async def events_since(self, job_id: str, seq: int, limit: int = 500) -> Sequence[Event]: ...

    async def pause(self, job_id: str) -> None: ...

    async def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        ...

    async def stop(self, job_id: str) -> None:
        """Ask for a stop at the next checkpoint; returns at once."""
        ...

    async def skip(self, job_id: str, table: str) -> None: ...

    async def jobs(self, limit: int = 200) -> Sequence[Job]:
        """Newest first."""
        ...

    async def job_report(self, job_id: str) -> JobReport | None:
        """The counts so far of a running job, the final ones of an ended one."""
        ...

    # -- checkpoints
    async def checkpoints(self) -> Sequence[Checkpoint]: ...

    async def clear_checkpoint(self, table: str | None = None) -> None:
        """Of one table, or of all."""
        ...

    # -- failures
    async def failures(
        self, filter: FailureFilter, after: int | None = None, limit: int = 200
    ) -> FailurePage: ...

    async def failure_clusters(self, filter: FailureFilter) -> Sequence[FailureCluster]: ...

    async def failure_preview(self, failure_id: int) -> Preview:
        """The failed row as it is now, beside the document it would become."""
        ...

    async def retry(self, filter: FailureFilter, *, canary: int | None = None) -> RetryReport:
        """Retry what the filter matches; with `canary` only so many, to see."""
        ...

    async def dismiss(self, filter: FailureFilter, note: str) -> int: ...

    async def export_failures(self, filter: FailureFilter, path: Path) -> int:
        """CSV where the name ends in `.csv`, else JSON lines; returns how many."""
        ...

    # -- verify and search
    async def verify(
        self,
        tables: Sequence[str] | None = None,
        *,
        deep: bool = False,
        repair: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VerifyReport: ...

    async def search(
        self,
        text: str,
        *,
        table: str | None = None,
        project: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> SearchPage: ...

    async def show(self, doc_id: str) -> Mapping[str, Any] | None:
        """The record's fields, None when the index has no such record."""
        ...

    async def related(self, doc_id: str) -> Sequence[Related]: ...

    async def files_of(self, doc_id: str) -> Sequence[Mapping[str, Any]]: ...

    async def fetched_files(self, file_ids: Sequence[str]) -> Mapping[str, Path]:
        """Where those of the files lie that were fetched and are there still."""
        ...
