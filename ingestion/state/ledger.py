"""The ledger: for every key in the index its digest, the reading it came from, and the job that last saw it.

Answers stream in pages in the order of the keys' bytes, and no read transaction outlives a page: memory stays
constant, and a slow caller does not keep SQLite from truncating its log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, Final

from ingestion.state.connection import StateConnection, Transaction, json_list
from ingestion.state.types import BucketSum, LedgerEntry

LOOKUP_CHUNK: Final = 5_000
"""Keys per lookup statement."""
SCAN_CHUNK: Final = 20_000
"""Entries per page of a whole-table scan; about 10 ms of the reader's thread."""

_COLUMNS: Final = "key, digest, read_seq, bucket, epoch"
# A key is in the index with this digest.
PUT: Final = """INSERT INTO ledger (table_id, key, digest, read_seq, bucket, epoch) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET digest = excluded.digest, read_seq = excluded.read_seq, bucket = excluded.bucket,
        epoch = excluded.epoch"""
# Keys met again, unchanged.
SEE: Final = """UPDATE ledger SET epoch = :epoch
    WHERE table_id = :table_id AND key IN (SELECT value FROM json_each(:keys))"""
# Keys that left the index.
REMOVE: Final = (
    "DELETE FROM ledger WHERE table_id = :table_id AND key IN (SELECT value FROM json_each(:keys))"
)
# What is known of these keys.
LOOKUP: Final = f"""SELECT {_COLUMNS} FROM ledger WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    AND key IN (SELECT value FROM json_each(:keys))"""
# Keys of one table.
COUNT: Final = "SELECT count(*) FROM ledger WHERE table_id = (SELECT id FROM tables WHERE name = :table)"
# Keys of every table.
COUNTS: Final = """SELECT t.name, (SELECT count(*) FROM ledger WHERE table_id = t.id) FROM tables t
    WHERE EXISTS (SELECT 1 FROM ledger WHERE table_id = t.id)"""
# A page in key order.
PAGE: Final = f"""SELECT {_COLUMNS} FROM ledger WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    AND key >= :after AND (key > :after OR :first) ORDER BY key LIMIT :limit"""
# A page of entries in certain buckets, in key order.
PAGE_OF_BUCKETS: Final = f"""SELECT {_COLUMNS} FROM ledger
    WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    AND key >= :after AND (key > :after OR :first)
    AND bucket IN (SELECT value FROM json_each(:buckets))
    ORDER BY key LIMIT :limit"""
# A page of entries that no job since an epoch has seen, in key order.
PAGE_NOT_SEEN: Final = f"""SELECT {_COLUMNS} FROM ledger
    WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    AND key >= :after AND (key > :after OR :first)
    AND epoch < :epoch ORDER BY key LIMIT :limit"""
# How many entries no job since an epoch has seen.
COUNT_NOT_SEEN: Final = """SELECT count(*) FROM ledger WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    AND epoch < :epoch"""
# A page for sums: only what they need.
PAGE_OF_DIGESTS: Final = """SELECT key, bucket, digest FROM ledger
    WHERE table_id = (SELECT id FROM tables WHERE name = :table) AND key >= :after AND (key > :after OR :first)
    ORDER BY key LIMIT :limit"""
# Everything of a table.
CLEAR: Final = "DELETE FROM ledger WHERE table_id = :table_id"


class Ledger(StateConnection):
    """Changed only by `commit_batch`, together with the counts of the batch that changed it."""

    async def lookup(self, table: str, keys: Collection[str]) -> dict[str, LedgerEntry]:
        """What the index holds for these keys; those it does not hold are missing."""
        wanted = list(keys)
        found: dict[str, LedgerEntry] = {}
        for start in range(0, len(wanted), LOOKUP_CHUNK):
            chunk = json_list(wanted[start : start + LOOKUP_CHUNK])
            rows = await self._read(LOOKUP, {"table": table, "keys": chunk})
            found.update((row[0], _entry(row)) for row in rows)
        return found

    async def ledger_count(self, table: str) -> int:
        """Keys of the table in the index."""
        row = await self._read_one(COUNT, {"table": table})
        return int(row[0]) if row else 0

    async def ledger_counts(self) -> dict[str, int]:
        """Keys in the index per table, for every table that has one, also tables the source no longer has."""
        return {row[0]: row[1] for row in await self._read(COUNTS)}

    async def bucket_sums(self, table: str) -> dict[int, BucketSum]:
        """Per bucket that has keys: their number and the exclusive or of their digests. One scan of the table."""
        counts: dict[int, int] = {}
        xors: dict[int, int] = {}
        async for rows in self._pages(PAGE_OF_DIGESTS, {"table": table}, "", SCAN_CHUNK):
            for _, bucket, digest in rows:
                counts[bucket] = counts.get(bucket, 0) + 1
                xors[bucket] = xors.get(bucket, 0) ^ digest
        return {bucket: BucketSum(count, xors[bucket]) for bucket, count in counts.items()}

    async def ledger_entries(
        self, table: str, *, after: str = "", page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]:
        """Pages in the order of the keys' UTF-8 bytes (PostgreSQL's COLLATE "C"), beyond `after`."""
        async for rows in self._pages(PAGE, {"table": table}, after, page_size):
            yield [_entry(row) for row in rows]

    async def entries_of_buckets(
        self, table: str, buckets: Collection[int], *, page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]:
        """Entries in these buckets, in key order. One scan of the table, whatever the number of buckets."""
        params = {"table": table, "buckets": json_list(buckets)}
        async for rows in self._pages(PAGE_OF_BUCKETS, params, "", page_size):
            yield [_entry(row) for row in rows]

    async def not_seen_since(
        self, table: str, epoch: int, *, page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]:
        """Entries whose epoch is below `epoch`, in key order: rows that no job since then has met.

        A page's entries may be removed before the next page is asked for.
        """
        params = {"table": table, "epoch": epoch}
        async for rows in self._pages(PAGE_NOT_SEEN, params, "", page_size):
            yield [_entry(row) for row in rows]

    async def not_seen_count(self, table: str, epoch: int) -> int:
        """How many entries `not_seen_since` gives; what the brake on deletes weighs."""
        row = await self._read_one(COUNT_NOT_SEEN, {"table": table, "epoch": epoch})
        return int(row[0]) if row else 0

    async def mark_seen(self, table: str, keys: Collection[str], epoch: int) -> None:
        """Set the epoch of these keys outside a batch, such as for a page of a key-only read of the source."""

        async def mark(tx: Transaction) -> None:
            await see(tx, await tx.table_id(table), keys, epoch)

        await self._write(mark)

    async def _pages(
        self, sql: str, params: dict[str, Any], after: str, page_size: int
    ) -> AsyncIterator[list[sqlite3.Row]]:
        first = after == ""
        while True:
            rows = await self._read(sql, {**params, "after": after, "first": first, "limit": page_size})
            if rows:
                yield rows
            if len(rows) < page_size:
                return
            after, first = rows[-1]["key"], False


async def put(tx: Transaction, table_id: int, entries: Sequence[LedgerEntry]) -> None:
    await tx.run_many(PUT, [(table_id, *entry) for entry in entries])


async def see(tx: Transaction, table_id: int, keys: Collection[str], epoch: int) -> None:
    await tx.run(SEE, {"table_id": table_id, "keys": json_list(keys), "epoch": epoch})


async def remove(tx: Transaction, table_id: int, keys: Iterable[str]) -> None:
    await tx.run(REMOVE, {"table_id": table_id, "keys": json_list(list(keys))})


def _entry(row: sqlite3.Row) -> LedgerEntry:
    return LedgerEntry(*row)
