"""Ids, secrets and personal data inside arrays and JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import relationship_elements, schema_export
from ingestion.discovery.relationship_elements import LIST, OBJECT
from ingestion.schema_discovery import Column, SchemaDiscovery
from ingestion.transform.documents import DocumentBuilder


@pytest.fixture
async def admin(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


@pytest.fixture
async def discovery(empty_database: str) -> AsyncIterator[SchemaDiscovery]:
    config = ConnectionConfig.from_url(empty_database)
    config.ssl = False
    db = DatabaseConnection(config)
    await db.connect()
    yield SchemaDiscovery(db)
    await db.close()


async def test_ids_inside_arrays_and_json_are_references_and_reach_the_documents(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE users (id bigint); INSERT INTO users SELECT 7000000 + n * 13 FROM generate_series(1, 90) n;
        CREATE TABLE sites (id uuid); INSERT INTO sites SELECT gen_random_uuid() FROM generate_series(1, 40);
        CREATE TABLE tasks (id int, assignee_ids bigint[], reviewers jsonb, created_by jsonb, site_uuids uuid[],
          viewer_ids jsonb, form_ids jsonb, entries jsonb, settings jsonb, labels text[], nothing bigint[]);
        INSERT INTO tasks SELECT n, ARRAY[7000013 + (n % 80) * 13, 7000026], '[]', jsonb_build_object('id',
          7000013 + (n % 80) * 13, 'name', 'x'), ARRAY(SELECT id FROM sites ORDER BY id LIMIT 1 OFFSET n % 40),
          jsonb_build_array(7000013 + (n % 80) * 13, (7000013 + (n % 70) * 13)::text),
          jsonb_build_array(n + 990000),
          jsonb_build_array(jsonb_build_object('id', n + 880000, 'hours', 3)), '{"a": 1}', ARRAY['b', 'c']
        FROM generate_series(1, 100) n"""
    )
    found = await discovery.discover()
    described = {r.source_column: (r.target_table, r.cardinality, r.relation) for r in found.relationships}
    assert described == {
        "assignee_ids": ("users", "many_to_many", "assignee"),
        "created_by": ("users", "many_to_one", "created_by"),
        "site_uuids": ("sites", "many_to_many", "site"),
        "viewer_ids": ("users", "many_to_many", "viewer"),
    }
    said = " ".join(found.relationships[0].evidence)
    assert "each value is a list of ids" in said
    assert "types: both bigint" in said
    # Objects that lie in the value have ids of their own; a list of ids that are nowhere leads outside.
    assert [(e.column, e.tested) for e in found.external_columns] == [("form_ids", True)]
    assert '"tasks" }o..o{ "users" : "assignee_ids"' in schema_export.to_mermaid(found)
    builder = DocumentBuilder(found, found.table("tasks"))
    row = {"id": 1, "assignee_ids": [7000013, 7000026], "created_by": {"id": 7000039}}
    assert [(r["relation"], r["target_id"]) for r in builder.build_row(row).record.relationships] == [
        ("assignee", "7000013"),
        ("assignee", "7000026"),
        ("created_by", "7000039"),
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["[1, 2]", '["3"]'], (LIST, "bigint", {"1", "2", "3"})),
        (['{"id": 5, "name": "x"}'], (OBJECT, "bigint", {"5"})),
        (['["0b7c8f9e-1111-4222-8333-444455556666"]'], (LIST, "uuid", {"0b7c8f9e-1111-4222-8333-444455556666"})),
        (['["red", "blue"]'], None),
        (['[1, "red"]'], None),
        (["[1.5]"], None),
        (["[true]"], None),
        (["{broken"], None),
        ([], None),
    ],
)  # fmt: skip
def test_what_values_hold_is_told_from_their_content(
    values: list[str], expected: tuple[str, str, set[str]] | None
) -> None:
    found = relationship_elements.elements_of(Column("x_ids", "jsonb", True, type_category="json"), values)
    assert (found and (found.how, found.column.data_type, set(found.counts))) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_value_is_looked_at_without_harm(values: list[str]) -> None:
    relationship_elements.elements_of(Column("x", "jsonb", True, type_category="json"), values)


async def test_secret_and_personal_keys_inside_json_are_named_with_the_reason(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE calls (id int, payload jsonb, note text);
        INSERT INTO calls SELECT n, '{"a": [{"apiKey": "hush-1"}], "owner": {"email": "a@example.test"},
          "token": {"deep": {"er": [1, {"x": "hush-2"}]}, "more": "hush-3"}}',
          '{"password": "hush-4", "inner": "{\\"secret\\": \\"hush-5\\"}"}' FROM generate_series(1, 3) n;
        INSERT INTO calls SELECT 9, jsonb_build_object('token', jsonb_build_object(
          'padding', repeat('y', 500), 'z', 'hush-6'))"""
    )
    for analysed in (False, True):
        if analysed:
            await admin.execute("ANALYZE calls")
        found = await discovery.discover(include_samples=True, include_stats=True)
        payload, note = found.table("calls").column("payload"), found.table("calls").column("note")
        assert (payload.secret_keys, payload.personal_keys) == (["apiKey", "token"], ["email"])
        assert note.secret_keys == ["password", "secret"]
        markdown = discovery.to_markdown(found)
        assert "hush" not in discovery.to_json(found) + markdown
        assert "**secret** `apiKey` inside (named like a secret)" in markdown
        assert "`email` inside `calls.payload`" in markdown
