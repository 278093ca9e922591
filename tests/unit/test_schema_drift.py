"""Drift between two discoveries."""

from __future__ import annotations

from ingestion.discovery import schema_drift
from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table


def table(name: str, oid: int, *columns: Column) -> Table:
    return Table(name, 0, list(columns), oid=oid, key_columns=["id"], key_basis="primary_key")


ID = Column("id", "bigint", False)


def test_equal_maps_have_no_drift() -> None:
    schema = SchemaMap("t", "d", [table("a", 1, ID)])
    assert schema_drift.compare(schema, schema).is_empty


def test_every_kind_of_change_is_said_in_a_sentence() -> None:
    before = SchemaMap(
        "t",
        "d",
        [
            table("kept", 1, ID, Column("gone", "text", True), Column("amount", "integer", False)),
            table("dropped", 2, ID),
            table("old_name", 3, ID),
        ],
        [ImplicitRelationship("kept", "x_id", "dropped"), ImplicitRelationship("old_name", "id", "kept")],
    )
    kept = table("kept", 1, ID, Column("amount", "numeric(15,2)", True), Column("fresh", "jsonb", True))
    kept.readable = False
    kept.key_columns = ["amount"]
    after = SchemaMap(
        "t",
        "d",
        [kept, table("new_name", 3, ID), table("added", 4, ID)],
        [ImplicitRelationship("new_name", "id", "kept"), ImplicitRelationship("added", "kept_id", "kept")],
    )
    drift = schema_drift.compare(before, after)
    assert drift.lines() == [
        "table old_name is now called new_name",
        "table added is new",
        "table dropped was dropped",
        "kept.amount: type integer became numeric(15,2)",
        "kept.amount: nullability NOT NULL became NULL",
        "kept.fresh was added (jsonb)",
        "kept.gone was dropped",
        "table kept: its rows are told apart by other columns than before",
        "table kept can no longer be read",
        "reference added.kept_id → kept is new",
        "reference kept.x_id → dropped is gone",
    ]
    assert drift.tables() == {"added", "new_name", "kept"}


def test_a_table_dropped_and_made_anew_is_no_rename() -> None:
    before = SchemaMap("t", "d", [table("a", 1, ID)])
    after = SchemaMap("t", "d", [table("b", 2, ID)])
    drift = schema_drift.compare(before, after)
    assert (drift.renamed, drift.added_tables, drift.dropped_tables) == ({}, ["b"], ["a"])
