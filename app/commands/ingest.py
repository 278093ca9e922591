"""`ingest`: run a sync job here, with progress, to its end."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from app.progress_output import Narrator, Steps
from ingestion import errors
from ingestion import plan as plans
from ingestion.jobs import job_reports
from ingestion.plan import Plan
from ingestion.reports import JobKind, JobReport, JobRequest
from ingestion.service import IngestService

_COUNTED = ("read", "indexed", "failed", "skipped", "warned")
_CHANGES = ("inserted", "updated", "deleted")
"""What an incremental job says besides; of a full one it would say no more than `indexed`."""


async def run(inv: Invocation) -> ExitCode:
    """Run the job that the flags and the plan describe."""
    args = inv.args
    _check_resume(inv)
    plan = plan_of(inv)
    kind = JobKind.INCREMENTAL if args.incremental else JobKind.FULL
    request = JobRequest(kind, plan, args.resume, args.allow_mass_delete)
    async with IngestService(inv.settings) as service:
        if args.dry_run:
            return await _dry_run(inv, service, plan)
        report = await run_job(inv, service, request, inv.steps())
    return ended(inv, report)


_OF_THE_JOB = (
    "tables", "exclude", "plan", "batch_size", "workers", "download_files", "file_workers", "allow_mass_delete",
)  # fmt: skip


def _check_resume(inv: Invocation) -> None:
    """A job goes on with the plan that it has: a flag that would change it is refused, not ignored."""
    if inv.args.resume is None:
        return
    if inv.args.dry_run:
        raise errors.SettingsError("--dry-run goes with --full or --incremental", hint="Leave out --resume.")
    given = [name for name in _OF_THE_JOB if getattr(inv.args, name, None)]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise errors.SettingsError(
            f"--resume goes on with the job's own plan; {flag} cannot change it",
            hint=f"Leave out {flag}, or start a new job with --full.",
        )


def plan_of(inv: Invocation) -> Plan:
    """The plan of --plan, or an empty one, with the flags in place of its values."""
    args = inv.args
    plan = plans.read(Path(args.plan)) if getattr(args, "plan", None) else Plan()
    include = tuple(name for part in args.tables or () for name in part)
    exclude = tuple(name for part in args.exclude or () for name in part)
    return plan.override(
        include=include or None,
        exclude=exclude or None,
        download_files=args.download_files,
        batch_size=getattr(args, "batch_size", None),
        workers=getattr(args, "workers", None),
        file_workers=getattr(args, "file_workers", None),
    )


async def run_job(
    inv: Invocation, service: IngestService, request: JobRequest, steps: Steps | None = None
) -> JobReport:
    """Run a job with progress; the first Ctrl-C stops it at its checkpoint. `steps` tells of what comes before."""
    narrator = Narrator(inv.out, inv.args.progress or "auto")
    try:
        return await service.run_job(request, publish=narrator.publish, stop=inv.stop, on_progress=steps)
    finally:
        narrator.close()


def ended(inv: Invocation, report: JobReport) -> ExitCode:
    """Print the report and give the job's exit code, also when nobody reads the report."""
    out, code = inv.out, exit_code_of(report)
    out.code_if_unread = code
    if not report.tables:
        out.say("The database has no tables that this role can see.")
    if out.as_json:
        out.json(job_reports.to_json(report))
        if report.metrics:
            out.say(metrics_text(report))
    elif inv.args.progress == "jsonl":
        out.say(report_text(report))  # stdout carries the events, one JSON object a line
    else:
        out.data(report_text(report))
    return code


def exit_code_of(report: JobReport) -> ExitCode:
    """What a job's end means for a script."""
    counts = report.counts
    if report.status == "cancelled":
        return ExitCode.CANCELLED
    nothing = not (counts.indexed or counts.skipped or counts.deleted)
    if nothing and (report.status == "failed" or counts.failed):
        return ExitCode.NOTHING
    if report.status == "completed" and counts.failed == 0 and report.files.failed == 0:
        return ExitCode.DONE
    return ExitCode.INCOMPLETE


def report_text(report: JobReport) -> str:
    """The end report: each table, the sums, files, seconds, and where the state is."""
    counted = _COUNTED + (_CHANGES if report.kind == "incremental" else ())
    rows = [(t.table, t.status, *(getattr(t.counts, name) for name in counted)) for t in report.tables]
    c = report.counts
    rows.append(("total", report.status, *(getattr(c, name) for name in counted)))
    f = report.files
    lines = [
        table(("table", "status", *counted), rows, numbers=frozenset(range(2, 2 + len(counted)))),
        "",
        f"files: {f.found:,} found, {f.downloaded:,} downloaded, {f.failed:,} failed, {f.skipped:,} skipped",
        f"job {report.job_id} {report.status} in {report.seconds:.1f} s; state in {report.state_path}",
    ]
    if report.metrics:
        lines.append(metrics_text(report))
    if report.message:
        lines.append(report.message)
    if c.failed or f.failed:
        lines.append("`procore-ingest failures list` shows the failures, `failures retry` tries them again.")
    if c.deleted:
        lines.append(f"{c.deleted:,} documents of rows that are gone were removed")
    return "\n".join(lines)


def metrics_text(report: JobReport) -> str:
    """Rows a second, and what Vespa asked of us, on one line."""
    m = report.metrics
    parts = ("p50", "p95", "p99")
    latencies = ", ".join(f"{part} {m[f'latency_{part}_ms']:g} ms" for part in parts)
    return (
        f"{m['rows_per_s']:,.0f} rows/s; {m['operations']:,} operations of Vespa ({latencies}), "
        f"{m['retries']:,} retries, {m['backoffs']:,} backoffs, {m['backoff_s']:,.1f} s of waits"
    )


async def _dry_run(inv: Invocation, service: IngestService, plan: Plan) -> ExitCode:
    await service.discover()
    estimate = await service.estimate(plan)
    samples = {}
    for item in estimate.tables:
        # Without rows, or without rights: there is no document to show.
        with suppress(errors.SchemaError):
            samples[item.table] = (await service.preview(item.table, plan=plan)).document
    if inv.out.as_json:
        inv.out.json({"estimate": estimate, "documents": samples})
        return ExitCode.DONE
    rate = estimate.rows / estimate.seconds if estimate.seconds else 1.0
    rows = [
        (t.table, t.rows, t.size_bytes, t.rows, f"{t.rows / rate:,.1f}", t.file_columns)
        for t in estimate.tables
    ]
    headers = ("table", "rows", "bytes", "documents", "seconds", "file columns")
    inv.out.data(table(headers, rows, numbers=frozenset(range(1, 6))))
    inv.out.data(
        f"\n{estimate.rows:,} rows, as many documents at most, {estimate.size_bytes / 2**20:,.1f} MiB, "
        f"about {estimate.seconds:,.0f} s; nothing was written"
    )
    for source, column, target in estimate.dangling:
        inv.out.data(f"{source}.{column} refers to {target}, which is left out")
    for item in estimate.tables:
        document = samples.get(item.table)
        if document is None:
            inv.out.data(f"\n{item.table}: no row that could be shown as a document")
        else:
            shown = json.dumps(document, indent=2, ensure_ascii=False, default=str)
            inv.out.data(f"\n{item.table}: its first row as a document\n{shown}")
    return ExitCode.DONE
