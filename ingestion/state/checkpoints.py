"""Checkpoint rows: per table, the moment before which nothing is missing and what the last sync settled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction
from ingestion.state.types import STATUSES, SUCCESSES, CheckpointUpdate

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""`last_sync_timestamp` of a table whose first sync has not ended."""

_COLUMNS: Final = """t.name AS table_name, c.last_sync_timestamp, c.last_record_id, c.records_processed,
    c.records_failed, c.sync_status, c.error_message, c.updated_at"""
# One checkpoint.
GET: Final = f"SELECT {_COLUMNS} FROM checkpoints c JOIN tables t ON t.id = c.table_id WHERE t.name = :table"
# All checkpoints.
LIST: Final = f"SELECT {_COLUMNS} FROM checkpoints c JOIN tables t ON t.id = c.table_id ORDER BY t.name"
# The last moment that a sync which reached its end has covered.
LAST_SUCCESS: Final = """SELECT c.last_success_timestamp FROM checkpoints c JOIN tables t ON t.id = c.table_id
    WHERE t.name = :table"""
# A checkpoint as given.
PUT: Final = """INSERT INTO checkpoints (table_id, last_sync_timestamp, last_success_timestamp, last_record_id,
        records_processed, records_failed, sync_status, error_message, updated_at)
    VALUES (:table_id, :last_sync, :last_success, :last_record_id, :processed, :failed, :status, :error,
        :updated_at)
    ON CONFLICT (table_id) DO UPDATE SET last_sync_timestamp = excluded.last_sync_timestamp,
        last_success_timestamp = coalesce(excluded.last_success_timestamp, last_success_timestamp),
        last_record_id = excluded.last_record_id, records_processed = excluded.records_processed,
        records_failed = excluded.records_failed, sync_status = excluded.sync_status,
        error_message = excluded.error_message, updated_at = excluded.updated_at"""
# A checkpoint moved by a batch: rows as counted for the job so far; a null leaves its field as it is.
MOVE: Final = """INSERT INTO checkpoints (table_id, last_sync_timestamp, last_success_timestamp, last_record_id,
        records_processed, records_failed, sync_status, error_message, updated_at)
    SELECT :table_id, coalesce(:last_sync, :never), :last_success, :last_record_id, read, failed, :status, :error,
        :updated_at FROM job_tables WHERE job = :job AND table_id = :table_id
    ON CONFLICT (table_id) DO UPDATE SET
        last_sync_timestamp = coalesce(:last_sync, last_sync_timestamp),
        last_success_timestamp = coalesce(:last_success, last_success_timestamp),
        last_record_id = coalesce(:last_record_id, last_record_id), records_processed = excluded.records_processed,
        records_failed = excluded.records_failed, sync_status = :status, error_message = :error,
        updated_at = :updated_at"""
# An operator who sets another moment means it: the transaction horizon no longer describes the table.
DROP_HORIZON: Final = """UPDATE tables SET horizon = NULL, epoch = NULL WHERE id = :table_id
    AND EXISTS (SELECT 1 FROM checkpoints WHERE table_id = :table_id AND last_sync_timestamp <> :last_sync)"""
# Clear one table's checkpoint, or all; the chosen key stays.
CLEAR: Final = (
    "DELETE FROM checkpoints WHERE :table IS NULL OR table_id = (SELECT id FROM tables WHERE name = :table)"
)
CLEAR_HORIZON: Final = "UPDATE tables SET horizon = NULL, epoch = NULL WHERE :table IS NULL OR name = :table"

Row = Mapping[str, Any]


class Checkpoints(StateConnection):
    """As plain rows; `ingestion.checkpoint` gives them the contract's form."""

    async def checkpoint_row(self, table: str) -> Row | None:
        """Members of the contract's Checkpoint; timestamps are aware UTC datetimes."""
        row = await self._read_one(GET, {"table": table})
        return None if row is None else _members(dict(row))

    async def checkpoint_rows(self) -> list[Row]:
        """By table name."""
        return [_members(dict(row)) for row in await self._read(LIST)]

    async def set_checkpoint_row(self, row: Row) -> None:
        """Store the row as it stands. StateError for a status that is none.

        A moment other than the stored one drops the table's horizon: the next incremental starts from the moment.
        """
        params = {
            "last_record_id": row["last_record_id"], "processed": row["records_processed"],
            "failed": row["records_failed"], "error": row["error_message"],
            "updated_at": to_text(row["updated_at"]), **_moments(row["sync_status"], row["last_sync_timestamp"]),
        }  # fmt: skip

        async def write(tx: Transaction) -> None:
            keyed = {**params, "table_id": await tx.table_id(row["table_name"])}
            await tx.run(DROP_HORIZON, keyed)
            await tx.run(PUT, keyed)

        await self._write(write)

    async def clear_checkpoints(self, table: str | None = None) -> int:
        """Drop one table's checkpoint and horizon, or all; returns how many. The ledger and the index stay."""

        async def clear(tx: Transaction) -> int:
            await tx.run(CLEAR_HORIZON, {"table": table})
            return await tx.run(CLEAR, {"table": table})

        return await self._write(clear)

    async def last_success(self, table: str) -> datetime | None:
        """The `last_sync_timestamp` of the last sync that reached its end; None when none has."""
        row = await self._read_one(LAST_SUCCESS, {"table": table})
        return None if row is None or row[0] is None else from_text(row[0])


async def move(tx: Transaction, job: int, table_id: int, update: CheckpointUpdate) -> None:
    """Move a checkpoint inside a transaction, after the batch's counts were added."""
    await tx.run(
        MOVE,
        {
            "job": job, "table_id": table_id, "last_record_id": update.last_record_id,
            "error": update.error_message, "never": to_text(NEVER),
            "updated_at": to_text(datetime.fromtimestamp(tx.now, UTC)),
            **_moments(update.status, update.last_sync_timestamp),
        },
    )  # fmt: skip


def to_text(moment: datetime) -> str:
    """ISO, UTC, always with microseconds, so that text order is time order; naive moments are UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="microseconds")


def from_text(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _moments(status: str, last_sync: datetime | None) -> dict[str, Any]:
    if status not in STATUSES:
        raise errors.StateError(
            f"There is no checkpoint status called {status}.", hint=f"One of {', '.join(sorted(STATUSES))}."
        )
    text = None if last_sync is None else to_text(last_sync)
    return {"status": status, "last_sync": text, "last_success": text if status in SUCCESSES else None}


def _members(row: dict[str, Any]) -> Row:
    return row | {name: from_text(row[name]) for name in ("last_sync_timestamp", "updated_at")}
