"""`demo`: the whole job on the sandbox, in the application or without a screen."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from app.cli import Invocation
from app.commands.application import open_application
from app.commands.ingest import report_text, run_job
from app.commands.verify import to_text
from app.exit_codes import ExitCode
from ingestion.jobs import job_reports
from ingestion.plan import Plan
from ingestion.reports import JobReport, JobRequest
from ingestion.service import IngestService

_ACTIVE = ("pending", "running", "paused")


async def run(inv: Invocation) -> ExitCode:
    """Bring the sandbox up, do the job, take the sandbox down again unless --keep."""
    from ingestion.sandbox import sandbox

    home = sandbox.default_home()
    headless = inv.args.headless or inv.out.as_json or not (sys.stdin.isatty() and sys.stdout.isatty())
    was_up = await asyncio.to_thread(sandbox.status, home) is not None
    info = await sandbox.up(home, scale=inv.args.scale, seed=inv.args.seed, on_progress=inv.out.say)
    # A sandbox that ran before belongs to whoever started it.
    keep = inv.args.keep or was_up
    try:
        service = IngestService(sandbox.settings_on(inv.settings, info), sandbox=True, own=inv.settings)
        if headless:
            async with service:
                return await _headless(inv, service, info)
        code = await open_application(inv, service)
        keep = keep or await _still_running(inv, info)
        return code
    finally:
        if not keep:
            await asyncio.shield(asyncio.to_thread(sandbox.down, home))
        else:
            inv.out.say("the sandbox stays up; `procore-ingest sandbox down` stops it")


async def _headless(inv: Invocation, service: IngestService, info: Any) -> ExitCode:
    """Discover, ingest in full with files, verify, report; 0 when the failures are exactly the planted ones."""
    from ingestion.sandbox import manifest_check

    out = inv.out
    out.say("discovering")
    schema = await service.discover(on_progress=None)
    rows = sum(table.row_count for table in schema.tables)
    out.say(
        f"{len(schema.tables)} tables, {rows:,} rows, {len(schema.relationships)} implied relations; ingesting"
    )
    report = await run_job(inv, service, JobRequest(plan=Plan(download_files=True)))
    if report.status == "cancelled":
        out.say(f"stopped at its checkpoint; job {report.job_id} can be resumed while the sandbox is kept")
        return ExitCode.CANCELLED
    out.say("verifying")
    verified = await service.verify()
    surprises = await manifest_check.surprises(service, info.manifest, report)
    if out.as_json:
        out.json(job_reports.to_json(report))
    else:
        out.data(_text(report, to_text(verified), surprises))
    for line in surprises[:20]:
        out.say(line)
    good = report.status in ("completed", "partial") and verified.equal and not surprises
    return ExitCode.DONE if good else ExitCode.INCOMPLETE


def _text(report: JobReport, verified: str, surprises: list[str]) -> str:
    ending = (
        "every failed or skipped row is one that the sample plants on purpose"
        if not surprises
        else f"{len(surprises)} outcomes are not those that the sample plants"
    )
    return f"{report_text(report)}\n\n{verified.splitlines()[-1]}\n{ending}"


async def _still_running(inv: Invocation, info: Any) -> bool:
    """Whether a job that was detached goes on; its services must then stay."""
    from ingestion.sandbox import sandbox

    async with IngestService(sandbox.settings_on(inv.settings, info)) as service:
        running = [job.id for job in await service.jobs(limit=5) if job.status in _ACTIVE]
    if running:
        inv.out.say(f"job {running[0]} goes on in the background")
    return bool(running)
