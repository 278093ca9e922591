"""References with evidence from rows: what values prove, what they cannot, and what they contradict."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.schema_discovery import ImplicitRelationship, SchemaDiscovery, SchemaMap


@pytest.fixture
async def admin(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "CREATE FUNCTION g(int, int) RETURNS SETOF bigint LANGUAGE sql AS 'SELECT generate_series($1, $2)'"
    )
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


def triples(found: list[ImplicitRelationship]) -> set[tuple[str, str, str]]:
    return {(r.source_table, r.source_column, r.target_table) for r in found}


def relation(schema: SchemaMap, source: str, column: str) -> ImplicitRelationship:
    (only,) = [r for r in schema.relations_from(source) if r.source_column == column]
    return only


async def test_values_confirm_a_name_and_count_the_orphans(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE projects (id bigint);
        INSERT INTO projects SELECT 562949953421312 + n * 7 FROM g(1, 50) n;
        CREATE TABLE rfis (id bigint, project_id bigint);
        INSERT INTO rfis SELECT n, 562949953421312 + (n % 50 + 1) * 7 FROM g(1, 990) n;
        INSERT INTO rfis SELECT n, n FROM g(1001, 1010) n"""
    )
    found = relation(await discovery.discover(), "rfis", "project_id")
    assert found.confidence > 0.99
    assert found.orphan_share == 0.01
    assert found.cardinality == "many_to_one"
    said = " ".join(found.evidence)
    assert "50 of 60 distinct sampled ones exist there" in said
    assert "1.0% of the rows are orphans" in said


async def test_values_that_are_nowhere_overrule_a_name(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE users (id bigint); INSERT INTO users SELECT n FROM g(1, 100) n;
        CREATE TABLE logs (id bigint, user_id bigint);
        INSERT INTO logs SELECT n, 900000 + n FROM g(1, 300) n"""
    )
    found = await discovery.discover()
    assert found.relationships == []
    assert [(e.table, e.column, e.tested) for e in found.external_columns] == [("logs", "user_id", True)]
    assert "are not keys of users" in found.external_columns[0].reason


async def test_values_find_a_target_that_no_name_suggests(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE vendors (id bigint);
        INSERT INTO vendors SELECT 10000000 + n * 997 FROM g(1, 200) n;
        CREATE TABLE others (id bigint); INSERT INTO others SELECT 10000001 + n * 991 FROM g(1, 200) n;
        CREATE TABLE contracts (id bigint, architect_id bigint, tax_code_id bigint);
        INSERT INTO contracts SELECT n, 10000000 + (n % 40 + 1) * 997, 77000 + n % 40 FROM g(1, 200) n"""
    )
    found = await discovery.discover()
    assert triples(found.relationships) == {("contracts", "architect_id", "vendors")}
    assert [e.column for e in found.external_columns] == ["tax_code_id"]


async def test_serial_numbers_that_are_in_every_table_prove_nothing(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE alphas (id int); INSERT INTO alphas SELECT n FROM g(1, 5000) n;
        CREATE TABLE betas (id int); INSERT INTO betas SELECT n FROM g(1, 8000) n;
        CREATE TABLE things (id int, kind_id int, quantity int);
        INSERT INTO things SELECT n, n % 30 + 1, n % 50 + 1 FROM g(1, 3000) n"""
    )
    found = await discovery.discover()
    assert found.relationships == []
    assert not [c for c in found.candidates if c.source_column == "quantity"]


async def test_the_nearest_of_several_kinds_is_the_target(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE party (partyid int PRIMARY KEY); INSERT INTO party SELECT n FROM g(1, 1000) n;
        CREATE TABLE person (partyid int PRIMARY KEY, name text);
        INSERT INTO person SELECT n, 'x' FROM g(1, 900) n;
        CREATE TABLE employee (partyid int PRIMARY KEY, title text);
        INSERT INTO employee SELECT n * 3, 'y' FROM g(1, 250) n;
        CREATE TABLE payhistory (partyid int NOT NULL, paid date NOT NULL, PRIMARY KEY (partyid, paid));
        INSERT INTO payhistory SELECT (n % 250 + 1) * 3, date '2024-01-01' + n::int FROM g(1, 900) n"""
    )
    found = await discovery.discover()
    assert relation(found, "payhistory", "partyid").target_table == "employee"
    assert relation(found, "employee", "partyid").target_table == "person"
    assert relation(found, "person", "partyid").target_table == "party"


async def test_a_type_beside_the_column_chooses_the_table(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE posts (id bigint); INSERT INTO posts SELECT n * 11 FROM g(1, 90) n;
        CREATE TABLE blog_photos (id bigint); INSERT INTO blog_photos SELECT n * 13 FROM g(1, 90) n;
        CREATE TABLE comments (id bigint, commentable_id bigint, commentable_type text);
        INSERT INTO comments SELECT n, (n % 90 + 1) * 11, 'Post' FROM g(1, 300) n;
        INSERT INTO comments SELECT n, (n % 90 + 1) * 13, 'Blog::Photo' FROM g(301, 500) n;
        INSERT INTO comments SELECT n, n, 'Video' FROM g(501, 600) n"""
    )
    found = await discovery.discover()
    assert {(r.target_table, r.type_column, r.type_value) for r in found.relations_from("comments")} == {
        ("posts", "commentable_type", "Post"),
        ("blog_photos", "commentable_type", "Blog::Photo"),
    }


async def test_empty_columns_follow_their_namesakes(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE vendors (id bigint);
        INSERT INTO vendors SELECT 10000000 + n * 997 FROM g(1, 200) n;
        CREATE TABLE contracts (id bigint, contractor_id bigint);
        INSERT INTO contracts SELECT n, 10000000 + (n % 40 + 1) * 997 FROM g(1, 200) n;
        CREATE TABLE permits (id bigint, contractor_id bigint)"""
    )
    found = await discovery.discover()
    assert triples(found.relationships) == {
        ("contracts", "contractor_id", "vendors"),
        ("permits", "contractor_id", "vendors"),
    }
    assert "in contracts" in relation(found, "permits", "contractor_id").evidence[0]


