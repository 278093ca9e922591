"""Failures tried again: the row is read anew from the source, and what becomes of it replaces the failure.

A row that is gone resolves its failures; a row that fails again keeps its failure, with one more attempt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ingestion.connections import Connections
from ingestion.jobs import job_services
from ingestion.jobs.job_services import JobServices
from ingestion.reports import RetryReport
from ingestion.state.types import Failure, FailureFilter
from ingestion.sync import deletes, reconciliation
from ingestion.sync.partitions import Kind, Partition
from ingestion.sync.settlement import TableRun
from ingestion.sync.source_reader import Purpose, ReadBatch

_KEYS_PER_STEP = 1000


async def retry(connections: Connections, filter: FailureFilter, *, canary: int | None = None) -> RetryReport:
    """Retry the open failures that the filter matches, with `canary` only so many of them.

    Raises errors.WriterLocked while a job runs, errors.VespaUnavailable and errors.SourceUnavailable as a
    job does; what was settled until then stands.
    """
    state = await connections.state()
    chosen: list[Failure] = []
    async for failure in state.failures(filter):
        chosen.append(failure)
        if canary is not None and len(chosen) >= canary:
            break
    if not chosen:
        return RetryReport(0, 0, 0)
    tables = sorted({failure.table for failure in chosen})
    has_files = any(failure.kind == "file" for failure in chosen)
    async with job_services.opened(connections, "retry", tables, fetch_files=has_files) as services:
        for table in tables:
            await _table(services, table, [f for f in chosen if f.table == table])
    still_open = {
        f.id async for f in state.failures(FailureFilter(kinds=None, ids=tuple(f.id for f in chosen)))
    }
    failed = sum(1 for failure in chosen if failure.id in still_open)
    return RetryReport(len(chosen), len(chosen) - failed, failed, stopped_after_canary=canary is not None)


def whole(run: TableRun) -> ReadBatch:
    """An empty batch that stands for rows read outside any partition."""
    return ReadBatch(Partition(table=run.name, ordinal=0, kind=Kind.SETTLE), ())


async def settle_keys(run: TableRun, keys: Iterable[str]) -> None:
    """Read the rows of these keys again and settle them; documents of keys that are gone are removed."""
    listed = list(dict.fromkeys(keys))
    for start in range(0, len(listed), _KEYS_PER_STEP):
        await deletes.remove_gone(run, listed[start : start + _KEYS_PER_STEP], whole(run))


async def _table(services: JobServices, table: str, failures: list[Failure]) -> None:
    run = await services.table_run(table)
    by_kind: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        by_kind[failure.kind].append(failure)
    records = by_kind["record"] + by_kind["warning"]
    nameless = [failure.id for failure in records if not failure.key]
    if nameless:
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
