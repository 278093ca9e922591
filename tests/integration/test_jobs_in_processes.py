"""Jobs in processes of their own: steered, stopped, killed, refused, and always to be gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import command_world
import pytest
from command_world import CommandLine
from conftest import PASSWORD

from ingestion import settings
from ingestion.plan import Plan
from ingestion.reports import JobRequest
from ingestion.run_view import RunView
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.service import IngestService

ROWS, OTHERS = 1500, 100
SLOWLY = ("--batch-size", "25", "--workers", "1")
DEADLINE_S = 180.0


@pytest.fixture(scope="module")
def big(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database whose sync takes long enough to be disturbed; read only."""
    postgres.create_database("big")
    postgres.psql(
        f"CREATE TABLE big (id bigint PRIMARY KEY, said text);"
        f"INSERT INTO big SELECT n, repeat('word ', 20) || n FROM generate_series(1, {ROWS}) AS n;"
        f"CREATE TABLE other (id bigint PRIMARY KEY);"
        f"INSERT INTO other SELECT n FROM generate_series(1, {OTHERS}) AS n",
        database="big",
    )
    yield postgres.url("big").replace("postgres:@", f"postgres:{PASSWORD}@")
    postgres.drop_database("big")


@pytest.fixture
def run(big: str, bare: Callable[[str], CommandLine]) -> CommandLine:
    return bare(big)


@asynccontextmanager
async def service_of(run: CommandLine) -> AsyncIterator[IngestService]:
    loaded = settings.load(environment=run.environment, folder=run.folder)
    async with IngestService(loaded) as service:
        yield service


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await look():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.02)


async def view_of(service: IngestService, job_id: str) -> RunView:
    view = await service.run_view(job_id)
    assert view is not None
    return view


def indexed(run: CommandLine) -> dict[str, int]:
    documents = command_world.visit(
        run.environment["VESPA_URL"], run.environment["PROCORE_NAMESPACE"], "procore_record"
    )
    tables = [fields["source_table"] for fields in documents.values()]
    return {table: tables.count(table) for table in ("big", "other")}


def everything_once(run: CommandLine, report: dict[str, object]) -> None:
    """Both sides agree: every row is in the index once, and the job counted each once."""
    assert indexed(run) == {"big": ROWS, "other": OTHERS}
    totals = report["totals"]
    assert isinstance(totals, dict)
    assert totals["read"] == totals["indexed"] + totals["skipped"] == ROWS + OTHERS
    assert run("verify").code == 0


def arguments_of_all_processes() -> bytes:
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


async def test_a_job_of_its_own_is_paused_resumed_skipped_and_outlives_its_starter(run: CommandLine) -> None:
    async with service_of(run) as service:
        plan = Plan(batch_size=25, workers=1)
        job_id = await service.start_job(JobRequest(plan=plan))
        assert PASSWORD.encode() not in arguments_of_all_processes()
        await service.pause(job_id)
        await until(lambda: _is(service, job_id, "paused"))
        held = (await view_of(service, job_id)).counts.read
        assert held < ROWS + OTHERS
        assert (await service.jobs())[0].status == "paused"
        await asyncio.sleep(0.3)
        assert (await view_of(service, job_id)).counts.read - held <= 50
    # A new service, as after the application was closed and opened again.
    async with service_of(run) as service:
        assert (await service.jobs())[0].id == job_id
        await service.skip(job_id, "big")
        await service.resume(job_id)
        await until(lambda: _finished(service, job_id))
        report = await service.job_report(job_id)
    assert report is not None
    statuses = {table.table: table.status for table in report.tables}
    assert statuses == {"big": "skipped", "other": "completed"}
    assert report.status == "partial"


async def _is(service: IngestService, job_id: str, status: str) -> bool:
    return (await view_of(service, job_id)).status == status


async def _finished(service: IngestService, job_id: str) -> bool:
    return (await view_of(service, job_id)).finished


