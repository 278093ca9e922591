"""A full sync: every row is in the index, or is counted with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sync_world import QUIET, World, counts, world

from ingestion.events import BatchCommitted, Event, JobFinished
from ingestion.sync import source_reader
from ingestion.sync.source_reader import SourceReader
from ingestion.sync_manager import SyncConfig


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        yield made


async def test_every_row_is_counted_once_and_indexed(here: World) -> None:
    await here.sql(
        "CREATE TABLE keyed (id bigint PRIMARY KEY, name text)",
        "CREATE TABLE plain (id bigint, name text)",
        "CREATE TABLE empty (id bigint, name text)",
        "INSERT INTO keyed SELECT i, 'name ' || i FROM generate_series(1, 200) i",
        "INSERT INTO plain SELECT i, 'name ' || i FROM generate_series(1, 200) i",
    )
    result = await here.full(SyncConfig(batch_size=100))
    assert (result.status, result.errors) == ("completed", [])
    assert counts(result, "keyed") == (200, 200, 0, 0)
    assert counts(result, "plain") == (200, 200, 0, 0)
    assert counts(result, "empty") == (0, 0, 0, 0)
    for table in ("keyed", "plain"):
        assert await here.column(table, "name") == {str(i): f"name {i}" for i in range(1, 201)}


async def test_differing_rows_with_one_key_fail_each_and_identical_ones_give_one_document(
    here: World,
) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i",
        "INSERT INTO t VALUES (7, 'other'), (8, 'v'), (8, 'v'), (9, 'x'), (9, 'y')",
    )
    result = await here.full()
    assert counts(result, "t") == (105, 98, 5, 2)
    failed = await here.failures()
    assert sorted(f.key for f in failed) == ["7", "7", "9", "9", "9"]
    assert {f.cause for f in failed} == {"duplicate_key"}
    copies = await here.failures(kinds=("warning",))
    assert [(f.key, f.cause) for f in copies] == [("8", "identical_copy")] * 2
    assert set(await here.column("t", "v")) == {str(i) for i in range(1, 101) if i not in (7, 9)}
    assert result.status == "partial"


async def test_a_null_key_is_failed_not_lost(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i",
        "INSERT INTO t VALUES (NULL, 'a'), (NULL, 'b'), (NULL, 'a')",
    )
    result = await here.full()
    assert counts(result, "t") == (53, 50, 3, 0)
    assert [(f.key, f.cause) for f in await here.failures()] == [("", "null_key")] * 3
    again = await here.full()
    assert counts(again, "t") == (53, 50, 3, 0)
    assert len(await here.failures()) == 3


async def test_duplicates_that_are_mended_are_indexed_and_their_failures_end(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i",
        "INSERT INTO t VALUES (5, 'other'), (NULL, 'n')",
    )
    assert counts(await here.full(), "t") == (52, 49, 3, 0)
    await here.sql("DELETE FROM t WHERE id IS NULL OR (id = 5 AND v = 'v')")
    result = await here.incremental()
    assert await here.failures() == []
    assert (await here.column("t", "v"))["5"] == "other"
    assert counts(result, "t") == (1, 1, 0, 0)


async def test_a_key_that_becomes_ambiguous_leaves_the_index(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)", "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i"
    )
    await here.full()
    await here.sql("INSERT INTO t VALUES (5, 'other')")
    result = await here.incremental()
    assert counts(result, "t") == (2, 0, 2, 0)
    assert "5" not in await here.column("t", "v")
    assert [f.key for f in await here.failures()] == ["5", "5"]


async def test_keys_of_several_columns_never_collide(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (a text, b text, v text, PRIMARY KEY (a, b))",
        "INSERT INTO t VALUES ('1:2', '3', 'x'), ('1', '2:3', 'y'), ('', '1', 'z'), ('~', 'ä ö', 'w')",
        "INSERT INTO t SELECT 'k', i::text, 'v' FROM generate_series(1, 100) i",
    )
    result = await here.full(SyncConfig(batch_size=7))
    assert counts(result, "t") == (104, 104, 0, 0)
    assert len(await here.documents("t")) == 104


async def test_key_pages_give_every_row_once_whatever_the_batch_size(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (a int, b bigint, v text, PRIMARY KEY (a, b))",
        "INSERT INTO t SELECT i % 3, i, repeat('x', i % 50) FROM generate_series(1, 200) i",
    )
    result = await here.full(SyncConfig(batch_size=13))
    assert counts(result, "t") == (200, 200, 0, 0)
    async with here.state() as state:
        (table,) = await state.job_tables(result.job_id)
    assert table.method == "key pages"


async def test_rows_without_a_key_are_told_apart_by_content_and_number(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (a text, b int)",
        "INSERT INTO t VALUES ('x', 1), ('x', 1), ('x', 1), ('x', 2), (NULL, NULL), (NULL, NULL)",
    )
    result = await here.full(SyncConfig(batch_size=2))
    assert counts(result, "t") == (6, 6, 0, 0)
    assert len(await here.documents("t")) == 6
    await here.sql(
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE b = 1)", "INSERT INTO t VALUES ('new', 3)"
    )
    result = await here.incremental()
    assert counts(result, "t") == (6, 1, 0, 5)
    assert len(await here.documents("t")) == 6


async def test_names_that_need_quotes_are_synced(here: World) -> None:
    await here.sql(
        'CREATE SCHEMA "we ird"',
        'CREATE TABLE "we ird"."Ta ""ble; --" ("I d" bigint, "sel""ect" text)',
        'INSERT INTO "we ird"."Ta ""ble; --" SELECT i, \'v\' FROM generate_series(1, 20) i',
    )
    result = await here.full()
    (table,) = result.tables
    assert (table.counts.read, table.counts.indexed) == (20, 20)
    assert table.table == 'we ird.Ta "ble; --'


async def test_a_partitioned_table_is_read_once_through_its_leaves(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, at date, v text) PARTITION BY RANGE (at)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "INSERT INTO t SELECT i, date '2024-01-01' + i % 700, 'v' FROM generate_series(1, 300) i",
        "INSERT INTO t VALUES (9, '2025-06-06', 'other')",
    )
    result = await here.full()
    assert counts(result, "t") == (301, 299, 2, 0)
    assert {t.table for t in result.tables} == {"t"}
    await here.sql(
        "UPDATE t SET v = 'w' WHERE id = 3",
        "CREATE TABLE old (id bigint, at date, v text)",
        "INSERT INTO old VALUES (1000, '2026-03-03', 'attached')",
    )
    await here.incremental(SyncConfig(tables=["t"]))
    await here.sql("ALTER TABLE t ATTACH PARTITION old FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
    await here.incremental(SyncConfig(tables=["t"]))
    found = await here.column("t", "v")
    assert (found["3"], found["1000"]) == ("w", "attached")


async def test_a_second_full_sync_loses_and_doubles_nothing_and_removes_what_is_gone(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i",
    )
    await here.full()
    await here.sql("DELETE FROM t WHERE id > 90", "UPDATE t SET v = 'w' WHERE id = 1")
    result = await here.full()
    assert counts(result, "t") == (90, 90, 0, 0)
    assert result.records_deleted == 10
    found = await here.column("t", "v")
    assert len(found) == 90
    assert found["1"] == "w"


async def test_a_dropped_table_costs_only_itself(here: World) -> None:
    await here.sql(
        "CREATE TABLE good (id bigint)", "CREATE TABLE gone (id bigint)",
        "INSERT INTO good VALUES (1)", "INSERT INTO gone VALUES (1)",
    )  # fmt: skip
    await here.discover()
    await here.sql("DROP TABLE gone")
    result = await here.full()
    assert result.status == "partial"
    assert counts(result, "good") == (1, 1, 0, 0)
    (failed,) = [t for t in result.tables if t.table == "gone"]
    assert failed.status == "failed"
    assert "no longer in the source" in failed.message


async def test_a_value_that_postgresql_cannot_give_costs_its_own_cell(here: World) -> None:
    await here.sql(
        "CREATE TYPE mood AS ENUM ('ok', 'bad')",
        "CREATE TABLE plain (id bigint, v text, m mood)",
        "CREATE TABLE keyed (id bigint PRIMARY KEY, v text, m mood)",
    )
    for table in ("plain", "keyed"):
        await here.sql(
            f"INSERT INTO {table} SELECT i, 'v' || i, CASE WHEN i % 40 = 0 THEN 'bad' ELSE 'ok' END::mood "
            "FROM generate_series(1, 200) i"
        )
    # Without a key, over two partitions: what was read before the bad cell must not come again.
    await here.sql(
        "CREATE TABLE bare (part int, v text, m mood) PARTITION BY LIST (part)",
        "CREATE TABLE bare_0 PARTITION OF bare FOR VALUES IN (0)",
        "CREATE TABLE bare_1 PARTITION OF bare FOR VALUES IN (1)",
        "INSERT INTO bare SELECT i / 150, 'v', CASE WHEN i = 160 THEN 'bad' ELSE 'ok' END::mood "
        "FROM generate_series(0, 199) i",
    )
    await here.discover()
    await here.sql("SET allow_system_table_mods = on", "DELETE FROM pg_enum WHERE enumlabel = 'bad'")
    result = await here.full(SyncConfig(batch_size=50))
    for table in ("plain", "keyed"):
        assert counts(result, table) == (200, 200, 0, 0)
        assert (await here.column(table, "v"))["40"] == "v40"
        assert [t.counts.warned for t in result.tables if t.table == table] == [5]
    assert counts(result, "bare") == (200, 200, 0, 0)
    assert len(await here.documents("bare")) == 200
    warned = await here.failures(kinds=("warning",), tables=("plain",))
    assert [(f.key, f.cause, f.locator) for f in warned] == [
        (str(i), "unreadable_cell", "m") for i in range(40, 201, 40)
    ]


async def test_a_batch_closes_at_its_bytes_and_wide_rows_arrive_whole(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.sync.source_reader.MAX_BATCH_BYTES", 2**18)
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 120) i",
    )
    result = await here.full(SyncConfig(batch_size=1000))
    assert counts(result, "t") == (120, 120, 0, 0)
    batches = [e for e in here.events if isinstance(e, BatchCommitted)]
    assert len(batches) >= 3


async def test_rows_that_change_during_the_read_are_not_lost(here: World) -> None:
    """After each committed batch rows move from blocks not yet read to blocks already read, and back."""
    await here.sql(
        "CREATE TABLE t (id bigint, v text) WITH (fillfactor = 60)",
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 1000) i",
        "DELETE FROM t WHERE id % 10 = 0",
        "VACUUM t",
    )
    batches: asyncio.Queue[Event] = asyncio.Queue()

    async def churn() -> int:
        turn = 0
        while isinstance(await batches.get(), BatchCommitted):
            turn += 1
            await here.sql(
                f"UPDATE t SET v = 'turn {turn}' WHERE id % 7 = {turn % 7}",
                f"INSERT INTO t VALUES ({10_000 + turn}, 'new')",
                f"DELETE FROM t WHERE id = {turn * 3}",
            )
        return turn

    def on_event(event: Event) -> None:
        if isinstance(event, BatchCommitted | JobFinished):
            batches.put_nowait(event)

    writer = asyncio.create_task(churn())
    result = await here.full(SyncConfig(batch_size=50), publish=on_event, blocks_per_partition=4)
    assert await writer >= 15
    (table,) = result.tables
    assert table.counts.adds_up
    assert 900 <= table.counts.read <= 900 + 40
    await here.incremental()
    assert await here.column("t", "v") == {
        str(row["id"]): row["v"] for row in await here.writer.fetch("SELECT id, v FROM t")
    }


async def test_rows_of_a_partition_that_comes_while_a_table_is_read_are_rows_like_others(here: World) -> None:
    await here.sql(
        "CREATE TABLE p (id bigint, region int) PARTITION BY LIST (region)",
        *(f"CREATE TABLE p_{i} PARTITION OF p FOR VALUES IN ({i})" for i in range(2)),
        "INSERT INTO p SELECT i, i % 2 FROM generate_series(1, 10) i",
    )
    await here.discover()
    table = here.schema.table("p")
    layout = await source_reader.layout(here.db, table)
    reader = SourceReader(here.db, table, layout, 180000, 100, QUIET)
    await here.sql(
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES IN (2)", "INSERT INTO p VALUES (11, 2), (12, 2)"
    )
    rows = [row async for batch in reader.rows(reader.queries.everything()) for row in batch]
    assert sorted(int(row.values[0] or 0) for row in rows) == list(range(1, 13))
    assert len({row.locator for row in rows}) == 12
