"""How hard a job works, told every other second while it feeds: requests under way and Vespa's answer times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ingestion import errors
from ingestion.events import LoadMeasured
from ingestion.sync import metrics
from ingestion.sync.sync_io import SyncIO

TELL_EVERY_S = 2.0


@asynccontextmanager
async def told(io: SyncIO, every_s: float = TELL_EVERY_S) -> AsyncIterator[None]:
    """Tell of the load while the block runs. Nothing is told while nothing is fed, such as during a pause."""
    over = asyncio.Event()
    telling = asyncio.create_task(_tell(io, every_s, over), name="load")
    try:
        yield
    finally:
        over.set()  # not cancelled: a fact that is being stored is stored to its end
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(io: SyncIO, every_s: float, over: asyncio.Event) -> None:
    fed = 0
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), every_s)
            return
        stats = metrics.of_feeding(io)
        if stats.operations == fed:
            continue
        fed = stats.operations
        measured = LoadMeasured(
            job_id=io.job.id,
            requests=stats.in_flight,
            limit=stats.limit,
            latency_p50_s=round(stats.latency_p50_s, 4),
            latency_p95_s=round(stats.latency_p95_s, 4),
        )
        try:
            await io.tell(measured)
        except errors.IngestionError:
            return  # the state cannot be written: the workers meet the same and stop the job
