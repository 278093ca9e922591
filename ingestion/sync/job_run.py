"""The tables of one job, several at a time: what ends a table, what ends the job, and what it obeys meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ingestion import errors
from ingestion.events import Counts, FileCounts, JobFinished, JobPaused, JobResumed, Noted
from ingestion.postgres import db_errors
from ingestion.state.types import SUCCESSES, JobTable
from ingestion.sync import table_sync
from ingestion.sync.job_control import Skipped, Stopped
from ingestion.sync.pipeline import finished_first
from ingestion.sync.sync_io import SyncIO
from ingestion.sync.table_sync import TableSync
from ingestion.transform.transform import Transform

COMMAND_INTERVAL_S = 0.2
"""How often the state is asked for commands from other processes."""
METRICS_EVERY = 10
"""Of how many of those looks one also stores how the job goes."""
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class TableResult:
    table: str
    status: str
    counts: Counts
    message: str = ""


@dataclass(slots=True)
class JobResult:
    """How the job ended. `fault` is what stopped it before its end, None if nothing did."""

    status: str
    tables: list[TableResult] = field(default_factory=list)
    fault: Exception | None = None
    message: str = ""

    @property
    def counts(self) -> Counts:
        return sum((table.counts for table in self.tables), Counts())


@dataclass(slots=True)
class JobRun:
    """One run of a job; a resumed job gets a new one. `workers` tables are read at the same time."""

    io: SyncIO
    transform: Transform
    full: bool
    workers: int = 2
    metrics: Callable[[], Mapping[str, Any]] = dict
    """How the job goes, for whoever asks meanwhile."""
    _results: dict[str, TableResult] = field(default_factory=dict)
    _told_paused: bool = False

    async def run(self, tables: Sequence[JobTable]) -> JobResult:
        """Sync the tables that are not done yet, in order; where several are read at a time, one of them is always
        the largest that is left.

        What a table's own trouble is costs that table only. A source or an index that is gone, an unwritable
        state and a stop end all, each table's position stored. Cancelled: likewise, and raises CancelledError.
        """
        waiting: list[JobTable] = []
        for table in tables:
            if table.status in SUCCESSES or table.status == "skipped":
                self._results[table.table] = TableResult(
                    table.table, table.status, table.counts, table.message
                )
            else:
                waiting.append(table)
        count = max(1, min(self.workers, len(waiting)))
        workers = [
            asyncio.create_task(
                self._work(waiting, largest_first=count > 1 and number == 0), name=f"worker {number}"
            )
            for number in range(count)
        ]
        listener = asyncio.create_task(self._listen(), name="commands")
        fault: Exception | None = None
        stopped = False
        try:
            await _first_error([*workers, listener], until=workers)
        except Stopped:
            stopped = True
        except (errors.IngestionError, OSError) as error:
            fault = error
        finally:
            # Workers store their tables' positions before they end.
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        try:
            if fault is None and not stopped and self.io.files is not None:
                await self.io.files.drain()
                stopped = self.io.control.is_stopped
        except errors.IngestionError as error:
            fault = error
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        if fault is None:
            await self._tell_of_pause()
        return self._result(tables, fault, stopped)

    def interrupted(self, tables: Sequence[JobTable]) -> JobResult:
        """How the job stands after its cancellation."""
        return self._result(tables, None, stopped=True)

    async def _work(self, waiting: list[JobTable], *, largest_first: bool) -> None:
        """A large table feeds the processors while small ones, beside it, mostly wait for answers; and no large one
        is left to be read alone at the end."""
        while waiting:
            table = max(waiting, key=attrgetter("expected")) if largest_first else waiting[0]
            waiting.remove(table)
            await self._one(table)

    async def _one(self, job_table: JobTable) -> None:
        name = job_table.table
        sync = TableSync(self.io, self.transform, name, full=self.full)
        try:
            if self.io.control.is_stopped:
                raise Stopped
            async with self.io.places:
                outcome = await sync.run(job_table.counts)
            self._results[name] = TableResult(name, outcome.status, outcome.counts, outcome.message)
        except Skipped:
            await self._leave(name, "skipped", "skipped by the operator", finished=True)
        except Stopped:
            await self._leave(name, "cancelled", "", finished=False)
            raise
        except asyncio.CancelledError:
            await finished_first(self._leave(name, "cancelled", "", finished=False), _GRACE_S)
            raise
        except (errors.VespaUnavailable, errors.StateError) as error:
            with suppress(errors.StateError):
                await self._leave(name, "failed", _said(error), finished=False)
            raise
        except errors.SourceUnavailable as error:
            lasting = not db_errors.is_transient(error)
            await self._leave(name, "failed", _said(error), finished=lasting)
            if not lasting:
                raise
        except errors.IngestionError as error:
            await self._leave(name, "failed", _said(error), finished=True)
        except Exception as error:
            self.io.log.exception("internal error", extra={"job": self.io.job.id, "table": name})
            await self._leave(
                name, "failed", f"internal error: {type(error).__name__}: {error}", finished=True
            )

    async def _leave(self, name: str, status: str, message: str, *, finished: bool) -> None:
        counts = next(
            (t.counts for t in await self.io.state.job_tables(self.io.job.id) if t.table == name), Counts()
        )
        self._results[name] = TableResult(name, status, counts, message)
        await table_sync.leave(self.io, name, status, message, counts, finished=finished)

    async def _listen(self) -> None:
        """Obey commands that reach the job through the state, and tell of pauses, whoever asked for them."""
        asked = 0
        while True:
            self.io.control.obey(await self.io.state.take_commands(self.io.job.id))
            await self._tell_of_pause()
            if asked % METRICS_EVERY == 0:
                await self.io.state.set_job_report(self.io.job.id, {"metrics": self.metrics()})
            asked += 1
            await asyncio.sleep(COMMAND_INTERVAL_S)

    async def _tell_of_pause(self) -> None:
        """Tell that the job pauses or goes on, once for each change."""
        paused = self.io.control.is_paused
        if paused != self._told_paused:
            await self.io.state.set_job_status(self.io.job.id, "paused" if paused else "running")
            await self.io.tell((JobPaused if paused else JobResumed)(job_id=self.io.job.id))
            self._told_paused = paused

    def _result(self, tables: Sequence[JobTable], fault: Exception | None, stopped: bool) -> JobResult:
        results = [
            self._results.get(table.table, TableResult(table.table, table.status, table.counts))
            for table in tables
        ]
        if fault is not None:
            return JobResult("failed", results, fault, _said(fault))
        if stopped:
            return JobResult("cancelled", results, None, "stopped by the operator")
        return of_tables(results)


def of_tables(results: list[TableResult]) -> JobResult:
    """How a job ended that reached its end, as its tables did."""
    statuses = {result.status for result in results}
    if statuses <= {"completed"}:
        return JobResult("completed", results)
    bad = [
        f"{result.table}: {result.message.removeprefix(f'{result.table}: ')}"
        for result in results
        if result.message
    ]
    status = "failed" if statuses == {"failed"} else "partial"
    return JobResult(status, results, None, "; ".join(bad[:3]))


async def finish(
    io: SyncIO, result: JobResult, files: FileCounts, seconds: float, metrics: Mapping[str, Any]
) -> None:
    """Store and tell how the job ended."""
    for message in (result.message,) if result.fault is not None else ():
        await io.tell(Noted(job_id=io.job.id, level="error", message=message))
    report = {
        "seconds": round(seconds, 3),
        "metrics": metrics,
        "tables": [
            {"table": t.table, "status": t.status, "message": t.message, "read": t.counts.read,
             "indexed": t.counts.indexed, "failed": t.counts.failed, "skipped": t.counts.skipped,
             "warned": t.counts.warned, "deleted": t.counts.deleted, "inserted": t.counts.inserted,
             "updated": t.counts.updated}
            for t in result.tables
        ],
    }  # fmt: skip
    # First the job's own line: whoever is told finds it ended.
    await io.state.finish_job(io.job.id, result.status, report, result.message)
    await io.tell(
        JobFinished(
            job_id=io.job.id, status=result.status, counts=result.counts, files=files, seconds=seconds,
            message=result.message,
        )
    )  # fmt: skip


def _said(error: Exception) -> str:
    hint = getattr(error, "hint", "")
    return f"{error} {hint}".strip()


async def _first_error(tasks: Sequence[asyncio.Task[None]], *, until: Sequence[asyncio.Task[None]]) -> None:
    """Wait until all of `until` have ended, or raise the first error of any task."""
    pending = set(tasks)
    while pending & set(until):
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is not None:
                raise error
