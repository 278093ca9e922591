"""CheckpointStore, with nothing but a path."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ingestion import errors
from ingestion.checkpoint import Checkpoint, CheckpointStore
from ingestion.events import Counts
from ingestion.state.store import StateStore
from ingestion.state.types import BatchCommit, CheckpointUpdate, TableState

MOMENT = datetime(2026, 1, 31, 8, 5, 0, 123456, tzinfo=UTC)
PHOTOS = Checkpoint("photos", MOMENT, "8841", 1000, 3, "partial", None, MOMENT + timedelta(seconds=1))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "deep" / "state.db")


async def test_what_is_set_comes_back_to_the_microsecond(store: CheckpointStore) -> None:
    await store.initialize()
    await store.initialize()
    assert await store.get("photos") is None
    await store.set(PHOTOS)
    assert await store.get("photos") == PHOTOS
    whole = replace(PHOTOS, table_name='odd "table"', last_sync_timestamp=MOMENT.replace(microsecond=0))
    await store.set(whole)
    assert await store.get_all() == [whole, PHOTOS]
    await store.set(replace(PHOTOS, records_processed=1, last_record_id=None, error_message="no"))
    assert await store.get("photos") == replace(
        PHOTOS, records_processed=1, last_record_id=None, error_message="no"
    )


async def test_moments_are_utc_whatever_zone_they_were_given_in(store: CheckpointStore) -> None:
    tokyo = MOMENT.astimezone(timezone(timedelta(hours=9)))
    await store.set(replace(PHOTOS, last_sync_timestamp=tokyo, updated_at=MOMENT.replace(tzinfo=None)))
    found = await store.get("photos")
    assert found is not None
    assert (found.last_sync_timestamp, found.last_sync_timestamp.tzinfo) == (MOMENT, UTC)
    assert (found.updated_at, found.updated_at.tzinfo) == (MOMENT, UTC)


async def test_only_a_sync_that_reached_its_end_counts_as_the_last(store: CheckpointStore) -> None:
    assert await store.get_last_sync_time("photos") is None
    await store.set(replace(PHOTOS, sync_status="running"))
    assert await store.get_last_sync_time("photos") is None
    await store.set(PHOTOS)
    later = replace(PHOTOS, sync_status="failed", last_sync_timestamp=MOMENT + timedelta(days=1))
    await store.set(later)
    assert await store.get_last_sync_time("photos") == MOMENT


async def test_clearing_one_leaves_the_others(store: CheckpointStore) -> None:
    for table in ("photos", "users", "rfis"):
        await store.set(replace(PHOTOS, table_name=table))
    await store.clear("users")
    await store.clear("never")
    assert [c.table_name for c in await store.get_all()] == ["photos", "rfis"]
    await store.clear()
    assert await store.get_all() == []
    assert await store.get_last_sync_time("photos") is None


async def test_an_unknown_status_is_refused(store: CheckpointStore) -> None:
    with pytest.raises(errors.StateError, match="no checkpoint status called done"):
        await store.set(replace(PHOTOS, sync_status="done"))
    assert await store.get_all() == []


async def test_it_reads_and_moves_what_a_sync_is_using(store: CheckpointStore) -> None:
    async with await StateStore.open(store.db_path) as state:
        job = await state.create_job("full", {})
        await state.set_table_state(TableState(table="photos", key_columns=("id",), horizon=77, epoch=1))
        running = BatchCommit(
            job_id=job.id, table="photos", counts=Counts(read=10, indexed=9, failed=1),
            checkpoint=CheckpointUpdate(status="running", last_record_id="10"),
        )  # fmt: skip
        await state.commit_batch(running)
        await state.commit_batch(running)
        found = await store.get("photos")
        assert found is not None
        assert (found.records_processed, found.records_failed, found.sync_status) == (20, 2, "running")
        assert found.last_sync_timestamp == datetime(1970, 1, 1, tzinfo=UTC)
        end = CheckpointUpdate(status="partial", last_sync_timestamp=MOMENT)
        await state.commit_batch(BatchCommit(job_id=job.id, table="photos", checkpoint=end))
        assert await store.get_last_sync_time("photos") == MOMENT
        found = await CheckpointStore(store.db_path, state=state).get("photos")
        assert found is not None
        assert found.last_record_id == "10"

        # The same moment again changes nothing; another one overrules the horizon.
        await store.set(found)
        kept = await state.table_state("photos")
        assert kept is not None
        assert kept.horizon == 77
        await store.set(replace(found, last_sync_timestamp=MOMENT - timedelta(days=1)))
        dropped = await state.table_state("photos")
        assert dropped is not None
        assert (dropped.horizon, dropped.key_columns) == (None, ("id",))


def test_a_program_that_never_closes_anything_ends(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from ingestion.checkpoint import CheckpointStore;"
        "store = CheckpointStore(Path(sys.argv[1])); asyncio.run(store.initialize()); asyncio.run(store.get('x'))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.db")], check=True, timeout=20)
