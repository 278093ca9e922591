"""All documents of a table that the source no longer has: taken out of the index, and out of the state."""

from __future__ import annotations

from ingestion.sync.sync_io import SyncIO
from ingestion.transform import document_ids
from ingestion.vespa import visiting
from ingestion.vespa.client import RECORD, SCHEMA, VespaSession
from ingestion.vespa.feeding import Verdict
from ingestion.vespa.operations import Operation


async def remove_table(io: SyncIO, index: VespaSession, table: str) -> int:
    """Remove the table's records, what file documents say of them, and its schema document; how many records."""
    removed = 0
    async for page in visiting.records_of_table(index, table):
        keys = [record.key for record in page]
        if io.files is not None:
            await io.files.forget(table, keys)
        read_seq = await io.sequence.next()
        outcomes = await io.feeder.feed(
            [Operation("remove", RECORD, document_ids.doc_id(table, key), read_seq) for key in keys]
        )
        removed += sum(outcome.verdict is not Verdict.REFUSED for outcome in outcomes)
    read_seq = await io.sequence.next()
    await io.feeder.feed([Operation("remove", SCHEMA, document_ids.escape(table), read_seq)])
    await io.state.forget_table(table)
    return removed
