"""One state file's two connections: a writer whose transactions follow one another, and a reader beside it.

Why `synchronous = FULL`: in WAL mode the default NORMAL survives a killed process, but after a power cut the last
commits may be missing, and people have been told of them. FULL costs one fsync per commit (a batch, not a row).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiosqlite
import orjson

from ingestion import errors
from ingestion.state import schema
from ingestion.state.faults import translated

T = TypeVar("T")
Clock = Callable[[], float]
Params = Mapping[str, Any]

_WRITER_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: fsync alone does not reach the disk; elsewhere without effect
    "PRAGMA cache_size = -16000",
    "PRAGMA wal_autocheckpoint = 4000",  # 16 MB: keys in random order rewrite the same pages batch after batch
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 67108864",
)
_READER_PRAGMAS: Final = ("PRAGMA query_only = ON", "PRAGMA cache_size = -4000", "PRAGMA temp_store = MEMORY")

# The number of a source table; None when it never had one.
TABLE_ID: Final = "SELECT id FROM tables WHERE name = :table"
# Give a source table a number, once.
ADD_TABLE: Final = "INSERT INTO tables (name) VALUES (:table) ON CONFLICT DO NOTHING"
# The number of a job.
JOB_ORDINAL: Final = "SELECT ordinal FROM jobs WHERE id = :job"


class StateConnection:
    """Opening, closing, reading and writing; the nouns are built on it."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection | None, reader: aiosqlite.Connection, clock: Clock
    ):
        self.path = path
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._turn = asyncio.Lock()
        self._lock_token = ""
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False, clock: Clock = time.time) -> Self:
        """Open (and unless `read_only`, create) the file, migrating an older one after a backup copy.

        `read_only` never waits for a writer and never disturbs one. Raises StateError when the file is newer than
        this version, no state file, cannot be written, or (`read_only`) does not exist.
        """
        path = Path(path)
        if not read_only:
            await asyncio.to_thread(schema.prepare, path)
            writer = await _connect(path, "mode=rw", _WRITER_PRAGMAS)
            try:
                return cls(path, writer, await _connect(path, "mode=rw", _READER_PRAGMAS), clock)
            except BaseException:
                await writer.close()
                raise
        with translated(path):
            known = path.exists()
        if not known:
            raise errors.StateError(
                f"There is no state file at {path} yet.",
                hint="Run `procore-ingest ingest --full` first, or check --state-dir.",
            )
        if await asyncio.to_thread(schema.needs_migration, path):
            await asyncio.to_thread(schema.prepare, path)
        return cls(path, None, await _connect(path, schema.read_only_mode(path), _READER_PRAGMAS), clock)

    @property
    def read_only(self) -> bool:
        return self._writer is None

    async def close(self) -> None:
        """Close both connections; a commit under way ends first."""
        await run_to_end(self._close())

    async def _close(self) -> None:
        async with self._turn:
            writer, self._writer, self._closed = self._writer, None, True
            with translated(self.path):
                if writer is not None:
                    await writer.close()
                await self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self, sql: str, params: Params | None = None) -> list[sqlite3.Row]:
        """Rows of one statement, from what is committed."""
        if self._closed:
            raise errors.StateError(f"State file {self.path} has been closed.")
        with translated(self.path):
            return list(await self._reader.execute_fetchall(sql, params))

    async def _read_one(self, sql: str, params: Params | None = None) -> sqlite3.Row | None:
        rows = await self._read(sql, params)
        return rows[0] if rows else None

    async def _write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` as one transaction, to its end even when the caller is cancelled meanwhile."""
        return await run_to_end(self._transact(work))

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._turn:
            if self._writer is None:
                raise errors.StateError(f"State file {self.path} is open for reading only, or closed.")
            with translated(self.path):
                # All of it in one visit to the connection's thread, which a visit per statement made a
                # tenth of an ingest's time; aiosqlite has no public name for that.
                result: T = await self._writer._execute(  # type: ignore[no-untyped-call]
                    _transacted, self._writer._conn, work, self._lock_token, self._clock()
                )
                return result


def _transacted(
    connection: sqlite3.Connection, work: Callable[[Transaction], Awaitable[T]], lock_token: str, now: float
) -> T:
    """Runs in the connection's thread."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = _to_its_end(work(Transaction(connection, lock_token, now)))
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself, as when the disk is full
            connection.execute("ROLLBACK")
        raise
    return result


def _to_its_end(work: Awaitable[T]) -> T:
    """The result of something awaitable that waits for nothing but the statements of its transaction."""
    try:
        next(work.__await__())
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a transaction waits for something else than its statements")


class Transaction:
    """What a write may do between BEGIN and COMMIT; `now` is its one moment.

    Nothing else may be awaited meanwhile: the statements run where the connection lives, one after the other.
    """

    def __init__(self, connection: sqlite3.Connection, lock_token: str, now: float):
        self._connection = connection
        self.lock_token = lock_token
        self.now = now

    async def rows(self, sql: str, params: Params | None = None) -> list[sqlite3.Row]:
        return self._connection.execute(sql, params or ()).fetchall()

    async def one(self, sql: str, params: Params | None = None) -> sqlite3.Row | None:
        rows = await self.rows(sql, params)
        return rows[0] if rows else None

    async def run(self, sql: str, params: Params | None = None) -> int:
        """Execute; the number of rows changed."""
        return self._connection.execute(sql, params or ()).rowcount

    async def run_many(self, sql: str, params: Iterable[Any]) -> None:
        self._connection.executemany(sql, params)

    async def table_id(self, table: str) -> int:
        """The number of a source table, given to it now if it has none."""
        row = await self.one(TABLE_ID, {"table": table})
        if row is None:
            await self.run(ADD_TABLE, {"table": table})
            row = await self.one(TABLE_ID, {"table": table})
        assert row is not None
        return int(row[0])

    async def job(self, job_id: str) -> int:
        """The number of a job; StateError when there is none."""
        row = await self.one(JOB_ORDINAL, {"job": job_id})
        if row is None:
            raise no_such_job(job_id)
        return int(row[0])


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; when cancelled meanwhile let it end first, then raise CancelledError."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # the task's own: raised below
            break
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen; the cancellation goes first
        raise cancelled
    return task.result()


def no_such_job(job_id: str) -> errors.StateError:
    return errors.StateError(f"There is no job {job_id}.", hint="See `procore-ingest jobs list`.")


def dumps(value: Any) -> str:
    """JSON text of plain data."""
    return orjson.dumps(value).decode()


def loads(text: str | bytes) -> Any:
    return orjson.loads(text)


def json_list(values: Collection[Any]) -> str:
    """A JSON array for `IN (SELECT value FROM json_each(…))`: one fixed statement for any number of values."""
    return orjson.dumps(list(values)).decode()


async def _connect(path: Path, mode: str, pragmas: Iterable[str]) -> aiosqlite.Connection:
    with translated(path):
        connection = await aiosqlite.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            isolation_level=None,
            timeout=schema.BUSY_TIMEOUT_S,
        )
        try:
            connection.row_factory = sqlite3.Row
            for pragma in pragmas:
                await connection.execute_fetchall(pragma)
        except BaseException:
            await connection.close()
            raise
        return connection
