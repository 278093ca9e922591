"""Killed, cut off and resumed while the source changes: nothing is lost and nothing doubled.

Single histories that once went wrong, and some seeds of the generator (`python -m tests.chaos` runs hundreds).
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from tests.chaos.scenario import Run
from tests.chaos.services import Services
from tests.chaos.stage import Stage
from tests.faults import Answer, Exchange, Held, never

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1_000_000)
SEEDS = (5, 6, 7, *range(10, 27))
"""Two of them with a worker process."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(
    postgres: EmbeddedPostgres, vespa_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Services]:
    made = Services(postgres, vespa_url, tmp_path_factory.mktemp("chaos"))
    await made.start()
    yield made
    await made.stop()


def told(ended: dict[str, Any]) -> Any:
    return ended["answer"]["job_id"] if ended["answer"] else None


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_of_chaos_loses_and_doubles_nothing(services: Services, seed: int) -> None:
    outcome = await Run(services, seed).carry_out()
    assert outcome.verdict.well, "\n".join([*outcome.story, *outcome.verdict.lines()])


@pytest_asyncio.fixture(loop_scope="module")
async def stage(services: Services, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    tables = request.param
    made = Stage(services, next(_numbers), tables, batch_size=10, workers=1)
    await made.set_up()
    yield made
    await made.clear()


async def killed(stage: Stage, kind: str, point: str, nth: int = 1, resume: str = "") -> str:
    """Run a job that is killed at a point; its id."""
    ended = await stage.job(kind, kills=[(point, nth)], resume=resume)
    assert ended["signal"] == signal.SIGKILL, ended
    newest = stage.newest_job()
    assert newest is not None
    return newest[0]


@pytest.mark.parametrize("stage", [("blocks", "pages")], indirect=True)
async def test_a_document_fed_by_a_killed_process_goes_with_its_row(stage: Stage) -> None:
    job = await killed(stage, "full", "fed", 2)  # the first thing fed is the namespace's marker
    await stage.sql("DELETE FROM blocks WHERE id <= 8")
    assert told(await stage.job(resume=job)) == job
    assert (await stage.judge()).lines() == []


@pytest.mark.parametrize("stage", [("blocks",)], indirect=True)
async def test_a_put_of_the_dead_that_arrives_late_does_not_stay(stage: Stage) -> None:
    late = Held(asyncio.Event(), asyncio.Event())
    held = 0

    def plan(exchange: Exchange) -> Held | None:
        nonlocal held
        if exchange.method == "POST" and "blocks%3A3?" in exchange.path and not held:
            held += 1
            return late
        return None

    stage.services.vespa_proxy.plan = plan
    job = await killed(stage, "full", "half fed", 10)
    stage.services.vespa_proxy.plan = never
    await stage.sql("DELETE FROM blocks WHERE id = 3")
    assert told(await stage.job(resume=job)) == job
    assert held
    late.go.set()
    await asyncio.wait_for(late.acted.wait(), 30)
    assert told(await stage.job("incremental"))
    assert (await stage.judge()).lines() == []


@pytest.mark.parametrize("stage", [("blocks", "dirty", "heap")], indirect=True)
async def test_what_a_killed_process_did_is_undone_with_what_the_source_undid(stage: Stage) -> None:
    assert told(await stage.job("full"))
    # Changed, fed, never committed; then changed back: the ledger would call it unchanged.
    await stage.sql("UPDATE blocks SET v = 'other' WHERE id = 5")
    job = await killed(stage, "incremental", "fed")
    await stage.sql("UPDATE blocks SET v = 'value 5 ' || md5('5') WHERE id = 5")
    assert told(await stage.job(resume=job)) == job
    assert (await stage.judge()).lines() == []
    # Removed, never committed; then back as it was. The killed job is left, a new one begun.
    await stage.sql("DELETE FROM blocks WHERE id = 6", "DELETE FROM heap WHERE ctid = '(0,3)'")
    await killed(stage, "incremental", "removed")
    await killed(stage, "incremental", "removed", 2)
    await stage.sql(
        "INSERT INTO blocks SELECT 6, 'value 6 ' || md5('6'), n, ok, updated_at + interval '1 hour' "
        "FROM blocks WHERE id = 5",
        "UPDATE blocks SET n = 6, ok = true WHERE id = 6",
        "INSERT INTO heap SELECT * FROM heap WHERE ctid = '(0,4)'",
    )
    assert told(await stage.job("incremental"))
    assert (await stage.judge()).lines() == []
    # Copies that end without a row version to tell of it.
    await stage.sql(
        "DELETE FROM dirty WHERE ctid IN (SELECT max(ctid) FROM dirty WHERE id IN (3, 7) GROUP BY id)"
    )
    assert told(await stage.job("incremental"))
    assert (await stage.judge()).lines() == []


@pytest.mark.parametrize("stage", [("blocks",)], indirect=True)
async def test_a_job_killed_before_its_tables_were_stored_resumes_with_all_of_them(stage: Stage) -> None:
    job = await killed(stage, "full", "job created")
    assert told(await stage.job(resume=job)) == job
    assert (await stage.judge()).lines() == []


@pytest.mark.parametrize("stage", [("papers",)], indirect=True)
async def test_a_file_says_who_names_it_whenever_the_process_was_killed(stage: Stage) -> None:
    for point in ("files taken", "before files' commit", "before commit"):
        kind = "full" if point == "files taken" else "incremental"
        job = await killed(stage, kind, point, 3)
        assert told(await stage.job(resume=job)) == job
        assert (await stage.judge()).lines() == [], point
        # Some rows name another file, whose document is there; some name one that nobody has named.
        await stage.sql(
            "UPDATE papers SET document_url = replace(document_url, 'doc-1', 'doc-2') WHERE id % 2 = 0",
            "UPDATE papers SET document_url = replace(document_url, 'doc-', 'doc-x') WHERE id % 3 = 0",
        )


@pytest.mark.parametrize("stage", [("blocks",)], indirect=True)
async def test_a_portal_that_answers_for_vespa_is_not_believed(stage: Stage) -> None:
    proxy = stage.services.vespa_proxy
    puts = 0

    def page(exchange: Exchange) -> Answer | None:
        nonlocal puts
        puts += (is_put := exchange.method == "POST" and "/document/" in exchange.path)
        return Answer(200, html=True) if is_put and puts <= 10 else None

    proxy.plan = page
    assert told(await stage.job("full"))
    assert puts > 60 + 10
    assert (await stage.judge()).lines() == []
