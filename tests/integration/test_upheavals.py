"""What happens to a source, a disk or a server in the middle of a job: retried or said, and nothing lost."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from tests.chaos.services import Services
from tests.chaos.stage import Ended, Stage
from tests.faults import Delay, Exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(2_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(
    postgres: EmbeddedPostgres, vespa_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Services]:
    made = Services(postgres, vespa_url, tmp_path_factory.mktemp("upheavals"))
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(services: Services) -> AsyncIterator[Stage]:
    made = Stage(services, next(_numbers), ("blocks", "pages"), batch_size=7, workers=1)
    await made.set_up()
    yield made
    services.calm()
    await made.clear()


async def meanwhile(
    stage: Stage,
    act: Callable[[], Awaitable[object]],
    *,
    after: int = 10,
    kind: str = "full",
    **settings: Any,
) -> Ended:
    """Run a job; `act` happens once Vespa was asked to store so many documents, and the job waits for it."""
    reached, acted = asyncio.Event(), asyncio.Event()
    puts = 0

    def plan(exchange: Exchange) -> Delay | None:
        nonlocal puts
        if "procore_record" in exchange.path and exchange.method == "POST":
            puts += 1
            if puts >= after:
                reached.set()
                return None if acted.is_set() else Delay(0.3)
        return None

    stage.services.vespa_proxy.plan = plan
    job = asyncio.create_task(stage.job(kind, **settings))
    await asyncio.wait_for(reached.wait(), 30)
    await act()
    acted.set()
    ended = await job
    assert ended["exit"] == 0, ended
    return ended


async def well(stage: Stage) -> None:
    stage.services.calm()
    ended = await stage.job("incremental")
    assert "job_id" in ended["answer"], ended
    assert (await stage.judge()).lines() == []


def answer(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = ended["answer"]
    return found


@pytest.mark.parametrize("point", ["committed", "table ended"])
async def test_a_column_added_while_a_job_lay_dead_reaches_every_row(stage: Stage, point: str) -> None:
    ended = await stage.job("full", kills=[(point, 3 if point == "committed" else 1)])
    assert ended["signal"] == signal.SIGKILL
    newest = stage.newest_job()
    assert newest is not None
    # A constant default rewrites nothing: no row version tells of it.
    await stage.sql(
        "ALTER TABLE blocks ADD COLUMN extra text DEFAULT 'new'", "ALTER TABLE pages DROP COLUMN n"
    )
    assert answer(await stage.job(resume=newest[0]))["job_id"] == newest[0]
    await well(stage)


async def test_a_column_dropped_in_the_middle_fails_its_table_alone_and_the_next_sync_has_it(
    stage: Stage,
) -> None:
    ended = await meanwhile(stage, lambda: stage.sql("ALTER TABLE blocks DROP COLUMN n"))
    assert answer(ended)["status"] == "partial"
    (message,) = answer(ended)["messages"]
    assert message.startswith("blocks: ")
    assert "column" in message
    await well(stage)


async def test_a_table_dropped_in_the_middle_is_said_and_the_others_are_synced(stage: Stage) -> None:
    ended = await meanwhile(stage, lambda: stage.sql("DROP TABLE blocks"))
    assert answer(ended)["status"] == "partial"
    assert [message.partition(":")[0] for message in answer(ended)["messages"]] == ["blocks"]
    stage.services.calm()
    stage.tables = ("pages",)
    assert "job_id" in answer(await stage.job("incremental"))
    # Documents of a dropped table stay until the operator says so.
    assert {line.partition(" is of ")[2] for line in (await stage.judge()).lines()} == {
        "a table that nobody asked for"
    }


async def test_a_table_that_stays_locked_costs_its_own_time_only(stage: Stage) -> None:
    connection = await asyncpg.connect(stage.url)
    try:
        await connection.execute("BEGIN; LOCK TABLE blocks")
        ended = await stage.job("full", statement_timeout_s=1)
        assert answer(ended)["status"] == "partial", ended
        (message,) = answer(ended)["messages"]
        assert message.startswith("blocks: ")
        assert "timeout" in message
    finally:
        await connection.close()
    await well(stage)


async def test_a_state_that_cannot_grow_stops_the_job_cleanly_and_it_goes_on_later(stage: Stage) -> None:
    ended = await stage.job("full", largest_file=320_000)
    assert answer(ended)["error"] == "StateError", ended
    newest = stage.newest_job()
    assert newest is not None
    assert answer(await stage.job(resume=newest[0]))["job_id"] == newest[0]
    await well(stage)


async def test_a_clock_that_goes_backwards_loses_nothing(stage: Stage) -> None:
    """Ours, by more than a year between two syncs and between a job and its resumption."""
    assert "job_id" in answer(await stage.job("full", clock_s=40_000_000))
    first = stage.newest_job()
    await stage.sql(
        "UPDATE blocks SET v = 'changed' WHERE id = 5",
        "DELETE FROM pages WHERE id = 30",
        "INSERT INTO blocks VALUES (900, 'new', 1, true, '2020-01-01')",
    )
    ended = await stage.job("incremental", kills=[("committed", 1)])
    assert ended["signal"] == signal.SIGKILL
    newest = stage.newest_job()
    assert newest is not None
    assert newest != first
    resumed = answer(await stage.job(resume=newest[0], clock_s=-40_000_000))
    assert (resumed["job_id"], resumed["status"]) == (newest[0], "completed")
    assert (await stage.judge()).lines() == []
    await stage.sql("DELETE FROM blocks WHERE id = 6")
    await well(stage)


async def test_verify_visits_only_what_differs(stage: Stage, vespa_url: str) -> None:
    """Both sides are compared by sums; its questions to the index do not grow with the documents."""
    asked: list[str] = []

    def note(exchange: Exchange) -> None:
        asked.append(exchange.path)

    assert "job_id" in answer(await stage.job("full"))
    stage.services.vespa_proxy.plan = note
    assert answer(await stage.verify())["differences"] == []
    assert [path for path in asked if "/docid" in path] == []
    lost = f"{vespa_url}/document/v1/{stage.namespace}/procore_record/docid/blocks%3A7"
    async with aiohttp.ClientSession() as http, http.delete(lost) as told:
        assert told.status == 200
    asked.clear()
    assert answer(await stage.verify())["differences"] == ["blocks"]
    visits = [unquote_plus(path) for path in asked if "/docid" in path]
    assert len(visits) == 1
    assert "key_bucket" in visits[0]
    assert answer(await stage.verify("repair"))["differences"] == []
    assert (await stage.judge()).lines() == []


async def test_a_server_that_restarts_in_the_middle_only_costs_time(
    vespa_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    server = await asyncio.to_thread(EmbeddedPostgres.start, folder / "data")
    services = Services(server, vespa_url, folder)
    await services.start()
    try:
        stage = Stage(services, next(_numbers), ("blocks", "heap", "pages"), batch_size=7, workers=2)
        await stage.set_up()

        async def restart() -> None:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(EmbeddedPostgres.start, folder / "data")

        ended = await meanwhile(stage, restart)
        assert answer(ended)["status"] == "completed", ended
        await services.readmit()
        await well(stage)
    finally:
        await services.stop()
        await asyncio.to_thread(server.stop, remove=True)
