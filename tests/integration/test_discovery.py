"""Discovery of a real database: what PostgreSQL has, keys, counts, access, hostile names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from ingestion import errors
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import keys, schema_export
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import SchemaDiscovery, SchemaMap

ODD = 'we"ird\nTäble'


@pytest.fixture
async def admin(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


def config(url: str) -> ConnectionConfig:
    found = ConnectionConfig.from_url(url)
    found.ssl = False
    return found


@pytest.fixture
async def discovery(empty_database: str) -> AsyncIterator[SchemaDiscovery]:
    db = DatabaseConnection(config(empty_database))
    await db.connect()
    yield SchemaDiscovery(db)
    await db.close()


async def test_everything_that_postgresql_has(admin: asyncpg.Connection, discovery: SchemaDiscovery) -> None:
    await admin.execute(
        f"""
        CREATE SCHEMA accounting;
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TYPE pair AS (a int, b text);
        CREATE DOMAIN code AS varchar(12) NOT NULL;
        CREATE TABLE plain (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            label code, m mood, p pair, tags text[], span int4range, doc jsonb,
            "Größe" numeric(15,2), twice numeric GENERATED ALWAYS AS ("Größe" * 2) STORED,
            "select" char(3) DEFAULT 'abc', at timestamptz
        );
        COMMENT ON TABLE plain IS 'a plain table'; COMMENT ON COLUMN plain.doc IS 'free form';
        CREATE TABLE accounting.invoices (no text NOT NULL, plain_id bigint REFERENCES plain);
        CREATE UNIQUE INDEX ON accounting.invoices (no);
        CREATE TABLE "{ODD.replace('"', '""')}" ("or""der" int);
        CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE events_2 PARTITION OF events DEFAULT;
        CREATE TABLE parent (id int); CREATE TABLE child (extra int) INHERITS (parent);
        CREATE VIEW a_view AS SELECT id FROM plain;
        CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
        INSERT INTO events SELECT n, '2024-06-01' FROM generate_series(1, 5) n;
        INSERT INTO events VALUES (9, '2030-01-01');
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 1), (3, 1);
        """
    )
    found = await discovery.discover(include_samples=True, include_stats=True)
    assert [t.name for t in found.tables] == sorted(
        ["plain", "accounting.invoices", ODD, "events", "parent", "child"]
    )
    assert {(v.name, v.kind) for v in found.views} == {("a_view", "view"), ("kept", "materialized_view")}
    assert found.schemas == ["accounting", "public"]
    plain = found.table("plain")
    described = {c.name: (c.data_type, c.type_category, c.base_type) for c in plain.columns}
    assert described["label"] == ("code", "text", "varchar")
    assert described["m"] == ("mood", "enum", "mood")
    assert described["p"][1] == "composite"
    assert described["tags"] == ("text[]", "array", "_text")
    assert described["span"][1] == "range"
    assert described["doc"] == ("jsonb", "json", "jsonb")
    assert described["Größe"] == ("numeric(15,2)", "number", "numeric")
    assert described["at"] == ("timestamp with time zone", "time", "timestamptz")
    assert (plain.column("label").max_length, plain.column("select").max_length) == (12, 3)
    assert plain.column("select").default_value == "'abc'::bpchar"
    assert plain.column("twice").is_generated
    assert plain.column("id").identity == "always"
    assert (plain.comment, plain.column("doc").comment) == ("a plain table", "free form")
    events = found.table("events")
    assert (events.kind, events.row_count, events.row_count_exact) == ("partitioned", 6, True)
    assert events.partitions == ["events_1", "events_2"]
    assert events.size_bytes > 0
    parent, child = found.table("parent"), found.table("child")
    assert child.inherits == ["parent"]
    assert (parent.row_count, child.row_count, parent.warnings) == (1, 2, [])
    assert parent.samples == [{"id": "1"}]
    invoices = found.table("accounting.invoices")
    assert (invoices.schema, invoices.relname, invoices.key_basis) == (
        "accounting",
        "invoices",
        "unique_index",
    )
    declared = found.relations_from("accounting.invoices")
    assert [(r.source_column, r.target_table, r.basis) for r in declared] == [
        ("plain_id", "plain", "declared")
    ]
    assert [c.position for c in plain.columns] == list(range(1, 12))
    assert SchemaMap.from_json(discovery.to_json(found)) == found


async def test_a_key_declared_on_partitions_alone_is_declared_of_their_root(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE teams (id int PRIMARY KEY);
        CREATE TABLE events (id int, at date, actor int, team int REFERENCES teams) PARTITION BY RANGE (at);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE events_2 PARTITION OF events DEFAULT;
        ALTER TABLE events_1 ADD FOREIGN KEY (actor) REFERENCES users;
        ALTER TABLE events_2 ADD FOREIGN KEY (actor) REFERENCES users"""
    )
    found = await discovery.discover()
    declared = {
        r.source_column: (r.target_table, r.basis, len(r.evidence)) for r in found.relations_from("events")
    }
    assert declared == {"actor": ("users", "declared", 2), "team": ("teams", "declared", 1)}
    assert "on 2 of its 2 partitions" in discovery.to_markdown(found)


