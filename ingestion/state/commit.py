"""The batch: everything that its rows changed, in one transaction or not at all.

A job that is killed between two batches has lost nothing, and one killed inside has lost only this: counts,
ledger, failures, position and checkpoint can never disagree.
"""

from __future__ import annotations

from ingestion.events import Event
from ingestion.state import (
    checkpoints,
    event_log,
    failures,
    files,
    in_flight,
    job_tables,
    ledger,
    partitions,
    tables,
)
from ingestion.state.connection import StateConnection, Transaction
from ingestion.state.lock import still_ours
from ingestion.state.types import BatchCommit


class Commits(StateConnection):
    """The one way that counts, ledger and positions move."""

    async def commit_batch(self, batch: BatchCommit) -> list[Event]:
        """Store everything in `batch`, durable when this returns; gives its events with `seq` and `time`.

        A cancellation waits for the transaction's end. Raises StateError (nothing is stored) when the disk is
        full or the job or partition unknown, WriterLocked when another process has taken over this store's lock.
        """
        return await self._write(lambda tx: _commit(tx, batch))


async def _commit(tx: Transaction, batch: BatchCommit) -> list[Event]:
    await still_ours(tx)
    job, table_id = await tx.job(batch.job_id), await tx.table_id(batch.table)
    await job_tables.add(tx, job, table_id, batch.counts, batch.files)
    await _commit_keys(tx, job, table_id, batch)
    if batch.flights or batch.in_doubt or batch.in_doubt_gone:
        await in_flight.end(tx, table_id, batch.flights, batch.in_doubt, batch.in_doubt_gone)
    if batch.failures:
        await failures.put(tx, job, batch.failures)
    if batch.row_hashes:
        await partitions.add_hashes(tx, job, table_id, batch.row_hashes)
    if batch.partition is not None:
        status = "done" if batch.partition.done else "running"
        await partitions.move(tx, job, table_id, batch.partition, status)
    if batch.table_status is not None:
        await job_tables.move(tx, job, table_id, batch.table_status)
    if batch.checkpoint is not None:
        await checkpoints.move(tx, job, table_id, batch.checkpoint)
    if batch.table_state is not None:
        await tables.put_state(tx, batch.table_state)
    if batch.file_rows:
        await files.put(tx, batch.file_rows)
    if batch.file_links:
        await files.link(tx, batch.file_links)
    if batch.files_touched:
        await files.touch(tx, batch.files_touched)
    if batch.files_told:
        await files.told(tx, batch.files_told)
    return await event_log.append(tx, batch.job_id, batch.events) if batch.events else []


async def _commit_keys(tx: Transaction, job: int, table_id: int, batch: BatchCommit) -> None:
    if batch.ledger:
        await ledger.put(tx, table_id, batch.ledger)
    # A row that was read and failed is not gone from the source: what the index holds of it has been seen.
    failed = {
        f.key for f in batch.failures if f.kind == "record" and f.stage != "delete" and f.table == batch.table
    }
    if batch.seen or failed:
        await ledger.see(tx, table_id, [*batch.seen, *failed], job)
    if batch.removed:
        await ledger.remove(tx, table_id, batch.removed)
        await failures.resolve_gone(tx, table_id, batch.removed)
    gone_links = [*batch.removed, *batch.relinked]
    if gone_links:
        await files.unlink(tx, table_id, gone_links)
    fed = [*(entry.key for entry in batch.ledger), *batch.resolved]
    if fed or batch.seen:
        unchanged = [key for key in batch.seen if key not in failed]
        await failures.resolve_indexed(tx, table_id, fed, unchanged, batch.failures)
