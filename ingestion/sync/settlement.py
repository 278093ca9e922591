"""What becomes of rows: documents, Vespa's verdict on each, and one commit that says so.

Every row ends in exactly one count. A row that cannot become a document, or that Vespa refuses, is a stored
failure and never its batch's; nothing counts as indexed before Vespa has acknowledged it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import compress

import orjson

from ingestion.events import BatchCommitted, Counts, Event, RecordFailed
from ingestion.schema_discovery import Table
from ingestion.state.in_flight import LeftInFlight
from ingestion.state.types import (
    BatchCommit,
    CheckpointUpdate,
    Failure,
    FailureFilter,
    LedgerEntry,
    PartitionProgress,
)
from ingestion.sync import building, row_failures
from ingestion.sync.partitions import at_or_after
from ingestion.sync.source_reader import ReadBatch, Row, SourceReader
from ingestion.sync.sync_io import SyncIO
from ingestion.sync.workers import Held, Workers
from ingestion.transform.documents import Document, DocumentBuilder
from ingestion.vespa.client import RECORD
from ingestion.vespa.feeding import Outcome, Verdict
from ingestion.vespa.operations import Operation

SYNC_KINDS = ("full", "incremental")


class Mode(Enum):
    """Which rows a table's sync reads and which of them it feeds."""

    FULL = "full"
    """All rows, all fed."""
    COMPARE = "compare"
    """All rows; fed where their digest is not the ledger's."""
    CHANGES = "changes"
    """Row versions since the last horizon; fed where their digest is not the ledger's."""


class KeysInHand:
    """Keys of batches that are being settled: a row that moved meanwhile may be in two partitions at a time."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def of(self, keys: set[str]) -> AsyncIterator[None]:
        """Wait until none of these keys is in hand, and hold them."""
        while not self._keys.isdisjoint(keys):
            self._freed.clear()
            await self._freed.wait()
        self._keys |= keys
        try:
            yield
        finally:
            self._keys -= keys
            self._freed.set()


@dataclass(slots=True)
class TableRun:
    """One table in one job. `aside` are keys that several rows hold: they are settled after all others.

    `rereads` says that a key may be met again in the same read, because the row moved meanwhile.
    `first_seq` is a read number before which nothing of this job's was fed.
    """

    io: SyncIO
    table: Table
    builder: DocumentBuilder
    reader: SourceReader
    mode: Mode
    key_unique: bool
    rereads: bool
    first_seq: int = 0
    rows_before: int | None = None
    """Rows of the table in the index after its last sync, None where that is not known."""
    aside: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    left: LeftInFlight = field(default_factory=LeftInFlight)
    """Operations that an earlier run began and never ended."""
    doubts: set[str] = field(default_factory=set)
    """Their keys as far as they are unsettled: what the ledger says of these may not be what the index holds."""
    in_hand: KeysInHand = field(default_factory=KeysInHand)
    found_gone: set[str] = field(default_factory=set)
    """Keys in doubt whose rows turned out to be gone."""

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def hashed(self) -> bool:
        """Whether rows are told apart by their content, the table having no key."""
        return not self.table.key_columns

    def stands(self, entry: LedgerEntry | None, document: Document) -> bool:
        """Whether the index holds exactly this document, so far as is known for certain."""
        return entry is not None and entry.digest == document.digest and document.key not in self.doubts

    def has_null_key(self, row: Row) -> bool:
        return not self.hashed and self.builder.key_of(row.values) is None


@dataclass(slots=True)
class Prepared:
    """A batch turned into documents; `rows` stand beside `documents`."""

    batch: ReadBatch
    read_seq: int
    documents: list[Document] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    held: Held | None = None
    """Where the documents lie if it is another process; those here then only stand for them."""


@dataclass(slots=True)
class Result:
    """What a commit will say, gathered."""

    counts: Counts = field(default_factory=Counts)
    ledger: list[LedgerEntry] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    row_hashes: dict[str, int] = field(default_factory=dict)
    fed: list[Document] = field(default_factory=list)
    flights: list[int] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)

    def count(self, **counts: int) -> None:
        self.counts += Counts(**counts)

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.count(read=1, failed=1)

    def stood(self, documents: Sequence[Document]) -> None:
        """Count documents that the index holds already."""
        self.seen += [document.key for document in documents]
        number = len(documents)
        self.count(read=number, skipped=number, size_bytes=sum([d.size_bytes for d in documents]))


async def numbered(run: TableRun, batch: ReadBatch) -> Prepared:
    """A batch of the main read, in the order of reading, for `prepare`."""
    return Prepared(batch, await run.io.sequence.next())


async def prepare(run: TableRun, prepared: Prepared) -> None:
    """Make documents of the batch, rows that the end of the read settles left out.

    Several batches of a table may be prepared at a time.
    """
    workers = run.io.workers
    if workers is not None and not run.hashed and await _prepare_elsewhere(run, workers, prepared):
        return
    batch = prepared.batch
    for first in range(0, len(batch.rows), building.ROWS_AT_A_TIME):
        if first:
            await asyncio.sleep(0)
        rows = batch.rows[first : first + building.ROWS_AT_A_TIME]
        places = {n: (row.locator, row.unreadable) for n, row in enumerate(rows) if row.unreadable}
        made = building.build_all(run.builder, [row.values for row in rows], places)
        for row, built in zip(rows, made, strict=True):
            if isinstance(built, Failure):
                if not _settled_apart(run, row, built):
                    prepared.failures.append(row_failures.at(built, row))
            elif built.key not in run.aside:
                prepared.documents.append(built)
                prepared.rows.append(row)


def _settled_apart(run: TableRun, row: Row, failure: Failure) -> bool:
    """Whether the end of the read settles the row, because its key is NULL or held by others too."""
    return failure.key in run.aside or (not run.key_unique and run.has_null_key(row))


def build(run: TableRun, row: Row, ordinal: int = 0) -> Document | Failure:
    """The row's document, or why there is none."""
    return building.build(run.builder, row.values, row.locator, row.unreadable, ordinal)


