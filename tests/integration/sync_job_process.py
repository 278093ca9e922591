"""A sync job in a process of its own, to be killed: prints the job's id, then a line per committed batch."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sync_world import world

from ingestion.events import BatchCommitted, Event, JobFinished
from ingestion.sync_manager import SyncConfig


async def main(url: str, vespa_url: str, namespace: str, folder: str, action: str) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, BatchCommitted | JobFinished):
            print(type(event).__name__, flush=True)

    async with world(url, vespa_url, namespace, Path(folder)) as here:
        options = {
            "publish": tell,
            "on_start": lambda job: print(job.id, flush=True),
            "blocks_per_partition": 4,
        }
        if action == "full":
            await here.full(SyncConfig(batch_size=20, workers=1), **options)
        else:
            await (await here.manager(**options)).resume(action)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
