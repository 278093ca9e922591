"""An incremental sync: no commit is missed, nothing unchanged is fed, what is gone leaves the index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from sync_world import World, counts, world

from ingestion.events import BatchCommitted, Noted
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.sync import table_plan
from ingestion.sync_manager import SyncConfig


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        yield made


@pytest.fixture
async def synced(here: World) -> World:
    """A table of 100 rows without a declared key, in the index."""
    await here.sql(
        "CREATE TABLE t (id bigint, v text, updated_at timestamp)",
        "INSERT INTO t SELECT i, 'v', '2024-01-01' FROM generate_series(1, 100) i",
    )
    assert counts(await here.full(), "t") == (100, 100, 0, 0)
    return here


async def test_inserts_and_updates_are_fed_and_the_rest_is_not_even_read(synced: World) -> None:
    await synced.sql(
        "INSERT INTO t VALUES (101, 'new', now())",
        "UPDATE t SET v = 'changed' WHERE id IN (1, 2)",
    )
    assert counts(await synced.incremental(), "t") == (3, 3, 0, 0)
    found = await synced.column("t", "v")
    assert (found["1"], found["2"], found["3"], found["101"]) == ("changed", "changed", "v", "new")
    # The horizon is that of the read's begin, so what changed since is looked at once more, and not fed.
    read, indexed, failed, skipped = counts(await synced.incremental(), "t")
    assert (indexed, failed) == (0, 0)
    assert read == skipped <= 3
    assert counts(await synced.incremental(), "t") == (0, 0, 0, 0)


async def test_inserts_updates_and_deletes_are_told_apart(synced: World) -> None:
    first = (await synced.full()).tables[0].counts
    assert (first.indexed, first.inserted, first.updated) == (100, 0, 0)
    await synced.sql(
        "INSERT INTO t SELECT i, 'new', now() FROM generate_series(101, 107) i",
        "UPDATE t SET v = 'changed' WHERE id <= 4",
        "UPDATE t SET v = v WHERE id BETWEEN 11 AND 13",
        "DELETE FROM t WHERE id IN (50, 51)",
    )
    result = await synced.incremental()
    (table,) = result.tables
    told = (table.counts.inserted, table.counts.updated, table.counts.deleted, table.counts.skipped)
    assert told == (7, 4, 2, 3)
    assert (result.records_inserted, result.records_updated, result.records_deleted) == (7, 4, 2)
    async with synced.state() as state:
        (stored,) = await state.job_tables(result.job_id)
        assert stored.counts == table.counts
    async with synced.state() as state:
        assert (await state.job_totals(result.job_id))[0] == table.counts


async def test_a_row_met_twice_in_a_read_is_told_of_once(here: World, postgres: EmbeddedPostgres) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)", "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 40) i"
    )
    changed: list[str] = []

    def change(event: object) -> None:
        if isinstance(event, BatchCommitted) and not changed:
            changed.append(
                postgres.psql("UPDATE t SET v = 'w' WHERE id = 1", database=urlsplit(here.url).path[1:])
            )

    result = await here.full(SyncConfig(batch_size=10), publish=change)
    assert changed
    assert (await here.column("t", "v"))["1"] == "w"
    assert (result.records_indexed, result.records_inserted, result.records_updated) == (40, 40, 0)


async def test_a_commit_later_than_the_sync_that_began_before_it_is_not_missed(synced: World) -> None:
    late = await asyncpg.connect(synced.url)
    try:
        transaction = late.transaction()
        await transaction.start()
        await late.execute("INSERT INTO t VALUES (200, 'late', '2024-01-01')")
        await late.execute("UPDATE t SET v = 'late' WHERE id = 5")
        await synced.sql("INSERT INTO t VALUES (201, 'early', '2025-01-01')")
        await synced.incremental()
        assert "200" not in await synced.column("t", "v")
        await transaction.commit()
    finally:
        await late.close()
    await synced.incremental()
    found = await synced.column("t", "v")
    assert (found["200"], found["201"], found["5"]) == ("late", "early", "late")


async def test_ties_null_and_strange_timestamps_are_not_missed(synced: World) -> None:
    await synced.sql(
        "INSERT INTO t SELECT i, 'tie', '2024-01-01' FROM generate_series(300, 320) i",
        "INSERT INTO t VALUES (400, 'null', NULL), (401, 'never', 'infinity'), (402, 'old', '0001-01-01')",
        "UPDATE t SET v = 'backwards', updated_at = '1970-01-01' WHERE id = 9",
    )
    assert counts(await synced.incremental(), "t") == (25, 25, 0, 0)
    found = await synced.column("t", "v")
    assert [found[k] for k in ("300", "400", "401", "402", "9")] == [
        "tie",
        "null",
        "never",
        "old",
        "backwards",
    ]


async def test_a_row_that_only_looks_new_is_not_fed_again(synced: World) -> None:
    before = await synced.documents("t")
    await synced.sql("UPDATE t SET v = v")
    assert counts(await synced.incremental(), "t") == (100, 0, 0, 100)
    assert await synced.documents("t") == before


async def test_deleted_rows_leave_the_index(synced: World) -> None:
    await synced.sql("DELETE FROM t WHERE id IN (3, 4, 5)")
    result = await synced.incremental()
    assert result.records_deleted == 3
    assert result.status == "completed"
    assert not {"3", "4", "5"} & set(await synced.column("t", "v"))
    assert len(await synced.documents("t")) == 97


async def test_an_implausible_share_of_deletes_waits_for_the_operator(synced: World) -> None:
    await synced.sql("DELETE FROM t WHERE id > 60", "UPDATE t SET v = 'changed' WHERE id = 1")
    for sync in (synced.incremental, synced.full):
        result = await sync()
        assert result.status == "partial"
        assert "40 of 100" in result.errors[0]
        assert "--allow-mass-delete" in result.errors[0]
        assert len(await synced.documents("t")) == 100
    assert (await synced.column("t", "v"))["1"] == "changed"
    result = await synced.incremental(SyncConfig(allow_mass_delete=True))
    assert (result.status, result.records_deleted) == ("completed", 40)
    assert len(await synced.documents("t")) == 60


async def test_a_table_without_a_checkpoint_is_read_in_full(here: World) -> None:
    await here.sql("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 30)")
    assert counts(await here.incremental(), "t") == (30, 30, 0, 0)
    assert counts(await here.incremental(), "t") == (0, 0, 0, 0)


async def test_a_failure_ends_when_its_row_is_gone(here: World) -> None:
    await here.sql(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 30) i",
        "INSERT INTO t VALUES (7, 'other'), (NULL, 'n')",
    )
    await here.full()
    assert len(await here.failures()) == 3
    await here.sql("DELETE FROM t WHERE id = 7 OR id IS NULL")
    await here.incremental()
    assert await here.failures() == []


async def test_a_new_column_makes_every_row_compared(synced: World) -> None:
    await synced.sql("ALTER TABLE t ADD COLUMN extra text DEFAULT 'given'")
    await synced.discover()
    assert counts(await synced.incremental(), "t") == (100, 100, 0, 0)
    assert set((await synced.column("t", "extra")).values()) == {"given"}


async def test_another_server_than_last_time_means_comparing_every_row(synced: World) -> None:
    async with synced.state() as state:
        known = await state.table_state("t")
        assert known is not None
        await state.set_table_state(replace(known, detail={**known.detail, "source": "1/1"}))
    await synced.sql("ALTER TABLE t DISABLE TRIGGER ALL", "UPDATE t SET v = 'w' WHERE id = 1")
    assert counts(await synced.incremental(), "t") == (100, 1, 0, 99)
    said = [event for event in synced.events if "comparing every row" in getattr(event, "message", "")]
    assert len(said) == 1


async def test_transaction_ids_that_ran_backwards_mean_comparing_every_row(synced: World) -> None:
    async with synced.state() as state:
        known = await state.table_state("t")
        assert known is not None
        assert known.horizon is not None
        await state.set_table_state(replace(known, horizon=known.horizon + 10_000_000))
    assert counts(await synced.incremental(), "t") == (100, 0, 0, 100)


async def test_a_checkpoint_says_since_when_nothing_is_missing(synced: World) -> None:
    before = await synced.value("SELECT now()")
    await synced.sql("INSERT INTO t VALUES (101, 'v', NULL)")
    await synced.incremental()
    status = await (await synced.manager()).get_status()
    row = status["tables"]["t"]
    assert row["status"] == "completed"
    assert row["last_sync_timestamp"] >= before.isoformat()[:19]
    assert row["records_indexed"] == 101


async def test_a_partition_swapped_in_with_old_row_versions_is_not_missed(here: World) -> None:
    """A staging table that was loaded before the last sync takes a partition's place: no row version tells."""
    await here.sql(
        "CREATE TABLE p (id bigint, region int, v text) PARTITION BY LIST (region)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES IN (2)",
        "INSERT INTO p SELECT i, 1 + i % 2, 'old' FROM generate_series(1, 40) i",
        "CREATE TABLE staged (LIKE p)",
        "INSERT INTO staged SELECT id, region, 'swapped' FROM p WHERE region = 1 AND id <> 2",
    )
    only = SyncConfig(tables=["p"])
    await here.full(only)
    await here.sql("INSERT INTO p VALUES (41, 2, 'new')")
    await here.incremental(only)
    await here.incremental(only)
    await here.sql(
        "ALTER TABLE p DETACH PARTITION p_1", "ALTER TABLE p ATTACH PARTITION staged FOR VALUES IN (1)"
    )
    await here.discover()
    assert counts(await here.incremental(only), "p") == (19, 19, 0, 0)
    found = await here.column("p", "v")
    assert {key for key, v in found.items() if v == "swapped"} == {str(i) for i in range(4, 41, 2)}
    assert "2" not in found
    assert counts(await here.incremental(only), "p")[1] == 0


