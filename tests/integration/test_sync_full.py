"""A full sync: every row is in the index, or is counted with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sync_world import World, counts, world

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
        "INSERT INTO keyed SELECT i, 'name ' || i FROM generate_series(1, 500) i",
        "INSERT INTO plain SELECT i, 'name ' || i FROM generate_series(1, 500) i",
    )
    result = await here.full(SyncConfig(batch_size=100))
    assert (result.status, result.errors) == ("completed", [])
    assert counts(result, "keyed") == (500, 500, 0, 0)
    assert counts(result, "plain") == (500, 500, 0, 0)
    assert counts(result, "empty") == (0, 0, 0, 0)
    for table in ("keyed", "plain"):
        assert await here.column(table, "name") == {str(i): f"name {i}" for i in range(1, 501)}
