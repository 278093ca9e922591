"""What a table's plan reads, in order: its partitions, and at the end what they could not settle.

Runs ahead of the feeding, in a task of its own; each part that needs one snapshot holds it only meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing

from ingestion.sync import key_lookup, settlement
from ingestion.sync.partitions import Kind, Partition
from ingestion.sync.settlement import Mode, Prepared, TableRun
from ingestion.sync.source_reader import Purpose, ReadBatch
from ingestion.sync.table_plan import Step, TablePlan

Item = Prepared | ReadBatch
"""Rows of the main read, to be made into documents, or rows that are settled apart."""


async def items(run: TableRun, plan: TablePlan, steps: Iterable[Step]) -> AsyncGenerator[Item, None]:
    """Everything that these of the plan's partitions hold, from their positions on."""
    for step in steps:
        if step.partition.kind is Kind.SETTLE:
            source = _settle(run, plan, step.partition)
        elif step.partition.kind is Kind.STREAM:
            source = _stream(run, step.partition)
        elif step.partition.kind is Kind.PAGES:
            source = _main(run, run.reader.pages(step.partition, step.position))
        else:
            since = None if step.partition.whole else plan.since
            source = _main(run, run.reader.blocks(step.partition, step.position, since))
        async with aclosing(source) as made:
            async for item in made:
                yield item


async def _main(run: TableRun, batches: AsyncGenerator[ReadBatch, None]) -> AsyncGenerator[Item, None]:
    async with aclosing(batches) as source:
        async for batch in source:
            yield await settlement.numbered(run, batch)


async def _stream(run: TableRun, partition: Partition) -> AsyncGenerator[Item, None]:
    async with run.io.db.transaction():
        if not run.key_unique and not run.hashed:
            run.aside = await key_lookup.duplicated_keys(run.reader, run.builder)
        async with aclosing(run.reader.stream(partition)) as batches:
            async for batch in batches:
                if not batch.done:
                    yield await settlement.numbered(run, batch)
        if not run.key_unique and not run.hashed:
            async with aclosing(_apart(run, partition, run.aside)) as batches:
                async for batch in batches:
                    yield batch
    yield await settlement.numbered(run, ReadBatch(partition, (), done=True))


async def _settle(run: TableRun, plan: TablePlan, partition: Partition) -> AsyncGenerator[Item, None]:
    """One snapshot for all of it, so that each row is in exactly one of these reads."""
    async with run.io.db.transaction():
        shared: set[str] = set()
        if not run.key_unique:
            shared = await key_lookup.duplicated_keys(run.reader, run.builder)
            async with aclosing(_apart(run, partition, shared)) as batches:
                async for batch in batches:
                    yield batch
            alone = plan.aside - shared
            if alone:
                async with aclosing(key_lookup.find_rows(run.reader, run.builder, alone)) as found:
                    async for rows in found:
                        yield ReadBatch(partition, rows, purpose=Purpose.SINGLES)
        if _in_several_snapshots(plan):
            settled = shared | plan.aside
            async with aclosing(run.reader.rows(run.reader.queries.changed(partition.horizon))) as found:
                async for rows in found:
                    moved = [row for row in rows if run.builder.key_of(row.values) not in settled]
                    yield ReadBatch(partition, moved, purpose=Purpose.SINGLES)
    yield await settlement.numbered(run, ReadBatch(partition, (), done=True))


def _in_several_snapshots(plan: TablePlan) -> bool:
    """Whether a row may have moved meanwhile from a range that was still to be read into one that was read."""
    ranges = [step for step in plan.steps if step.partition.kind is not Kind.SETTLE]
    return plan.mode is not Mode.CHANGES or len(ranges) > 1


async def _apart(
    run: TableRun, partition: Partition, shared: Collection[str]
) -> AsyncGenerator[ReadBatch, None]:
    """Rows without a key, then rows that share theirs; `shared` are the keys of the latter in this snapshot."""
    queries = run.reader.queries
    reads = ((queries.null_keys(), Purpose.NULL_KEYS), (queries.duplicates(), Purpose.DUPLICATES))
    for query, purpose in reads:
        if shared or purpose is Purpose.NULL_KEYS:
            async with aclosing(run.reader.rows(query)) as found:
                number = 0
                async for rows in found:
                    numbered = run.reader.numbered(rows, number)
                    number += len(rows)
                    yield ReadBatch(partition, numbered, purpose=purpose)
        yield ReadBatch(partition, (), done=True, purpose=purpose)