async def test_the_operators_verdicts_are_obeyed(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE users (id bigint); CREATE TABLE people (id bigint);
        CREATE TABLE notes (id bigint, user_id bigint);
        INSERT INTO users SELECT n FROM g(1, 9) n;
        INSERT INTO notes SELECT n, n FROM g(1, 9) n"""
    )
    rejected = await discovery.discover(decisions={("notes", "user_id", "users"): False})
    assert rejected.relationships == []
    moved = await discovery.discover(decisions={("notes", "user_id", "people"): True})
    assert triples(moved.relationships) == {("notes", "user_id", "people")}
    assert moved.relationships[0].basis == "operator"


async def test_a_time_column_is_chosen_with_reasons(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE mostly_null (id int, last_synced_at timestamp, updated_at timestamp, expires_at timestamp);
        INSERT INTO mostly_null SELECT n, CASE WHEN n % 5 = 0 THEN now() END, now(), now() FROM g(1, 100) n;
        CREATE TABLE backwards (id int, updated_at timestamp, created_at timestamp)"""
    )
    for day in range(30, 0, -1):
        await admin.execute(
            "INSERT INTO backwards SELECT n, now() - make_interval(days => $1), now() FROM g(1, 20) n",
            31 - day if day % 2 else 60 + day,
        )
    found = await discovery.discover()
    nulls, backwards = found.table("mostly_null"), found.table("backwards")
    assert nulls.timestamp_columns == ["last_synced_at", "updated_at", "expires_at"]
    assert nulls.timestamp_column == "updated_at"
    assert "80.0% of the rows have none" in nulls.timestamps[0].reasons
    assert backwards.timestamp_column == "created_at"
    assert not backwards.timestamps[0].fit
    assert "than rows written before them" in " ".join(backwards.timestamps[0].reasons)


async def test_ties_future_and_infinite_moments_are_said_and_judged(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE odd (id int, last_synced_at timestamp, updated_at timestamptz, created_at timestamp);
        INSERT INTO odd SELECT n, timestamp '2125-01-01' + n * interval '1 day', now() - interval '1 hour',
          CASE WHEN n % 50 = 0 THEN 'infinity' ELSE timestamp '2024-01-01' + n * interval '1 minute' END
        FROM g(1, 200) n"""
    )
    odd = (await discovery.discover()).table("odd")
    said = {t.column: (t.fit, "; ".join(t.reasons)) for t in odd.timestamps}
    assert said["last_synced_at"][0] is False
    assert "200 of the values lie in the future" in said["last_synced_at"][1]
    assert said["updated_at"][0] is True
    assert "many rows share a value: 1 distinct ones in 200" in said["updated_at"][1]
    assert "4 of the values are infinite" in said["created_at"][1]
    assert "later changes show only in the row version" in said["created_at"][1]
    assert odd.timestamp_column == "updated_at"


async def test_the_procore_sample_is_understood(sample_database: str) -> None:
    config = ConnectionConfig.from_url(sample_database)
    config.ssl = False
    db = DatabaseConnection(config)
    await db.connect()
    try:
        found = await SchemaDiscovery(db).discover()
    finally:
        await db.close()
    assert len(found.tables) == 49
    assert all(t.row_count_exact for t in found.tables)
    expected = {
        ("photos", "project_id", "projects"),
        ("commitment_change_orders", "contract_id", "commitment_contracts"),
        ("change_events", "created_by_id", "company_users"),
        ("project_roles", "user_id", "company_users"),
        ("webhook_triggers", "hook_id", "webhook_hooks"),
        ("documents", "parent_id", "documents"),
        ("specification_sections", "current_revision_id", "specification_section_revisions"),
        ("commitment_change_order_items", "prime_line_item_id", "prime_contract_line_items"),
        ("requisitions", "commitment_id", "commitment_contracts"),
        ("punch_items", "final_approver_id", "company_users"),
        ("commitment_contracts", "accessor_ids", "company_users"),
        ("commitment_contracts", "drawing_revision_ids", "drawing_revisions"),
        ("timesheets", "created_by", "company_users"),
    }
    assert expected <= triples(found.relationships)
    external = {e.column for e in found.external_columns}
    assert {"cost_code_id", "wbs_code_id", "tax_code_id", "company_id", "location_id"} <= external
    asserted = {r.source_column for r in found.relationships}
    assert not asserted & {"cost_code_id", "wbs_code_id", "tax_code_id", "company_id", "origin_id"}
    files = {(t.name, f.column_name) for t in found.tables for f in t.file_reference_columns}
    assert ("drawing_revisions", "s3_key") in files
    assert ("rfis", "official_responses") in files
    assert not {("vendors", "website"), ("webhook_hooks", "destination_url")} & files
    assert found.table("drawings").timestamp_column == "last_synced_at"
    assert found.table("api_credentials").column("access_token").sensitivity == "secret"
