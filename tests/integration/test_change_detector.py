"""ChangeDetector: what differs between a table and the index, complete and by kind."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sync_world import World, world

from ingestion import errors
from ingestion.change_detector import ChangeDetector
from ingestion.checkpoint import CheckpointStore

LOG = logging.getLogger("quiet")


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        await made.sql(
            "CREATE TABLE t (id bigint PRIMARY KEY, v text, secret_token text, updated_at timestamp)",
            "INSERT INTO t SELECT i, 'v', 'TOKEN', timestamp '2024-01-01' + i * interval '1 hour'"
            " FROM generate_series(1, 80) i",
            "CREATE TABLE timeless (id bigint, v text)",
            "INSERT INTO timeless SELECT i, 'v' FROM generate_series(1, 20) i",
        )
        await made.full()
        yield made


def detector(here: World, *, with_schema: bool = True) -> ChangeDetector:
    store = CheckpointStore(here.state_path)
    return ChangeDetector(here.db, store, LOG, here.schema if with_schema else None)


async def test_inserts_updates_and_deletes_since_the_last_sync_are_told_apart(here: World) -> None:
    await here.sql(
        "INSERT INTO t VALUES (100, 'new', NULL, NULL)",
        "UPDATE t SET v = 'changed', updated_at = '1999-01-01' WHERE id = 5",
        "UPDATE t SET v = v WHERE id = 6",
        "DELETE FROM t WHERE id IN (7, 8)",
    )
    changes = await detector(here).detect_changes("t")
    assert [(c.record_id, c.change_type) for c in changes.inserts] == [("100", "insert")]
    assert [(c.record_id, c.change_type) for c in changes.updates] == [("5", "update")]
    assert sorted(c.record_id for c in changes.deletes) == ["7", "8"]
    assert changes.total_changes == 4
    assert changes.updates[0].updated_at == datetime(1999, 1, 1, tzinfo=UTC)
    assert changes.updates[0].row is not None
    assert changes.updates[0].row["v"] == "changed"
    assert changes.updates[0].row["secret_token"] == "[masked]"
    assert changes.deletes[0].row is None
    assert changes.since < changes.until


async def test_a_late_commit_is_among_the_changes(here: World) -> None:
    late = await asyncpg.connect(here.url)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("UPDATE t SET v = 'late' WHERE id = 1")
    await here.incremental()
    await transaction.commit()
    await late.close()
    changes = await detector(here).detect_changes("t")
    assert [c.record_id for c in changes.updates] == ["1"]


async def test_nothing_changed_is_no_change_also_without_time_or_key(here: World) -> None:
    for table in ("t", "timeless"):
        changes = await detector(here).detect_changes(table, datetime(2000, 1, 1, tzinfo=UTC))
        assert changes.total_changes == 0


async def test_updated_records_come_typed_inclusive_and_with_those_without_a_time(here: World) -> None:
    await here.sql("INSERT INTO t VALUES (100, 'null', NULL, NULL)")
    since = datetime(2024, 1, 4, 6, tzinfo=UTC)
    rows = [row async for row in detector(here).get_updated_records("t", since, batch_size=2)]
    assert [row["id"] for row in rows] == [78, 79, 80, 100]
    assert rows[0]["updated_at"] == datetime(2024, 1, 4, 6)  # noqa: DTZ001
    assert len([row async for row in detector(here).get_updated_records("timeless", since)]) == 20


async def test_deletes_are_complete_whatever_the_sample_size(here: World) -> None:
    await here.sql("DELETE FROM t WHERE id % 2 = 0")
    known = {str(i) for i in range(1, 90)}
    gone = await detector(here).detect_deletes("t", known, sample_size=7)
    assert gone == sorted([str(i) for i in range(2, 81, 2)] + [str(i) for i in range(81, 90)])


async def test_the_time_column_needs_a_schema_or_an_awaited_call(here: World) -> None:
    assert detector(here).get_timestamp_column("t") == "updated_at"
    bare = detector(here, with_schema=False)
    with pytest.raises(errors.SchemaError, match="not been looked at"):
        bare.get_timestamp_column("t")
    await bare.detect_changes("t")
    assert bare.get_timestamp_column("t") == "updated_at"
    with pytest.raises(errors.SchemaError, match="no time column"):
        bare.get_timestamp_column("timeless")
