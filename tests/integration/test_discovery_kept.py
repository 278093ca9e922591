"""What outlives a discovery: verdicts on references, and what changed since the last one, through the commands."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import command_world
import pytest
from command_world import CommandLine

from ingestion.discovery import schema_export, verdicts
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import Column, SchemaMap, Table

Bare = Callable[[str], CommandLine]
ODD_TABLE, ODD_COLUMN = "a.b=c\t\\t", "x=y.z\n"


@pytest.fixture
def psql(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], str]]:
    """Runs SQL in a database of its own; called with nothing it gives its URL."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)

    def run(sql: str = "") -> str:
        if sql:
            postgres.psql(sql, database=name)
        return postgres.url(name)

    yield run
    postgres.drop_database(name)


NOTES = (
    "CREATE TABLE users (id bigint PRIMARY KEY); CREATE TABLE vendors (id bigint PRIMARY KEY);"
    "CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint, note text);"
    "INSERT INTO users SELECT n FROM generate_series(1, 9) n; INSERT INTO vendors SELECT * FROM users;"
    "INSERT INTO notes SELECT n, n, 'note ' || n FROM generate_series(1, 9) n"
)


def asserted(schema: Any, column: str = "user_id") -> list[tuple[str, str]]:
    return [(r["target_table"], r["basis"]) for r in schema["relationships"] if r["source_column"] == column]


def test_verdicts_given_on_the_command_line_are_kept_obeyed_and_taken_back(
    psql: Callable[[str], str], bare: Bare, vespa_url: str, namespace: str
) -> None:
    psql(NOTES)
    run = bare(psql(""))
    assert asserted(run("discover", "--format", "json").json) == [("users", "inferred")]
    rejected = run("discover", "--format", "json", "--reject", "notes.user_id=users")
    assert asserted(rejected.json) == []
    assert "every later run obeys" in rejected.err
    assert [r["target_table"] for r in rejected.json["rejected"]] == ["users"]
    assert "rejected by the operator" in rejected.json["rejected"][0]["evidence"]
    assert "notes" in run("discover").out.partition("## Rejected")[2]
    moved = run("discover", "--format", "json", "--accept", "notes.user_id=vendors")
    assert asserted(moved.json) == [("vendors", "operator")]
    assert asserted(run("discover", "--format", "json").json) == [("vendors", "operator")]
    assert run("ingest", "--full", "--json").code == 0
    documents = command_world.visit(vespa_url, namespace, "procore_record")
    note = next(d for d in documents.values() if d["source_table"] == "notes")
    assert [r["target_table"] for r in note["relationships"]] == ["vendors"]
    back = run("discover", "--format", "json", "--forget", "notes.user_id")
    assert asserted(back.json) == [("users", "inferred")]
    assert back.json["rejected"] == []
    assert run("sync", "--once", "--json").code == 0
    documents = command_world.visit(vespa_url, namespace, "procore_record")
    note = next(d for d in documents.values() if d["source_table"] == "notes")
    assert [r["target_table"] for r in note["relationships"]] == ["users"]


def test_a_verdict_on_names_that_are_not_there_is_refused_with_the_nearest(
    psql: Callable[[str], str], bare: Bare
) -> None:
    psql(NOTES)
    run = bare(psql(""))
    run("discover", "--accept", "notes.user_id=vendor").refused(64, "notes.user_id=vendors")
    run("discover", "--accept", "note.user_id=vendors").refused(64, "notes.user_id")
    run("discover", "--reject", "nonsense").refused(64, "TABLE.COLUMN=TARGET_TABLE")
    run("discover", "--forget", "notes.user_id=users").refused(64, "no verdict")
    # All or none: the first of two was right, and is not kept either.
    run("discover", "--accept", "notes.user_id=vendors", "--reject", "x.y=z").refused(64)
    assert asserted(run("discover", "--format", "json").json) == [("users", "inferred")]


def test_a_verdict_survives_hostile_names_and_tables_that_are_gone(
    psql: Callable[[str], str], bare: Bare
) -> None:
    psql(f'CREATE TABLE "{ODD_TABLE}" (id int, "{ODD_COLUMN}" int); CREATE TABLE "={ODD_TABLE}" (id int)')
    run = bare(psql(""))
    text = f"{ODD_TABLE}.{ODD_COLUMN}=={ODD_TABLE}"
    found = run("discover", "--format", "json", "--accept", text).json
    assert [(r["source_column"], r["target_table"]) for r in found["relationships"]] == [
        (ODD_COLUMN, f"={ODD_TABLE}")
    ]
    psql(f'DROP TABLE "={ODD_TABLE}"')
    assert run("discover", "--format", "json").json["relationships"] == []
    psql(f'DROP TABLE "{ODD_TABLE}"')
    assert run("discover").code == 0


