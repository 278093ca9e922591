"""Jobs: what was asked, who runs it, how it ended."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ingestion import errors
from ingestion.events import JobFinished
from ingestion.state.connection import StateConnection, Transaction, dumps, loads, no_such_job
from ingestion.state.event_log import append
from ingestion.state.job_tables import totals
from ingestion.state.runner import Runner, is_gone, this_process
from ingestion.state.types import ACTIVE, JOB_KINDS, STATUSES, Job

ID_ATTEMPTS: Final = 5
"""Ids end in four random hex digits; two jobs of one second rarely meet."""

_COLUMNS: Final = """id, kind, plan, status, ordinal, pid, host, process_start, created_at, started_at, finished_at,
    message, report"""
# A new job.
CREATE: Final = """INSERT INTO jobs (id, kind, plan, status, pid, host, process_start, created_at)
    VALUES (:id, :kind, :plan, 'pending', :pid, :host, :process_start, :now)"""
# One job by its id.
GET: Final = f"SELECT {_COLUMNS} FROM jobs WHERE id = :job"
# Jobs, newest first.
PAGE: Final = f"""SELECT {_COLUMNS} FROM jobs WHERE :before IS NULL OR ordinal < :before
    ORDER BY ordinal DESC LIMIT :limit"""
# Jobs that need a living process.
UNFINISHED: Final = (
    f"SELECT {_COLUMNS} FROM jobs WHERE status IN ('pending', 'running', 'paused') ORDER BY ordinal"
)
# A job begins, or goes on, in this process.
START: Final = """UPDATE jobs SET status = 'running', pid = :pid, host = :host, process_start = :process_start,
    started_at = coalesce(started_at, :now), finished_at = NULL, message = '' WHERE id = :job"""
# A job changes its status while it lives.
SET_STATUS: Final = "UPDATE jobs SET status = :status, message = :message WHERE id = :job"
# How a living job goes.
SET_REPORT: Final = """UPDATE jobs SET report = :report WHERE id = :job"""
# A job has ended.
FINISH: Final = """UPDATE jobs SET status = :status, message = :message, report = coalesce(:report, report),
    finished_at = :now WHERE id = :job"""
# Commands to a process that is gone are void.
DROP_COMMANDS: Final = "DELETE FROM job_commands WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)"
# Tables of a job that were under way when it ended.
STOP_TABLES: Final = """UPDATE job_tables SET status = :status, finished_at = :now
    WHERE job = (SELECT ordinal FROM jobs WHERE id = :job) AND status IN ('running', 'paused')"""
# Ended jobs beyond the newest ones, those that could still be resumed among them.
OLD_JOBS: Final = """SELECT ordinal FROM jobs WHERE status NOT IN ('pending', 'running', 'paused')
    ORDER BY ordinal DESC LIMIT -1 OFFSET :keep"""
# What goes with a pruned job. Its failures and ledger entries stay.
PRUNE: Final = (
    "DELETE FROM events WHERE job = :job",
    "DELETE FROM partitions WHERE job = :job",
    "DELETE FROM duplicates WHERE job = :job",
    "DELETE FROM row_hashes WHERE job = :job",
    "DELETE FROM job_commands WHERE job = :job",
    "DELETE FROM job_tables WHERE job = :job",
    "DELETE FROM jobs WHERE ordinal = :job",
)
# What a job needs only while it can still go on.
SCRATCH: Final = (
    "DELETE FROM partitions WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)",
    "DELETE FROM duplicates WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)",
    "DELETE FROM row_hashes WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)",
)

_NEXT: Final[Mapping[str, frozenset[str]]] = {
    "pending": STATUSES - {"pending"},
    "running": STATUSES - {"pending"},
    "paused": STATUSES - {"pending", "completed"},
    "completed": frozenset(),
    "partial": frozenset(),
    "failed": frozenset({"running"}),
    "cancelled": frozenset({"running"}),
    "interrupted": frozenset({"running"}),
}
"""Which status may follow which: whatever did not reach its end can be resumed."""


class Jobs(StateConnection):
    """A job whose process is gone reads `interrupted`, whether that has been stored or not."""

    async def create_job(self, kind: str, plan: Mapping[str, Any]) -> Job:
        """A pending job of this process, with a new sortable id such as `20261123-104512-ab3f`."""
        if kind not in JOB_KINDS:
            raise errors.StateError(f"There is no kind of job called {kind}: {', '.join(sorted(JOB_KINDS))}.")
        me = this_process()

        async def create(tx: Transaction) -> Job:
            for _ in range(ID_ATTEMPTS):
                job_id = new_job_id(tx.now)
                if await tx.one(GET, {"job": job_id}) is None:
                    break
            await tx.run(
                CREATE,
                {"id": job_id, "kind": kind, "plan": dumps(plan), "pid": me.pid, "host": me.host,
                 "process_start": me.start, "now": tx.now},
            )  # fmt: skip
            return await _get(tx, job_id)

        return await self._write(create)

    async def find_job(self, job_id: str) -> Job | None:
        """The job as it is now, None when there is none."""
        row = await self._read_one(GET, {"job": job_id})
        return None if row is None else shown(_job(row))

    async def get_job(self, job_id: str) -> Job:
        """The job as it is now. Raises StateError when there is none."""
        job = await self.find_job(job_id)
        if job is None:
            raise no_such_job(job_id)
        return job

    async def list_jobs(self, limit: int = 100, before: int | None = None) -> list[Job]:
        """Newest first; `before` is the `ordinal` of the last job of the page before."""
        rows = await self._read(PAGE, {"before": before, "limit": limit})
        return [shown(_job(row)) for row in rows]

    async def start_job(self, job_id: str) -> Job:
        """Running, in this process; also how an interrupted, cancelled or failed job goes on.

        Raises StateError when the job has reached its end, or another process that lives is running it.
        """
        me = this_process()

        async def start(tx: Transaction) -> Job:
            job = await _get(tx, job_id)
            alive = job.status in {"running", "paused"} and not _runner_gone(job)
            if alive and (job.pid, job.process_start) != (me.pid, me.start):
                raise errors.StateError(
                    f"Job {job_id} is {job.status} in process {job.pid} on {job.host}.",
                    hint="Stop it there, or follow it.",
                )
            _check(job, "running")
            await tx.run(DROP_COMMANDS, {"job": job_id})
            await tx.run(
                START,
                {"job": job_id, "pid": me.pid, "host": me.host, "process_start": me.start, "now": tx.now},
            )
            return await _get(tx, job_id)

        return await self._write(start)

    async def set_job_status(self, job_id: str, status: str, message: str = "") -> None:
        """Move a living job, such as to `paused`. Raises StateError for a move that its state does not allow."""

        async def move(tx: Transaction) -> None:
            _check(await _get(tx, job_id), status)
            await tx.run(SET_STATUS, {"job": job_id, "status": status, "message": message})

        await self._write(move)

    async def set_job_report(self, job_id: str, report: Mapping[str, Any]) -> None:
        """Store how a job goes, for whoever asks while it runs; `finish_job` replaces it."""
        params = {"job": job_id, "report": dumps(report)}
        await self._write(lambda tx: tx.run(SET_REPORT, params))

    async def finish_job(
        self, job_id: str, status: str, report: Mapping[str, Any] | None = None, message: str = ""
    ) -> None:
        """Store how the job ended; `completed` and `partial` also drop what only a resume would need."""

        async def finish(tx: Transaction) -> None:
            _check(await _get(tx, job_id), status)
            await _finish(tx, job_id, status, report, message)
            if status in {"completed", "partial"}:
                for statement in SCRATCH:
                    await tx.run(statement, {"job": job_id})

        await self._write(finish)

    async def settle_interrupted(self) -> list[Job]:
        """Store `interrupted`, with a last event, for jobs whose process is gone; returns them."""

        async def settle(tx: Transaction) -> list[Job]:
            settled = []
            for job in map(_job, await tx.rows(UNFINISHED)):
                if not _runner_gone(job):
                    continue
                message = f"Process {job.pid} ended without a word."
                await _finish(tx, job.id, "interrupted", None, message)
                counts, files = await totals(tx, job.ordinal)
                seconds = max(0.0, tx.now - (job.started_at or job.created_at))
                event = JobFinished(
                    job_id=job.id,
                    status="interrupted",
                    counts=counts,
                    files=files,
                    seconds=seconds,
                    message=message,
                )
                await append(tx, job.id, [event])
                settled.append(await _get(tx, job.id))
            return settled

        if not any(_runner_gone(_job(row)) for row in await self._read(UNFINISHED)):
            return []
        return await self._write(settle)

    async def prune_jobs(self, keep: int = 200) -> int:
        """Drop events, partitions and rows of ended jobs beyond the newest `keep`; returns how many jobs."""

        async def prune(tx: Transaction) -> int:
            old = await tx.rows(OLD_JOBS, {"keep": keep})
            for row in old:
                for statement in PRUNE:
                    await tx.run(statement, {"job": row["ordinal"]})
            return len(old)

        return await self._write(prune)


def new_job_id(now: float) -> str:
    """`20261123-104512-ab3f`: sorts by time, short enough to type."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def shown(job: Job) -> Job:
    """As it is now: `interrupted` when its process is gone."""
    if not _runner_gone(job):
        return job
    return replace(job, status="interrupted", message=f"Process {job.pid} ended without a word.")