async def _prepare_elsewhere(run: TableRun, workers: Workers, prepared: Prepared) -> bool:
    """Fill in what a worker process makes of the batch; False where none does."""
    rows = prepared.batch.rows
    if not await workers.ready(len(rows)):
        return False
    texts = [row.values for row in rows]
    keyless = set() if run.key_unique else run.builder.keyless(texts)
    # The text of the rows is the other process's from now on.
    prepared.batch = replace(prepared.batch, rows=())
    rows = [Row((), row.locator, row.version, row.unreadable) for row in rows]
    places = {n: (row.locator, row.unreadable) for n, row in enumerate(rows) if row.unreadable}
    made = await workers.prepare(run.builder, texts, places)
    prepared.held = made.held
    for position, failure in made.failures:
        if not (failure.key in run.aside or position in keyless):
            prepared.failures.append(row_failures.at(failure, rows[position]))
    kept = rows if len(made.positions) == len(rows) else list(map(rows.__getitem__, made.positions))
    if run.aside:
        alone = [document.key not in run.aside for document in made.documents]
        prepared.documents = list(compress(made.documents, alone))
        prepared.rows = list(compress(kept, alone))
    else:
        prepared.documents, prepared.rows = made.documents, kept
    return True


async def settle(run: TableRun, prepared: Prepared) -> None:
    """Feed what a main read's batch holds and commit what became of it."""
    hashes: dict[str, int] = {}
    if run.hashed:
        documents, hashes = await _numbered(run, prepared)
    else:
        documents = _without_copies(run, prepared)
    keys = {document.key for document in documents} | {f.key for f in prepared.failures if f.key}
    async with run.in_hand.of(keys):
        await _settle(run, prepared, documents, hashes)


async def _settle(
    run: TableRun, prepared: Prepared, documents: list[Document], hashes: dict[str, int]
) -> None:
    result = Result(row_hashes=hashes)
    entries = await run.io.state.lookup(run.name, [document.key for document in documents])
    if run.rereads:
        again = {key for key, entry in entries.items() if entry.epoch == run.io.epoch}
        again |= await failed_in_job(run, [document.key for document in documents])
        failed_again = await failed_in_job(run, [f.key for f in prepared.failures if f.key])
        documents = [document for document in documents if document.key not in again]
        prepared.failures = [f for f in prepared.failures if not f.key or f.key not in failed_again]
    for failure in prepared.failures:
        result.fail(failure)
    fresh = documents
    if run.mode is not Mode.FULL:
        standing = [d for d in documents if run.stands(entries.get(d.key), d)]
        result.stood(standing)
        if standing:
            fresh = [d for d in documents if not run.stands(entries.get(d.key), d)]
    unreadable = {
        id(document): row.unreadable
        for document, row in zip(prepared.documents, prepared.rows, strict=True)
        if row.unreadable
    }
    await feed(run, fresh, prepared.read_seq, entries, result, unreadable, prepared.held)
    batch = prepared.batch
    last = documents[-1].key if documents else None
    await commit(run, result, batch, last_key=last)