async def test_keys_that_a_partition_swapped_in_shares_with_old_rows_fail(here: World) -> None:
    """None of the rows that share a key has changed since the last sync; only the partition has."""
    await here.sql(
        "CREATE TABLE p (id bigint, region int, v text) PARTITION BY LIST (region)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES IN (2)",
        "INSERT INTO p SELECT i, 1 + i % 2, 'old' FROM generate_series(1, 40) i",
        "CREATE TABLE staged (LIKE p)",
        "INSERT INTO staged VALUES (2, 1, 'swapped'), (3, 1, 'swapped')",
    )
    only = SyncConfig(tables=["p"])
    await here.full(only)
    # So that no row of before stands at the horizon.
    await here.incremental(only)
    await here.sql("CREATE TABLE other ()")
    await here.incremental(only)
    await here.sql(
        "ALTER TABLE p DETACH PARTITION p_1", "ALTER TABLE p ATTACH PARTITION staged FOR VALUES IN (1)"
    )
    await here.discover()
    await here.incremental(SyncConfig(tables=["p"], allow_mass_delete=True))
    assert {key: v for key, v in (await here.column("p", "v")).items() if v == "swapped"} == {"2": "swapped"}
    assert "3" not in await here.column("p", "v")
    failures = [f for f in await here.failures(kinds=("record",)) if f.status == "open"]
    assert [(f.key, f.cause) for f in failures] == [("3", "duplicate_key")] * 2


