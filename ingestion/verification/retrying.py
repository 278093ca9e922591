"""Failures tried again: the row is read anew from the source, and what becomes of it replaces the failure.

A row that is gone resolves its failures; a row that fails again keeps its failure, with one more attempt. A table
that cannot be read keeps its failures as they are, and costs the others nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace

from ingestion import errors
from ingestion.connections import Connections
from ingestion.jobs import job_services
from ingestion.jobs.job_services import JobServices
from ingestion.postgres import db_errors
from ingestion.reports import RetryReport, Untried
from ingestion.state.store import StateStore
from ingestion.state.types import Failure, FailureFilter
from ingestion.sync import deletes, reconciliation, settlement
from ingestion.sync.partitions import Kind, Partition
from ingestion.sync.settlement import TableRun
from ingestion.sync.source_reader import Purpose, ReadBatch

_KEYS_PER_STEP = 1000


async def retry(connections: Connections, filter: FailureFilter, *, canary: int | None = None) -> RetryReport:
    """Retry the open failures that the filter matches, with `canary` only so many of them.

    Raises errors.WriterLocked while a job runs, errors.VespaUnavailable and errors.SourceUnavailable as a
    job does; what was settled until then stands. A table that alone cannot be read is in the report's `untried`.
    """
    state = await connections.state()
    # What fails for another reason meanwhile is a new failure: it is for the next retry.
    filter = replace(filter, until=await state.newest_failure())
    counts = await state.failure_counts(filter)
    if not counts:
        return RetryReport(0, 0, 0)
    has_files = any("file" in kinds for kinds in counts.values())
    total = sum(sum(kinds.values()) for kinds in counts.values())
    canaries: list[int] = []
    untried: list[Untried] = []
    async with job_services.opened(connections, "retry", sorted(counts), fetch_files=has_files) as services:
        for table in sorted(counts):
            only = replace(filter, tables=(settlement.glob_of(table),))
            try:
                if table not in {known.name for known in services.transform.schema.tables}:
                    gone = [failure.id async for failure in state.failures(only)]
                    await state.resolve_failures(gone, "the table is no longer in the source")
                elif canary is None:
                    await _all_of(services, table, only)
                elif step := [f async for f in _first(state, only, canary - len(canaries))]:
                    await _table(services, table, step)
                    canaries += [failure.id for failure in step]
            except errors.IngestionError as error:
                if not _of_table_alone(error):
                    raise
                untried.append(Untried(table, await state.failure_count(only), _said(error)))
                await services.leave(table, untried[-1].message)
    left = tuple(table for table in untried if table.failures)
    if canary is None:
        unread = sum(table.failures for table in left)
        failed = await state.failure_count(filter) - unread
        return RetryReport(total - unread, total - unread - failed, failed, untried=left)
    failed = await state.failure_count(FailureFilter(kinds=None, ids=tuple(canaries)))
    return RetryReport(
        len(canaries), len(canaries) - failed, failed, stopped_after_canary=True, untried=left
    )  # fmt: skip


def _of_table_alone(error: errors.IngestionError) -> bool:
    """Whether other tables may well be read although one ends like this."""
    if isinstance(error, errors.VespaUnavailable | errors.StateError):
        return False
    return not (isinstance(error, errors.ConnectionError) and db_errors.is_transient(error))


def _said(error: errors.IngestionError) -> str:
    return f"{error} {error.hint}".strip()


async def _all_of(services: JobServices, table: str, filter: FailureFilter) -> None:
    """Try a table's failures again, a bounded number at a time."""
    null_keys, step = True, list[Failure]()
    async with aclosing(services.io.state.failures(filter)) as failures:
        async for failure in failures:
            step.append(failure)
            if len(step) >= _KEYS_PER_STEP:
                await _table(services, table, step, null_keys=null_keys)
                null_keys = null_keys and all(failure.key for failure in step)
                step = []
    if step:
        await _table(services, table, step, null_keys=null_keys)


async def _first(state: StateStore, filter: FailureFilter, count: int) -> AsyncGenerator[Failure, None]:
    if count > 0:
        for failure in (await state.failure_page(filter, limit=count)).items:
            yield failure


def whole(run: TableRun) -> ReadBatch:
    """An empty batch that stands for rows read outside any partition."""
    return ReadBatch(Partition(table=run.name, ordinal=0, kind=Kind.SETTLE), ())


async def settle_keys(run: TableRun, keys: Iterable[str]) -> None:
    """Read the rows of these keys again and settle them; documents of keys that are gone are removed."""
    listed = list(dict.fromkeys(keys))
    for start in range(0, len(listed), _KEYS_PER_STEP):
        await deletes.remove_gone(run, listed[start : start + _KEYS_PER_STEP], whole(run))


async def _table(
    services: JobServices, table: str, failures: list[Failure], *, null_keys: bool = True
) -> None:
    """Settle what these failures are of; rows without a key, which go together, only with `null_keys`."""
    run = await services.table_run(table)
    by_kind: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        by_kind[failure.kind].append(failure)
    records = by_kind["record"] + by_kind["warning"]
    nameless = [failure.id for failure in records if not failure.key]
    if nameless and null_keys:
        await _null_keys(run)
        # A row that was given a key stands under it now, and only a read of what changed finds it there.
        if await _settled(services, nameless) and await services.io.state.last_success(table) is not None:
            await services.follow(table)
    keys = [failure.key for failure in records if failure.key]
    await settle_keys(run, keys)
    await deletes.end_failures_of_gone(run, keys)
    if by_kind["file"]:
        await services.retry_files(run, by_kind["file"])


async def _settled(services: JobServices, ids: list[int]) -> bool:
    """Whether any of these failures is over."""
    still_open = FailureFilter(kinds=None, ids=tuple(ids))
    return (await services.io.state.failure_page(still_open, limit=1)).total < len(ids)


async def _null_keys(run: TableRun) -> None:
    """Rows without a key cannot be told apart, so all of the table's are looked at."""
    places: set[str] = set()
    async for rows in run.reader.rows(run.reader.queries.null_keys()):
        batch = ReadBatch(whole(run).partition, rows, purpose=Purpose.NULL_KEYS)
        places |= await reconciliation.settle_null_keys(run, batch, None)
    await reconciliation.resolve_null_keys(run, places)
