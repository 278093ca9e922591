"""The source database: a pool of connections that only ever read.

Every statement runs in an explicit READ ONLY transaction whose settings are local to it, so that the same
code works directly, through PgBouncer and on a hot standby. Idempotent reads are retried here, and only
here, when the server restarts, drops the connection or cancels a query for its recovery.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import asyncpg

from ingestion import errors
from ingestion.postgres import codecs, connection_url, db_errors, raw_text, server_info, tls
from ingestion.postgres.server_info import ServerInfo
from ingestion.postgres.transaction import Held, LockedCursor, TransactionBlock, is_gone
from ingestion.version import __version__

T = TypeVar("T")
Row = dict[str, Any]
TextRow = tuple[str | None, ...]

READ_COMMITTED = "READ COMMITTED"
REPEATABLE_READ = "REPEATABLE READ"

_FIRST_FETCH_ROWS = 50
"""Until a batch has shown how wide the rows are, no more than this many are asked for at once."""
_ROLLBACK_TIMEOUT_S = 5.0


@dataclass(repr=False)
class ConnectionConfig:
    """Where the source is and how to talk to it; `repr` shows no password.

    `ssl=True` without `sslmode` requires encryption. `hosts` holds all (host, port) pairs where the URL
    names several; `host` and `port` are the first. A host that starts with `/` is a socket's folder.
    """

    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool = True
    pool_size: int = 5
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    hosts: tuple[tuple[str, int], ...] = ()
    target_session_attrs: str = "any"
    application_name: str = f"procore-ingest/{__version__}"
    options: str | None = None
    connect_timeout_s: float = 15.0
    statement_timeout_s: float = 600.0
    lock_timeout_s: float = 30.0
    retry_attempts: int = 6
    retry_total_s: float = 60.0

    @classmethod
    def from_url(cls, url: str) -> ConnectionConfig:
        """Parse a libpq URL, or `key=value` string, alone; raises SettingsError without repeating it."""
        return cls.from_keywords(connection_url.parse(url))

    @classmethod
    def from_environment(cls, url: str | None, env: Mapping[str, str]) -> ConnectionConfig:
        """Resolve as psql does: URL, service file, `PG…` variables, defaults, password file.

        Raises SettingsError when neither the URL nor the environment names a database.
        """
        if not url and not connection_url.is_configured(env):
            raise errors.SettingsError(
                "no source database given",
                hint="Give --database-url, or set PROCORE_DATABASE_URL or the PG… variables.",
            )
        return cls.from_keywords(connection_url.resolve(url, env))

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, str]) -> ConnectionConfig:
        """The configuration that libpq's keywords describe."""
        hosts = connection_url.hosts(keywords)
        sslmode = keywords.get("sslmode")
        if sslmode is not None and sslmode not in tls.MODES:
            raise errors.SettingsError(
                "sslmode in the database URL is unknown", hint=f"Use one of {', '.join(tls.MODES)}."
            )
        user = keywords.get("user", "")
        more: dict[str, Any] = {}
        for name in (
            "application_name",
            "target_session_attrs",
            "sslrootcert",
            "sslcert",
            "sslkey",
            "options",
        ):
            if keywords.get(name):
                more[name] = keywords[name]
        for keyword, name in (
            ("connect_timeout", "connect_timeout_s"),
            ("statement_timeout", "statement_timeout_s"),
        ):
            if keyword in keywords:
                more[name] = connection_url.seconds(keyword, keywords[keyword])
        return cls(
            host=hosts[0][0],
            port=hosts[0][1],
            database=keywords.get("dbname", user),
            user=user,
            password=keywords.get("password", ""),
            ssl=sslmode != "disable",
            sslmode=sslmode,
            hosts=tuple(hosts) if len(hosts) > 1 else (),
            **more,
        )

    @property
    def where(self) -> str:
        """The server for a person: `database "x" at host:port`, without user and password."""
        places = self.hosts or ((self.host, self.port),)
        return f'database "{self.database}" at {",".join(f"{host}:{port}" for host, port in places)}'

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{f.name}={'…' if f.name == 'password' and self.password else repr(getattr(self, f.name))}"
            for f in fields(self)
        )
        return f"ConnectionConfig({shown})"