async def feed(
    run: TableRun,
    documents: Sequence[Document],
    read_seq: int,
    entries: Mapping[str, LedgerEntry],
    result: Result,
    unreadable: Mapping[int, tuple[str, ...]] | None = None,
    held: Held | None = None,
) -> None:
    """Put documents and note in `result` what became of each; at most one document of a key.

    `held` says which process has them, if it is not this one.
    """
    now_ms = int(run.io.clock() * 1000)
    moment = b',"ingested_at":%d}' % now_ms
    before = len(result.fed)

    async def put() -> list[Outcome]:
        if held is not None:
            return await held.feed(documents, read_seq, now_ms)
        return await run.io.feeder.feed(
            [
                Operation(
                    "put",
                    RECORD,
                    document.fields["doc_id"],
                    read_seq,
                    encoded=orjson.dumps(document.fields)[:-1] + moment,
                )
                for document in documents
            ]
        )

    outcomes = await _noted(run, result, [document.key for document in documents], put)
    epoch, ledger = run.io.epoch, result.ledger
    warned = 0
    for document, outcome in zip(documents, outcomes, strict=True):
        if outcome.verdict is Verdict.REFUSED:
            result.fail(row_failures.refusal(run.table, document.key, outcome))
            continue
        if outcome.verdict is Verdict.SUPERSEDED:
            if document.key in entries:
                result.seen.append(document.key)
            result.count(read=1, skipped=1, size_bytes=document.size_bytes)
            continue
        ledger.append(LedgerEntry(document.key, document.digest, read_seq, document.bucket, epoch))
        result.fed.append(document)
        columns = unreadable.get(id(document), ()) if unreadable else ()
        if document.warnings or columns:
            result.failures += row_failures.warnings(run.table, document, columns)
            warned += 1
    indexed, size_bytes = len(result.fed) - before, sum([d.size_bytes for d in result.fed[before:]])
    inserted, updated = _told_apart(run, result.fed[before:], entries) if entries else (indexed, 0)
    result.count(
        read=indexed, indexed=indexed, warned=warned, size_bytes=size_bytes, inserted=inserted, updated=updated
    )  # fmt: skip


def _told_apart(
    run: TableRun, fed: Sequence[Document], entries: Mapping[str, LedgerEntry]
) -> tuple[int, int]:
    """How many of the documents the index did not hold, and how many it held otherwise.

    One that this read fed before was counted then.
    """
    held = [(d.digest, entry) for d in fed if (entry := entries.get(d.key)) is not None]
    changed = [entry for digest, entry in held if entry.digest != digest]
    updated = sum(not run.first_seq or entry.read_seq < run.first_seq for entry in changed)
    return len(fed) - len(held), updated


async def send(
    run: TableRun, result: Result, keys: Sequence[str], operations: Sequence[Operation]
) -> list[Outcome]:
    """What Vespa says of operations on these keys, noted before they are sent.

    A process killed between Vespa's acknowledgement and our commit leaves documents that no ledger knows, or
    takes away such that it does: whoever goes on must look at these keys, even if their rows are gone by then.
    """
    return await _noted(run, result, keys, lambda: run.io.feeder.feed(operations))


async def _noted(
    run: TableRun, result: Result, keys: Sequence[str], feeding: Callable[[], Awaitable[list[Outcome]]]
) -> list[Outcome]:
    if not keys:
        return []
    result.flights.append(await run.io.state.begin_feed(run.name, keys))
    outcomes = await feeding()
    for key, outcome in zip(keys, outcomes, strict=True):
        if outcome.verdict is Verdict.ACCEPTED:
            if run.doubts:
                run.doubts.discard(key)
        elif outcome.verdict is Verdict.REFUSED and outcome.status == 500:
            # Refused after several tries of which one may have taken effect.
            result.in_doubt.append(key)
    return outcomes