async def _finish(tx: Transaction, job_id: str, status: str, report: Any, message: str) -> None:
    text = None if report is None else dumps(report)
    await tx.run(FINISH, {"job": job_id, "status": status, "message": message, "report": text, "now": tx.now})
    table_status = status if status in {"failed", "cancelled"} else "interrupted"
    await tx.run(STOP_TABLES, {"job": job_id, "status": table_status, "now": tx.now})
    await tx.run(DROP_COMMANDS, {"job": job_id})


async def _get(tx: Transaction, job_id: str) -> Job:
    row = await tx.one(GET, {"job": job_id})
    if row is None:
        raise no_such_job(job_id)
    return _job(row)


def _check(job: Job, status: str) -> None:
    if status not in STATUSES:
        raise errors.StateError(f"There is no job status called {status}.")
    if status != job.status and status not in _NEXT[job.status]:
        raise errors.StateError(
            f"Job {job.id} is {job.status} and cannot become {status}.",
            hint="See `procore-ingest jobs list`.",
        )
    if status == job.status == "completed":
        raise errors.StateError(f"Job {job.id} is completed already.", hint="Start a new one.")


def _runner_gone(job: Job) -> bool:
    return (
        job.status in ACTIVE and job.pid is not None and is_gone(Runner(job.pid, job.host, job.process_start))
    )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        plan=loads(row["plan"]),
        status=row["status"],
        ordinal=row["ordinal"],
        pid=row["pid"],
        host=row["host"],
        process_start=row["process_start"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        message=row["message"],
        report=None if row["report"] is None else loads(row["report"]),
    )
