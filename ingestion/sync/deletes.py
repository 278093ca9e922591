"""Rows that are gone from the source leave the index, and nothing else does.

Suspects are keys of the ledger that a read did not meet. Each is looked for again in a newer snapshot before
its document goes, and an implausible share of them stops the removal until the operator confirms it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing

from ingestion import errors
from ingestion.sync import reconciliation, settlement
from ingestion.sync.key_lookup import copies_of_keys, find_keys, find_rows, source_keys
from ingestion.sync.partitions import Kind, Partition
from ingestion.sync.settlement import Result, TableRun
from ingestion.sync.source_reader import Purpose, ReadBatch, Row
from ingestion.transform import document_ids

KEYS_IN_MEMORY = 250_000
"""Keys of the ledger compared at once; about 50 MB."""
_KEYS_PER_STEP = 1000
_MASK = 2**64 - 1


async def remove_unseen(run: TableRun, last: ReadBatch) -> None:
    """After a read of every row: remove what the ledger holds and this job has not met.

    Raises MassDeleteBrake, nothing removed, when too large a share is gone.
    """

    # A look-up without a key reads the whole table, so it must do for as many as memory allows.
    size = KEYS_IN_MEMORY if run.hashed else _KEYS_PER_STEP

    async def suspects() -> AsyncGenerator[list[str], None]:
        async for page in run.io.state.not_seen_since(run.name, run.io.epoch, page_size=size):
            yield [entry.key for entry in page]

    count = await run.io.state.not_seen_count(run.name, run.io.epoch)
    if run.hashed and run.rows_before is not None:
        # A row that changed is another row where content is the key: only a table that shrinks is suspicious.
        rows = await run.io.state.ledger_count(run.name) - count
        if rows >= run.rows_before * (1 - run.io.delete_share):
            count = 0
    await _brake(run, count, suspects())
    async for keys in suspects():
        await remove_gone(run, keys, last)


async def remove_missing(run: TableRun, last: ReadBatch) -> None:
    """After a read of changes: compare the source's keys with the ledger's and settle the difference.

    Keys of the source that the ledger lacks, which no row version announced (a partition attached with its old
    rows), are fed. Failures of rows that are gone end. Raises MassDeleteBrake as `remove_unseen` does.
    """
    failed = {key: False async for page in run.io.state.failed_keys(run.name) for key in page if key}
    gone: list[str] = []
    new: list[str] = []
    async for buckets in _groups(run, failed):
        known: dict[str, bool] = {}
        async for page in run.io.state.entries_of_buckets(run.name, buckets):
            known.update((entry.key, False) for entry in page)
        missing: set[str] = set()
        async with aclosing(source_keys(run.reader, run.builder)) as batches:
            async for keys in batches:
                for key in keys:
                    if key in failed:
                        failed[key] = True
                    if key in known:
                        known[key] = True
                    elif document_ids.key_bucket(key) in buckets and key not in failed:
                        missing.add(key)
        gone += [key for key, met in known.items() if not met]
        new += missing
    await _brake(run, len(gone), _in_steps(gone))
    async for keys in _in_steps(gone):
        await remove_gone(run, keys, last)
    async for keys in _in_steps(new):
        await _settle_again(run, keys, last)
    await end_failures_of_gone(run, [key for key, met in failed.items() if not met])


async def remove_documents(run: TableRun, keys: Sequence[str]) -> None:
    """Remove documents that the source has no row for, after a look for each in a newer snapshot."""
    last = ReadBatch(Partition(table=run.name, ordinal=0, kind=Kind.SETTLE), ())
    async for step in _in_steps(keys):
        await remove_gone(run, step, last)


async def settle_changed_copies(run: TableRun, last: ReadBatch) -> None:
    """Settle keys again that were noted as held by several rows, where that is another number of rows now.

    A copy that is deleted leaves no row version behind, so no read of changes tells of it, and a read of all
    rows finds the one that is left unchanged.
    """
    if run.key_unique or run.hashed:
        return
    noted: dict[str, int] = defaultdict(int)
    copies: dict[str, int] = defaultdict(int)
    async for failure in settlement.failures_of(run, causes=("duplicate_key",)):
        noted[failure.key] += 1
    async for note in settlement.failures_of(run, causes=("identical_copy",), kind="warning"):
        copies[note.key] += 1
    # Of identical rows the first one is indexed, so it has no note.
    noted |= {key: notes + 1 for key, notes in copies.items()}
    if not noted:
        return
    held = await copies_of_keys(run.reader, run.builder)
    async for keys in _in_steps(key for key, rows in noted.items() if held.get(key, 1) != rows):
        await _settle_again(run, keys, last)


async def settle_doubts(run: TableRun, last: ReadBatch) -> None:
    """Look again at keys whose operations a killed process began: documents of rows that are gone by now go.

    What the read has met since is no longer in doubt. What cannot be settled stays in doubt for the next sync.
    """
    async for keys in _in_steps(sorted(run.doubts)):
        await remove_gone(run, keys, last)


async def _groups(run: TableRun, failed: dict[str, bool]) -> AsyncGenerator[frozenset[int], None]:
    """Sets of key buckets to compare, few enough keys each; of a large table only buckets that differ.

    Also looks for the failed keys where the groups will not.
    """
    if await run.io.state.ledger_count(run.name) <= KEYS_IN_MEMORY:
        yield frozenset(range(document_ids.BUCKETS))
        return
    sums: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    async for page in run.io.state.ledger_entries(run.name):
        for entry in page:
            sums[entry.bucket] += hash(entry.key)
            counts[entry.bucket] += 1
    async with aclosing(source_keys(run.reader, run.builder)) as batches:
        async for keys in batches:
            for key in keys:
                if key in failed:
                    failed[key] = True
                sums[document_ids.key_bucket(key)] -= hash(key)
    group: list[int] = []
    size = 0
    for bucket, difference in sums.items():
        if difference & _MASK == 0:
            continue
        if group and size + counts[bucket] > KEYS_IN_MEMORY:
            yield frozenset(group)
            group, size = [], 0
        group.append(bucket)
        size += counts[bucket]
    if group:
        yield frozenset(group)


async def _brake(run: TableRun, count: int, suspects: AsyncGenerator[list[str], None]) -> None:
    """Raise MassDeleteBrake if too many of `count` suspects turn out to be gone."""
    async with aclosing(suspects) as pages:
        indexed = await run.io.state.ledger_count(run.name)
        allowed = max(run.io.delete_floor, int(indexed * run.io.delete_share))
        if run.io.allow_mass_delete or count <= allowed:
            return
        gone = 0
        async for keys in pages:
            gone += len(await _absent(run, keys))
        if gone > allowed:
            raise errors.MassDeleteBrake(run.name, gone, indexed)


async def _absent(run: TableRun, keys: Collection[str]) -> set[str]:
    """Those of `keys` that the source does not hold in a snapshot taken now."""
    absent = set(keys)
    async with aclosing(find_keys(run.reader, run.builder, keys)) as batches:
        async for present in batches:
            absent -= present
    return absent


async def remove_gone(run: TableRun, keys: list[str], last: ReadBatch) -> None:
    """Remove the documents of those of `keys` that are gone; settle the others once more."""
    # Before the snapshot: whatever is read after it outranks the removal.
    read_seq = await run.io.sequence.next()
    gone = await _absent(run, keys)
    result = Result()
    await reconciliation.remove(run, [key for key in keys if key in gone], read_seq, result)
    await settlement.commit(run, result)
    if not run.hashed:
        await _settle_again(run, [key for key in keys if key not in gone], last)


async def _settle_again(run: TableRun, keys: list[str], last: ReadBatch) -> None:
    """Settle rows of keys that the read did not meet, or that stand differently now."""
    unsettled = set(keys) - await settlement.failed_in_job(run, keys)
    if not unsettled:
        return
    by_key: dict[str, list[Row]] = defaultdict(list)
    async with aclosing(find_rows(run.reader, run.builder, unsettled)) as batches:
        async for rows in batches:
            for row in rows:
                by_key[run.builder.key_of(row.values) or ""].append(row)
    singles = [rows[0] for rows in by_key.values() if len(rows) == 1]
    copies = [row for rows in by_key.values() if len(rows) > 1 for row in rows]
    if singles:
        await reconciliation.settle_singles(run, ReadBatch(last.partition, singles, purpose=Purpose.SINGLES))
    if copies:
        batch = ReadBatch(last.partition, copies, purpose=Purpose.DUPLICATES)
        group = await reconciliation.settle_duplicates(run, batch, None)
        await reconciliation.settle_duplicates(
            run, ReadBatch(last.partition, (), done=True, purpose=Purpose.DUPLICATES), group
        )


async def end_failures_of_gone(run: TableRun, keys: list[str]) -> None:
    """End what stands against keys that the source no longer holds."""
    async for step in _in_steps(keys):
        gone = await _absent(run, step)
        ids = [
            failure.id
            async for failure in settlement.failures_of(run, keys=gone)
            if failure.stage != "delete"
        ]
        if ids:
            await run.io.state.resolve_failures(ids, "no longer in the source")


async def _in_steps(keys: Iterable[str]) -> AsyncGenerator[list[str], None]:
    listed = list(keys)
    for start in range(0, len(listed), _KEYS_PER_STEP):
        yield listed[start : start + _KEYS_PER_STEP]
