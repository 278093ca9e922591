"""Our Vespa client against the local endpoint: what is fed is found, counted, summed, visited and related."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingestion import errors
from ingestion.discovery import schema_documents
from ingestion.inspecting import needed_fields
from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table
from ingestion.transform import document_ids
from ingestion.vespa import client, queries, visiting
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation


@pytest.fixture
async def session(vespa_url: str, namespace: str) -> AsyncIterator[client.VespaSession]:
    async with client.VespaSession(client.build(vespa_url), namespace=namespace) as opened:
        yield opened


def record(table: str, key: str, digest: int = 1, **fields: Any) -> Operation:
    seq = fields.pop("read_seq", 1)
    doc_id = document_ids.doc_id(table, key)
    content = {
        "doc_id": doc_id,
        "source_table": table,
        "source_id": key,
        "row_digest": digest,
        "key_bucket": document_ids.key_bucket(key),
        **fields,
    }
    return Operation("put", client.RECORD, doc_id, seq, content)


async def test_an_older_reading_never_overwrites_a_newer_one(session: client.VespaSession) -> None:
    feeder = Feeder(session)
    new, old = record("rfis", "1", read_seq=9, content_text="new"), record("rfis", "1", read_seq=8)
    assert [o.verdict for o in await feeder.feed([new])] == [Verdict.ACCEPTED]
    assert [o.verdict for o in await feeder.feed([old])] == [Verdict.SUPERSEDED]
    removed = Operation("remove", client.RECORD, "rfis:1", 8)
    assert [o.verdict for o in await feeder.feed([removed])] == [Verdict.SUPERSEDED]
    stored = await session.document(client.RECORD, "rfis:1")
    assert stored is not None
    assert (stored["content_text"], stored["read_seq"]) == ("new", 9)
    assert await queries.largest_read_seq(session) == 9


async def test_sums_and_visits_give_what_was_fed_and_nothing_of_another_namespace(
    session: client.VespaSession, vespa_url: str
) -> None:
    feeder = Feeder(session)
    keys = [str(2**49 + i) for i in range(300)]
    await feeder.feed([record("photos", key, digest=int(key) * 31 - 2**60) for key in keys])
    await feeder.feed([record("rfis", key) for key in keys[:5]])
    async with client.VespaSession(client.build(vespa_url), namespace=session.namespace + "b") as other:
        await Feeder(other).feed([record("photos", "7")])
    expected: dict[int, tuple[int, int]] = {}
    for key in keys:
        count, xor = expected.get(document_ids.key_bucket(key), (0, 0))
        expected[document_ids.key_bucket(key)] = (count + 1, xor ^ (int(key) * 31 - 2**60))
    sums = await queries.bucket_sums(session, "photos")
    assert {bucket: (s.count, s.xor) for bucket, s in sums.items()} == expected
    assert await queries.counts_by_table(session) == {"photos": 300, "rfis": 5}
    visited = [r async for page in visiting.records_of_table(session, "photos") for r in page]
    assert sorted(r.key for r in visited) == keys
    bucket = document_ids.key_bucket(keys[0])
    some = [r async for page in visiting.records_of_table(session, "photos", bucket=bucket) for r in page]
    assert {r.key for r in some} == {key for key in keys if document_ids.key_bucket(key) == bucket}


async def test_relations_are_followed_both_ways(session: client.VespaSession) -> None:
    link = {
        "relation": "project",
        "target_table": "projects",
        "target_id": "7",
        "source_column": "project_id",
    }
    await Feeder(session).feed(
        [
            record("projects", "7", metadata={"name": "Bridge"}),
            record("rfis", "1", relationships=[link, {**link, "target_id": "8"}], metadata={"title": "Why?"}),
        ]
    )
    fields = await session.document(client.RECORD, "rfis:1")
    assert fields is not None
    outgoing = await queries.related(session, "rfis:1", fields)
    assert [(r.direction, r.doc_id, r.exists, r.title) for r in outgoing] == [
        ("out", "projects:7", True, "Bridge"),
        ("out", "projects:8", False, ""),
    ]
    project = await session.document(client.RECORD, "projects:7")
    assert project is not None
    incoming = await queries.related(session, "projects:7", project)
    assert [(r.direction, r.relation, r.doc_id, r.title) for r in incoming] == [
        ("in", "project", "rfis:1", "Why?")
    ]


async def test_a_record_leads_to_its_files_and_a_file_to_its_records(session: client.VespaSession) -> None:
    file = {
        "doc_id": "f1", "filename": "plan.pdf", "source_column": "attachments", "extracted_text": "x" * 5000,
        "record_doc_ids": ["rfis:1", "rfis:gone"],
    }  # fmt: skip
    await Feeder(session).feed(
        [record("rfis", "1", metadata={"title": "Why?"}), Operation("put", client.FILE, "f1", 1, file)]
    )
    (found,) = await queries.files_of(session, "rfis:1")
    assert (found["doc_id"], found["filename"]) == ("f1", "plan.pdf")
    assert "extracted_text" not in found
    stored = await session.document(client.FILE, "f1")
    assert stored is not None
    assert [
        (r.direction, r.relation, r.doc_id, r.source_table, r.source_id, r.exists, r.title)
        for r in await queries.records_of_file(session, stored)
    ] == [
        ("in", "attachments", "rfis:1", "rfis", "1", True, "Why?"),
        ("in", "attachments", "rfis:gone", "rfis", "gone", False, ""),
    ]


@pytest.mark.parametrize("slices", [1, 3])
async def test_a_visit_meets_every_record_once_in_any_number_of_slices(
    slices: int, session: client.VespaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visiting, "PAGE", 7)
    await Feeder(session).feed([record("rfis", str(i)) for i in range(100)])
    pages = [page async for page in visiting.records_of_table(session, "rfis", slices=slices)]
    assert sorted(int(r.key) for page in pages for r in page) == list(range(100))
    with pytest.raises(errors.IndexError, match="no_such_type"):
        async for _ in visiting.visit(session, "no_such_type", slices=slices):
            pass
    visit = visiting.visit(session, client.RECORD, slices=slices)
    assert len(await anext(visit)) == 7
    await visit.aclose()  # whoever stops early waits for nobody
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("visit ")] == []


async def test_documents_of_a_selection_are_removed_and_no_others(
    session: client.VespaSession, vespa_url: str
) -> None:
    await Feeder(session).feed([record("rfis", str(i)) for i in range(600)] + [record("photos", "1")])
    async with client.VespaSession(client.build(vespa_url), namespace=session.namespace + "b") as other:
        await Feeder(other).feed([record("rfis", "1")])
        selection = f"{client.RECORD}.source_table == 'rfis'"
        assert await visiting.remove_selected(session, client.RECORD, selection) == 600
        assert await queries.counts_by_table(session) == {"photos": 1}
        assert await queries.counts_by_table(other) == {"rfis": 1}
    with pytest.raises(errors.SettingsError, match="needs a selection"):
        await visiting.remove_selected(session, client.RECORD, " ")
    with pytest.raises(errors.IndexError):
        await visiting.remove_selected(session, client.RECORD, "nonsense")


async def test_records_that_refer_to_a_name_in_another_case_are_not_related(
    session: client.VespaSession,
) -> None:
    def link(table: str) -> list[dict[str, str]]:
        return [{"relation": "odd", "target_table": table, "target_id": "a", "source_column": "odd_id"}]

    await Feeder(session).feed(
        [record("Odd", "a"), record("odd", "a")]
        + [record("rfis", str(i), relationships=link("odd"), updated_at=i) for i in range(5)]
        + [record("rfis", "X", relationships=link("Odd"))]
    )
    fields = await session.document(client.RECORD, "Odd:a")
    assert fields is not None
    assert [r.doc_id for r in await queries.related(session, "Odd:a", fields, limit=2)] == ["rfis:X"]


async def test_search_ranks_filters_and_shows_where_it_matched(session: client.VespaSession) -> None:
    text = "Fire damper at grid line C is missing"
    await Feeder(session).feed(
        [
            record("rfis", "1", content_text=text, project_id=2**49 + 1),
            record("rfis", "2", content_text="damper " + "filler " * 50, project_id=5),
            record("photos", "3", content_text="unrelated"),
        ]
    )
    page = await queries.search(session, "fire damper")
    assert [hit.doc_id for hit in page.hits] == ["rfis:1", "rfis:2"]
    assert "Fire damper" in page.hits[0].snippet
    assert [h.doc_id for h in (await queries.search(session, "damper", project=5)).hits] == ["rfis:2"]
    big = await queries.search(session, "damper", project=2**49 + 1, table="rfis")
    assert [h.doc_id for h in big.hits] == ["rfis:1"]
    for text in ('no"such\\word', "note:this", "pages:many", "http://x:80/?a=b", "(a OR b", "-", ":", "a:"):
        assert (await queries.search(session, text)).hits == ()
    with pytest.raises(errors.IndexError, match="only negative items") as caught:
        await queries.search(session, "-damper")
    assert "deploy" not in caught.value.hint
    assert {h.doc_id for h in (await queries.search(session, "")).hits} == {"rfis:1", "rfis:2", "photos:3"}


async def test_hits_are_lean_whatever_the_record_holds(session: client.VespaSession) -> None:
    text = "filler words " * 20_000 + "the damper is stuck " + "more of it " * 20_000
    await Feeder(session).feed([record("rfis", "1", content_text=text, metadata={"title": "x" * 9000})])
    (hit,) = (await queries.search(session, "dampers")).hits
    assert "the damper is stuck" in hit.snippet
    assert "<" not in hit.snippet
    assert len(str(hit.fields)) < 1000


async def test_a_table_is_found_by_what_it_is_called_and_holds_and_explains_its_columns(
    session: client.VespaSession,
) -> None:
    link = ImplicitRelationship("punch_items", "created_by_id", "users")
    columns = [
        Column("id", "bigint", False),
        Column("created_by_id", "bigint", True),
        Column("gate_code", "text", True, sensitivity="secret"),
        Column("due", "date", True, comment="when it must be done"),
    ]
    tables = [
        Table("punch_items", 7, columns, [], [], key_columns=["id"], timestamp_column="due"),
        Table("users", 2, columns[:1], [], [], key_columns=["id"]),
    ]
    schema = SchemaMap("", "procore", tables, [link])
    operations = schema_documents.operations(schema, ["punch_items", "users"], 1)
    await Feeder(session).feed([*operations, record("users", "1", content_text="Ann", project_id=5)])
    for text, expected in (
        ("punch", "schema:punch_items"),
        ("created by", "schema:punch_items"),
        ("must be done", "schema:punch_items"),
        ("Ann", "users:1"),
    ):
        assert (await queries.search(session, text)).hits[0].doc_id == expected, text
    page = await queries.search(session, "id", table="users")
    assert [(hit.doc_id, hit.source_table) for hit in page.hits] == [("schema:users", "users")]
    assert (await queries.search(session, "punch", project=5)).hits == ()  # a table is of no project
    explained = await session.document(client.SCHEMA, "punch_items")
    assert explained is not None
    assert {c["name"]: c.get("role", "") for c in explained["columns"]} == {
        "id": "the key",
        "created_by_id": "refers to users.id",
        "gate_code": "secret, never indexed",
        "due": "when the row last changed",
    }
    assert explained["columns"][3]["comment"] == "when it must be done"
    target = await session.document(client.SCHEMA, "users")
    assert target is not None
    assert target["referrers"] == [{"source_table": "punch_items", "source_column": "created_by_id"}]


async def test_missing_fields_are_named_and_none_is_missing_of_our_own_package(
    session: client.VespaSession,
) -> None:
    assert await session.missing_fields(needed_fields()) == []
    lacking = {client.RECORD: ["doc_id", "no_such_field"], "no_such_type": ["x"]}
    assert await session.missing_fields(lacking) == ["procore_record.no_such_field", "no_such_type"]


async def test_a_document_that_is_not_there_is_none(session: client.VespaSession) -> None:
    assert await session.document(client.RECORD, "rfis:nothing") is None


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8080", "http://", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="http"):
        client.build(url)


async def test_names_with_quotes_and_blanks_stay_apart(session: client.VespaSession) -> None:
    names = ['odd "table"', "odd \\table", "Odd", "odd"]
    await Feeder(session).feed([record(name, "1") for name in names])
    for name in names:
        found = [r async for page in visiting.records_of_table(session, name) for r in page]
        assert [r.table for r in found] == [name]
        sums = await queries.bucket_sums(session, name)
        assert sum(s.count for s in sums.values()) == 1
