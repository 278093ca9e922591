"""The tables of a job: what is settled of each so far."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ingestion.events import Counts, FileCounts
from ingestion.state.connection import StateConnection, Transaction, dumps, loads
from ingestion.state.types import JobTable

_COUNTS: Final = (
    "read",
    "indexed",
    "failed",
    "skipped",
    "warned",
    "deleted",
    "size_bytes",
    "inserted",
    "updated",
)
_FILES: Final = ("found", "downloaded", "failed", "skipped", "size_bytes")

_SUMS: Final = ", ".join(
    f"sum({name}) AS {name}" for name in (*_COUNTS, *(f"files_{name}" for name in _FILES))
)

# A table of a job, or a new order and expectation for one that is there.
PUT: Final = """INSERT INTO job_tables (job, table_id, ordinal, status, method, expected, exact, detail)
    VALUES (:job, :table_id, :ordinal, :status, :method, :expected, :exact, :detail)
    ON CONFLICT (job, table_id) DO UPDATE SET ordinal = excluded.ordinal, expected = excluded.expected,
        exact = excluded.exact"""
# Tables of a job in their order.
LIST: Final = """SELECT t.name, jt.* FROM job_tables jt JOIN tables t ON t.id = jt.table_id
    WHERE jt.job = (SELECT ordinal FROM jobs WHERE id = :job) ORDER BY jt.ordinal, t.name"""
# Move one table; a null leaves its field as it is.
MOVE: Final = """INSERT INTO job_tables (job, table_id, status, method, expected, exact, message, detail,
        started_at, finished_at)
    VALUES (:job, :table_id, coalesce(:status, 'pending'), coalesce(:method, ''), coalesce(:expected, 0),
        coalesce(:exact, 1), :message, coalesce(:detail, '{}'),
        CASE WHEN :status = 'running' THEN :now END, CASE WHEN :ended THEN :now END)
    ON CONFLICT (job, table_id) DO UPDATE SET status = coalesce(:status, status),
        method = coalesce(:method, method), expected = coalesce(:expected, expected),
        exact = coalesce(:exact, exact), message = :message, detail = coalesce(:detail, detail),
        started_at = CASE WHEN :status = 'running' THEN coalesce(started_at, :now) ELSE started_at END,
        finished_at = CASE WHEN :ended THEN :now WHEN :status IS NULL THEN finished_at END"""
# Add a batch's counts to its table.
ADD: Final = """INSERT INTO job_tables (job, table_id, status, read, indexed, failed, skipped, warned, deleted,
        size_bytes, inserted, updated, files_found, files_downloaded, files_failed, files_skipped,
        files_size_bytes, started_at)
    VALUES (:job, :table_id, 'running', :read, :indexed, :failed, :skipped, :warned, :deleted, :size_bytes,
        :inserted, :updated, :files_found, :files_downloaded, :files_failed, :files_skipped,
        :files_size_bytes, :now)
    ON CONFLICT (job, table_id) DO UPDATE SET read = read + :read, indexed = indexed + :indexed,
        failed = failed + :failed, skipped = skipped + :skipped, warned = warned + :warned,
        deleted = deleted + :deleted, size_bytes = size_bytes + :size_bytes,
        inserted = inserted + :inserted, updated = updated + :updated,
        files_found = files_found + :files_found, files_downloaded = files_downloaded + :files_downloaded,
        files_failed = files_failed + :files_failed, files_skipped = files_skipped + :files_skipped,
        files_size_bytes = files_size_bytes + :files_size_bytes"""
# Begin a table anew: its counts are nought again.
RESET: Final = """UPDATE job_tables SET read = 0, indexed = 0, failed = 0, skipped = 0, warned = 0, deleted = 0,
        size_bytes = 0, inserted = 0, updated = 0, files_found = 0, files_downloaded = 0, files_failed = 0,
        files_skipped = 0, files_size_bytes = 0
    WHERE job = :job AND table_id = :table_id"""
# All tables of a job together.
TOTALS: Final = f"""SELECT {_SUMS} FROM job_tables WHERE job = :job"""
# The number of a job; none when there is no such job.
ORDINAL: Final = "SELECT ordinal FROM jobs WHERE id = :job"

_ENDED: Final = frozenset({"completed", "partial", "failed", "cancelled", "interrupted", "skipped"})


class JobTables(StateConnection):
    """Counts move only with the batch that they count (`commit_batch`)."""

    async def set_job_tables(self, job_id: str, tables: Sequence[JobTable]) -> None:
        """Name the job's tables, numbered in this order; status and counts of those already there stay."""

        async def put(tx: Transaction) -> None:
            job = await tx.job(job_id)
            for ordinal, table in enumerate(tables):
                await tx.run(
                    PUT,
                    {"job": job, "table_id": await tx.table_id(table.table), "ordinal": ordinal,
                     "status": table.status, "method": table.method, "expected": table.expected,
                     "exact": table.exact, "detail": dumps(table.detail)},
                )  # fmt: skip

        await self._write(put)

    async def job_tables(self, job_id: str) -> list[JobTable]:
        """In the job's order; empty when there is no such job."""
        return [_job_table(job_id, row) for row in await self._read(LIST, {"job": job_id})]

    async def set_job_table(
        self,
        job_id: str,
        table: str,
        status: str,
        *,
        message: str = "",
        method: str | None = None,
        expected: int | None = None,
        exact: bool | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Move one table; None leaves a field as it is. The first `running` stamps its start, an end its end."""

        async def write(tx: Transaction) -> None:
            await move(
                tx, await tx.job(job_id), await tx.table_id(table), status,
                message=message, method=method, expected=expected, exact=exact, detail=detail,
            )  # fmt: skip

        await self._write(write)

    async def restart_job_table(self, job_id: str, table: str) -> None:
        """Set the table's counts to nought, for a read that begins again from its first row."""

        async def reset(tx: Transaction) -> None:
            await tx.run(RESET, {"job": await tx.job(job_id), "table_id": await tx.table_id(table)})

        await self._write(reset)

    async def job_totals(self, job_id: str) -> tuple[Counts, FileCounts]:
        """Of all tables of the job together."""
        row = await self._read_one(ORDINAL, {"job": job_id})
        return _sums(await self._read_one(TOTALS, {"job": row[0] if row else None}))


async def move(
    tx: Transaction,
    job: int,
    table_id: int,
    status: str | None,
    *,
    message: str = "",
    method: str | None = None,
    expected: int | None = None,
    exact: bool | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Move one table of a job inside a transaction."""
    await tx.run(
        MOVE,
        {"job": job, "table_id": table_id, "status": status, "message": message, "method": method,
         "expected": expected, "exact": exact, "detail": None if detail is None else dumps(detail),
         "ended": status in _ENDED, "now": tx.now},
    )  # fmt: skip


async def add(tx: Transaction, job: int, table_id: int, counts: Counts, files: FileCounts) -> None:
    """Add a batch's counts to its table."""
    params: dict[str, Any] = {name: getattr(counts, name) for name in _COUNTS}
    params |= {f"files_{name}": getattr(files, name) for name in _FILES}
    await tx.run(ADD, {**params, "job": job, "table_id": table_id, "now": tx.now})


async def totals(tx: Transaction, job: int) -> tuple[Counts, FileCounts]:
    """Of all tables of the job together."""
    return _sums(await tx.one(TOTALS, {"job": job}))


def _sums(row: sqlite3.Row | None) -> tuple[Counts, FileCounts]:
    if row is None:
        return Counts(), FileCounts()
    return (
        Counts(**{name: row[name] or 0 for name in _COUNTS}),
        FileCounts(**{name: row[f"files_{name}"] or 0 for name in _FILES}),
    )


def _job_table(job_id: str, row: sqlite3.Row) -> JobTable:
    counts, files = _sums(row)
    return JobTable(
        job_id=job_id,
        table=row["name"],
        ordinal=row["ordinal"],
        status=row["status"],
        method=row["method"],
        expected=row["expected"],
        exact=bool(row["exact"]),
        counts=counts,
        files=files,
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        message=row["message"],
        detail=loads(row["detail"]),
    )
