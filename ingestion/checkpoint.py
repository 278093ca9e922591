"""Checkpoints: per table, how far a sync has come, in the state file that the sync itself uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ingestion.state.store import StateStore


@dataclass
class Checkpoint:
    """`last_sync_timestamp` is the moment before which no commit is missing from the index (aware, UTC).

    While a table's first sync runs that is 1970-01-01. `last_record_id` is the last key with all before it
    acknowledged. `records_processed` and `records_failed` are rows of the last sync. `sync_status` is one of
    `pending running paused completed partial failed cancelled interrupted`.
    """

    table_name: str
    last_sync_timestamp: datetime
    last_record_id: str | None
    records_processed: int
    records_failed: int
    sync_status: str
    error_message: str | None
    updated_at: datetime


class CheckpointStore:
    """Persist sync checkpoints in SQLite.

    Works with nothing but a path: each call opens the state file and closes it again, about 3 ms, so that an
    instance may be dropped without being closed. Given an open `state` it uses that one instead.
    """

    def __init__(self, db_path: Path, *, state: StateStore | None = None):
        """`db_path` is the state file; it is created by `initialize`, or by the first other call."""
        self.db_path = Path(db_path)
        self._state = state

    async def initialize(self) -> None:
        """Create the state file if it does not exist. Raises StateError when it cannot be written."""
        async with self._opened():
            pass

    async def get(self, table_name: str) -> Checkpoint | None:
        """The checkpoint of a table; None when it has none."""
        async with self._opened() as state:
            row = await state.checkpoint_row(table_name)
        return None if row is None else Checkpoint(**row)

    async def set(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, replacing the table's former one. Naive datetimes are read as UTC.

        A `last_sync_timestamp` other than the stored one is what the next incremental sync starts from.
        Raises StateError for a status that is none.
        """
        async with self._opened() as state:
            await state.set_checkpoint_row(asdict(checkpoint))

    async def get_all(self) -> list[Checkpoint]:
        """All checkpoints, by table name."""
        async with self._opened() as state:
            return [Checkpoint(**row) for row in await state.checkpoint_rows()]

    async def clear(self, table_name: str | None = None) -> None:
        """Drop the checkpoint of a table, or of all: its next sync reads it in full. No document is touched."""
        async with self._opened() as state:
            await state.clear_checkpoints(table_name)

    async def get_last_sync_time(self, table_name: str) -> datetime | None:
        """The `last_sync_timestamp` of the last sync that ended `completed` or `partial`; None when none has."""
        async with self._opened() as state:
            return await state.last_success(table_name)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[StateStore]:
        if self._state is not None:
            yield self._state
            return
        async with await StateStore.open(self.db_path) as state:
            yield state
