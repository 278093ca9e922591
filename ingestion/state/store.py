"""The state of one source and one index: everything that outlives a process, in one SQLite file.

    async with await StateStore.open(path) as state:             # the writer's side
        async with state.writer(job_id, "full sync"):
            stored = await state.commit_batch(BatchCommit(...))  # durable when it returns
    async with await StateStore.open(path, read_only=True) as state: ...   # beside a writer

All methods raise `errors.StateError` when the file cannot be read or written. Writes are atomic; one that has
started ends even when its caller is cancelled (the cancellation is then raised).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from ingestion.events import Counts, Event
from ingestion.state.types import (
    BatchCommit,
    BucketSum,
    Decision,
    Failure,
    FailureCluster,
    FailureFilter,
    FailurePage,
    FileLink,
    FileRow,
    Job,
    JobCommand,
    JobTable,
    LedgerEntry,
    Partition,
    SourceIdentity,
    TableState,
)


def state_path(state_dir: Path, host: str, port: int, database: str, vespa_url: str, namespace: str) -> Path:
    """`{state_dir}/{database}-{8 hex}/state.db`; credentials are no part of it."""
    raise NotImplementedError


class StateStore:
    """One open state file."""

    path: Path

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = ...) -> Self:
        """Open (and unless `read_only`, create) the file, migrating an older one after a backup copy.

        Raises StateError: newer than this version, not a state file, unwritable, or nothing there to read.
        """
        raise NotImplementedError

    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    # ── writer lock ──
    def writer(self, job_id: str | None, purpose: str) -> AbstractAsyncContextManager[None]:
        """Hold the writer lock; raises WriterLocked naming process, host, job and since when."""
        raise NotImplementedError

    async def acquire_writer(self, job_id: str | None, purpose: str) -> None: ...
    async def release_writer(self) -> None: ...

    # ── identity, meta, tables ──
    async def source_identity(self) -> SourceIdentity | None: ...
    async def set_source_identity(self, identity: SourceIdentity) -> None: ...
    async def get_meta(self, name: str) -> Any:
        """A JSON value, None if never set; e.g. `schema_map`, `transform_version`."""

    async def set_meta(self, name: str, value: Any) -> None: ...
    async def table_state(self, table: str) -> TableState | None: ...
    async def table_states(self) -> dict[str, TableState]: ...
    async def set_table_state(self, state: TableState) -> None: ...
    async def forget_table(self, table: str) -> None:
        """Drop ledger, links, checkpoint and table state of a table (not its failures or history)."""

    async def reserve_read_seq(self, floor: int, count: int = 1) -> int:
        """The first of `count` numbers above `floor` and above all given out before; durable."""
        raise NotImplementedError

    # ── jobs ──
    async def create_job(self, kind: str, plan: Mapping[str, Any]) -> Job:
        """A pending job of this process, with a new sortable id such as `20261123-104512-ab3f`."""
        raise NotImplementedError

    async def get_job(self, job_id: str) -> Job:
        """As it is now: one that runs in a process that is gone reads `interrupted`. StateError: no such job."""
        raise NotImplementedError

    async def list_jobs(self, limit: int = 100, before: int | None = None) -> list[Job]:
        """Newest first; `before` is the `ordinal` of the last one of the page before."""
        raise NotImplementedError

    async def start_job(self, job_id: str) -> Job:
        """Running, in this process; also how a resumed job goes on."""
        raise NotImplementedError

    async def set_job_status(self, job_id: str, status: str, message: str = "") -> None: ...
    async def finish_job(
        self, job_id: str, status: str, report: Mapping[str, Any] | None = None, message: str = ""
    ) -> None: ...
    async def settle_interrupted(self) -> list[Job]:
        """Store `interrupted` for jobs whose process is gone; returns them."""
        raise NotImplementedError

    async def prune_jobs(self, keep: int = 200) -> int:
        """Drop events, partitions and rows of ended jobs beyond the newest `keep`; returns how many jobs."""
        raise NotImplementedError

    async def set_job_tables(self, job_id: str, tables: Sequence[JobTable]) -> None:
        """Name the job's tables, in order; counts of those already there stay."""

    async def job_tables(self, job_id: str) -> list[JobTable]: ...
    async def set_job_table(
        self, job_id: str, table: str, status: str, *, message: str = "", method: str | None = None,
        expected: int | None = None, exact: bool | None = None, detail: Mapping[str, Any] | None = None,
    ) -> None: ...  # fmt: skip
    async def request_command(self, job_id: str, command: str, argument: str = "") -> None:
        """`pause`, `resume`, `stop`, `skip` (argument: the table)."""

    async def take_commands(self, job_id: str) -> list[JobCommand]:
        """Commands not yet taken, oldest first; each is given out once."""
        raise NotImplementedError

    # ── partitions and scratch of a job ──
    async def save_partitions(self, job_id: str, table: str, partitions: Sequence[Partition]) -> None: ...
    async def partitions(self, job_id: str, table: str | None = None) -> list[Partition]: ...
    async def open_partitions(self, job_id: str, table: str | None = None) -> list[Partition]: ...
    async def move_partition(
        self, job_id: str, table: str, ordinal: int, *, position: Mapping[str, Any] | None = None, status: str
    ) -> None: ...
    async def clear_partitions(self, job_id: str, table: str) -> None: ...
    async def add_duplicates(self, job_id: str, table: str, keys: Iterable[str]) -> None: ...
    async def duplicates_among(self, job_id: str, table: str, keys: Collection[str]) -> set[str]: ...
    async def row_hash_counts(self, job_id: str, table: str, hashes: Collection[str]) -> dict[str, int]: ...

    # ── the batch ──
    async def commit_batch(self, batch: BatchCommit) -> list[Event]:
        """Store everything in `batch` in one transaction; returns its events with `seq` and `time`."""
        raise NotImplementedError

    # ── ledger ──
    async def lookup(self, table: str, keys: Collection[str]) -> dict[str, LedgerEntry]: ...
    async def ledger_count(self, table: str) -> int: ...
    async def ledger_counts(self) -> dict[str, int]:
        """Keys in the index per table, for every table that ever had one."""
        raise NotImplementedError

    async def bucket_sums(self, table: str) -> dict[int, BucketSum]: ...
    def ledger_entries(
        self, table: str, *, after: str = "", page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]:
        """Pages in the order of the keys' UTF-8 bytes (PostgreSQL's COLLATE "C")."""
        raise NotImplementedError

    def entries_of_buckets(
        self, table: str, buckets: Collection[int], *, page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]: ...
    def not_seen_since(
        self, table: str, epoch: int, *, page_size: int = 10_000
    ) -> AsyncIterator[list[LedgerEntry]]:
        """Entries whose epoch is below `epoch`: rows that the jobs since then have not met."""
        raise NotImplementedError

    # ── failures ──
    async def save_failures(self, job_id: str, failures: Sequence[Failure]) -> None: ...
    async def failure_page(
        self, filter: FailureFilter, *, after: int = 0, limit: int = 200
    ) -> FailurePage: ...
    async def failure(self, failure_id: int) -> Failure: ...
    def failures(self, filter: FailureFilter, *, page_size: int = 1000) -> AsyncIterator[Failure]: ...
    async def failure_clusters(
        self, filter: FailureFilter, *, by_table: bool = False
    ) -> list[FailureCluster]: ...
    async def failure_counts(self, filter: FailureFilter) -> dict[str, dict[str, int]]:
        """Per table and kind."""
        raise NotImplementedError

    def failed_keys(self, table: str, *, page_size: int = 10_000) -> AsyncIterator[list[str]]:
        """Keys with an open or dismissed record failure, in byte order, each once."""
        raise NotImplementedError

    async def resolve_failures(self, ids: Collection[int], note: str = "") -> int: ...
    async def dismiss_failures(self, ids: Collection[int], note: str) -> int: ...

    # ── events ──
    async def append_events(self, job_id: str, events: Sequence[Event]) -> list[Event]: ...
    async def events_since(self, job_id: str, seq: int, limit: int = 1000) -> list[Event]: ...
    async def last_seq(self, job_id: str) -> int: ...

    # ── files ──
    async def file_row(self, file_id: str) -> FileRow | None: ...
    async def file_rows(self, file_ids: Collection[str]) -> dict[str, FileRow]: ...
    def files_with_status(self, status: str, *, page_size: int = 1000) -> AsyncIterator[list[FileRow]]: ...
    async def links_of_files(self, file_ids: Collection[str]) -> dict[str, list[FileLink]]: ...
    async def links_of_records(self, table: str, keys: Collection[str]) -> list[FileLink]: ...
    async def save_files(self, rows: Sequence[FileRow], links: Sequence[FileLink] = ()) -> None: ...
    async def file_counts(self) -> dict[str, int]: ...
    async def remove_files(self, file_ids: Collection[str]) -> None: ...

    # ── decisions ──
    async def decide(self, decision: Decision) -> None: ...
    async def decisions(self, kind: str) -> dict[str, Decision]: ...
    async def withdraw(self, kind: str, subject: str) -> None: ...

    # ── totals ──
    async def job_counts(self, job_id: str) -> Counts: ...