async def test_the_contract_methods_take_table_names_as_discovery_gives_them(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        "CREATE SCHEMA s; CREATE TABLE s.photos (id int, s3_key text, project_id int);"
        "CREATE TABLE projects (id int);"
        "INSERT INTO s.photos VALUES (1, '1/2/photos/3/a.jpg', 1), (2, NULL, 1); INSERT INTO projects VALUES (1)"
    )
    assert await discovery.get_tables() == ["projects"]
    assert await discovery.get_tables("s") == ["s.photos"]
    columns = await discovery.get_columns("s.photos")
    assert [c.name for c in columns] == ["id", "s3_key", "project_id"]
    assert await discovery.get_row_count("s.photos") == 2
    files = await discovery.detect_file_columns("s.photos", columns)
    assert [f.column_name for f in files] == ["s3_key"]
    tables = (await discovery.discover()).tables
    relations = await discovery.infer_relationships(tables)
    assert [(r.source_table, r.source_column, r.target_table) for r in relations] == [
        ("s.photos", "project_id", "projects")
    ]
    with pytest.raises(errors.SchemaError, match="photo"):
        await discovery.get_columns("photo")
    with pytest.raises(errors.SchemaError, match="nowhere"):
        await discovery.get_tables("nowhere")


async def test_keys_are_chosen_in_the_promised_order(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """
        CREATE TABLE pk (a int, b int, id int UNIQUE NOT NULL, PRIMARY KEY (b, a));
        CREATE TABLE uq (id int, a int NOT NULL, b text NOT NULL, c int);
        CREATE UNIQUE INDEX ON uq (c); CREATE UNIQUE INDEX ON uq (lower(b));
        CREATE UNIQUE INDEX ON uq (a) WHERE a > 0; CREATE UNIQUE INDEX uq_good ON uq (b, a);
        CREATE TABLE mirror (id bigint); INSERT INTO mirror SELECT n FROM generate_series(1, 100) n;
        INSERT INTO mirror VALUES (7), (7), (NULL);
        CREATE TABLE messy (id int); INSERT INTO messy SELECT n % 50 FROM generate_series(1, 100) n;
        CREATE TABLE without (name text); INSERT INTO without VALUES ('x');
        CREATE TABLE empty (id bigint);
        CREATE TABLE indexed (id bigint); CREATE INDEX ON indexed (id); INSERT INTO indexed VALUES (1);
        """
    )
    found = await discovery.discover()
    described = {t.name: (t.key_basis, t.key_columns, t.key_indexed) for t in found.tables}
    assert described == {
        "pk": ("primary_key", ["b", "a"], True),
        "uq": ("unique_index", ["b", "a"], True),
        "mirror": ("proven_id", ["id"], False),
        "messy": ("row_hash", [], False),
        "without": ("row_hash", [], False),
        "empty": ("proven_id", ["id"], False),
        "indexed": ("proven_id", ["id"], True),
    }
    mirror = found.table("mirror")
    assert (mirror.key_duplicates, mirror.key_nulls) == (2, 1)
    assert mirror.warnings == ["2 rows repeat another's id and 1 row has no id"]
    assert "50 distinct values in 100 rows" in found.table("messy").warnings[0]
    assert "collation" in found.table("uq").key_note


