"""The programs that `tests.benchmarks.tui` runs on a terminal: the application on data of a known size.

python -m tests.benchmarks.tui_programs board|tables|failures|replay REPORT
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app import bridge
from app.application import IngestApp
from ingestion import events, progress
from ingestion.events import Counts
from ingestion.run_view import RunView
from tests.tui.fake_schema import schema_map
from tests.tui.fake_service import FakeService

FAILURES = 100_000
TABLES = 2_000
HOUR_S = 3_600


@dataclass
class Stalls:
    """How long the application's loop was kept busy in one go."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    counting: bool = False

    async def watch(self) -> None:
        """Wakes as often as it can; between two wakes the loop did something else."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.002)
            if self.counting:
                self.wall_s = max(self.wall_s, time.perf_counter() - wall - 0.002)
                self.cpu_s = max(self.cpu_s, time.thread_time() - cpu)


class Board(FakeService):
    """A job of fifty tables of which every one has moved at every look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        names = [f"table_with_a_name_{n:02d}" for n in range(50)]
        totals = tuple(events.TableTotal(table=name, rows=1_000_000) for name in names)
        self.now = 1_000_000.0
        self.picture = progress.reduce_all(
            RunView(job_id="board"),
            [
                events.JobStarted(job_id="board", kind="full", tables=totals),
                *(events.TableStarted(job_id="board", table=name, rows=1_000_000) for name in names),
            ],
            self.now,
        )
        self.spent_s = 0.0

    async def run_view(self, job_id: str) -> RunView:
        began = time.thread_time()
        self.looks += 1
        self.now += 0.1
        moved = [
            events.BatchCommitted(job_id="board", table=name, counts=Counts(read=97, indexed=96, failed=1))
            for name in self.picture.tables
        ]
        self.picture = progress.reduce_all(self.picture, moved, self.now)
        self.spent_s += time.thread_time() - began
        return self.picture


class Replay(FakeService):
    """An hour of a large job: each look at it lets twelve seconds pass."""

    def __init__(self) -> None:
        super().__init__()
        self.names = [f"table_{n:03d}" for n in range(200)]
        self.seq, self.hour_s, self.fed = 0, 0.0, 0
        totals = tuple(events.TableTotal(table=name, rows=2_000_000) for name in self.names)
        self.waiting: list[events.Event] = []
        self.picture = RunView(job_id="hour")
        self._add(events.JobStarted(job_id="hour", kind="full", tables=totals))

    def _add(self, event: events.Event) -> None:
        self.seq += 1
        event = replace(event, seq=self.seq, time=1_000_000.0 + self.hour_s)
        self.waiting.append(event)
        self.picture = progress.reduce(self.picture, event, event.time)

    async def run_view(self, job_id: str) -> RunView:
        for _ in range(12):
            if self.hour_s >= HOUR_S:
                break
            self.hour_s += 1
            for n in range(6):
                name = self.names[(self.seq + n) % len(self.names)]
                counts = Counts(read=1000, indexed=995, failed=5)
                self._add(events.BatchCommitted(job_id="hour", table=name, counts=counts))
                self._add(
                    events.RecordFailed(
                        job_id="hour", table=name, key=str(self.seq), stage="index",
                        cause=f"cause_{self.seq % 7}", message="not a long: infinity " * 4,
                    )
                )  # fmt: skip
            load = events.LoadMeasured(
                job_id="hour", requests=9, limit=64, latency_p50_s=0.004, latency_p95_s=0.02
            )
            self._add(load)
        return self.picture

    async def events_since(self, job_id: str, seq: int, limit: int = 500) -> list[events.Event]:
        self.waiting = [event for event in self.waiting if event.seq > seq]
        return self.waiting[:limit]


async def board(report: dict[str, Any]) -> None:
    """Fifty tables at ten looks a second for ten seconds, the making of the looks taken off."""
    bridge.POLL_S = 0.1
    service = Board()
    app = IngestApp(service, screen="run")

    async def measure() -> None:
        await _until(lambda: service.looks > 0)
        await asyncio.sleep(2)
        looks, spent, cpu, wall = service.looks, service.spent_s, time.process_time(), time.perf_counter()
        await asyncio.sleep(10)
        report["seconds"] = time.perf_counter() - wall
        report["looks"] = service.looks - looks
        report["cpu_s"] = time.process_time() - cpu - (service.spent_s - spent)
        app.exit(0)

    app.bridge.watch("board")
    await _run(app, measure())


