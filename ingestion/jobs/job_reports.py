"""How a job went, put together from the state: the same for a job that runs, ended or was killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestion.events import FileCounts
from ingestion.reports import JobReport, TableReport
from ingestion.state.store import StateStore
from ingestion.state.types import Job

_COUNTED = ("read", "indexed", "failed", "skipped", "warned")


async def of_job(state: StateStore, job_id: str) -> JobReport | None:
    """The counts so far of a running job, the final ones of an ended one; None for an unknown id."""
    job = await state.find_job(job_id)
    return None if job is None else await _report(state, job)


async def _report(state: StateStore, job: Job) -> JobReport:
    tables = await state.job_tables(job.id)
    ended = job.finished_at or max(
        (t.finished_at or t.started_at or 0.0 for t in tables), default=job.started_at or 0.0
    )
    return JobReport(
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        seconds=max(0.0, ended - job.started_at) if job.started_at else 0.0,
        tables=tuple(TableReport(t.table, t.status, t.counts, t.message) for t in tables),
        files=sum((t.files for t in tables), FileCounts()),
        message=job.message,
        state_path=str(state.path),
        metrics=(job.report or {}).get("metrics", {}),
    )


def to_json(report: JobReport) -> Mapping[str, Any]:
    """The object that `ingest --json` prints; its keys are stable."""
    return {
        "job_id": report.job_id,
        "status": report.status,
        "kind": report.kind,
        "seconds": round(report.seconds, 3),
        "tables": [{"table": t.table, **_counted(t.counts)} for t in report.tables],
        "totals": _counted(report.counts),
        "files": {
            "found": report.files.found,
            "downloaded": report.files.downloaded,
            "failed": report.files.failed,
            "skipped": report.files.skipped,
        },
    }


def _counted(counts: Any) -> dict[str, int]:
    return {name: getattr(counts, name) for name in _COUNTED}