async def test_tables_that_may_not_be_read_are_listed_with_the_reason(
    admin: asyncpg.Connection, discovery: SchemaDiscovery, empty_database: str
) -> None:
    await admin.execute(
        """
        CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE TABLE open (id int, hidden text, shown text);
        CREATE TABLE forbidden (id int); INSERT INTO open VALUES (1, 'x', 'y');
        DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') THEN CREATE ROLE reader LOGIN;
        END IF; END $$;
        GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT (id, shown) ON open TO reader;
        """
    )
    limited = config(empty_database)
    limited.user = "reader"
    db = DatabaseConnection(limited)
    await db.connect()
    try:
        found = await SchemaDiscovery(db).discover(include_samples=True, include_stats=True)
    finally:
        await db.close()
        await admin.execute("DROP OWNED BY reader")
    # What is known of a table that may not be read is that, and nothing about its key.
    assert not found.table("forbidden").warnings
    assert found.table("forbidden").key_note == "not known: the table cannot be read"
    states = {t.name: (t.readable, t.problem or "") for t in found.tables}
    assert not states["forbidden"][0]
    assert "GRANT SELECT" in states["forbidden"][1]
    assert not states["closed.t"][0]
    assert "GRANT USAGE" in states["closed.t"][1]
    open_table = found.table("open")
    assert open_table.readable
    assert [c.name for c in open_table.columns] == ["id", "shown"]
    assert "hidden" in open_table.warnings[0]
    assert open_table.samples == [{"id": "1", "shown": "y"}]
    assert "2 tables cannot be read" in found.warnings[0]


async def test_a_database_without_tables_is_no_error(discovery: SchemaDiscovery) -> None:
    found = await discovery.discover(include_samples=True, include_stats=True)
    assert (found.tables, found.relationships, found.views) == ([], [], [])
    assert "no tables" in discovery.to_markdown(found)


