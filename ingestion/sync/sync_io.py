"""What a table's sync works with: source, index, state, and how it tells what it did."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ingestion import logs
from ingestion.db_connection import DatabaseConnection
from ingestion.events import Event, Publish
from ingestion.state.store import StateStore
from ingestion.state.types import BatchCommit, Job
from ingestion.sync.job_control import JobControl
from ingestion.sync.partitions import BLOCKS_PER_PARTITION
from ingestion.sync.workers import Workers
from ingestion.vespa.feeding import Feeder

if TYPE_CHECKING:
    from ingestion.transform.documents import Document

_SEQUENCE_BLOCK = 64


class FileSink(Protocol):
    """Where the files go that records refer to; a stage beside the records with workers of its own."""

    async def settle(self, table: str, documents: Sequence[Document]) -> None:
        """Take the files of records that Vespa holds now; may wait while too many are under way.

        Their records are committed only afterwards, so after a crash the same files may be given again. What
        becomes of them is the sink's to store and to publish. Raises only what must stop the job.
        """

    async def forget(self, table: str, keys: Sequence[str]) -> None:
        """The records of these keys are about to leave the index: end what their files' documents say of them."""

    async def drain(self) -> None:
        """Wait until all files taken so far are settled."""


class ReadSequence:
    """Numbers that grow with every batch read, above all that the state gave out and the index holds."""

    def __init__(self, state: StateStore, floor: int = 0) -> None:
        self._state, self._floor = state, floor
        self._next = self._end = 0

    async def next(self) -> int:
        """The next number; a block of them is reserved durably at a time."""
        if self._next >= self._end:
            self._next = await self._state.reserve_read_seq(self._floor, _SEQUENCE_BLOCK)
            self._end = self._next + _SEQUENCE_BLOCK
        number = self._next
        self._next += 1
        return number


@dataclass(slots=True)
class SyncIO:
    """The services of one job; `delete_share` and `delete_floor` are the brake on deletes."""

    db: DatabaseConnection
    state: StateStore
    feeder: Feeder
    sequence: ReadSequence
    job: Job
    publish: Publish
    control: JobControl
    log: logging.Logger
    files: FileSink | None = None
    workers: Workers | None = None
    """Other processes that make and feed documents; None: it is all done here."""
    batch_size: int = 1000
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """One for each table under way; those that no table takes serve further partitions of large ones."""
    blocks_per_partition: int = BLOCKS_PER_PARTITION
    version_num: int = 0
    source: str = ""
    """Which server and database these are, `ServerInfo.source`; empty where nobody asked."""
    delete_share: float = 0.2
    delete_floor: int = 10
    allow_mass_delete: bool = False
    clock: Callable[[], float] = field(default=time.time)
    rows_settled: int = 0
    """Rows committed in this run of the job."""

    @property
    def epoch(self) -> int:
        """What the ledger notes for rows that this job met."""
        return self.job.ordinal

    async def commit(self, batch: BatchCommit) -> None:
        """Store a batch; whoever listens hears of it only then."""
        stored = await self.state.commit_batch(batch)
        self.rows_settled += batch.counts.read
        self._published(stored)

    async def tell(self, *events: Event) -> None:
        """Store facts that belong to no batch, then publish them."""
        self._published(await self.state.append_events(self.job.id, events))

    def _published(self, stored: Sequence[Event]) -> None:
        for event in stored:
            logs.write(self.log, event)
            self.publish(event)
