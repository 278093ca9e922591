"""The service's double: everything in memory, time only by a hand-moved clock, the core's own facts.

It implements `app.port.ServicePort`. A job moves by `step`, so a test decides what has happened.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.port import OnProgress
from ingestion import errors, plan
from ingestion.checkpoint import Checkpoint
from ingestion.plan import Plan
from ingestion.reports import (
    Estimate,
    JobKind,
    JobRequest,
    Preview,
    RelationSample,
    RetryReport,
    SampledPair,
    SourceInfo,
    TableDifference,
    TableEstimate,
    VerifyReport,
    VespaInfo,
    Where,
)
from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table
from ingestion.state.types import Failure, FailureCluster, FailureFilter, FailurePage, Job
from ingestion.vespa.queries import Hit, Related, SearchPage
from tests.tui.fake_jobs import START, Clock, FakeJobs, Run
from tests.tui.fake_schema import schema_map


def made_failures(number: int = 180) -> list[Failure]:
    """Failures of six kinds over a dozen tables."""
    kinds = (
        ("record", "transform", "null_key", "the key column 'id' is NULL", "photos"),
        (
            "record",
            "index",
            "vespa_refused",
            "Vespa refused field 'taken_at': not a long: infinity",
            "photos",
        ),
        ("record", "read", "duplicate_key", "3 differing rows share this key", "rfis"),
        ("file", "file", "expired_url", "the signed URL expired on 2025-11-02", "photos"),
        ("file", "file", "http_404", "the store answered 404 Not Found", "drawing_revisions"),
        ("warning", "transform", "replaced_code_points", "column 'description': 2 characters", "rfis"),
    )
    weights = (3, 40, 7, 71, 29, 30)
    out: list[Failure] = []
    for (kind, stage, cause, message, table), weight in zip(kinds, weights, strict=True):
        for n in range(max(1, weight * number // 180)):
            out.append(
                Failure(
                    table=table,
                    key="" if cause == "null_key" else str(562_949_953_421_312 + 1_000_003 * (n + 1)),
                    stage=stage,
                    cause=cause,
                    message=message,
                    kind=kind,
                    locator={"vespa_refused": "taken_at", "replaced_code_points": "description"}.get(
                        cause, ""
                    ),
                    id=len(out) + 1,
                    job_id="20260131-080000-full-1a2b",
                    attempts=1 + n % 3,
                    first_at=START - 7200,
                    last_at=START - 60 * (n % 90) - 30,
                )
            )
    return out


class FakeService(FakeJobs):
    """See the module. `configured` False: no address is known yet."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        configured: bool = True,
        failures: Sequence[Failure] | None = None,
        schema: SchemaMap | None = None,
        discovered: bool = True,
    ) -> None:
        self.clock = clock or Clock()
        self._configured, self._sandbox = configured, False
        self._started = configured
        self._schema = schema or schema_map()
        self._discovered = discovered
        self.failures_held = list(made_failures() if failures is None else failures)
        self.runs: dict[str, Run] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.broken: dict[str, Exception] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.cleared: set[str] = set()
        self.differences = True
        self.files_held: list[Mapping[str, Any]] = [
            {"doc_id": "file:1001", "filename": "detail.pdf", "file_type": "pdf", "size": 148_221,
             "status": "downloaded"}
        ]  # fmt: skip
        self.fetched: dict[str, Path] = {}
        self.past = [
            Job(
                id="20260131-080000-full-1a2b", kind="full", status="partial", ordinal=1, created_at=START - 7300,
                started_at=START - 7300, finished_at=START - 7211, message="150 records and files failed",
                report={"totals": {"read": 48_389, "indexed": 48_339, "failed": 50, "skipped": 0, "warned": 30}},
            ),
            Job(
                id="20260130-080000-full-0c9d", kind="full", status="interrupted", ordinal=0,
                created_at=START - 93_000, started_at=START - 93_000, finished_at=START - 92_400,
                message="its process ended without a word",
                report={"totals": {"read": 21_040, "indexed": 21_040, "failed": 0, "skipped": 0, "warned": 0}},
            ),
        ]  # fmt: skip

    async def _enter(self, name: str, *args: Any) -> None:
        """Note the call; wait or fail where the test wants it."""
        self.calls.append((name, *args))
        if name in self.hold:
            await self.hold[name].wait()
        if name in self.broken:
            raise self.broken[name]

    # -- connect -------------------------------------------------------------------------------------------

    def where(self) -> Where:
        database = "procore at db.example:5432 as reader" if self._configured else ""
        return Where(database, "http://localhost:8080", "procore", "/var/lib/procore", self._configured,
                     self._sandbox)  # fmt: skip

    async def reconnect(self, *, database_url: str, vespa_url: str, namespace: str) -> None:
        await self._enter("reconnect", database_url, vespa_url, namespace)
        self._configured, self._sandbox = True, False

    async def reconnect_to_start(self) -> None:
        await self._enter("reconnect_to_start")
        self._configured, self._sandbox = self._started, False

    async def probe_source(self, database_url: str) -> SourceInfo:
        await self._enter("probe_source", database_url)
        return await self.source_info()

    async def probe_vespa(self, vespa_url: str, namespace: str) -> VespaInfo:
        await self._enter("probe_vespa", vespa_url, namespace)
        return await self.vespa_info()

    async def start_sandbox(self, on_progress: OnProgress | None = None) -> None:
        await self._enter("start_sandbox")
        if on_progress:
            on_progress("starting PostgreSQL", 0, 0)
        self._configured = self._sandbox = True

    async def source_info(self) -> SourceInfo:
        await self._enter("source_info")
        return SourceInfo("procore", "db.example", 5432, "reader", "18.1", "UTF8", False, True, True, False,
                          tables=49, unreadable=1, timeout_s=300)  # fmt: skip

    async def vespa_info(self) -> VespaInfo:
        await self._enter("vespa_info")
        return VespaInfo("http://localhost:8080", "procore", True, (), 48_339, 9_120)

    # -- schema --------------------------------------------------------------------------------------------

    async def schema(self) -> SchemaMap | None:
        await self._enter("schema")
        return self._schema if self._discovered else None

    async def discover(
        self, *, include_samples: bool = False, on_progress: OnProgress | None = None
    ) -> SchemaMap:
        if on_progress:
            on_progress("columns of", 12, 49)
        await self._enter("discover")
        self._discovered = True
        return self._schema

    async def sample_rows(self, table: str, limit: int = 10) -> Sequence[Mapping[str, str | None]]:
        await self._enter("sample_rows", table)
        found = self._schema.table(table)
        if not found.row_count:
            return []
        return [self._row(table, n) for n in range(min(limit, 3))]

    def _row(self, table: str, n: int) -> dict[str, str | None]:
        texts = {
            "description": "North elevation, level 3: [/red] flashing at the parapet is not lapped. " * 3,
            "filename": "IMG_2041 north façade.JPG", "subject": "Slab edge at grid C/7",
            "question": "The structural drawings show 250 mm, the architectural ones 300 mm. Which one holds?",
            "s3_key": f"8089/562949953521312/photos/{n}/IMG_2041 north façade.JPG",
            "url": "https://storage.procore.example/api/v5/files/abc?companyId=8089&projectId=1&sig=REDACTED",
            "status": "open", "number": "RFI-7.1", "attachments": '{"1001": "8089/1/rfis/7/detail.pdf"}',
            "custom_fields": None, "cost_impact": "-1250.00", "access_token": "[masked]",
            "refresh_token": "[masked]", "title": "Door hardware, level 2", "amount": "1800.00",
        }  # fmt: skip
        row: dict[str, str | None] = {}
        for column in self._schema.table(table).columns:
            if column.name in texts:
                row[column.name] = texts[column.name]
            elif column.name == "id":
                row["id"] = str(562_949_953_421_312 + n)
            elif column.data_type.startswith("timestamp"):
                row[column.name] = "infinity" if column.name == "taken_at" else "2025-11-02T09:14:33.12"
            elif column.data_type == "bigint":
                row[column.name] = "562949953521312"
            else:
                row[column.name] = None
        return row

    async def preview(self, table: str, key: str | None = None) -> Preview:
        await self._enter("preview", table, key)
        row = self._row(table, 0)
        row_id = key or row.get("id") or "1"
        document = {
            "doc_id": f"{table}:{row_id}",
            "source_table": table,
            "source_id": row_id,
            "project_id": 562949953521312,
            "metadata": {name: value for name, value in row.items() if value is not None},
            "relationships": [
                {"relation": "project", "target_table": "projects", "target_id": "562949953521312"}
            ],
            "file_references": [{"file_id": "1001", "filename": "detail.pdf", "file_type": "pdf"}],
            "content_text": row.get("subject") or row.get("description") or "",
            "updated_at": 1762074873120,
        }
        return Preview(table, row_id, row, document, ())

    async def previews(
        self, table: str, *, plan: Plan | None = None, column: str = "", value: str = "", limit: int = 100
    ) -> Sequence[Preview]:
        await self._enter("previews", table, column, value)
        if not self._schema.table(table).row_count:
            return []
        if column:
            return [await self.preview(table, value)]
        keys = [self._row(table, n).get("id") for n in range(3)]
        found = [await self.preview(table, key) for key in keys]
        return [replace(found[0], warnings=("description: holds characters that Vespa refuses",)), *found[1:]]

    async def statistics(self, table: str) -> Table:
        await self._enter("statistics", table)
        found = self._schema.table(table)
        for column in found.columns:
            if column.sensitivity != "secret":
                column.null_share = 0.25 if column.is_nullable else 0.0
                column.distinct, column.minimum, column.maximum = 17, "1", "99"
        return found

    async def files_per_row(self) -> Mapping[str, float]:
        await self._enter("files_per_row")
        return {t.name: 1.5 for t in self._schema.tables if t.file_reference_columns}

    async def relation_sample(self, relation: ImplicitRelationship) -> RelationSample:
        await self._enter("relation_sample", relation.source_column, relation.target_table)
        pairs = (
            SampledPair("562949953421312", 12, True, "Mill Street Tower"),
            SampledPair("562949953421999", 3, True, "Harbour [/red] 9"),
            SampledPair("77", 2, False),
        )
        return RelationSample(pairs, values=300, found=297, rows=500, rows_found=495, label="name")

    async def withdraw_verdict(self, relation: ImplicitRelationship) -> None:
        await self._enter("withdraw_verdict", relation.source_column)

    async def schema_text(self, format: str) -> str:
        await self._enter("schema_text", format)
        return json.dumps({"format": format})

    async def decide_relation(self, relation: ImplicitRelationship, accepted: bool) -> None:
        await self._enter("decide_relation", relation.source_column, accepted)

    # -- plan and jobs -------------------------------------------------------------------------------------

    async def estimate(self, plan: Plan) -> Estimate:
        await self._enter("estimate", plan)
        names = self._chosen(plan)
        tables = [t for t in self._schema.tables if t.name in names]
        dangling = tuple(
            (r.source_table, r.source_column, r.target_table)
            for r in self._schema.relationships
            if r.source_table in names and r.target_table not in names
        )
        rows = sum(t.row_count for t in tables)
        return Estimate(
            tuple(
                TableEstimate(t.name, t.row_count, t.row_count_exact, t.size_bytes, len(t.file_reference_columns))
                for t in tables
            ),
            rows,
            sum(t.size_bytes for t in tables),
            rows / 600,
            dangling,
        )  # fmt: skip

    # -- checkpoints ---------------------------------------------------------------------------------------

    async def checkpoints(self) -> Sequence[Checkpoint]:
        await self._enter("checkpoints")
        at = datetime.fromtimestamp(START - 7300, UTC)
        return [
            Checkpoint(
                table_name=t.name,
                last_sync_timestamp=at if t.row_count else datetime(1970, 1, 1, tzinfo=UTC),
                last_record_id=str(562_949_953_421_312 + t.row_count),
                records_processed=t.row_count,
                records_failed=3 if t.name == "photos" else 7 if t.name == "rfis" else 0,
                sync_status="partial" if t.name in {"photos", "rfis"} else "completed",
                error_message=None,
                updated_at=datetime.fromtimestamp(START - 7211, UTC),
            )
            for t in self._schema.tables
            if t.name not in self.cleared and t.readable
        ]

    async def clear_checkpoint(self, table: str | None = None) -> None:
        await self._enter("clear_checkpoint", table)
        self.cleared |= {table} if table else {t.name for t in self._schema.tables}

    # -- failures ------------------------------------------------------------------------------------------

    def _matching(self, wanted: FailureFilter) -> list[Failure]:
        names = [t.name for t in self._schema.tables]
        tables = None
        if wanted.tables is not None:
            try:
                tables = set(plan.select(names, wanted.tables))
            except errors.SchemaError:
                tables = set()
        return [
            f
            for f in self.failures_held
            if (wanted.kinds is None or f.kind in wanted.kinds)
            and (wanted.statuses is None or f.status in wanted.statuses)
            and (tables is None or f.table in tables)
            and (wanted.causes is None or f.cause in wanted.causes)
            and (wanted.stages is None or f.stage in wanted.stages)
            and (wanted.job_id is None or f.job_id == wanted.job_id)
            and (wanted.keys is None or f.key in wanted.keys)
            and (wanted.ids is None or f.id in wanted.ids)
        ]

    async def failures(
        self, filter: FailureFilter, after: int | None = None, limit: int = 200
    ) -> FailurePage:
        await self._enter("failures", filter, after)
        found = self._matching(filter)
        rest = [f for f in found if f.id > (after or 0)]
        page = tuple(rest[:limit])
        return FailurePage(total=len(found), items=page, next=page[-1].id if len(rest) > limit else None)

    async def failure_clusters(self, filter: FailureFilter) -> Sequence[FailureCluster]:
        await self._enter("failure_clusters", filter)
        groups: dict[tuple[str, str, str], list[Failure]] = {}
        for failure in self._matching(filter):
            groups.setdefault((failure.kind, failure.cause, failure.stage), []).append(failure)
        return [
            FailureCluster(kind=kind, cause=cause, stage=stage, count=len(held), first_at=held[0].first_at,
                           last_at=held[0].last_at, tables=tuple(sorted({f.table for f in held})),
                           sample=held[0])
            for (kind, cause, stage), held in groups.items()
        ]  # fmt: skip

    async def failure_preview(self, failure_id: int) -> Preview:
        await self._enter("failure_preview", failure_id)
        failure = next(f for f in self.failures_held if f.id == failure_id)
        return await self.preview(failure.table, failure.key or None)

    async def retry(self, filter: FailureFilter, *, canary: int | None = None) -> RetryReport:
        await self._enter("retry", filter, canary)
        chosen = [f for f in self._matching(filter) if f.status == "open"][:canary]
        mended = {f.id for f in chosen if f.cause != "null_key"}
        self.failures_held = [
            replace(f, status="resolved") if f.id in mended else f for f in self.failures_held
        ]
        return RetryReport(len(chosen), len(mended), len(chosen) - len(mended))

    async def dismiss(self, filter: FailureFilter, note: str) -> int:
        await self._enter("dismiss", filter, note)
        ids = {f.id for f in self._matching(replace(filter, statuses=("open",)))}
        self.failures_held = [
            replace(f, status="dismissed", note=note) if f.id in ids else f for f in self.failures_held
        ]
        return len(ids)

    async def export_failures(self, filter: FailureFilter, path: Path) -> int:
        await self._enter("export_failures", filter, path)
        found = self._matching(filter)
        path.write_text("\n".join(f.message for f in found), encoding="utf-8")
        return len(found)

    # -- verify and search -----------------------------------------------------------------------------------

    async def verify(
        self,
        tables: Sequence[str] | None = None,
        *,
        deep: bool = False,
        repair: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VerifyReport:
        if on_progress:
            on_progress("photos", 26, 49)
        await self._enter("verify", tables, deep, repair)
        if repair:
            self.differences = False
        found = tuple(
            TableDifference(
                t.name,
                source=t.row_count,
                indexed=t.row_count - 5 * (t.name == "photos"),
                failed=3 * (t.name == "photos"),
                missing=2 * (t.name == "photos" and self.differences),
                missing_ids=("562949953421312", "562949953421999")
                if t.name == "photos" and self.differences
                else (),
            )
            for t in self._schema.tables
            if t.readable
        )
        return VerifyReport(deep, found, repaired=2 if repair else 0)

    async def search(
        self,
        text: str,
        *,
        table: str | None = None,
        project: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> SearchPage:
        await self._enter("search", text, table, project, offset)
        if text == "nothing":
            return SearchPage(0, ())
        hits = [
            Hit(f"{name}:{n}", name, str(n), 12.5 - n / 10, f"…{snippet} {text} {n}", {})
            for n in range(30)
            for name, snippet in (("rfis", "Slab edge at grid C/7"), ("photos", "North elevation, parapet"))
            if table in {None, name}
        ]
        return SearchPage(len(hits), tuple(hits[offset : offset + limit]))

    async def show(self, doc_id: str) -> Mapping[str, Any] | None:
        await self._enter("show", doc_id)
        table, _, key = doc_id.partition(":")
        preview = await self.preview("rfis" if table == "projects" else table, key)
        return {**preview.document, "doc_id": doc_id, "source_table": table, "source_id": key}

    async def related(self, doc_id: str) -> Sequence[Related]:
        await self._enter("related", doc_id)
        if doc_id.startswith("projects:"):
            return []
        return [
            Related(
                "out", "project", "projects:562949953521312", "projects", "562949953521312", True, "Mill St"
            ),
            Related("out", "assignee", "company_users:77", "company_users", "77", False),
            Related("in", "rfi", "change_events:9", "change_events", "9", True, "Slab edge: cost of rework"),
        ]

    async def files_of(self, doc_id: str) -> Sequence[Mapping[str, Any]]:
        await self._enter("files_of", doc_id)
        return self.files_held

    async def fetched_files(self, file_ids: Sequence[str]) -> Mapping[str, Path]:
        return {name: self.fetched[name] for name in file_ids if name in self.fetched}


def request(**changes: Any) -> JobRequest:
    """A full job of everything."""
    return replace(JobRequest(kind=JobKind.FULL, plan=Plan()), **changes)
