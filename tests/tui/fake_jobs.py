"""The double's jobs: they move by steps, and tell the core's own events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ingestion import events, plan, progress
from ingestion.events import Counts, FileCounts
from ingestion.plan import Plan
from ingestion.reports import JobReport, JobRequest, TableReport
from ingestion.run_view import FINISHED, RunView
from ingestion.schema_discovery import SchemaMap
from ingestion.state.types import Job

START = datetime(2026, 1, 31, 8, 5, tzinfo=UTC).timestamp()
BATCH = 250
WORKERS = 3


class Clock:
    """Epoch seconds that move only when told."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Run:
    """A job that moves by steps."""

    job: Job
    view: RunView
    events: list[events.Event]
    rows: dict[str, int]
    done: dict[str, int]
    commands: list[str]
    paused: bool = False


class FakeJobs:
    """Jobs of the double; `past` are those that ended before the test began."""

    clock: Clock
    runs: dict[str, Run]
    past: list[Job]
    _schema: SchemaMap

    async def _enter(self, name: str, *args: Any) -> None:
        raise NotImplementedError

    def _chosen(self, chosen: Plan) -> list[str]:
        names = [t.name for t in self._schema.tables]
        return plan.select(names, chosen.include, chosen.exclude) if chosen.include else []

    async def start_job(self, request: JobRequest) -> str:
        await self._enter("start_job", request)
        if request.resume is not None:
            run = self.runs.get(request.resume) or self._past_run(request.resume)
            run.job = replace(run.job, status="running", finished_at=None)
            self._emit(run, events.JobStarted(job_id=run.job.id, kind=run.job.kind, resumed=True,
                                              tables=self._totals(run.rows)))  # fmt: skip
            return run.job.id
        job_id = f"20260131-0805{len(self.runs):02d}-{request.kind.value}-7f3e"
        rows = {name: self._schema.table(name).row_count for name in self._chosen(request.plan)}
        job = Job(id=job_id, kind=request.kind.value, plan=request.plan.to_dict(), status="running",
                  ordinal=2 + len(self.runs), created_at=self.clock(), started_at=self.clock())  # fmt: skip
        run = Run(job, RunView(job_id=job_id, kind=job.kind), [], rows, dict.fromkeys(rows, 0), [])
        self.runs[job_id] = run
        self._emit(run, events.JobStarted(job_id=job_id, kind=job.kind, tables=self._totals(rows)))
        return job_id

    def _past_run(self, job_id: str) -> Run:
        job = next(job for job in self.past if job.id == job_id)
        rows = {t.name: t.row_count for t in self._schema.tables}
        run = Run(job, RunView(job_id=job_id, kind=job.kind), [], rows, dict.fromkeys(rows, 0), [])
        self.runs[job_id] = run
        self.past.remove(job)
        return run

    def _totals(self, rows: Mapping[str, int]) -> tuple[events.TableTotal, ...]:
        return tuple(events.TableTotal(table=name, rows=count) for name, count in rows.items())

    def _emit(self, run: Run, event: events.Event) -> None:
        event = replace(event, seq=len(run.events) + 1, time=self.clock())
        run.events.append(event)
        run.view = progress.reduce(run.view, event, self.clock())

    def step(self, times: int = 1, *, seconds: float = 0.5) -> None:
        """Move every running job: each step commits one batch of up to three tables."""
        for _ in range(times):
            self.clock.now += seconds
            for run in self.runs.values():
                if run.job.status == "running" and not run.paused:
                    self._step(run)

    def _step(self, run: Run) -> None:
        job_id = run.job.id
        if "stop" in run.commands:
            self._finish(run, "cancelled", "stopped at its checkpoint")
            return
        open_tables = [n for n in run.rows if run.view.tables[n].state not in FINISHED]
        for name in open_tables[:WORKERS]:
            if f"skip {name}" in run.commands:
                self._emit(run, events.TableFinished(job_id=job_id, table=name, status="skipped"))
                continue
            if run.view.tables[name].state == "pending":
                self._emit(run, events.TableStarted(job_id=job_id, table=name, rows=run.rows[name],
                                                    method="block ranges"))  # fmt: skip
            size = min(BATCH, run.rows[name] - run.done[name])
            run.done[name] += size
            failed = 1 if name in {"photos", "change_orders", "documents"} and size else 0
            warned = 2 if name in {"change_events", "drawings"} and size else 0
            if failed:
                self._emit(run, events.RecordFailed(job_id=job_id, table=name, key=str(run.done[name]),
                                                    stage="index", cause="vespa_refused",
                                                    message="field 'taken_at' refused: infinity"))  # fmt: skip
            counts = Counts(read=size, indexed=size - failed, failed=failed, warned=warned)
            self._emit(run, events.BatchCommitted(job_id=job_id, table=name, counts=counts))
            if name == "photos":
                self._emit(run, events.FilesCommitted(job_id=job_id, table=name,
                                                      files=FileCounts(found=size, downloaded=size - 2, failed=2,
                                                                       size_bytes=size * 90_000)))  # fmt: skip
            if run.done[name] >= run.rows[name]:
                total = run.view.tables[name].counts
                status = "partial" if total.failed else "completed"
                self._emit(run, events.TableFinished(job_id=job_id, table=name, status=status, counts=total))
        if all(table.state in FINISHED for table in run.view.tables.values()):
            status = "partial" if run.view.counts.failed else "completed"
            self._finish(run, status, "")

    def _finish(self, run: Run, status: str, message: str) -> None:
        end = events.JobFinished(job_id=run.job.id, status=status, message=message, counts=run.view.counts)
        self._emit(run, end)
        run.job = replace(run.job, status=status, finished_at=self.clock(), message=message)

    async def run_view(self, job_id: str) -> RunView | None:
        await self._enter("run_view", job_id)
        run = self.runs.get(job_id)
        if run is not None:
            return progress.at(run.view, self.clock())
        job = next((job for job in self.past if job.id == job_id), None)
        if job is None:
            return None
        totals = Counts(**(job.report or {})["totals"])
        return RunView(job_id=job_id, kind=job.kind, status=job.status, started_at=job.started_at,
                       finished_at=job.finished_at, message=job.message, counts=totals, expected=48_389,
                       remaining=48_389 - totals.read)  # fmt: skip

    async def events_since(self, job_id: str, seq: int, limit: int = 500) -> Sequence[events.Event]:
        run = self.runs.get(job_id)
        return run.events[seq : seq + limit] if run is not None else []

    async def pause(self, job_id: str) -> None:
        await self._enter("pause", job_id)
        run = self.runs[job_id]
        run.paused = True
        run.job = replace(run.job, status="paused")
        self._emit(run, events.JobPaused(job_id=job_id))

    async def resume(self, job_id: str) -> None:
        await self._enter("resume", job_id)
        run = self.runs[job_id]
        run.paused = False
        run.job = replace(run.job, status="running")
        self._emit(run, events.JobResumed(job_id=job_id))

    async def stop(self, job_id: str) -> None:
        await self._enter("stop", job_id)
        self.runs[job_id].commands.append("stop")

    async def skip(self, job_id: str, table: str) -> None:
        await self._enter("skip", job_id, table)
        self.runs[job_id].commands.append(f"skip {table}")

    async def jobs(self, limit: int = 200) -> Sequence[Job]:
        await self._enter("jobs")
        return [*(run.job for run in reversed(self.runs.values())), *self.past][:limit]

    async def job_report(self, job_id: str) -> JobReport | None:
        await self._enter("job_report", job_id)
        run = self.runs.get(job_id)
        if run is not None:
            tables = tuple(TableReport(t.table, t.state, t.counts) for t in run.view.tables.values())
            return JobReport(job_id, run.job.kind, run.job.status, run.view.worked_s, tables, run.view.files)
        tables = tuple(
            TableReport(
                t.name,
                "partial" if t.name in {"photos", "rfis"} else "completed",
                Counts(read=t.row_count, indexed=t.row_count - 3 * (t.name == "photos"),
                       failed=3 * (t.name == "photos")),
            )
            for t in self._schema.tables
        )  # fmt: skip
        job = next((job for job in self.past if job.id == job_id), None)
        return None if job is None else JobReport(job_id, job.kind, job.status, 89.0, tables, FileCounts())
