"""RecordIngester: rows to documents without any state, typed and text alike."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sync_world import World, world

from ingestion import errors
from ingestion.record_ingester import IngestionResult, RecordIngester

LOG = logging.getLogger("quiet")


@pytest.fixture
async def here(empty_database: str, vespa_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(empty_database, vespa_url, namespace, tmp_path) as made:
        await made.sql(
            "CREATE TABLE projects (id bigint PRIMARY KEY, name text)",
            "CREATE TABLE photos (id bigint, project_id bigint, title text, url text, api_token text,"
            " updated_at timestamp)",
            "INSERT INTO projects SELECT i, 'Project ' || i FROM generate_series(1, 60) i",
            "INSERT INTO photos SELECT i, i, 'Photo ' || i,"
            " 'https://storage.procore.example/api/v5/files/x' || i || '.jpg?sig=SECRET', 'TOKEN',"
            " timestamp '2024-01-01' + i * interval '1 day' FROM generate_series(1, 60) i",
        )
        await made.discover()
        yield made


def ingester(here: World) -> RecordIngester:
    return RecordIngester(here.db, here.vespa, here.schema, LOG, namespace=here.namespace)


async def ingest(here: World, table: str, **options: object) -> list[IngestionResult]:
    async with ingester(here) as made:
        return [result async for result in made.ingest_table(table, **options)]  # type: ignore[arg-type]


async def test_ingest_table_gives_a_result_for_each_row_and_indexes_it(here: World) -> None:
    results = await ingest(here, "photos", batch_size=25)
    assert len(results) == 60
    assert all(result.success for result in results)
    documents = await here.documents("photos")
    assert set(documents) == {result.doc_id for result in results}
    assert documents["photos:7"]["metadata"]["title"] == "Photo 7"
    assert documents["photos:7"]["metadata"]["api_token"] == "[masked]"
    assert "SECRET" not in str(documents)


async def test_since_takes_rows_at_or_after_it_and_those_without_a_time(here: World) -> None:
    await here.sql("INSERT INTO photos (id, title) VALUES (100, 'no time')")
    results = await ingest(here, "photos", since=datetime(2024, 2, 20, tzinfo=UTC))
    assert [result.doc_id for result in results] == [f"photos:{i}" for i in (*range(50, 61), 100)]


async def test_rows_without_a_key_or_with_a_shared_one_are_unsuccessful(here: World) -> None:
    await here.sql(
        "INSERT INTO photos (id, title) VALUES (NULL, 'n'), (3, 'another')",
        "INSERT INTO photos SELECT * FROM photos WHERE id = 5",
    )
    results = await ingest(here, "photos")
    assert len(results) == 63
    failed = [result for result in results if not result.success]
    assert sorted(result.doc_id for result in failed) == ["", "photos:3", "photos:3"]
    assert all(result.error for result in failed)
    assert len(await here.documents("photos")) == 59


async def test_typed_and_text_rows_give_the_same_record(here: World) -> None:
    made = ingester(here)
    (typed,) = await here.db.execute("SELECT * FROM photos WHERE id = 9")
    text = {name: None if value is None else str(value) for name, value in typed.items()}
    record = made.transform_record("photos", typed)
    assert made.transform_record("photos", text) == record
    assert record.doc_id == "photos:9"
    assert record.metadata["updated_at"] == "2024-01-10T00:00:00"
    assert record.relationships == made.extract_relationships("photos", typed)
    assert [(r["relation"], r["target_table"], r["target_id"]) for r in record.relationships] == [
        ("project", "projects", "9")
    ]
    (reference,) = made.extract_file_references("photos", typed)
    assert reference["source_column"] == "url"
    assert "SECRET" not in str(reference)
    assert "Photo 9" in made.generate_content_text("photos", {"title": "Photo 9"})


async def test_index_batch_answers_per_record_and_the_last_of_one_id_stands(here: World) -> None:
    made = ingester(here)
    records = [made.transform_record("projects", {"id": i % 3, "name": f"turn {i}"}) for i in range(9)]
    results = await made.index_batch(records)
    assert [(r.success, r.doc_id) for r in results] == [(True, f"projects:{i % 3}") for i in range(9)]
    assert await here.column("projects", "name") == {"0": "turn 6", "1": "turn 7", "2": "turn 8"}
    assert (await made.index_record(records[0])).success
    assert await made.index_batch([]) == []


async def test_a_record_indexed_by_hand_equals_the_one_a_sync_feeds(here: World) -> None:
    await ingest(here, "photos")
    before = await here.documents("photos")
    made = ingester(here)
    (row,) = await here.db.execute("SELECT * FROM photos WHERE id = 9")
    await made.index_record(made.transform_record("photos", row))
    after = await here.documents("photos")
    volatile = {"read_seq", "ingested_at"}
    assert {k: v for k, v in after["photos:9"].items() if k not in volatile} == {
        k: v for k, v in before["photos:9"].items() if k not in volatile
    }


async def test_a_null_key_or_an_unknown_table_is_refused_by_name(here: World) -> None:
    made = ingester(here)
    with pytest.raises(errors.TransformError, match="photos"):
        made.transform_record("photos", {"id": None})
    with pytest.raises(errors.SchemaError, match="fotos"):
        made.transform_record("fotos", {"id": 1})