class DatabaseConnection:
    """Async PostgreSQL connection manager; the source is only ever read."""

    def __init__(self, config: ConnectionConfig, logger: logging.Logger | None = None) -> None:
        """Initialize connection with config."""
        self.config = config
        self._log = logger or logging.getLogger(__name__)
        self._pool: Any = None
        self._alive = False
        self._raw_bytes = False
        self._current: ContextVar[Held | None] = ContextVar("procore_ingest_transaction", default=None)

    async def connect(self) -> None:
        """Establish connection pool; raises SourceUnavailable or SettingsError. Connected already: nothing."""
        if self._pool is not None:
            return
        config = self.config
        encryption = tls.ssl_argument(_sslmode(config), config.sslrootcert, config.sslcert, config.sslkey)
        places = config.hosts or ((config.host, config.port),)
        settings = {"application_name": config.application_name}
        if config.options:
            settings["options"] = config.options

        async def open_pool() -> Any:
            return await asyncpg.create_pool(
                host=[host for host, _ in places],
                port=[port for _, port in places],
                user=config.user,
                password=config.password,
                database=config.database,
                ssl=encryption,
                timeout=config.connect_timeout_s,
                target_session_attrs=config.target_session_attrs,
                # None kept open in the background: a server that is away is asked when it is needed.
                min_size=0,
                max_size=max(1, config.pool_size),
                # Through PgBouncer a named statement may be gone, or another client's, by the next query.
                statement_cache_size=0,
                server_settings=settings,
                connection_class=_Connection,
                init=codecs.install,
            )

        async def open_and_ask() -> tuple[Any, str]:
            pool = await open_pool()
            try:
                async with pool.acquire(timeout=config.connect_timeout_s) as connection:
                    return pool, connection.get_settings().server_encoding
            except BaseException:
                pool.terminate()
                raise

        self._pool, encoding = await self._retrying(open_and_ask, only=_is_starting)
        self._alive, self._raw_bytes = True, encoding == "SQL_ASCII"
        self._log.info("connected to %s", config.where)

    async def close(self) -> None:
        """Close connection pool; waits briefly for running queries, then ends them. Closed already: nothing."""
        pool, self._pool, self._alive = self._pool, None, False
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _ROLLBACK_TIMEOUT_S)
        except TimeoutError:
            pool.terminate()

    @property
    def is_connected(self) -> bool:
        """Check if connection is active: opened, not closed, and not found broken at its last use."""
        return self._pool is not None and self._alive

    async def execute(self, query: str, *args: Any) -> list[Row]:
        """Execute query and return results as list of dicts.

        Values are asyncpg's Python types, and PostgreSQL's text where Python has none. Inside
        `transaction()` it runs there; otherwise it is retried when the connection is lost.
        """
        held = self._current.get()
        if held is not None:
            async with held.lock, self._translated():
                return self._rows(await held.connection.fetch(query, *self._wire(args)))

        async def once() -> list[Row]:
            async with self._transaction(READ_COMMITTED) as connection:
                return self._rows(await connection.fetch(query, *self._wire(args)))

        return await self._retrying(once)

    async def execute_many(self, query: str, args_list: list[tuple[Any, ...]]) -> int:
        """Execute query for multiple parameter sets. Returns row count: the rows that all of them gave.

        One read-only transaction holds them all; a query that writes raises ConnectionError.
        """

        async def all_of(connection: Any) -> int:
            total = 0
            for args in args_list:
                total += len(await connection.fetch(query, *self._wire(args)))
            return total

        held = self._current.get()
        if held is not None:
            async with held.lock, self._translated():
                return await all_of(held.connection)

        async def once() -> int:
            async with self._transaction(REPEATABLE_READ) as connection:
                return await all_of(connection)

        return await self._retrying(once)

    async def stream(self, query: str, *args: Any, batch_size: int = 1000) -> AsyncGenerator[Row, None]:
        """Stream query results in batches: rows one by one, read `batch_size` at a time from one snapshot.

        Closing the iterator early frees its connection. Lost on the way: SourceUnavailable.
        """
        async with aclosing(self.stream_batches(query, *args, batch_size=batch_size)) as batches:
            async for batch in batches:
                for row in batch:
                    yield row

    async def stream_batches(
        self, query: str, *args: Any, batch_size: int = 1000
    ) -> AsyncGenerator[list[Row], None]:
        """Like `stream`, in lists of up to `batch_size` rows, none empty."""
        async with self._cursor(query, args) as cursor, self._translated():
            while records := await cursor.fetch(max(1, batch_size)):
                yield self._rows(records)

    async def text_batches(
        self, query: str, *args: Any, batch_size: int = 1000, max_bytes: int = 8 * 2**20
    ) -> AsyncGenerator[list[TextRow], None]:
        """Rows of a query whose columns are all text, from one REPEATABLE READ snapshot.

        A batch closes at `batch_size` rows or `max_bytes` characters, whichever comes first; it exceeds
        the latter by the rows of one fetch at most. Wrap in `aclosing` where the loop may end early.
        Bytes that are no UTF-8, as a SQL_ASCII database may hold, come as lone surrogates U+DC80 to U+DCFF.
        """
        async with self._cursor(query, args) as cursor, self._translated():
            batch: list[TextRow] = []
            size = 0
            wanted = min(batch_size, _FIRST_FETCH_ROWS)
            while records := await cursor.fetch(max(1, wanted)):
                rows: list[TextRow] = [tuple(record) for record in records]
                if self._raw_bytes:
                    rows = [tuple(map(raw_text.kept_bytes, row)) for row in rows]
                fetched = sum([len(cell) for row in rows for cell in row if cell])
                batch += rows
                size += fetched
                if len(batch) >= batch_size or size >= max_bytes:
                    yield batch
                    batch, size = [], 0
                # As many more as should fit, judged by the rows just seen; they cost memory before they count.
                average = max(1, fetched // len(rows))
                wanted = min(
                    batch_size - len(batch), max(1, (max_bytes - size) // average), 4 * max(wanted, 50)
                )
            if batch:
                yield batch

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Context manager for transactions: one REPEATABLE READ, READ ONLY snapshot for all queries inside.

        `execute` and the others use it within the same task and its children. Nested, it is a savepoint:
        an error inside the inner block leaves the outer one usable. Yields the asyncpg connection.
        """
        return TransactionBlock(self._current, self.session, self._translated)

    @asynccontextmanager
    async def session(self, *, isolation: str = REPEATABLE_READ) -> AsyncIterator[Any]:
        """One read-only transaction of its own; yields its asyncpg connection.

        UTC, ISO dates, PostgreSQL intervals, hex bytea, exact floats and the statement timeout are set for
        it. Driver errors leave it translated. Getting it is retried, what is done in it is not.
        """
        async with self._acquired(isolation) as connection, self._translated():
            yield connection

    async def server_info(self) -> ServerInfo:
        """Which server this is, and its newest snapshot; consumes no transaction id."""
        return await server_info.read(self)

    # -- one transaction --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _transaction(self, isolation: str) -> AsyncIterator[Any]:
        """A connection inside BEGIN READ ONLY; committed, or rolled back on any error. Raises driver errors."""
        if self._pool is None:
            raise errors.SourceUnavailable(
                f"not connected to {self.config.where}", hint="Call connect() before the first query."
            )
        pool = self._pool
        connection = await pool.acquire(timeout=self.config.connect_timeout_s + self.config.retry_total_s)
        try:
            await connection.execute(self._begin(isolation))
            self._alive = True
            yield connection
            await connection.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, Exception) and db_errors.is_transient(error):
                self._alive = not db_errors.is_connection_lost(error)
            await _roll_back(connection)
            raise
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def _acquired(self, isolation: str) -> AsyncIterator[Any]:
        """`_transaction`, retried until it stands; what happens inside is the caller's."""
        entered: Any = None

        async def enter() -> Any:
            nonlocal entered
            entered = self._transaction(isolation)
            return await entered.__aenter__()

        connection = await self._retrying(enter)
        try:
            yield connection
        except BaseException as error:
            if not await entered.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            async with self._translated():
                await entered.__aexit__(None, None, None)

    @asynccontextmanager
    async def _cursor(self, query: str, args: tuple[Any, ...]) -> AsyncIterator[Any]:
        """A server-side cursor that has been opened: retried until then, never after."""
        held = self._current.get()
        if held is not None:
            async with held.lock, self._translated():
                cursor = await held.connection.cursor(query, *self._wire(args))
            yield LockedCursor(cursor, held.lock)
            return
        entered: Any = None

        async def enter() -> Any:
            nonlocal entered
            entered = self._transaction(REPEATABLE_READ)
            connection = await entered.__aenter__()
            try:
                return await connection.cursor(query, *self._wire(args))
            except BaseException as error:
                await entered.__aexit__(type(error), error, error.__traceback__)
                raise

        cursor = await self._retrying(enter)
        try:
            yield cursor
        except BaseException as error:
            if not await entered.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            async with self._translated():
                await entered.__aexit__(None, None, None)

    def _begin(self, isolation: str) -> str:
        # set_config instead of SET: being a query it takes a snapshot, after which PostgreSQL refuses
        # SET TRANSACTION READ WRITE. JIT costs more than it gives for short reads with many casts.
        settings = {
            "TimeZone": "UTC",
            "DateStyle": "ISO, YMD",
            "IntervalStyle": "postgres",
            "bytea_output": "hex",
            "extra_float_digits": "1",
            "jit": "off",
            "statement_timeout": str(round(self.config.statement_timeout_s * 1000)),
            "lock_timeout": str(round(self.config.lock_timeout_s * 1000)),
        }
        if self._raw_bytes:
            # A database without an encoding may hold any bytes; LATIN1 brings each of them over unharmed.
            settings["client_encoding"] = "LATIN1"
        calls = ", ".join(
            f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items()
        )
        return f"BEGIN ISOLATION LEVEL {isolation} READ ONLY; SELECT {calls}"

    # -- errors and retries -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except db_errors.DRIVER_ERRORS as error:
            raise self._translate(error) from error

    def _translate(self, error: BaseException) -> errors.IngestionError:
        return db_errors.translate(
            error, self.config.where, statement_timeout_s=self.config.statement_timeout_s
        )

    async def _retrying(
        self, work: Callable[[], Awaitable[T]], only: Callable[[BaseException], bool] = db_errors.is_transient
    ) -> T:
        """`work()`, again after errors that `only` accepts, within the configured attempts and seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.config.retry_total_s
        wait_s = 0.1
        for attempt in range(1, max(1, self.config.retry_attempts) + 1):
            try:
                return await work()
            except db_errors.DRIVER_ERRORS as error:
                pause_s = wait_s * (0.5 + random.random())
                last = attempt >= self.config.retry_attempts or clock() + pause_s > deadline
                translated = self._translate(error)
                if last or not only(error):
                    raise translated from error
                self._log.warning("%s; trying again in %.1f s", translated, pause_s)
                await asyncio.sleep(pause_s)
                wait_s = min(wait_s * 3, 15.0)
        raise AssertionError("unreachable")

    # -- text of databases without an encoding ----------------------------------------------------------

    def _rows(self, records: list[Any]) -> list[Row]:
        if self._raw_bytes:
            return [
                {raw_text.decoded(k): raw_text.decoded(v) for k, v in record.items()} for record in records
            ]
        return [dict(record) for record in records]

    def _wire(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(raw_text.encoded, args)) if self._raw_bytes else args


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Nothing is ever set for a session, so there is nothing to reset: one round trip less, any pooler."""

    def get_reset_query(self) -> str:
        return ""


async def _roll_back(connection: Any) -> None:
    if is_gone(connection):
        return
    try:
        await asyncio.wait_for(connection.execute("ROLLBACK"), _ROLLBACK_TIMEOUT_S)
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except db_errors.DRIVER_ERRORS:
        connection.terminate()


def _sslmode(config: ConnectionConfig) -> str:
    if not config.ssl:
        return "disable"
    return config.sslmode or "require"


def _is_starting(error: BaseException) -> bool:
    # At the first connect a refusal is the operator's wrong URL, not a restart: say so at once.
    return isinstance(error, asyncpg.CannotConnectNowError)