def test_a_text_names_the_one_reference_that_it_can_mean() -> None:
    for triple in (("t", "c", "u"), ("a\tb", "\\", "\\t"), (ODD_TABLE, ODD_COLUMN, "t")):
        assert verdicts.from_subject(verdicts.subject(triple)) == triple
        source = Table(triple[0], 0, [Column(triple[1], "int", True)])
        schema = SchemaMap("", "d", [source, Table(triple[2], 0)])
        assert verdicts.find(f"{triple[0]}.{triple[1]}={triple[2]}", schema) == triple
    assert verdicts.from_subject("no triple") is None


def test_discovery_says_what_changed_since_the_last_one(psql: Callable[[str], str], bare: Bare) -> None:
    psql(NOTES + "; CREATE SCHEMA other; CREATE TABLE other.t (id int)")
    run = bare(psql(""))
    first = run("discover", "--format", "json")
    assert (first.json["drift"], first.json["drift_since"]) == ([], "")
    second = run("discover", "--format", "json").json
    assert second["drift"] == []
    psql(
        "ALTER TABLE users RENAME TO people; ALTER TABLE notes ADD COLUMN flag boolean, ALTER COLUMN note TYPE"
        " varchar(80), DROP COLUMN user_id; DROP TABLE vendors; CREATE TABLE made (id int)"
    )
    # A part of the database says nothing of the rest, and is not kept for comparison.
    assert run("discover", "--schema", "other", "--format", "json").json["drift"] == []
    later = run("discover", "--format", "json")
    assert later.json["drift"] == [
        "table users is now called people",
        "table made is new",
        "table vendors was dropped",
        "notes.note: type text became character varying(80)",
        "notes.flag was added (boolean)",
        "notes.user_id was dropped",
        "reference notes.user_id → people is gone",
    ]
    assert later.json["drift_since"] == second["discovery_timestamp"]
    assert "table vendors was dropped" in later.err
    assert run("discover", "--format", "json").json["drift"] == []


def test_a_sync_takes_new_columns_in_and_says_which_tables_left(
    psql: Callable[[str], str], bare: Bare, vespa_url: str, namespace: str
) -> None:
    psql(NOTES)
    run = bare(psql(""))
    assert run("ingest", "--full", "--json").code == 0
    psql(
        "ALTER TABLE notes ADD COLUMN extra text DEFAULT 'given'; DROP TABLE vendors;"
        "ALTER TABLE users RENAME TO people"
    )
    synced = run("sync", "--once", "--json")
    assert synced.code == 0, synced.err
    documents = command_world.visit(vespa_url, namespace, "procore_record").values()
    notes = [d for d in documents if d["source_table"] == "notes"]
    assert {d["metadata"].get("extra") for d in notes} == {"given"}
    assert len([d for d in documents if d["source_table"] == "people"]) == 9
    assert "vendors: is no longer in the source; its documents stay until" in synced.err
    assert "users: was renamed to people in the source" in synced.err
    # Said again by every sync until the documents are gone, and by then no more.
    assert "vendors: is no longer in the source" in run("sync", "--once").err
    assert run("verify", "--repair", "--allow-mass-delete").code in (0, 3)
    assert "no longer in the source" not in run("sync", "--once").err


def test_steps_are_told_as_lines_and_as_json_while_stdout_carries_the_document(
    psql: Callable[[str], str], bare: Bare
) -> None:
    psql(NOTES)
    run = bare(psql(""))
    plain = run("discover", "--format", "json", "--progress", "plain")
    assert "catalog" in plain.err
    assert "references (" in plain.err
    told = run("discover", "--format", "json", "--progress", "jsonl")
    steps = [json.loads(line) for line in told.err.splitlines()]
    assert {step["event"] for step in steps} == {"step"}
    assert steps[-1]["done"] == steps[-1]["total"]
    assert told.json["tables"]
    assert run("discover", "--progress", "none").err == ""


def test_several_named_schemas_make_a_round_trip(psql: Callable[[str], str], bare: Bare) -> None:
    psql(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.users (id int PRIMARY KEY);"
        'CREATE TABLE b.posts (id int, user_id int REFERENCES a.users); CREATE TABLE "b"."odd ""one""" (id int);'
        "CREATE TABLE left_out (id int)"
    )
    run = bare(psql(""))
    ran = run(
        "discover",
        "--schema",
        "a",
        "--schema",
        "b",
        "--format",
        "json",
        "--include-samples",
        "--include-stats",
    )
    loaded = SchemaMap.from_json(ran.out)
    assert [t.name for t in loaded.tables] == ["a.users", 'b.odd "one"', "b.posts"]
    assert loaded.schemas == ["a", "b"]
    assert [(r.source_table, r.target_table) for r in loaded.relationships] == [("b.posts", "a.users")]
    assert schema_export.to_json(loaded) == ran.out


def test_an_ingest_tells_of_the_discovery_before_it(psql: Callable[[str], str], bare: Bare) -> None:
    psql(NOTES)
    run = bare(psql(""))
    told = run("ingest", "--full", "--json", "--progress", "plain")
    assert told.code == 0
    assert told.err.index("references (") < told.err.index("notes: completed")
    # A daemon's cycles would say the same every few minutes.
    assert "references (" not in run("sync", "--once", "--json", "--progress", "plain").err
