"""The source connection against a real PostgreSQL: read-only, retried, clear when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from db_world import Relay, admin, connected

from ingestion import errors
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres


@pytest.fixture
async def db(postgres: EmbeddedPostgres) -> AsyncIterator[DatabaseConnection]:
    """For queries that need no tables."""
    async with connected(postgres.url("postgres")) as database:
        yield database


@pytest.fixture
async def own_db(empty_database: str) -> AsyncIterator[DatabaseConnection]:
    async with connected(empty_database) as database:
        yield database


@pytest.fixture
async def relay(postgres: EmbeddedPostgres) -> AsyncIterator[Relay]:
    folder = ConnectionConfig.from_url(postgres.url("postgres")).host
    async with Relay(folder) as made:
        yield made


# -- reading -----------------------------------------------------------------------------------------------


async def test_rows_come_as_dicts_with_typed_values(db: DatabaseConnection) -> None:
    rows = await db.execute("SELECT n, $1::text AS word FROM generate_series(1, 3) AS n", "héllo")
    assert rows == [{"n": n, "word": "héllo"} for n in (1, 2, 3)]
    assert db.is_connected
    assert await db.execute("SELECT 1 WHERE false") == []


async def test_execute_many_counts_rows_of_all_parameter_sets(db: DatabaseConnection) -> None:
    assert await db.execute_many("SELECT generate_series(1, $1::int)", [(2,), (3,), (0,)]) == 5
    assert await db.execute_many("SELECT 1", []) == 0


@pytest.mark.parametrize("name", ["stream", "stream_batches", "text_batches"])
async def test_closing_an_iterator_early_frees_its_connection(postgres: EmbeddedPostgres, name: str) -> None:
    async with connected(postgres.url("postgres"), pool_size=1) as db:
        for _ in range(3):
            async with aclosing(getattr(db, name)("SELECT g::text FROM generate_series(1, 5000) g")) as rows:
                async for _ in rows:
                    break
            assert await asyncio.wait_for(db.execute("SELECT 1 AS one"), 5) == [{"one": 1}]


async def test_stream_batches_cover_every_row_once(db: DatabaseConnection) -> None:
    sizes, seen = [], []
    async with aclosing(
        db.stream_batches("SELECT g FROM generate_series(1, 2500) g", batch_size=1000)
    ) as batches:
        async for batch in batches:
            sizes.append(len(batch))
            seen += [row["g"] for row in batch]
    assert (sizes, seen) == ([1000, 1000, 500], list(range(1, 2501)))
    assert [row["g"] async for row in db.stream("SELECT g FROM generate_series(1, 7) g", batch_size=3)] == [
        1, 2, 3, 4, 5, 6, 7
    ]  # fmt: skip


async def test_a_text_batch_closes_at_its_rows_and_at_its_bytes(db: DatabaseConnection) -> None:
    async def sizes(query: str, **limits: int) -> list[int]:
        async with aclosing(db.text_batches(query, **limits)) as batches:
            return [len(batch) async for batch in batches]

    assert await sizes("SELECT g::text, NULL::text FROM generate_series(1, 2100) g", batch_size=1000) == [
        1000, 1000, 100
    ]  # fmt: skip
    wide = await sizes(
        "SELECT repeat('x', 100000) FROM generate_series(1, 100) g", batch_size=1000, max_bytes=10**6
    )
    assert sum(wide) == 100
    assert max(wide[1:]) <= 11
    assert await sizes("SELECT g::text FROM generate_series(1, 0) g") == []


async def test_a_stream_reads_one_snapshot(empty_database: str, own_db: DatabaseConnection) -> None:
    async with admin(empty_database) as other:
        await other.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        seen = 0
        async with aclosing(own_db.stream("SELECT g FROM t", batch_size=10)) as rows:
            async for _ in rows:
                if seen == 0:
                    await other.execute("DELETE FROM t")
                seen += 1
    assert seen == 1000


async def test_server_info_tells_the_server_apart(db: DatabaseConnection) -> None:
    info = await db.server_info()
    assert info.version_num >= 130000
    assert info.system_identifier
    assert info.timeline == 1
    assert not info.in_recovery
    assert (await db.server_info()).snapshot_xmax == info.snapshot_xmax, (
        "asking must not consume transaction ids"
    )


async def test_a_session_has_fixed_settings_and_leaves_none_behind(
    empty_database: str, own_db: DatabaseConnection
) -> None:
    async with own_db.session() as connection:
        assert await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on"
        assert await connection.fetchval("SELECT current_setting('TimeZone')") == "UTC"
        assert await connection.fetchval("SELECT current_setting('statement_timeout')") == "10min"
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        async with admin(empty_database) as other:
            assert (
                await other.fetchval("SELECT application_name FROM pg_stat_activity WHERE pid = $1", pid)
                == own_db.config.application_name
            )


# -- read-only ---------------------------------------------------------------------------------------------


WRITES = (
    "CREATE TABLE x (a int)", "DELETE FROM t", "INSERT INTO t VALUES (1)", "TRUNCATE t", "SELECT nextval('s')",
    "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d", "VACUUM t", "SET TRANSACTION READ WRITE",
)  # fmt: skip


async def test_nothing_is_ever_written(empty_database: str, own_db: DatabaseConnection) -> None:
    async with admin(empty_database) as other:
        await other.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE SEQUENCE s")
        for query in WRITES:
            with pytest.raises(errors.ConnectionError) as caught:
                await own_db.execute(query)
            if "read-only" in str(caught.value):
                assert "the source is only ever read" in str(caught.value)
            with pytest.raises(errors.ConnectionError):
                await own_db.execute_many(query, [()])
            async with own_db.transaction():
                with pytest.raises(errors.ConnectionError):
                    await own_db.execute(query)
        assert await other.fetchval("SELECT count(*) FROM t") == 1


# -- transactions ------------------------------------------------------------------------------------------


async def test_queries_of_a_transaction_share_one_snapshot(
    empty_database: str, own_db: DatabaseConnection
) -> None:
    async with admin(empty_database) as other:
        await other.execute("CREATE TABLE t (a int)")
        async with own_db.transaction():
            assert await own_db.execute("SELECT count(*) AS n FROM t") == [{"n": 0}]
            await other.execute("INSERT INTO t VALUES (1)")
            assert await own_db.execute("SELECT count(*) AS n FROM t") == [{"n": 0}]
            assert [row async for row in own_db.stream("SELECT a FROM t")] == []
            assert (
                await asyncio.gather(*(own_db.execute("SELECT 1 AS n") for _ in range(3))) == [[{"n": 1}]] * 3
            )
        assert await own_db.execute("SELECT count(*) AS n FROM t") == [{"n": 1}]


async def test_an_error_in_an_inner_transaction_leaves_the_outer_usable(db: DatabaseConnection) -> None:
    async def failing() -> None:
        async with db.transaction():
            async with db.transaction():
                assert await db.execute("SELECT 1 AS n") == [{"n": 1}]
            await db.execute("SELECT 1 / 0")

    async with db.transaction():
        for _ in range(2):
            with pytest.raises(errors.SchemaError):
                await failing()
        assert await db.execute("SELECT 2 AS n") == [{"n": 2}]
    assert await db.execute("SELECT 3 AS n") == [{"n": 3}]


async def test_cancelling_a_query_gives_its_connection_back(postgres: EmbeddedPostgres) -> None:
    async with connected(postgres.url("postgres"), pool_size=1) as db:
        task = asyncio.create_task(db.execute("SELECT pg_sleep(60)"))
        async with admin(postgres.url("postgres")) as other:
            while not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            ):
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wait_for(db.execute("SELECT 1 AS n"), 10) == [{"n": 1}]
            assert not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
            )


# -- broken connections ------------------------------------------------------------------------------------


def _through(relay: Relay, url: str) -> str:
    database = ConnectionConfig.from_url(url).database
    return f"postgresql://postgres@127.0.0.1:{relay.port}/{database}?sslmode=disable"


async def test_a_dropped_connection_is_replaced_and_the_read_repeated(
    postgres: EmbeddedPostgres, relay: Relay
) -> None:
    async with connected(_through(relay, postgres.url("postgres")), pool_size=2) as db:
        for _ in range(3):
            relay.drop()
            assert await db.execute("SELECT 1 AS n") == [{"n": 1}]
        assert db.is_connected
        async with db.session() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_connection_lost_within_a_query_is_retried(empty_database: str, relay: Relay) -> None:
    async with connected(_through(relay, empty_database)) as db, admin(empty_database) as other:
        await other.execute("CREATE TABLE gate (open bool)")
        # Waits only while nobody has opened the gate; the second attempt finds it open.
        task = asyncio.create_task(
            db.execute(
                "SELECT CASE WHEN EXISTS (SELECT FROM gate) THEN 'done' ELSE pg_sleep(60)::text END AS state"
            )
        )
        while not await other.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT CASE WHEN EX%'"
        ):
            pass
        await other.execute("INSERT INTO gate VALUES (true)")
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT CASE WHEN EX%'"
        )
        assert await asyncio.wait_for(task, 20) == [{"state": "done"}]


async def test_a_stream_that_breaks_midway_says_so_and_is_not_repeated(
    postgres: EmbeddedPostgres, relay: Relay
) -> None:
    async with connected(_through(relay, postgres.url("postgres"))) as db:
        seen: list[int] = []

        async def read() -> None:
            async with aclosing(
                db.text_batches("SELECT g::text FROM generate_series(1, 99999) g")
            ) as batches:
                async for batch in batches:
                    seen.append(len(batch))
                    relay.drop()

        with pytest.raises(errors.SourceUnavailable):
            await read()
        assert seen == [1000]
        assert await db.execute("SELECT 1 AS n") == [{"n": 1}]


async def test_retries_end_within_their_total_time(postgres: EmbeddedPostgres, relay: Relay) -> None:
    async with connected(
        _through(relay, postgres.url("postgres")), retry_attempts=3, retry_total_s=1.0
    ) as db:
        relay._server.close()
        relay.drop()
        with pytest.raises(errors.SourceUnavailable) as caught:
            await asyncio.wait_for(db.execute("SELECT 1"), 5)
        assert caught.value.hint
        assert not db.is_connected


async def test_a_query_over_the_statement_timeout_is_named(postgres: EmbeddedPostgres) -> None:
    async with connected(postgres.url("postgres"), statement_timeout_s=0.05) as db:
        with pytest.raises(errors.SourceUnavailable, match=r"after 0\.05 s"):
            await db.execute("SELECT pg_sleep(10)")
        assert await db.execute("SELECT 1 AS n") == [{"n": 1}]


# -- databases without an encoding -------------------------------------------------------------------------


async def test_broken_bytes_of_a_sql_ascii_database_lose_nothing(postgres: EmbeddedPostgres) -> None:
    name = "plain_bytes"
    postgres.create_database(
        name, options="ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        async with admin(postgres.url(name)) as other:
            await other.execute(
                "CREATE TABLE t AS SELECT 1 AS \"schlüssel\", 'gut é'::text AS a,"
                " convert_from('\\xff41e9'::bytea, 'SQL_ASCII') AS b, ARRAY['é'] AS c"
            )
        async with connected(postgres.url(name)) as db:
            (row,) = await db.execute('SELECT * FROM t WHERE a = $1 AND "schlüssel" = 1', "gut é")
            assert row == {"schlüssel": 1, "a": "gut é", "b": "\ufffdA\ufffd", "c": ["é"]}
            async with aclosing(db.text_batches("SELECT a, b, NULL::text FROM t")) as batches:
                assert [batch async for batch in batches] == [[("gut é", "\udcffA\udce9", None)]]
    finally:
        postgres.drop_database(name)
