"""What the public classes promise beyond their signatures, used as a caller would: with nothing of ours added."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import asyncpg
import pytest
from db_world import admin, connected

from ingestion import errors
from ingestion.change_detector import ChangeDetector
from ingestion.checkpoint import CheckpointStore
from ingestion.file_downloader import FileDownloader
from ingestion.schema_discovery import SchemaDiscovery
from ingestion.state.store import StateStore
from ingestion.state.types import STATUSES
from ingestion.sync_manager import SyncConfig, SyncManager
from ingestion.vespa import client

LOG = logging.getLogger("quiet")


async def test_sync_manager_works_with_exactly_the_contracts_arguments(
    empty_database: str, vespa_url: str, tmp_path: Path
) -> None:
    async with admin(empty_database) as source:
        await source.execute(
            "CREATE TABLE five_b (id int PRIMARY KEY); CREATE TABLE five_a (id int PRIMARY KEY);"
            "INSERT INTO five_a SELECT generate_series(1, 20); INSERT INTO five_b VALUES (1)"
        )
    async with connected(empty_database) as db:
        schema = await SchemaDiscovery(db, LOG).discover()
        store = CheckpointStore(tmp_path / "state.db")
        manager = SyncManager(db, client.build(vespa_url), schema, store, LOG)
        assert manager.get_tables_to_sync(SyncConfig()) == ["five_a", "five_b"]
        assert manager.get_tables_to_sync(SyncConfig(tables=["five_b", "five_?"])) == ["five_a", "five_b"]
        assert manager.get_tables_to_sync(SyncConfig(exclude_tables=["*a"])) == ["five_b"]
        with pytest.raises(errors.SchemaError, match="fife_a") as caught:
            manager.get_tables_to_sync(SyncConfig(tables=["fife_a"]))
        assert "five_a" in caught.value.hint
        result = await manager.run_full_sync(SyncConfig())
        assert (result.status, result.records_processed, result.records_failed) == ("completed", 21, 0)
        assert (result.records_indexed, result.records_skipped, result.records_warned) == (21, 0, 0)
        assert await manager.sync_table("five_a", full=True) == 20
        checkpoint = await store.get("five_a")
        assert checkpoint is not None
        assert checkpoint.sync_status in STATUSES
        assert checkpoint.records_processed == 20
        assert checkpoint.last_sync_timestamp.utcoffset() is not None
        status = await manager.get_status()
        assert {name: table["status"] for name, table in status["tables"].items()} == {
            "five_a": "completed",
            "five_b": "completed",
        }


async def test_builtin_errors_are_translated_at_the_edge_and_kept_as_cause(
    empty_database: str, tmp_path: Path
) -> None:
    async with connected(empty_database) as db:
        with pytest.raises(errors.SchemaError) as refused:
            await db.execute("SELECT * FROM no_such_table")
        assert isinstance(refused.value.__cause__, asyncpg.PostgresError)
    with pytest.raises(errors.ConnectionError) as unreachable:
        async with client.VespaSession(client.build("http://127.0.0.1:9")) as session:
            await session.is_up()
    assert isinstance(unreachable.value.__cause__, OSError)
    (tmp_path / "state.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(errors.StateError) as unreadable:
        await StateStore.open(tmp_path / "state.db")
    assert isinstance(unreadable.value.__cause__, sqlite3.Error)


def test_answers_that_grow_with_the_table_say_so() -> None:
    for method in (ChangeDetector.detect_changes, ChangeDetector.detect_deletes):
        assert "memory" in (method.__doc__ or "").lower(), method.__name__


def test_the_downloader_supports_the_promised_types_and_size(tmp_path: Path) -> None:
    downloader = FileDownloader(tmp_path)
    assert downloader.supported_types == {"pdf", "jpg", "jpeg", "png", "gif", "tiff"}
    assert downloader.max_file_size == 100 * 1024 * 1024


def test_aws_config_takes_boto3s_names_and_refuses_others(tmp_path: Path) -> None:
    FileDownloader(
        tmp_path,
        aws_config={
            "bucket": "b", "addressing_style": "path", "endpoint_url": "http://127.0.0.1:1",
            "region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s",
        },
    )  # fmt: skip
    with pytest.raises(errors.IngestionError, match="colour"):
        FileDownloader(tmp_path, aws_config={"colour": "red"})
