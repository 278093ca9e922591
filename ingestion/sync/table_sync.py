"""One table from start to end: plan, read, feed, remove what is gone, checkpoint.

Killed at any moment: the next run of the job goes on behind the last commit and feeds at most the batches in
flight again. A table without row versions is read in one snapshot, so it begins anew, its counts with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from ingestion import errors
from ingestion.events import Counts, Event, Noted, TableFinished, TableStarted
from ingestion.postgres import db_errors, server_info
from ingestion.schema_discovery import Table
from ingestion.state.types import BatchCommit, CheckpointUpdate, TableState
from ingestion.sync import (
    catalog_facts,
    deletes,
    partitions,
    reconciliation,
    settlement,
    source_reader,
    table_plan,
)
from ingestion.sync.job_control import Paused
from ingestion.sync.partitions import Kind
from ingestion.sync.pipeline import finished_first, made_ahead
from ingestion.sync.reconciliation import Group
from ingestion.sync.settlement import Mode, Prepared, TableRun
from ingestion.sync.source_reader import Purpose, ReadBatch, Rewritten, SourceReader, UnreadablePage
from ingestion.sync.sync_io import SyncIO
from ingestion.sync.table_plan import Start, Step, TablePlan
from ingestion.sync.table_reading import Item, items
from ingestion.sync.workers import WorkerLost
from ingestion.transform.transform import Transform

_FRUITLESS_READS = 3
"""Reads in a row that end with the connection and bring nothing, before the table is given up."""
_GRACE_S = 10.0
"""What a batch in hand gets to its commit once the job is cancelled."""
_DECLARED = ("primary_key", "unique_index")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a table ended; `counts` are the job's, earlier runs of it included."""

    status: str
    counts: Counts
    message: str = ""


