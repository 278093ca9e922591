"""A job that was killed, stopped, paused or cut off goes on where it stood, and its counts still add up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from sync_world import World, counts, world

from ingestion import errors
from ingestion.events import BatchCommitted, Event, JobPaused, JobResumed
from ingestion.sync.job_control import JobControl
from ingestion.sync_manager import SyncConfig
from ingestion.vespa import client

SMALL = SyncConfig(batch_size=20, workers=1)


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        await made.sql(
            "CREATE TABLE a_blocks (id bigint, v text)",
            "CREATE TABLE b_pages (id bigint PRIMARY KEY, v text)",
            "CREATE TABLE c_rows (v text)",
            "INSERT INTO a_blocks SELECT i, repeat('x', 100) || i FROM generate_series(1, 120) i",
            "INSERT INTO a_blocks VALUES (7, 'other'), (8, repeat('x', 100) || 8), (NULL, 'n')",
            "INSERT INTO b_pages SELECT i, 'v' || i FROM generate_series(1, 120) i",
            "INSERT INTO c_rows SELECT 'v' || i / 2 FROM generate_series(1, 60) i",
        )
        yield made


def after(batches: int, action: Callable[[], None]) -> Callable[[Event], None]:
    """A listener that acts once so many batches are committed."""
    left = batches

    def on_event(event: Event) -> None:
        nonlocal left
        if isinstance(event, BatchCommitted):
            left -= 1
            if left == 0:
                action()

    return on_event


async def all_is_well(here: World, result: object) -> None:
    assert counts(result, "a_blocks") == (123, 119, 3, 1)  # type: ignore[arg-type]
    assert counts(result, "b_pages") == (120, 120, 0, 0)  # type: ignore[arg-type]
    assert counts(result, "c_rows") == (60, 60, 0, 0)  # type: ignore[arg-type]
    documents = await here.documents()
    assert len(documents) == 119 + 120 + 60
    causes = sorted(failure.cause for failure in await here.failures())
    assert causes == ["duplicate_key", "duplicate_key", "null_key"]


async def test_a_job_killed_in_any_table_goes_on_and_loses_nothing(here: World) -> None:
    arguments = [here.url, str(here.vespa.end_point), here.namespace, str(here.state_path.parent.parent)]
    script = str(Path(__file__).with_name("sync_job_process.py"))
    action, kills = "full", [3, 8]
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, *arguments, action, stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent.parent.parent, env={"PYTHONPATH": str(Path(__file__).parent) + ":."},
        )  # fmt: skip
        assert process.stdout is not None
        job_id = (await process.stdout.readline()).decode().strip()
        assert job_id, "the process did not start its job"
        if action == "full":
            action = job_id
        for _ in range(kills[0] if kills else 1000):
            line = await process.stdout.readline()
            if not line:
                break
        if not kills:
            assert await process.wait() == 0
            break
        process.kill()
        await process.wait()
        kills.pop(0)
    async with here.state() as state:
        job = await state.get_job(action)
        tables = {table.table: table.counts for table in await state.job_tables(action)}
    assert job.status == "partial"
    assert {name: (c.read, c.indexed, c.failed, c.skipped) for name, c in tables.items()} == {
        "a_blocks": (123, 119, 3, 1), "b_pages": (120, 120, 0, 0), "c_rows": (60, 60, 0, 0),
    }  # fmt: skip
    assert len(await here.documents()) == 299


async def test_a_stopped_job_keeps_what_it_committed_and_resumes(here: World) -> None:
    control = JobControl()
    result = await here.full(SMALL, control=control, publish=after(2, control.stop), blocks_per_partition=2)
    assert (result.status, result.records_processed) == ("cancelled", 38)
    assert len(await here.documents()) == 38
    again = await (await here.manager()).resume(result.job_id)
    assert again.status == "partial"
    await all_is_well(here, again)


async def test_a_cancelled_task_commits_its_batch_and_the_job_resumes(here: World) -> None:
    task: asyncio.Task[object] | None = None

    def cancel() -> None:
        assert task is not None
        task.cancel()

    ids: list[str] = []
    task = asyncio.create_task(
        here.full(SMALL, publish=after(2, cancel), on_start=lambda job: ids.append(job.id))
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    async with here.state() as state:
        assert (await state.get_job(ids[0])).status == "cancelled"
        assert await state.lock_holder() is None
        (table, *_) = await state.job_tables(ids[0])
        assert (table.status, table.counts.adds_up) == ("cancelled", True)
        assert table.counts.read == await state.ledger_count(table.table) >= 38
    await all_is_well(here, await (await here.manager()).resume(ids[0]))


async def test_a_rewritten_table_is_read_again_and_nothing_counts_twice(here: World) -> None:
    control = JobControl()
    result = await here.full(SMALL, control=control, publish=after(5, control.stop), blocks_per_partition=2)
    assert result.records_processed == 98
    await here.sql("VACUUM FULL a_blocks", "UPDATE a_blocks SET v = 'changed' WHERE id = 2")
    again = await (await here.manager()).resume(result.job_id)
    await all_is_well(here, again)
    assert (await here.column("a_blocks", "v"))["2"] == "changed"
    assert any("was rewritten meanwhile" in getattr(event, "message", "") for event in here.events)


async def test_a_paused_job_waits_and_goes_on(here: World) -> None:
    control = JobControl()
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        pause(event)
        if isinstance(event, JobPaused):
            assert len([e for e in seen if isinstance(e, BatchCommitted)]) <= 5
            control.resume()

    pause = after(3, control.pause)
    await all_is_well(here, await here.full(SMALL, control=control, publish=listen))
    assert [type(e) for e in seen if isinstance(e, JobPaused | JobResumed)] == [JobPaused, JobResumed]


async def test_a_command_in_the_state_skips_one_table(here: World) -> None:
    async with here.state() as state:
        asked: list[asyncio.Task[None]] = []

        def skip(job: object) -> None:
            work = state.request_command(job.id, "skip", "b_pages")  # type: ignore[attr-defined]
            asked.append(asyncio.create_task(work))

        control = JobControl()
        control.pause()
        asyncio.get_running_loop().call_later(0.6, control.resume)
        result = await here.full(SMALL, control=control, on_start=skip)
    assert {t.table: t.status for t in result.tables} == {
        "a_blocks": "partial", "b_pages": "skipped", "c_rows": "completed",
    }  # fmt: skip


@pytest.fixture
async def proxy(vespa_url: str) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """The endpoint through a proxy: a part of a path → the status it answers instead."""
    faults: dict[str, int] = {}

    async def forward(request: web.Request) -> web.Response:
        for part, status in faults.items():
            if part in request.raw_path and request.method == "POST" and "/document/" in request.raw_path:
                return web.json_response({"message": f"the proxy says {status}"}, status=status)
        async with session.request(
            request.method, vespa_url + request.raw_path, data=await request.read(),
            headers={"Content-Type": "application/json"},
        ) as answer:  # fmt: skip
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json"
            )

    app = web.Application(client_max_size=2**27)
    app.router.add_route("*", "/{tail:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession() as session:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", faults
    await runner.cleanup()


async def test_a_document_that_vespa_refuses_is_its_own_failure(
    here: World, proxy: tuple[str, dict[str, int]]
) -> None:
    url, faults = proxy
    here.vespa = client.build(url)
    faults["b_pages%3A13?"] = 400
    result = await here.full(SyncConfig(tables=["b_pages"]))
    assert counts(result, "b_pages") == (120, 119, 1, 0)
    (failure,) = await here.failures()
    assert (failure.key, failure.stage, failure.cause) == ("13", "index", "vespa_refused")
    assert failure.message == "the proxy says 400"
    faults.clear()
    assert counts(await here.full(SyncConfig(tables=["b_pages"])), "b_pages") == (120, 120, 0, 0)
    assert await here.failures() == []


async def test_vespa_going_away_ends_the_job_with_its_position_stored(
    here: World, proxy: tuple[str, dict[str, int]]
) -> None:
    url, faults = proxy
    here.vespa = client.build(url)
    down = after(3, lambda: faults.update({"procore_record": 503}))
    result = await here.full(SMALL, publish=down, feed_deadline_s=0.5, blocks_per_partition=2)
    assert result.status == "failed"
    assert isinstance(result.fault, errors.VespaUnavailable)
    assert 58 <= result.records_processed < 123
    assert result.records_processed == result.records_indexed
    faults.clear()
    await all_is_well(here, await (await here.manager()).resume(result.job_id))


async def test_a_second_writer_is_refused_and_told_who_writes(here: World) -> None:
    async with here.state() as state, state.writer(None, "something else"):
        with pytest.raises(errors.WriterLocked, match="something else"):
            await here.full()
        assert await state.list_jobs() == []


async def test_connections_cut_by_the_server_cost_nothing_but_a_line_in_the_log(here: World) -> None:
    cuts: list[asyncio.Task[None]] = []

    def cut() -> None:
        cuts.append(
            asyncio.create_task(
                here.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name LIKE 'procore-ingest%'"
                )
            )
        )

    listeners = [after(number, cut) for number in (2, 5, 8, 11, 14)]

    def listen(event: Event) -> None:
        for listener in listeners:
            listener(event)

    result = await here.full(SMALL, publish=listen, blocks_per_partition=2)
    await asyncio.gather(*cuts)
    assert len(cuts) >= 4
    await all_is_well(here, result)


async def test_the_key_of_the_first_read_names_documents_whatever_is_discovered_later(here: World) -> None:
    control = JobControl()
    only = SyncConfig(batch_size=20, workers=1, tables=["a_blocks"])
    result = await here.full(only, control=control, publish=after(2, control.stop), blocks_per_partition=2)
    await here.sql("UPDATE a_blocks SET id = 1 WHERE id > 40")  # no longer nearly unique
    await here.discover()
    assert here.schema.table("a_blocks").key_columns == []
    again = await (await here.manager()).resume(result.job_id)
    assert again.status == "partial"
    assert set(await here.column("a_blocks", "v")) == {str(i) for i in range(2, 41) if i != 7}


async def test_a_table_rewritten_while_it_is_read_loses_no_row(here: World) -> None:
    """Rewriting moves rows to the front, into blocks already read, without giving them a new version."""
    await here.sql("DELETE FROM a_blocks WHERE id % 2 = 1 AND id < 80")
    rewrites: list[asyncio.Task[None]] = []
    rewrite = after(2, lambda: rewrites.append(asyncio.create_task(here.sql("VACUUM FULL a_blocks"))))
    only = SyncConfig(batch_size=5, tables=["a_blocks"])
    result = await here.full(only, publish=rewrite, blocks_per_partition=1)
    await asyncio.gather(*rewrites)
    assert counts(result, "a_blocks") == (82, 80, 1, 1)
    assert len(await here.documents("a_blocks")) == 80
