"""Closing the terminal leaves the job running, and the next start finds it: real processes, a real terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ingestion.service import IngestService
from ingestion.settings import Settings
from tests.tui.test_leaving import on_a_terminal, read_until

ROWS = 20_000


async def test_a_job_outlives_its_terminal_and_the_next_start_finds_it(
    empty_database: str, vespa_url: str, namespace: str, tmp_path: Path
) -> None:
    settings = Settings(
        database_url=empty_database,
        vespa_url=vespa_url,
        namespace=namespace,
        state_dir=str(tmp_path / "state"),
    )
    flags = ["--database-url", empty_database, "--vespa-url", vespa_url, "--namespace", namespace,
             "--state-dir", str(tmp_path / "state")]  # fmt: skip
    await _filled(empty_database)
    async with IngestService(settings) as service:
        await service.discover()

        async def status() -> str:
            jobs = await service.jobs(1)
            return jobs[0].status if jobs else ""

        first, screen = on_a_terminal([sys.executable, "-m", "app", "--screen", "plan", *flags], tmp_path)
        await asyncio.to_thread(read_until, screen, b"20,000")
        await asyncio.to_thread(_type, screen, b"s", b"Nothing is started")
        os.write(screen, b"\x1b[B\r")
        await _until(status, "running", "paused")
        job = (await service.jobs(1))[0]
        await service.pause(job.id)
        await _until(status, "paused")
        os.close(screen)
        assert await asyncio.to_thread(first.wait, 30) == 5
        assert await status() == "paused"
        assert job.pid is not None
        os.kill(job.pid, 0)  # it lives

        second, screen = on_a_terminal([sys.executable, "-m", "app", "--screen", "run", *flags], tmp_path)
        shown = await asyncio.to_thread(read_until, screen, b"paused")
        assert job.id.encode() in shown
        await asyncio.to_thread(_type, screen, b"x", b"Stop this job")
        os.write(screen, b"y")
        await _until(status, "cancelled")
        await asyncio.to_thread(read_until, screen, b"cancelled")
        os.write(screen, b"q")
        await asyncio.to_thread(read_until, screen, b"never shown", 20)
        assert await asyncio.to_thread(second.wait, 30) == 0
        os.close(screen)


async def _filled(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(
        f"CREATE TABLE t (id bigint PRIMARY KEY, said text);"
        f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) n"
    )
    await connection.close()


def _type(screen: int, keys: bytes, answer: bytes) -> None:
    os.write(screen, keys)
    assert answer in read_until(screen, answer)


async def _until(status: Callable[[], Awaitable[str]], *wanted: str) -> None:
    deadline = time.monotonic() + 60
    while await status() not in wanted:
        assert time.monotonic() < deadline, await status()
        await asyncio.sleep(0.02)