async def tables(report: dict[str, Any]) -> None:
    """Two thousand tables on Schema, Plan and Run, scrolled by line and by page."""
    service = FakeService(schema=schema_map(TABLES))
    app = IngestApp(service, screen="schema")
    stalls = Stalls()

    async def measure() -> None:
        from tests.tui.fake_service import request

        await _until(lambda: app.bridge.schema.value is not None and not app.bridge.schema.loading)
        await asyncio.sleep(1)
        for screen in ("schema", "plan", "run"):
            if screen == "run":
                await app.bridge.start_job(request())
                service.step(5)
            app.go(screen)
            await asyncio.sleep(1)
            await _scroll(app, stalls, pages=60, lines=200)
            report[f"{screen}_cpu_ms"] = round(stalls.cpu_s * 1000, 1)
        report.update(stall_wall_s=stalls.wall_s, stall_cpu_s=stalls.cpu_s, tables=TABLES)
        app.exit(0)

    await _run(app, measure(), stalls.watch())


async def failures(report: dict[str, Any]) -> None:
    """A hundred thousand failures in a real state file, scrolled by line and by page."""
    from ingestion.service import IngestService
    from ingestion.settings import Settings
    from ingestion.state.store import StateStore
    from ingestion.state.types import BatchCommit, Failure

    with tempfile.TemporaryDirectory() as folder:
        service = IngestService(
            Settings(
                database_url="postgresql://nobody@127.0.0.1:9/none",
                vespa_url="http://127.0.0.1:9",
                state_dir=folder,
            )
        )
        path = service._connections.state_path
        path.parent.mkdir(parents=True, exist_ok=True)
        state = await StateStore.open(path)
        async with state.writer(None, "benchmark"):
            job = await state.create_job("full", {})
            for batch in range(FAILURES // 1000):
                made = [
                    Failure(
                        table=f"table_{batch % 40:02d}", key=str(batch * 1000 + n), stage="index",
                        cause=f"cause_{n % 9}", message=f"field 'taken_at' refused: value {n} is not a long",
                    )
                    for n in range(1000)
                ]  # fmt: skip
                await state.commit_batch(
                    BatchCommit(job_id=job.id, table=f"table_{batch % 40:02d}", failures=made)
                )
        await state.close()
        app = IngestApp(service, screen="failures")
        stalls = Stalls()

        async def measure() -> None:
            await _until(lambda: getattr(app.screen, "_total", 0) > 0)
            app.screen.perform("failures.open")  # type: ignore[attr-defined]
            await asyncio.sleep(1)
            await _scroll(app, stalls, pages=200, lines=400)
            loaded = len(app.screen._items)  # type: ignore[attr-defined]
            report.update(
                stall_wall_s=stalls.wall_s, stall_cpu_s=stalls.cpu_s, failures=FAILURES, loaded=loaded
            )
            app.exit(0)

        await _run(app, measure(), stalls.watch())
        await service.aclose()


async def replay(report: dict[str, Any]) -> None:
    """An hour's events on the Run screen; how much memory was in use along the way."""
    bridge.POLL_S = 0.05
    service = Replay()
    app = IngestApp(service, screen="run")

    async def measure() -> None:
        sizes: list[float] = []
        while service.hour_s < HOUR_S:
            await asyncio.sleep(0.02)
            if service.hour_s >= (len(sizes) + 1) * HOUR_S / 10:
                sizes.append(_resident_mib())
        await asyncio.sleep(1)
        sizes.append(_resident_mib())
        report.update(resident_mib=[round(size, 1) for size in sizes], events=service.seq)
        report["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        app.exit(0)

    app.bridge.watch("hour")
    await _run(app, measure())


def _resident_mib() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


async def _scroll(app: IngestApp, stalls: Stalls, *, pages: int, lines: int) -> None:
    """Page down and up and step line by line, each key dealt with before the next."""
    rows: Any = app.screen.focused
    stalls.counting = True
    for key, times in (("page", pages), ("move", lines)):
        for _ in range(times):
            getattr(rows, f"action_{key}")(1)
            await asyncio.sleep(0.004)
        for _ in range(times // 2):
            getattr(rows, f"action_{key}")(-1)
            await asyncio.sleep(0.004)
    for step in (1, -1):
        rows.action_edge(step)
        await asyncio.sleep(0.3)
    stalls.counting = False


async def _until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("what the benchmark waits for did not come")
        await asyncio.sleep(0.02)


async def _run(app: IngestApp, *beside: Any) -> None:
    async def inside(one: Any) -> None:
        with app._context():
            await one

    work = [asyncio.ensure_future(inside(one)) for one in beside]
    work[0].add_done_callback(lambda done: app.exit(1) if not done.cancelled() and done.exception() else None)
    try:
        await app.run_async()
        if not work[0].done():
            raise RuntimeError(f"the application ended with {app.return_code}")
        work[0].result()
    finally:
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await app.bridge.aclose()


def main() -> None:
    logging.getLogger().addHandler(logging.FileHandler(sys.argv[2] + ".log"))
    report: dict[str, Any] = {}
    try:
        asyncio.run(globals()[sys.argv[1]](report))
    except BaseException as error:
        report["error"] = repr(error)
        raise
    finally:
        with contextlib.suppress(OSError):
            Path(sys.argv[2]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