async def _has_read(service: IngestService, job_id: str, rows: int) -> bool:
    return (await view_of(service, job_id)).counts.read >= rows


def test_a_killed_job_is_interrupted_and_goes_on_where_it_was(run: CommandLine) -> None:
    async def killed() -> str:
        async with service_of(run) as service:
            job_id = await service.start_job(JobRequest(plan=Plan(batch_size=25, workers=1)))
            await until(lambda: _has_read(service, job_id, 100))
            pid = (await service.jobs())[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: _is(service, job_id, "interrupted"))
            return job_id

    job_id = asyncio.run(killed())
    (job,) = run("jobs", "list", "--json").json["items"]
    assert (job["id"], job["status"]) == (job_id, "interrupted")
    assert 0 < run("jobs", "show", job_id, "--json").json["totals"]["read"] < ROWS + OTHERS
    ended = run("ingest", "--resume", job_id, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["job_id"] == job_id
    everything_once(run, ended.json)
    run("ingest", "--resume", job_id).refused(64, job_id, "has reached its end")


def test_ctrl_c_ends_at_a_checkpoint_and_a_second_writer_is_refused_meanwhile(run: CommandLine) -> None:
    first = run.start("ingest", "--full", "--progress", "jsonl", *SLOWLY)
    assert first.stdout is not None
    job_id = next(json.loads(line)["job_id"] for line in first.stdout if '"batch_committed"' in line)

    async def paused() -> None:
        async with service_of(run) as service:
            await service.pause(job_id)
            await until(lambda: _is(service, job_id, "paused"))

    asyncio.run(paused())
    refused = run("ingest", "--full").refused(6, str(first.pid), job_id)
    assert "is writing" in refused.err
    run("checkpoints", "clear", "--yes").refused(6, str(first.pid))
    first.send_signal(signal.SIGINT)
    ended = run.ended(first)
    assert ended.code == 5, ended.err
    assert "stopping at the next checkpoint" in ended.err
    assert json.loads(ended.out.splitlines()[-1])["event"] == "job_finished"
    assert 0 < indexed(run)["big"] < ROWS
    (job,) = run("jobs", "list", "--json").json["items"]
    assert job["status"] == "cancelled"
    resumed = run("ingest", "--resume", job_id, "--json")
    assert resumed.code == 0, resumed.err
    everything_once(run, resumed.json)


def test_ctrl_c_before_the_job_begins_leaves_no_job(run: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = run.start("ingest", "--full", VESPA_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(DEADLINE_S)
        held, _ = silent.accept()
        started.send_signal(signal.SIGINT)
        ended = run.ended(started)
        held.close()
    assert ended.code == 5, ended.err
    assert "cancelled" in ended.err
    assert "Traceback" not in ended.err
    assert run("jobs", "list", "--json").json == {"items": []}


async def test_a_job_that_cannot_start_says_why_to_whoever_started_it(run: CommandLine) -> None:
    run.environment["VESPA_URL"] = "http://127.0.0.1:9"
    async with service_of(run) as service:
        with pytest.raises(Exception, match="cannot be reached") as caught:
            await service.start_job(JobRequest())
        assert type(caught.value).__name__ == "VespaUnavailable"
        assert not await service.jobs()


def test_a_relative_state_folder_is_the_same_one_for_the_jobs_process(run: CommandLine) -> None:
    run.environment["PROCORE_STATE_DIR"] = "here"

    async def started() -> None:
        os.chdir(run.folder)
        async with service_of(run) as service:
            job_id = await service.start_job(JobRequest(plan=Plan(include=("other",))))
            await until(lambda: _finished(service, job_id))

    kept = Path.cwd()
    try:
        asyncio.run(started())
    finally:
        os.chdir(kept)
    assert run("jobs", "list", "--json").json["items"][0]["status"] == "completed"
    assert {p.stat().st_mode & 0o777 for p in (run.folder / "here").rglob("*") if p.is_file()} == {0o600}
