"""The end of a table's read: rows without a key, keys held by several rows, and rows that moved meanwhile.

All of it is read in one snapshot. A row that this job settled before changes sides instead of counting twice:
its new verdict is added to the counts and its earlier one taken away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingestion.events import Counts
from ingestion.state.types import Failure, LedgerEntry
from ingestion.sync import row_failures, settlement
from ingestion.sync.partitions import at_or_after
from ingestion.sync.settlement import Mode, Result, TableRun
from ingestion.sync.source_reader import ReadBatch, Row
from ingestion.transform import document_ids
from ingestion.transform.documents import Document
from ingestion.vespa.client import RECORD
from ingestion.vespa.feeding import Verdict
from ingestion.vespa.operations import Operation

_ROWS_PER_COMMIT = 500


@dataclass(slots=True)
class Group:
    """Rows that share a key: the first row's document, and every row's place and digest."""

    key: str
    first: Row
    document: Document | None
    members: list[tuple[Row, int | None]] = field(default_factory=list)
    """Rows without their values; the digest is None where the row cannot become a document."""

    @property
    def identical(self) -> bool:
        digests = {digest for _, digest in self.members}
        return self.document is not None and digests == {self.document.digest}


async def settle_null_keys(run: TableRun, batch: ReadBatch, since: int | None) -> set[str]:
    """Fail every row without a key once; returns where they stand. With `since` only changed rows count."""
    result = Result()
    known = {f.locator: f for f in await settlement.standing(run, ("",), "record") if f.cause == "null_key"}
    for row in batch.rows:
        before = known.get(row.locator)
        if since is not None and before is not None and not at_or_after(row.version, since):
            continue
        failure = row_failures.null_key(run.table, row)
        if run.rereads and before is not None and before.job_id == run.io.job.id:
            continue
        result.fail(failure)
    await settlement.commit(run, result)
    return {row.locator for row in batch.rows}


async def settle_singles(run: TableRun, batch: ReadBatch) -> None:
    """Settle rows each of which is the only one with its key, whatever this job made of the key before."""
    result = Result()
    documents: list[Document] = []
    failures: list[Failure] = []
    unreadable: dict[int, tuple[str, ...]] = {}
    for row in batch.rows:
        if run.has_null_key(row):
            continue
        built = settlement.build(run, row)
        if isinstance(built, Failure):
            failures.append(built)
        else:
            documents.append(built)
            unreadable[id(built)] = row.unreadable
    keys = [document.key for document in documents] + [failure.key for failure in failures if failure.key]
    entries = await run.io.state.lookup(run.name, keys)
    priors = await _priors(run, keys, entries)
    fresh: list[Document] = []
    for document in documents:
        entry, prior = entries.get(document.key), priors[document.key]
        same = run.stands(entry, document) and not prior.failed
        if same and prior.read:
            continue
        if same and run.mode is not Mode.FULL:
            result.seen.append(document.key)
            result.count(read=1, skipped=1, size_bytes=document.size_bytes)
        else:
            fresh.append(document)
    for failure in failures:
        result.fail(failure)
    await settlement.feed(run, fresh, await run.io.sequence.next(), entries, result, unreadable)
    changed = [document.key for document in fresh] + [failure.key for failure in failures if failure.key]
    result.counts += _minus(priors[key] for key in changed)
    if not run.key_unique:
        await _drop_stale(run, keys, ())
    await settlement.commit(run, result)


async def settle_duplicates(
    run: TableRun, batch: ReadBatch, open_group: Group | None, since: int | None = None
) -> Group | None:
    """Settle every key whose rows are complete; returns the group that the next batch may go on with.

    With `since` only keys of which a row has changed.
    """
    groups: list[Group] = []
    group = open_group
    for row in batch.rows:
        built = settlement.build(run, row)
        key = built.key
        if group is None or group.key != key:
            if group is not None:
                groups.append(group)
            group = Group(key, row, built if isinstance(built, Document) else None)
        digest = built.digest if isinstance(built, Document) else None
        group.members.append((Row((), row.locator, row.version), digest))
    if batch.done and group is not None:
        groups.append(group)
        group = None
    pending: list[Group] = []
    size = 0
    for complete in groups:
        if since is not None and not any(at_or_after(row.version, since) for row, _ in complete.members):
            continue
        pending.append(complete)
        size += len(complete.members)
        if size >= _ROWS_PER_COMMIT:
            await _settle_groups(run, pending)
            pending, size = [], 0
    if pending:
        await _settle_groups(run, pending)
    return group


async def _settle_groups(run: TableRun, groups: Sequence[Group]) -> None:
    result = Result()
    keys = [group.key for group in groups]
    entries = await run.io.state.lookup(run.name, keys)
    priors = await _priors(run, keys, entries)
    read_seq = await run.io.sequence.next()
    fresh: list[Document] = []
    removals: list[str] = []
    for group in groups:
        if not group.identical:
            for row, _ in group.members:
                result.fail(row_failures.duplicate_key(run.table, group.key, row, len(group.members)))
            if group.key in entries or group.key in run.doubts:
                removals.append(group.key)
            continue
        assert group.document is not None
        entry = entries.get(group.key)
        if run.stands(entry, group.document) and run.mode is not Mode.FULL:
            result.seen.append(group.key)
            result.count(read=1, skipped=1, size_bytes=group.document.size_bytes)
        else:
            fresh.append(group.document)
        for row, _ in group.members[1:]:
            result.failures.append(row_failures.identical_copy(run.table, group.key, row))
            result.count(read=1, skipped=1)
    await settlement.feed(run, fresh, read_seq, entries, result)
    result.counts += _minus(priors.values())
    await remove(run, removals, read_seq, result)
    await _drop_stale(run, keys, result.failures)
    await settlement.commit(run, result)


async def remove(run: TableRun, keys: Sequence[str], read_seq: int, result: Result) -> None:
    """Take documents out of the index, and the files' documents' word of them with them."""
    if not keys:
        return
    if run.io.files is not None:
        await run.io.files.forget(run.name, keys)
    # A document in doubt may never have been there: it counts as deleted only where the ledger knows it.
    doubted = {key for key in keys if key in run.doubts}
    known = await run.io.state.lookup(run.name, doubted) if doubted else {}
    uncounted = doubted - known.keys()
    outcomes = await settlement.send(
        run,
        result,
        keys,
        [Operation("remove", RECORD, document_ids.doc_id(run.name, key), read_seq) for key in keys],
    )
    for key, outcome in zip(keys, outcomes, strict=True):
        if outcome.verdict is Verdict.REFUSED:
            failure = row_failures.refusal(run.table, key, outcome)
            result.failures.append(replace(failure, stage="delete"))
        else:
            result.removed.append(key)
            if key in doubted:
                run.found_gone.add(key)
            result.count(deleted=int(key not in uncounted))


async def resolve_unrenewed(run: TableRun) -> None:
    """End record failures that a read of every row has not met again: the row is well now, or gone."""
    stale = [
        failure.id
        async for failure in settlement.failures_of(run, statuses=("open",))
        if failure.job_id != run.io.job.id and failure.stage != "delete"
    ]
    await _resolve(run, stale, "not met again")


async def resolve_null_keys(run: TableRun, places: Collection[str]) -> None:
    """End failures of rows without a key that stand nowhere any more."""
    stale = [
        failure.id
        for failure in await settlement.standing(run, ("",), "record")
        if failure.cause == "null_key" and failure.locator not in places
    ]
    await _resolve(run, stale, "gone from the source")


async def _drop_stale(run: TableRun, keys: Sequence[str], renewed: Iterable[Failure]) -> None:
    """End what was noted of copies that are no longer there."""
    places = {(failure.key, failure.cause, failure.locator) for failure in renewed}
    stale: list[int] = []
    for kind, cause in (("record", "duplicate_key"), ("warning", "identical_copy")):
        stale += [
            failure.id
            for failure in await settlement.standing(run, keys, kind)
            if failure.cause == cause and (failure.key, failure.cause, failure.locator) not in places
        ]
    await _resolve(run, stale, "the copy is gone")


async def _resolve(run: TableRun, ids: Sequence[int], note: str) -> None:
    if ids:
        await run.io.state.resolve_failures(ids, note)


async def _priors(
    run: TableRun, keys: Sequence[str], entries: Mapping[str, LedgerEntry]
) -> dict[str, Counts]:
    """What this job has counted for each key so far: nothing where its read meets no key twice."""
    priors = dict.fromkeys(keys, Counts())
    if not run.rereads:
        return priors
    failed: set[str] = set()
    if run.counts.failed:
        for failure in await settlement.standing(run, keys, "record"):
            if failure.job_id == run.io.job.id:
                failed.add(failure.key)
                priors[failure.key] += Counts(read=1, failed=1)
    for key, entry in entries.items():
        # A key that failed has been seen, too: what the index holds of it is an older reading.
        if entry.epoch == run.io.epoch and key not in failed:
            fed = entry.read_seq >= run.first_seq
            priors[key] += Counts(read=1, indexed=1) if fed else Counts(read=1, skipped=1)
    if run.counts.skipped or run.counts.warned:
        for note in await settlement.standing(run, keys, "warning"):
            if note.job_id != run.io.job.id:
                continue
            if note.cause == "identical_copy":
                priors[note.key] += Counts(read=1, skipped=1)
            elif not priors[note.key].warned:
                priors[note.key] += Counts(warned=1)
    return priors


def _minus(counts: Iterable[Counts]) -> Counts:
    total = sum(counts, Counts())
    return Counts(
        read=-total.read, indexed=-total.indexed, failed=-total.failed, skipped=-total.skipped,
        warned=-total.warned,
    )  # fmt: skip
