"""`sync`: incremental cycles, once or until stopped, and how fresh each table is."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from app.cli import Invocation
from app.commands.ingest import ended, exit_code_of, plan_of, run_job
from app.exit_codes import ExitCode
from app.formatting import duration
from app.output import table
from ingestion import errors
from ingestion.reports import JobKind, JobRequest
from ingestion.service import IngestService

_NEVER = datetime.fromtimestamp(0, UTC)
"""What a checkpoint says while a table's first sync has not reached its end."""


async def run(inv: Invocation) -> ExitCode:
    """Do what --once, --daemon or --status asks."""
    if inv.args.status:
        return await _status(inv)
    request = JobRequest(JobKind.INCREMENTAL, plan_of(inv), None, inv.args.allow_mass_delete)
    async with IngestService(inv.settings) as service:
        if inv.args.once:
            return ended(inv, await run_job(inv, service, request))
        return await _daemon(inv, service, request)


async def _daemon(inv: Invocation, service: IngestService, request: JobRequest) -> ExitCode:
    """Cycle until a signal; a cycle that fails is said and tried again at the next interval."""
    inv.out.say(f"a cycle every {inv.args.interval:g} s; Ctrl-C ends at the next checkpoint")
    cycles = 0
    while not inv.stop.is_set():
        cycles += 1
        try:
            report = await run_job(inv, service, request)
            code = exit_code_of(report)
            c = report.counts
            inv.out.say(
                f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {report.status}: {c.read:,} examined, "
                f"{c.indexed:,} indexed ({c.inserted:,} new, {c.updated:,} changed), "
                f"{c.deleted:,} removed, {c.failed:,} failed "
                f"in {report.seconds:.1f} s (exit code {int(code)})"
            )
        except asyncio.CancelledError:
            if not inv.stop.is_set():
                raise
            break
        except (errors.ConnectionError, errors.IndexError) as error:
            inv.out.say(f"this cycle failed: {error}; the next one tries again")
        except errors.WriterLocked as error:
            if cycles == 1:
                raise
            inv.out.say(f"{error} The next cycle tries again.")
        with suppress(TimeoutError):
            await asyncio.wait_for(inv.stop.wait(), inv.args.interval)
    inv.out.say("stopped")
    if inv.out.as_json:
        inv.out.json({"cycles": cycles})
    return ExitCode.DONE


async def _status(inv: Invocation) -> ExitCode:
    async with IngestService(inv.settings) as service:
        checkpoints = await service.checkpoints()
        schema = await service.schema()
        newest = next(iter(await service.jobs(limit=1)), None)
    if inv.out.as_json:
        inv.out.json({"items": checkpoints})
        return ExitCode.DONE
    if not checkpoints:
        inv.out.say("nothing was synced yet; `procore-ingest ingest --full` is the beginning")
        return ExitCode.DONE
    now = datetime.now(UTC)
    synced = {c.table_name: c.last_sync_timestamp for c in checkpoints if c.last_sync_timestamp > _NEVER}

    def age(name: str) -> str:
        return duration(max(0.0, (now - synced[name]).total_seconds()))

    rows = [
        (
            c.table_name,
            c.sync_status,
            f"{age(c.table_name)} ago" if c.table_name in synced else "never",
            c.last_sync_timestamp.isoformat().replace("+00:00", "Z") if c.table_name in synced else "",
            c.error_message,
        )
        for c in checkpoints
    ]
    known = {c.table_name for c in checkpoints}
    waiting = [t.name for t in (schema.tables if schema else ()) if t.name not in known]
    rows += [(name, "pending", "never", "", None) for name in waiting]
    inv.out.data(table(("table", "status", "current to", "time", "message"), rows))
    if synced:
        oldest = min(synced, key=lambda name: synced[name])
        inv.out.data(
            f"\nno commit older than {age(oldest)} is missing in synced tables; {oldest} is the oldest"
        )
    if newest is not None:
        inv.out.data(f"newest job: {newest.id}, {newest.kind}, {newest.status}")
    return ExitCode.DONE
