"""Partitions of a job's tables, and what a job notes while it reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction, dumps, json_list, loads
from ingestion.state.types import Partition, PartitionProgress

# A partition, or new bounds for one that is there.
PUT: Final = """INSERT OR REPLACE INTO partitions (job, table_id, ordinal, kind, bounds, position, status)
    VALUES (:job, :table_id, :ordinal, :kind, :bounds, :position, :status)"""
# Partitions of a job, or of one of its tables.
LIST: Final = """SELECT t.name, p.* FROM partitions p JOIN tables t ON t.id = p.table_id
    WHERE p.job = (SELECT ordinal FROM jobs WHERE id = :job) AND (:table IS NULL OR t.name = :table)
    ORDER BY p.table_id, p.ordinal"""
# Move a partition; a null position leaves it where it is.
MOVE: Final = """UPDATE partitions SET position = coalesce(:position, position), status = :status
    WHERE job = :job AND table_id = :table_id AND ordinal = :ordinal"""
# Drop what a job planned and noted for a table.
CLEAR: Final = (
    "DELETE FROM partitions WHERE job = :job AND table_id = :table_id",
    "DELETE FROM duplicates WHERE job = :job AND table_id = :table_id",
    "DELETE FROM row_hashes WHERE job = :job AND table_id = :table_id",
)
# A key that a job found more than once.
ADD_DUPLICATE: Final = "INSERT OR IGNORE INTO duplicates (job, table_id, key) VALUES (?, ?, ?)"
# Which of these keys a job found more than once.
DUPLICATES_AMONG: Final = """SELECT key FROM duplicates WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)
    AND table_id = (SELECT id FROM tables WHERE name = :table) AND key IN (SELECT value FROM json_each(:keys))"""
# Count copies of a row.
ADD_HASHES: Final = """INSERT INTO row_hashes (job, table_id, hash, copies) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET copies = copies + excluded.copies"""
# Copies of these rows that a job has read.
HASH_COUNTS: Final = """SELECT hash, copies FROM row_hashes WHERE job = (SELECT ordinal FROM jobs WHERE id = :job)
    AND table_id = (SELECT id FROM tables WHERE name = :table) AND hash IN (SELECT value FROM json_each(:keys))"""


class Partitions(StateConnection):
    """Plain data, so that a job resumes in the middle of a table, in whatever process."""

    async def save_partitions(self, job_id: str, table: str, partitions: Sequence[Partition]) -> None:
        """Store partitions of one table; those with an ordinal already stored are replaced, others stay."""

        async def save(tx: Transaction) -> None:
            job, table_id = await tx.job(job_id), await tx.table_id(table)
            await tx.run_many(
                PUT,
                [
                    {"job": job, "table_id": table_id, "ordinal": part.ordinal, "kind": part.kind,
                     "bounds": dumps(part.bounds), "status": part.status,
                     "position": None if part.position is None else dumps(part.position)}
                    for part in partitions
                ],
            )  # fmt: skip

        await self._write(save)

    async def partitions(self, job_id: str, table: str | None = None) -> list[Partition]:
        """All partitions of the job, or of one of its tables, in order."""
        return [_partition(row) for row in await self._read(LIST, {"job": job_id, "table": table})]

    async def open_partitions(self, job_id: str, table: str | None = None) -> list[Partition]:
        """Those not done yet."""
        return [part for part in await self.partitions(job_id, table) if part.status != "done"]

    async def move_partition(
        self, job_id: str, table: str, ordinal: int, *, position: Mapping[str, Any] | None = None, status: str
    ) -> None:
        """Set status and (unless None) position outside a batch. StateError when there is no such partition."""

        async def write(tx: Transaction) -> None:
            progress = PartitionProgress(ordinal=ordinal, position=position, done=status == "done")
            await move(tx, await tx.job(job_id), await tx.table_id(table), progress, status)

        await self._write(write)

    async def clear_partitions(self, job_id: str, table: str) -> None:
        """Drop the table's partitions, duplicates and row hashes, for a read that begins again."""

        async def clear(tx: Transaction) -> None:
            job, table_id = await tx.job(job_id), await tx.table_id(table)
            for statement in CLEAR:
                await tx.run(statement, {"job": job, "table_id": table_id})

        await self._write(clear)

    async def add_duplicates(self, job_id: str, table: str, keys: Iterable[str]) -> None:
        """Note keys that the table holds more than once; kept until the job has reached its end."""

        async def add(tx: Transaction) -> None:
            job, table_id = await tx.job(job_id), await tx.table_id(table)
            await tx.run_many(ADD_DUPLICATE, [(job, table_id, key) for key in keys])

        await self._write(add)

    async def duplicates_among(self, job_id: str, table: str, keys: Collection[str]) -> set[str]:
        """Those of `keys` noted by `add_duplicates`."""
        rows = await self._read(DUPLICATES_AMONG, {"job": job_id, "table": table, "keys": json_list(keys)})
        return {row[0] for row in rows}

    async def row_hash_counts(self, job_id: str, table: str, hashes: Collection[str]) -> dict[str, int]:
        """Copies committed so far of each of these row hashes; those not met are missing."""
        rows = await self._read(HASH_COUNTS, {"job": job_id, "table": table, "keys": json_list(hashes)})
        return {row[0]: row[1] for row in rows}


async def move(tx: Transaction, job: int, table_id: int, progress: PartitionProgress, status: str) -> None:
    """Move one partition inside a transaction. StateError when there is no such partition."""
    position = None if progress.position is None else dumps(progress.position)
    moved = await tx.run(
        MOVE,
        {
            "job": job,
            "table_id": table_id,
            "ordinal": progress.ordinal,
            "position": position,
            "status": status,
        },
    )
    if not moved:
        raise errors.StateError(f"The state holds no partition {progress.ordinal} of that table and job.")


async def add_hashes(tx: Transaction, job: int, table_id: int, hashes: Mapping[str, int]) -> None:
    """Count copies of rows inside a transaction."""
    await tx.run_many(ADD_HASHES, [(job, table_id, hash, copies) for hash, copies in hashes.items()])


def _partition(row: sqlite3.Row) -> Partition:
    return Partition(
        table=row["name"],
        ordinal=row["ordinal"],
        kind=row["kind"],
        bounds=loads(row["bounds"]),
        position=None if row["position"] is None else loads(row["position"]),
        status=row["status"],
    )