async def commit(
    run: TableRun, result: Result, batch: ReadBatch | None = None, *, last_key: str | None = None
) -> None:
    """Hand the files of a result on, store it with the position behind it, and publish."""
    events: list[Event] = [
        RecordFailed(
            job_id=run.io.job.id, table=run.name, key=failure.key, stage=failure.stage, cause=failure.cause,
            message=failure.message,
        )
        for failure in result.failures
        if failure.kind == "record"
    ]  # fmt: skip
    if result.counts != Counts():
        name = batch.partition.name if batch is not None else ""
        events.append(
            BatchCommitted(job_id=run.io.job.id, table=run.name, counts=result.counts, partition=name)
        )
    progress = None
    if batch is not None and (batch.position is not None or batch.done):
        progress = PartitionProgress(
            ordinal=batch.partition.ordinal, position=batch.position, done=batch.done
        )
    if run.io.files is not None and run.table.file_reference_columns and result.fed:
        # Before the commit: a crash in between feeds these records again, so no file is forgotten. Records
        # without files are passed too: they may have had some.
        await run.io.files.settle(run.name, result.fed)
    await run.io.commit(
        BatchCommit(
            job_id=run.io.job.id,
            table=run.name,
            counts=result.counts,
            ledger=result.ledger,
            seen=result.seen,
            removed=result.removed,
            failures=result.failures,
            row_hashes=result.row_hashes,
            flights=result.flights,
            in_doubt=result.in_doubt,
            partition=progress,
            # A retry or a repair is no sync: the table stands where its last sync left it.
            checkpoint=CheckpointUpdate(status="running", last_record_id=last_key)
            if run.io.job.kind in SYNC_KINDS
            else None,
            events=events,
        )
    )
    run.counts += result.counts


async def failed_in_job(run: TableRun, keys: Collection[str]) -> set[str]:
    """Those of `keys` that have a record failure of this job."""
    if not run.counts.failed or not keys:
        return set()
    return {failure.key for failure in await standing(run, keys, "record") if failure.job_id == run.io.job.id}


async def standing(run: TableRun, keys: Collection[str], kind: str) -> list[Failure]:
    """What stands against these keys, dismissed or not."""
    return await run.io.state.failures_of_keys(run.name, keys, kind)


def failures_of(
    run: TableRun,
    *,
    keys: Collection[str] | None = None,
    causes: Iterable[str] | None = None,
    kind: str = "record",
    job_id: str | None = None,
    statuses: tuple[str, ...] = ("open", "dismissed"),
) -> AsyncIterator[Failure]:
    """The table's standing failures."""
    return run.io.state.failures(
        FailureFilter(
            kinds=(kind,),
            tables=(glob_of(run.name),),
            causes=tuple(causes) if causes is not None else None,
            statuses=statuses,
            job_id=job_id,
            keys=tuple(keys) if keys is not None else None,
        )
    )


def glob_of(name: str) -> str:
    """A shell glob that matches exactly this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _without_copies(run: TableRun, prepared: Prepared) -> list[Document]:
    """One document per key: of copies that appeared after the read began, one that was there before.

    The others have a row version at or after the horizon, so the end of the read meets them again.
    """
    documents = prepared.documents
    if run.key_unique or len({document.key for document in documents}) == len(documents):
        return list(documents)
    horizon = prepared.batch.partition.horizon
    chosen: dict[str, tuple[bool, Document]] = {}
    for document, row in zip(documents, prepared.rows, strict=True):
        late = at_or_after(row.version, horizon)
        known = chosen.get(document.key)
        if known is None or late < known[0]:
            chosen[document.key] = (late, document)
    return [document for _, document in chosen.values()]


async def _numbered(run: TableRun, prepared: Prepared) -> tuple[list[Document], dict[str, int]]:
    """Documents of a table without a key, identical rows numbered on from those committed before."""
    hashes = [document.key for document in prepared.documents]
    before = await run.io.state.row_hash_counts(run.io.job.id, run.name, list(dict.fromkeys(hashes)))
    copies: dict[str, int] = {}
    numbered: list[Document] = []
    for position, (document, row) in enumerate(zip(prepared.documents, prepared.rows, strict=True)):
        ordinal = before.get(document.key, 0) + copies.get(document.key, 0)
        copies[document.key] = copies.get(document.key, 0) + 1
        if ordinal:
            built = build(run, row, ordinal)
            assert isinstance(built, Document)
            prepared.documents[position] = document = built
        numbered.append(document)
    return numbered, copies