async def test_a_row_that_moves_meanwhile_into_what_was_read_already_is_not_missed(
    here: World, postgres: EmbeddedPostgres
) -> None:
    await here.sql(
        "CREATE TABLE p (id bigint, region int) PARTITION BY LIST (region)",
        *(f"CREATE TABLE p_{i} PARTITION OF p FOR VALUES IN ({i})" for i in range(2)),
        "INSERT INTO p VALUES (1, 0), (2, 1)",
    )
    await here.full()
    await here.sql(
        "INSERT INTO p SELECT i, 0 FROM generate_series(10, 30) i", "INSERT INTO p VALUES (100, 1)"
    )
    moved: list[str] = []

    def move(event: object) -> None:
        if isinstance(event, BatchCommitted) and not moved:
            moved.append(
                postgres.psql("UPDATE p SET region = 0 WHERE id = 100", database=urlsplit(here.url).path[1:])
            )

    result = await here.incremental(SyncConfig(batch_size=2), publish=move)
    assert moved
    assert counts(result, "p") == (22, 22, 0, 0)
    assert (await here.column("p", "region"))["100"] == "0"


async def test_a_copy_of_the_database_under_its_name_means_comparing_every_row(
    synced: World, postgres: EmbeddedPostgres, vespa_url: str, tmp_path: Path
) -> None:
    """A clone has the same tables under the same numbers with the same transaction ids."""
    name = urlsplit(synced.url).path[1:]
    await synced.db.close()
    await synced.writer.close()
    admin = await asyncpg.connect(postgres.url("postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
        async with world(synced.url, vespa_url, synced.namespace, tmp_path) as here:
            await here.sql("UPDATE t SET v = 'only in the one that goes' WHERE id < 4")
            assert counts(await here.incremental(), "t")[1] == 3
            # Quiet until the copy's transaction ids are beyond what was synced.
            assert counts(await here.incremental(), "t")[1] == 0
        await admin.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}_gone"')
        await admin.execute(f'ALTER DATABASE "{name}_copy" RENAME TO "{name}"')
        async with world(synced.url, vespa_url, synced.namespace, tmp_path) as here:
            assert counts(await here.incremental(), "t") == (100, 3, 0, 97)
            assert set((await here.column("t", "v")).values()) == {"v"}
            assert [e.message for e in here.events if isinstance(e, Noted)] == [
                "comparing every row: another server, timeline or database answers than last time"
            ]
    finally:
        for left in (f"{name}_copy", f"{name}_gone"):
            await admin.execute(f'DROP DATABASE IF EXISTS "{left}" WITH (FORCE)')
        await admin.close()


async def test_a_changed_transform_version_is_said_and_every_row_is_fed_again(
    synced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_plan, "TRANSFORM_VERSION", 2)
    assert counts(await synced.incremental(), "t") == (100, 100, 0, 0)
    (said,) = [event.message for event in synced.events if isinstance(event, Noted)]
    assert said.startswith("feeding every row again: this version makes documents otherwise")
    assert counts(await synced.incremental(), "t")[1] == 0


async def test_another_source_timezone_moves_every_document(synced: World) -> None:
    assert counts(await synced.incremental(source_timezone="Asia/Tokyo"), "t") == (100, 100, 0, 0)
    (moved,) = {fields["updated_at"] for fields in (await synced.documents("t")).values()}
    assert moved == 1704067200_000 - 9 * 3600_000


@pytest.mark.parametrize(
    ("make", "change", "before", "after"),
    [
        pytest.param(
            "CREATE TYPE state AS ENUM ('open', 'shut'); CREATE TABLE e (id bigint, v state);"
            "INSERT INTO e SELECT i, 'open' FROM generate_series(1, 30) i",
            "ALTER TYPE state RENAME VALUE 'open' TO 'ajar'",
            "open",
            "ajar",
            id="enum",
        ),
        pytest.param(
            "CREATE TYPE state AS ENUM ('open', 'shut'); CREATE DOMAIN said AS state;"
            "CREATE TYPE pair AS (a int, b said[]); CREATE TABLE e (id bigint, v pair);"
            "INSERT INTO e SELECT i, ROW(1, ARRAY['open'::said])::pair FROM generate_series(1, 30) i",
            "ALTER TYPE state RENAME VALUE 'open' TO 'ajar'",
            "(1,{open})",
            "(1,{ajar})",
            id="enum in an array in a composite",
        ),
        pytest.param(
            "CREATE TYPE pair AS (a int, b int); CREATE TABLE e (id bigint, v pair);"
            "INSERT INTO e SELECT i, ROW(1, 2)::pair FROM generate_series(1, 30) i",
            "ALTER TYPE pair ADD ATTRIBUTE c int",
            "(1,2)",
            "(1,2,)",
            id="composite",
        ),
        pytest.param(
            "CREATE TABLE e (id bigint, v text);INSERT INTO e SELECT i, 'old' FROM generate_series(1, 30) i",
            "ALTER TABLE e DROP COLUMN v, ADD COLUMN v text DEFAULT 'new'",
            "old",
            "new",
            id="column under its old name",
        ),
        pytest.param(
            "CREATE TABLE named (a int); CREATE TABLE e (id bigint, v regclass);"
            "INSERT INTO e SELECT i, 'named' FROM generate_series(1, 30) i",
            "ALTER TABLE named RENAME TO renamed",
            "named",
            "renamed",
            id="name of a table",
        ),
    ],
)
async def test_what_the_catalogue_alone_changes_is_compared_and_said(
    here: World, make: str, change: str, before: str, after: str
) -> None:
    await here.sql(make)
    await here.full(SyncConfig(tables=["e"]))
    assert set((await here.column("e", "v")).values()) == {before}
    await here.incremental(SyncConfig(tables=["e"]))
    here.events.clear()
    await here.sql(change)
    await here.discover()
    assert counts(await here.incremental(SyncConfig(tables=["e"])), "e") == (30, 30, 0, 0)
    assert set((await here.column("e", "v")).values()) == {after}
    (said,) = [event.message for event in here.events if isinstance(event, Noted)]
    assert said.startswith("comparing every row: ")
    assert "catalogue" in said or "names of database objects" in said


async def test_a_catalogue_that_stays_as_it_is_makes_nothing_compared(here: World) -> None:
    await here.sql(
        "CREATE TYPE state AS ENUM ('open', 'shut')",
        "CREATE TABLE e (id bigint, v state, m money, at timestamptz, g int GENERATED ALWAYS AS (id * 2) STORED)",
        "INSERT INTO e SELECT i, 'open', 3, now() FROM generate_series(1, 30) i",
    )
    await here.full()
    await here.discover()
    await here.incremental()
    assert counts(await here.incremental(), "e") == (0, 0, 0, 0)


async def test_rows_that_a_policy_brings_into_sight_are_not_missed(
    here: World, postgres: EmbeddedPostgres, vespa_url: str, tmp_path: Path
) -> None:
    """They have row versions of long ago."""
    role = f"{here.namespace}_seer"
    await here.sql(
        "CREATE TABLE e (id bigint, v text)",
        "INSERT INTO e SELECT i, 'v' FROM generate_series(1, 30) i",
        "ALTER TABLE e ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY part ON e USING (id <= 20)",
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON e TO {role}",
    )
    url = urlsplit(here.url)
    seen_by = urlunsplit(url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}"))
    try:
        async with world(seen_by, vespa_url, here.namespace, tmp_path) as limited:
            assert counts(await limited.full(), "e") == (20, 20, 0, 0)
            await here.sql("ALTER POLICY part ON e USING (id <= 25)")
            assert counts(await limited.incremental(), "e") == (5, 5, 0, 0)
            assert len(await limited.documents("e")) == 25
    finally:
        await here.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
