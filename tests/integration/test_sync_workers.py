"""With worker processes or without, a job accounts for the same rows, and nothing that ends a process loses one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults import Answer, FaultProxy, writes
from sync_world import World, counts, world

from ingestion import errors
from ingestion.events import BatchCommitted, Event, TableFinished
from ingestion.file_detector import FileDetector
from ingestion.sync.workers import Workers
from ingestion.sync_manager import SyncConfig
from ingestion.vespa import client
from ingestion.vespa.feeding import Feeder

TABLES = ("change_orders", "daily_logs", "photos", "project_users", "rfis", "sync_events", "vendors")
"""Of the sample: with dirt of every kind, files, JSON and references."""


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        yield made


def workers() -> list[psutil.Process]:
    """The worker processes of this process."""
    found = []
    for child in psutil.Process().children():
        try:
            if "ingestion.sync.worker_process" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


async def accounted(here: World, processes: int | None, started: int) -> dict[str, Any]:
    await here.discover()
    seen: set[int] = set()

    def publish(event: Event) -> None:
        seen.update(worker.pid for worker in workers())

    result = await here.full(
        SyncConfig(batch_size=100, tables=list(TABLES)),
        processes=processes, detector=FileDetector(here.schema), publish=publish,
    )  # fmt: skip
    assert len(seen) == started
    assert not workers()
    async with here.state() as state:
        job = await state.get_job(result.job_id)
    assert job.report is not None
    assert job.report["metrics"]["operations"] >= result.records_indexed
    documents = await here.documents()
    for fields in documents.values():
        assert fields.pop("read_seq")
        assert fields.pop("ingested_at")
        assert fields.pop("source") == here.namespace
    async with here.state() as state:
        ledger = {
            table.table: sorted(
                [
                    (e.key, e.digest, e.bucket)
                    async for page in state.ledger_entries(table.table)
                    for e in page
                ]
            )
            for table in result.tables
        }
    failures = [
        (f.table, f.kind, f.key, f.stage, f.cause, f.message, f.locator)
        for f in await here.failures(kinds=("record", "warning"))
    ]
    return {
        "status": result.status,
        "counts": {table.table: table.counts for table in result.tables},
        "failures": sorted(failures),
        "documents": documents,
        "ledger": ledger,
    }


async def test_the_accounting_is_the_same_with_worker_processes_and_without(
    sample_database: str, vespa_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(sample_database, vespa_url, f"{namespace}-one", tmp_path / "one") as one:
        alone = await accounted(one, 0, 0)
    monkeypatch.setattr("ingestion.sync.workers.WORTH_ROWS", 1)
    monkeypatch.setattr("ingestion.sync.workers.MOST_WORKERS", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    async with world(sample_database, vespa_url, f"{namespace}-both", tmp_path / "both") as both:
        shared = await accounted(both, None, 1)
    for what, expected in alone.items():
        assert shared[what] == expected, what
    async with world(sample_database, vespa_url, f"{namespace}-two", tmp_path / "two") as two:
        helped = await accounted(two, 2, 2)
        again = await two.incremental(SyncConfig(tables=list(TABLES)), processes=2)
        assert (again.records_indexed, again.records_deleted) == (0, 0)
    for what, expected in alone.items():
        assert helped[what] == expected, what


@pytest.mark.parametrize("processes", [0, 1, 3])
async def test_the_bound_on_operations_under_way_is_one_for_all_processes(
    here: World, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.sql("CREATE TABLE t (id bigint)", "INSERT INTO t SELECT generate_series(1, 500)")
    ours: list[Feeder] = []
    theirs: list[Workers] = []
    ready = Workers.ready

    async def noted(self: Workers, rows: int) -> bool:
        theirs.append(self)
        return await ready(self, rows)

    monkeypatch.setattr(
        "ingestion.sync_manager.Feeder", lambda *a, **k: ours.append(Feeder(*a, **k)) or ours[0]
    )
    monkeypatch.setattr(Workers, "ready", noted)
    result = await here.full(SyncConfig(batch_size=50), processes=processes, max_in_flight=8)
    assert (result.status, result.records_indexed) == ("completed", 500)
    # Acknowledgements raise each feeder's limit to its most, which is 8 for a job without workers.
    limits = [ours[0].stats.limit, *(stats.limit for stats in theirs[0].stats)]
    assert sum(limits) <= 8


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3000) i",
    )
    killed: list[int] = []

    def publish(event: Event) -> None:
        if isinstance(event, BatchCommitted) and len(killed) < 2 and (left := workers()):
            left[0].kill()
            killed.append(left[0].pid)

    result = await here.full(SyncConfig(batch_size=100), processes=2, publish=publish)
    assert len(killed) == 2
    assert (result.status, counts(result, "t")) == ("completed", (3000, 3000, 0, 0))
    assert await here.column("t", "v") == {str(i): f"v{i}" for i in range(1, 3001)}
    assert (await here.incremental()).records_indexed == 0


async def test_a_cancelled_job_leaves_no_worker_behind_and_can_be_resumed(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3000) i",
    )
    begun = asyncio.Event()
    jobs: list[str] = []

    def publish(event: Event) -> None:
        if isinstance(event, BatchCommitted):
            jobs.append(event.job_id)
            begun.set()

    task = asyncio.create_task(here.full(SyncConfig(batch_size=100), processes=2, publish=publish))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not workers()
    result = await (await here.manager(processes=2)).resume(jobs[0])
    assert counts(result, "t") == (3000, 3000, 0, 0)


async def test_an_index_that_takes_nothing_any_more_ends_the_job_as_without_workers(
    here: World, vespa_url: str, tmp_path: Path
) -> None:
    await here.sql("CREATE TABLE t (id bigint)", "INSERT INTO t SELECT generate_series(1, 500)")
    async with FaultProxy(
        vespa_url, writes(lambda request: Answer(503) if "/docid/" in request.path else None)
    ) as proxy:
        here.vespa = client.build(proxy.url)
        result = await here.full(SyncConfig(batch_size=100), processes=1, feed_deadline_s=0.2)
    assert result.status == "failed"
    assert isinstance(result.fault, errors.VespaUnavailable)
    assert "503" in str(result.fault)


async def test_a_worker_never_takes_one_table_for_another(here: World) -> None:
    """A table's builder that is gone may leave its address in memory to the next one's."""
    tables = [f"t{n:02}" for n in range(24)]
    for n, table in enumerate(tables):
        columns = ", ".join(f"c{n}_{i} text" for i in range(1 + n % 3))
        values = ", ".join(f"'{table} of {i}'" for i in range(1 + n % 3))
        await here.sql(
            f"CREATE TABLE {table} (id bigint, {columns})", f"INSERT INTO {table} VALUES (1, {values})"
        )

    def publish(event: Event) -> None:
        if isinstance(event, TableFinished):
            gc.collect()

    await here.full(SyncConfig(workers=1), processes=1, publish=publish)
    found = {d: fields["metadata"] for d, fields in (await here.documents()).items()}
    assert found == {
        f"{table}:1": {"id": "1", **{f"c{n}_{i}": f"{table} of {i}" for i in range(1 + n % 3)}}
        for n, table in enumerate(tables)
    }