class TableSync:
    """Runs one table of a job; what may be wanted of a table is said to the constructor, once."""

    def __init__(self, io: SyncIO, transform: Transform, table: str, *, full: bool) -> None:
        self.io, self.transform, self.name = io, transform, table
        self._full = full
        self._places: set[str] = set()
        self._group: Group | None = None
        self._announced = False

    async def run(self, done: Counts) -> Outcome:
        """Sync the table; `done` is what earlier runs of the job settled of it.

        Raises Stopped, Skipped, VespaUnavailable, StateError and CancelledError with the table's position
        stored; SchemaError and other IngestionErrors mean that this table cannot be read.
        """
        table, known = await self._table()
        run = await self._begin(table, done)
        run.rows_before = known.detail.get("rows") if known is not None else None
        facts = await catalog_facts.load(self.io.db, table)
        mark = table_plan.fingerprint(self.transform.schema, table, self.transform.masks, facts.mark)
        fruitless = 0
        while True:
            before = run.counts.read
            try:
                plan = await self._plan(run, known, mark, facts.unversioned)
                if not self._announced:
                    await self._announce(run, plan)
                await self._read(run, plan)
                return await self._end(run, plan, mark, known)
            except Paused:
                await self.io.control.until_resumed()
            except errors.SourceUnavailable as error:
                # Getting a connection has its own patience; this is for one that broke in the middle.
                fruitless = fruitless + 1 if run.counts.read == before else 1
                if not db_errors.is_transient(error) or fruitless > _FRUITLESS_READS:
                    raise
                await self._note(f"{error}; going on where it stood")
            except WorkerLost as error:
                await self._note(f"{error}; going on where it stood", "warning")
                run.left = await self.io.state.left_in_flight(run.name)
                run.doubts |= {*run.left.keys, *run.left.gone}
            except Rewritten:
                continue  # noticed, said and planned anew like at a resume
            except UnreadablePage as error:
                await self._note(f"{error}; going on by block ranges")
                await self._replan(run, await self._stored_plan())

    async def opened(self) -> TableRun:
        """The table ready to be read and settled outside of a sync: for retries and repairs.

        Raises SchemaError when it is gone or cannot be read.
        """
        table, _ = await self._table()
        return await self._begin(table, Counts())

    # -- before -------------------------------------------------------------------------------------------

    async def _table(self) -> tuple[Table, TableState | None]:
        """The table with the key that was chosen at its first sync, which only the operator changes."""
        table = self.transform.schema.table(self.name)
        if not table.readable:
            raise errors.SchemaError(
                f"{self.name} cannot be read: {table.problem or 'no rights'}",
                hint="GRANT SELECT on it, then run `procore-ingest discover` again.",
            )
        known = await self.io.state.table_state(self.name)
        chosen = table_plan.with_chosen_key(table, known)
        if chosen is not table:
            await self._note(
                f"discovery now finds the key ({', '.join(table.key_columns) or 'whole row'}), "
                f"documents keep ({', '.join(chosen.key_columns) or 'whole row'})"
            )
        return chosen, known

    async def _begin(self, table: Table, done: Counts) -> TableRun:
        layout = await source_reader.layout(self.io.db, table)
        log = logging.LoggerAdapter(self.io.log, {"job": self.io.job.id, "table": self.name})
        reader = SourceReader(self.io.db, table, layout, self.io.version_num, self.io.batch_size, log)
        unique = table.key_basis in _DECLARED
        builder = self.transform.builder(table)
        left = await self.io.state.left_in_flight(table.name)
        return TableRun(
            self.io, table, builder, reader, Mode.FULL, unique, rereads=True, counts=done,
            left=left, doubts={*left.keys, *left.gone},
        )  # fmt: skip

    async def _plan(self, run: TableRun, known: TableState | None, mark: str, unversioned: str) -> TablePlan:
        """The stored plan of an earlier run, or a new one, stored."""
        stored = await self.io.state.partitions(self.io.job.id, self.name)
        if stored:
            return await self._resumed(run, TablePlan.of(stored), mark)
        start = Start(Mode.FULL)
        if not self._full:
            synced = await self.io.state.last_success(self.name) is not None
            start = await table_plan.where_to_start(
                self.io.db, run.table, known, synced, mark, self.io.source, self.transform.source_timezone,
                unversioned,
            )  # fmt: skip
            if start.reason:
                what = "comparing every row" if start.mode is Mode.COMPARE else "feeding every row again"
                await self._note(f"{what}: {start.reason}")
        if known is None or known.key_columns is None:
            # Before the first document: whatever discovery finds later, a resumed read names documents alike.
            await self.io.state.set_table_state(
                replace(
                    known or TableState(table=self.name),
                    key_columns=tuple(run.table.key_columns),
                    key_basis=run.table.key_basis,
                )
            )
        if run.table.key_basis == "row_hash":
            await self._note("the table has no key: its rows are told apart by their content")
        return await self._begin_anew(run, await table_plan.make(run, start), mark)

    async def _resumed(self, run: TableRun, plan: TablePlan, mark: str) -> TablePlan:
        if Kind.STREAM in plan.kinds and not all(step.done for step in plan.steps):
            await self._note("it is read in one snapshot, so it begins again")
            await self.io.state.restart_job_table(self.io.job.id, self.name)
            run.counts = Counts()
            fresh = await table_plan.make(run, Start(plan.mode, plan.since))
            return await self._begin_anew(run, fresh, mark)
        if server_info.another_source(plan.source, self.io.source):
            raise errors.SchemaError(
                f"{self.name}: another server, timeline or database answers than when the job began",
                hint="Start a new sync: a full one, or an incremental, which will compare every row.",
            )
        if plan.mark and plan.mark != mark and not self._announced:
            await self._note(
                "columns, types, references or masks have changed since the job began: "
                "the next sync compares every row"
            )
        run.reader = run.reader.over(await source_reader.layout(self.io.db, run.table))
        moved = partitions.moved(
            [step.partition for step in plan.steps if not step.done], run.reader.layout.storages
        )
        if moved is not None:
            await self._note(f"{moved.schema}.{moved.relname} was rewritten meanwhile, so it is read again")
            return await self._replan(run, plan)
        return plan

    async def _begin_anew(self, run: TableRun, plan: TablePlan, mark: str) -> TablePlan:
        plan = replace(plan, mark=mark)
        await self.io.state.clear_partitions(self.io.job.id, self.name)
        await self.io.state.save_partitions(self.io.job.id, self.name, plan.stored())
        return plan

    async def _replan(self, run: TableRun, plan: TablePlan) -> TablePlan:
        """Put block ranges under the same horizon in the place of what is left of a plan."""
        fresh = await table_plan.make_again(run, plan)
        # The new ones first: whatever a crash leaves, the old horizon is never forgotten.
        await self.io.state.save_partitions(self.io.job.id, self.name, fresh.stored())
        for step in plan.steps:
            if not step.done:
                await self.io.state.move_partition(
                    self.io.job.id, self.name, step.partition.ordinal, status="done"
                )
        return fresh

    async def _stored_plan(self) -> TablePlan:
        return TablePlan.of(await self.io.state.partitions(self.io.job.id, self.name))

    async def _announce(self, run: TableRun, plan: TablePlan) -> None:
        self._announced = True
        whole = plan.mode is not Mode.CHANGES
        rows = run.table.row_count if whole else 0
        exact = whole and run.table.row_count_exact
        await self.io.state.set_job_table(
            self.io.job.id, self.name, "running", method=plan.method, expected=rows, exact=exact
        )
        await self.io.tell(
            TableStarted(
                job_id=self.io.job.id, table=self.name, rows=rows, exact=exact, method=plan.method,
                done=run.counts,
            )
        )  # fmt: skip

    # -- reading ------------------------------------------------------------------------------------------

    async def _read(self, run: TableRun, plan: TablePlan) -> None:
        run.aside, run.first_seq, run.mode = set(plan.aside), plan.first_seq, plan.mode
        run.rereads = plan.kinds != {Kind.PAGES} and Kind.STREAM not in plan.kinds
        self._places, self._group = set(), None
        ranges = deque(step for step in plan.steps if step.partition.kind is Kind.BLOCKS and not step.done)
        apart = list(ranges) if len(ranges) > 1 else []
        if apart:
            await self._side_by_side(run, plan, ranges)
        await self._lane(run, plan, [step for step in plan.steps if not step.done and step not in apart])

    async def _side_by_side(self, run: TableRun, plan: TablePlan, ranges: deque[Step]) -> None:
        """Read the ranges one after the other, and beside them further ones while no table wants the place."""
        helping = asyncio.Lock()

        async def beside() -> None:
            while ranges:
                async with self.io.places, helping:
                    if ranges:
                        await self._lane(run, plan, [ranges.popleft()])

        async def ours() -> None:
            await self._lane(run, plan, _taken(ranges))
            if not helping.locked():
                helper.cancel()  # it waits for a place to do what is done

        try:
            async with asyncio.TaskGroup() as group:
                helper = group.create_task(beside(), name=f"beside {self.name}")
                group.create_task(ours(), name=f"ranges of {self.name}")
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__

    async def _lane(self, run: TableRun, plan: TablePlan, steps: Iterable[Step]) -> None:
        """Read and settle partitions one after the other; see `_side_by_side`."""
        held = Kind.STREAM in plan.kinds

        async def made(item: Item) -> Item:
            if isinstance(item, Prepared):
                await settlement.prepare(run, item)
            return item

        source = made_ahead(items(run, plan, steps), made, f"read {self.name}")
        async with aclosing(source) as made_items:
            async for item in made_items:
                if held and self.io.control.is_paused:
                    await self.io.control.until_resumed()
                self.io.control.check(self.name)
                await finished_first(self._settle(run, plan, item), _GRACE_S)

    async def _settle(self, run: TableRun, plan: TablePlan, item: Item) -> None:
        if isinstance(item, Prepared):
            await settlement.settle(run, item)
        elif item.purpose is Purpose.SINGLES:
            await reconciliation.settle_singles(run, item)
        elif item.purpose is Purpose.DUPLICATES:
            self._group = await reconciliation.settle_duplicates(run, item, self._group, plan.settled_since)
        elif item.purpose is Purpose.NULL_KEYS:
            if item.done:
                await reconciliation.resolve_null_keys(run, self._places)
            self._places |= await reconciliation.settle_null_keys(run, item, plan.settled_since)

    # -- after --------------------------------------------------------------------------------------------

    async def _end(self, run: TableRun, plan: TablePlan, mark: str, known: TableState | None) -> Outcome:
        last = ReadBatch(plan.steps[-1].partition, ())
        message = ""
        try:
            if plan.mode is Mode.CHANGES:
                await deletes.remove_missing(run, last)
            else:
                await deletes.remove_unseen(run, last)
        except errors.MassDeleteBrake as brake:
            message = f"{brake}. {brake.hint}"
            await self._note(message)
        await deletes.settle_changed_copies(run, last)
        await deletes.settle_doubts(run, last)
        if plan.mode is not Mode.CHANGES:
            await reconciliation.resolve_unrenewed(run)
        status = "partial" if message or run.counts.failed else "completed"
        rows = await self.io.state.ledger_count(self.name)
        layout = run.reader.layout
        versioned = layout.heap and not run.hashed
        everything = plan.mode is not Mode.CHANGES
        await self.io.commit(
            BatchCommit(
                job_id=self.io.job.id,
                table=self.name,
                checkpoint=CheckpointUpdate(
                    status=status,
                    last_sync_timestamp=datetime.fromisoformat(plan.read_at),
                    error_message=message or None,
                ),
                table_state=TableState(
                    table=self.name,
                    oid=layout.oid,
                    relfilenode=layout.filenode,
                    key_columns=tuple(run.table.key_columns),
                    key_basis=run.table.key_basis,
                    horizon=plan.horizon if versioned else None,
                    epoch=self.io.epoch if everything or known is None else known.epoch,
                    transform_version=table_plan.TRANSFORM_VERSION,
                    detail={
                        **(known.detail if known else {}),
                        # Of its first documents: where it has changed since, the next sync must compare.
                        "fingerprint": plan.mark or mark, "source": self.io.source, "rows": rows,
                        # Of its beginning: what was attached since has not been read.
                        "leaves": sorted(plan.leaves), "zone": self.transform.source_timezone,
                    },
                ),
                table_status=status,
                flights=run.left.ids,
                in_doubt=sorted(run.doubts),
                # A put of the dead may still be on its way, and would find no document to compare itself with.
                in_doubt_gone=sorted(run.found_gone - run.left.gone),
                events=[
                    TableFinished(
                        job_id=self.io.job.id, table=self.name, status=status, counts=run.counts,
                        message=message,
                    )
                ],
            )
        )  # fmt: skip
        return Outcome(status, run.counts, message)

    async def _note(self, message: str, level: str = "warning") -> None:
        if self.io.job.id:
            await self.io.tell(Noted(job_id=self.io.job.id, level=level, message=message, table=self.name))
        else:
            self.io.log.info("%s", message, extra={"table": self.name})


def _taken(steps: deque[Step]) -> Iterator[Step]:
    while steps:
        yield steps.popleft()


async def leave(io: SyncIO, table: str, status: str, message: str, counts: Counts, *, finished: bool) -> None:
    """Store and tell that a table is left where it is; `finished` says that this job will not go on with it."""
    events: Sequence[Event] = (
        [TableFinished(job_id=io.job.id, table=table, status=status, counts=counts, message=message)]
        if finished
        else []
    )
    checkpoint = "cancelled" if status == "skipped" else status
    await io.commit(
        BatchCommit(
            job_id=io.job.id,
            table=table,
            checkpoint=CheckpointUpdate(status=checkpoint, error_message=message or None),
            events=events,
        )
    )
    await io.state.set_job_table(io.job.id, table, status, message=message)
