"""How hard a job works is told while it feeds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ingestion.events import Event, LoadMeasured
from ingestion.sync import load
from ingestion.vespa.feeding import FeedStats


@dataclass
class Telling:
    """The part of a job's services that telling of the load works with."""

    operations: int = 0
    told: list[Event] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    workers: None = None
    job: Any = field(default_factory=lambda: SimpleNamespace(id="20260131-000000-0001"))

    @property
    def feeder(self) -> Any:
        stats = FeedStats(self.operations, 0, 5, 24, 0.00412345, 0.02, 0.0)
        return SimpleNamespace(stats=stats)

    async def tell(self, *events: Event) -> None:
        self.told.extend(events)
        self.heard.set()


async def test_the_load_is_told_while_something_is_fed_and_not_while_nothing_is() -> None:
    io: Any = Telling()
    async with load.told(io, every_s=0.001):
        await asyncio.sleep(0.02)
        assert io.told == []
        io.operations = 80
        await asyncio.wait_for(io.heard.wait(), 10)
        await asyncio.sleep(0.02)
    assert io.told == [
        LoadMeasured(job_id=io.job.id, requests=5, limit=24, latency_p50_s=0.0041, latency_p95_s=0.02)
    ]
