"""The writer lock: at most one job writes to the index, and whoever it refuses learns who holds it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction
from ingestion.state.runner import Runner, is_gone, this_process
from ingestion.state.types import LockHolder

# Who holds the lock.
HOLDER: Final = "SELECT token, pid, host, process_start, job_id, purpose, since FROM writer_lock"
# Take the lock, also from a holder that is gone.
TAKE: Final = """INSERT OR REPLACE INTO writer_lock (one, token, pid, host, process_start, job_id, purpose, since)
    VALUES (1, :token, :pid, :host, :process_start, :job, :purpose, :now)"""
# Give the lock back, unless it has become another's.
GIVE_BACK: Final = "DELETE FROM writer_lock WHERE token = :token"
# Whose the lock is.
OWNER: Final = "SELECT token FROM writer_lock"


class WriterLock(StateConnection):
    """The lock is a row, not a file lock, so that its holder has a name and readers can show it."""

    async def acquire_writer(self, job_id: str | None, purpose: str) -> None:
        """Take the lock for this store, also from a process of this host that is gone.

        Raises WriterLocked naming the holder's process, host, job and since when; also when this store has it.
        """
        me, token = this_process(), secrets.token_hex(8)

        async def take(tx: Transaction) -> None:
            row = await tx.one(HOLDER)
            if row is not None and not is_gone(Runner(row["pid"], row["host"], row["process_start"])):
                raise _locked(
                    LockHolder(row["pid"], row["host"], row["job_id"], row["purpose"], row["since"])
                )
            await tx.run(
                TAKE,
                {"token": token, "pid": me.pid, "host": me.host, "process_start": me.start, "job": job_id,
                 "purpose": purpose, "now": tx.now},
            )  # fmt: skip

        try:
            await self._write(take)
        except (
            asyncio.CancelledError
        ):  # the lock may have been taken all the same, and nobody would give it back
            await self._write(lambda tx: tx.run(GIVE_BACK, {"token": token}))
            raise
        self._lock_token = token

    async def release_writer(self) -> None:
        """Give the lock back; nothing happens when this store does not hold it."""
        token, self._lock_token = self._lock_token, ""
        if token:
            await self._write(lambda tx: tx.run(GIVE_BACK, {"token": token}))

    @asynccontextmanager
    async def writer(self, job_id: str | None, purpose: str) -> AsyncIterator[None]:
        """Hold the writer lock; raises as `acquire_writer` does. Given back also on cancellation."""
        await self.acquire_writer(job_id, purpose)
        try:
            yield
        finally:
            await self.release_writer()

    async def lock_holder(self) -> LockHolder | None:
        """Who writes now; None when nobody does or the holder is gone."""
        row = await self._read_one(HOLDER)
        if row is None or is_gone(Runner(row["pid"], row["host"], row["process_start"])):
            return None
        return LockHolder(row["pid"], row["host"], row["job_id"], row["purpose"], row["since"])


async def still_ours(tx: Transaction) -> None:
    """Stop a writer whose lock has become another's, before its older view overwrites anything."""
    if tx.lock_token:
        row = await tx.one(OWNER)
        if row is None or row["token"] != tx.lock_token:
            raise errors.WriterLocked(
                "Another process has taken over the writer lock; nothing of this batch was stored.",
                hint="See `procore-ingest jobs list`.",
            )


def _locked(holder: LockHolder) -> errors.WriterLocked:
    since = datetime.fromtimestamp(holder.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    job = f", job {holder.job_id}" if holder.job_id else ""
    return errors.WriterLocked(
        f"Process {holder.pid} on {holder.host} is writing ({holder.purpose}{job}) since {since}.",
        hint="Let it end or stop it, then try again; see `procore-ingest jobs list`.",
    )