async def test_counts_fall_back_on_estimates_in_time_and_are_never_negative(
    admin: asyncpg.Connection, discovery: SchemaDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.execute(
        "CREATE TABLE analysed AS SELECT n AS id FROM generate_series(1, 5000) n; ANALYZE analysed;"
        "CREATE TABLE never AS SELECT n AS id FROM generate_series(1, 5000) n"
    )
    monkeypatch.setattr(keys.count, "__kwdefaults__", {"table_limit_s": 5.0, "total_limit_s": 0.0})
    found = await discovery.discover()
    analysed, never = found.table("analysed"), found.table("never")
    assert (analysed.row_count, analysed.row_count_exact) == (5000, False)
    assert not never.row_count_exact
    assert 1000 < never.row_count < 20000
    assert "never analysed" in never.warnings[0]
    assert "2 row counts are estimates" in found.warnings[0]


async def test_a_locked_table_costs_only_itself(
    admin: asyncpg.Connection, discovery: SchemaDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.execute(
        "CREATE TABLE busy AS SELECT 1 AS id; CREATE TABLE free AS SELECT 1 AS id; ANALYZE busy, free"
    )
    monkeypatch.setattr(keys.count, "__kwdefaults__", {"table_limit_s": 0.2, "total_limit_s": 5.0})
    async with admin.transaction():
        await admin.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        found = await asyncio.wait_for(discovery.discover(), 20)
    assert found.table("free").row_count_exact
    assert (found.table("busy").row_count, found.table("busy").row_count_exact) == (1, False)
    assert found.table("busy").warnings


async def test_a_table_dropped_between_two_queries_costs_only_itself(
    admin: asyncpg.Connection, discovery: SchemaDiscovery, postgres: EmbeddedPostgres, empty_database: str
) -> None:
    await admin.execute(
        "CREATE TABLE gone (id int, updated_at timestamp, url text, ids int[]);"
        "INSERT INTO gone SELECT n, now(), 'x', ARRAY[n] FROM generate_series(1, 9) n;"
        "CREATE TABLE stays (id int, gone_id int, updated_at timestamp); INSERT INTO stays VALUES (1, 1, now())"
    )
    database = urlsplit(empty_database).path[1:]

    def drop(step: str, done: int, total: int) -> None:
        # Blocks the event loop: what comes after is asked of a table that is not there any more.
        if step == "rows" and done == total:
            postgres.psql("DROP TABLE gone", database=database)

    found = await discovery.discover(include_samples=True, include_stats=True, on_progress=drop)
    examined = {w.partition(" not examined")[0] for w in found.table("gone").warnings}
    assert examined == {"times", "files", "samples", "statistics"}
    assert all("it was dropped or renamed while it was looked at" in w for w in found.table("gone").warnings)
    stays = found.table("stays")
    assert (stays.readable, stays.warnings, stays.timestamp_column) == (True, [], "updated_at")
    assert stays.samples


async def test_what_errors_when_it_is_read_costs_only_itself(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        "CREATE TABLE stays (id int); INSERT INTO stays VALUES (1);"
        "CREATE VIEW broken AS SELECT (1 / 0)::text AS file_url;"
        "CREATE MATERIALIZED VIEW never AS SELECT 1 AS id WITH NO DATA;"
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;"
        "CREATE FOREIGN TABLE far (id int, url text) SERVER nowhere"
    )
    found = await discovery.discover(include_samples=True, include_stats=True)
    assert [(v.name, v.readable) for v in found.views] == [("broken", True), ("never", False)]
    far = found.table("far")
    assert (far.kind, far.readable) == ("foreign", False)
    assert "foreign-data wrapper" in (far.problem or "")
    assert found.table("stays").row_count_exact
    assert "1 table cannot be read: far" in found.warnings


async def test_billions_of_rows_by_estimate_are_said_as_such_and_cost_no_time(
    admin: asyncpg.Connection, discovery: SchemaDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.execute(
        "CREATE TABLE huge (id bigint, updated_at timestamp, url text, parent_id bigint, doc jsonb);"
        "INSERT INTO huge SELECT n, now(), 'https://x.example/a.pdf', n, '{}' FROM generate_series(1, 50) n;"
        "UPDATE pg_class SET reltuples = 7e12, relpages = 2000000000 WHERE relname = 'huge'"
    )
    counted = (await discovery.discover(include_samples=True, include_stats=True)).table("huge")
    assert (counted.row_count, counted.row_count_exact, counted.key_columns) == (50, True, ["id"])
    monkeypatch.setattr(keys.count, "__kwdefaults__", {"table_limit_s": 5.0, "total_limit_s": 0.0})
    found = await discovery.discover(include_samples=True, include_stats=True)
    huge = found.table("huge")
    assert huge.row_count_exact is False
    assert abs(huge.row_count - 7e12) < 1e9
    assert huge.samples
    assert f"about {huge.row_count:,}" in discovery.to_markdown(found)
    assert SchemaMap.from_json(discovery.to_json(found)) == found


async def test_names_with_quotes_and_newlines_go_through_every_step(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    def q(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    people, notes = 'pe"op\nle $1 %s', "no'tes; --\t\\ {0} 😀"
    key, url, at, refs = 'i"d\n', "file url\n%", "updated_at\n$2", "{x}`|"
    await admin.execute(
        f"""CREATE SCHEMA {q("s.x y")};
        CREATE TABLE {q("s.x y")}.{q(people)} ({q(key)} bigint PRIMARY KEY, {q("na'me")} text);
        CREATE TABLE {q(notes)} (id bigint, {q(refs)} bigint REFERENCES {q("s.x y")}.{q(people)}, {q(url)} text,
          {q(at)} timestamp, {q("j`son")} jsonb, {q("li|st_ids")} bigint[]);
        INSERT INTO {q("s.x y")}.{q(people)} SELECT n * 77, 'x' FROM generate_series(1, 60) n;
        INSERT INTO {q(notes)} SELECT n, n * 77, 'https://x.example/' || n || '.pdf', now(), '{{"a": 1}}',
          ARRAY[n * 77] FROM generate_series(1, 60) n"""
    )
    found = await discovery.discover(include_samples=True, include_stats=True)
    table = found.table(notes)
    assert table.warnings == []
    assert (table.row_count, table.key_columns, len(table.samples)) == (60, ["id"], 5)
    assert [f.column_name for f in table.file_reference_columns] == [url]
    assert (found.relations_from(notes)[0].target_column, table.column(refs).distinct) == (key, 60)
    assert SchemaMap.from_json(discovery.to_json(found)) == found
    markdown = discovery.to_markdown(found)
    assert all(line.count("|") >= 2 for line in markdown.splitlines() if line.startswith("| "))
    assert 'pe"op\nle' not in markdown + schema_export.to_mermaid(found)


async def test_progress_names_every_step_and_ends(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        "CREATE TABLE a (id int, b_id int); CREATE TABLE b (id int); INSERT INTO a VALUES (1, 1)"
    )
    told: dict[str, tuple[int, int]] = {}
    await discovery.discover(
        include_samples=True, on_progress=lambda step, done, total: told.update({step: (done, total)})
    )
    assert list(told) == ["catalog", "rows", "times", "files", "references", "samples"]
    assert all(done == total for done, total in told.values())


async def test_samples_and_statistics_never_show_a_secret(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute(
        """CREATE TABLE keys (id int, access_token text, doc jsonb, url text, note text, n int);
        INSERT INTO keys SELECT n, 'hush-hush-' || n, '{"password": "swordfish", "a": [1, 2]}',
          'https://x.example/f/1?sig=topsecret', CASE WHEN n % 2 = 0 THEN 'even' END, n
        FROM generate_series(1, 40) n"""
    )
    for analysed in (False, True):
        if analysed:
            await admin.execute("ANALYZE keys")
        found = await discovery.discover(include_samples=True, include_stats=True)
        exported = discovery.to_json(found) + discovery.to_markdown(found) + schema_export.to_mermaid(found)
        for secret in ("hush", "swordfish", "topsecret"):
            assert secret not in exported
        table = found.table("keys")
        assert table.column("access_token").sensitivity == "secret"
        assert table.samples[0]["access_token"] == "[masked]"
        assert json.loads(table.samples[0]["doc"] or "")["a"] == [1, 2]
        assert table.column("note").null_share == 0.5
        assert table.column("note").top_values == ["even"]
        assert table.column("note").longest == 4
        assert (table.column("n").minimum, table.column("n").maximum) == ("1", "40")
        assert table.column("id").distinct == 40


async def test_named_schemas_only(admin: asyncpg.Connection, discovery: SchemaDiscovery) -> None:
    await admin.execute(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.x (id int); CREATE TABLE b.x (id int)"
    )
    assert [t.name for t in (await discovery.discover(schemas=["a"])).tables] == ["a.x"]
    assert [t.name for t in (await discovery.discover(schemas=["a", "b"])).tables] == ["a.x", "b.x"]
    with pytest.raises(errors.SchemaError, match="no schema 'c'"):
        await discovery.discover(schemas=["c"])


async def test_names_that_would_collide_are_told_apart(
    admin: asyncpg.Connection, discovery: SchemaDiscovery
) -> None:
    await admin.execute('CREATE SCHEMA a; CREATE TABLE a.b (id int); CREATE TABLE "a.b" (id int)')
    assert len({t.name for t in (await discovery.discover()).tables}) == 2
