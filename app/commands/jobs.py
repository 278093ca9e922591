"""`jobs`: running and past jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.cli import Invocation
from app.commands.ingest import report_text
from app.exit_codes import ExitCode
from app.formatting import duration
from app.output import iso, table
from ingestion import errors
from ingestion.jobs import job_reports
from ingestion.service import IngestService
from ingestion.state.types import Job

_TIMES = ("created_at", "started_at", "finished_at")


async def run(inv: Invocation) -> ExitCode:
    """List all, or show one."""
    async with IngestService(inv.settings) as service:
        if inv.args.action == "show":
            report = await service.job_report(inv.args.job)
            if report is None:
                raise errors.SettingsError(
                    f"there is no job {inv.args.job!r}", hint="`procore-ingest jobs list` lists them."
                )
            if inv.out.as_json:
                inv.out.json({**job_reports.to_json(report), "metrics": report.metrics})
            else:
                inv.out.data(report_text(report))
            return ExitCode.DONE
        jobs = await service.jobs()
    if inv.out.as_json:
        inv.out.json({"items": [_members(job) for job in jobs]})
        return ExitCode.DONE
    rows = [
        (
            job.id,
            job.kind,
            job.status,
            iso(job.started_at),
            duration(job.finished_at - job.started_at) if job.finished_at and job.started_at else "",
            job.message,
        )
        for job in jobs
    ]
    if rows:
        inv.out.data(table(("job", "kind", "status", "started", "took", "message"), rows))
    else:
        inv.out.say("no jobs yet; `procore-ingest ingest --full` runs one")
    return ExitCode.DONE


def _members(job: Job) -> dict[str, Any]:
    """The dataclass, its times as ISO."""
    return {**asdict(job), **{name: iso(getattr(job, name)) for name in _TIMES}}
