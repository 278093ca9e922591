"""Exports: JSON that loads back equal, Markdown and Mermaid that survive any name."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion import errors
from ingestion.discovery import schema_export
from ingestion.schema_discovery import (
    Column,
    ExternalColumn,
    FileReferenceColumn,
    FileReferenceType,
    ImplicitRelationship,
    Index,
    SchemaMap,
    Table,
    TimestampFitness,
)

HOSTILE = 'we"ird | `name`\n<b>_x_</b> 100%'

names = st.text(min_size=1, max_size=12)
columns = st.builds(
    Column,
    names,
    names,
    st.booleans(),
    st.none() | names,
    st.none() | st.integers(0, 99),
    minimum=st.none() | names,
)
files = st.builds(
    FileReferenceColumn,
    names,
    st.sampled_from(FileReferenceType),
    names,
    st.dictionaries(names, names, max_size=2),
)
tables = st.builds(
    Table,
    names,
    st.integers(0, 10**12),
    st.lists(columns, max_size=3),
    file_reference_columns=st.lists(files, max_size=2),
    indexes=st.lists(st.builds(Index, names, st.lists(names, max_size=2)), max_size=1),
    timestamps=st.lists(
        st.builds(TimestampFitness, names, st.booleans(), st.lists(names, max_size=2)), max_size=1
    ),
    samples=st.lists(st.dictionaries(names, st.none() | names, max_size=2), max_size=1),
)
relations = st.builds(ImplicitRelationship, names, names, names, orphan_share=st.none() | st.floats(0, 1))
maps = st.builds(
    SchemaMap,
    names,
    names,
    st.lists(tables, max_size=3, unique_by=lambda t: t.name).map(lambda ts: sorted(ts, key=lambda t: t.name)),
    st.lists(relations, max_size=3),
    external_columns=st.lists(st.builds(ExternalColumn, names, names, names), max_size=2),
)


def example() -> SchemaMap:
    photos = Table(
        "photos",
        7631,
        [
            Column("id", "bigint", False, position=1),
            Column("project_id", "bigint", True, position=2),
            Column("url", "text", True, position=3),
            Column(
                "access_token",
                "text",
                True,
                position=4,
                sensitivity="secret",
                sensitivity_reason="named like one",
            ),
        ],
        ["updated_at"],
        [FileReferenceColumn("url", FileReferenceType.URL, "signed URLs", {"filename": "name"}, 100, 1.0)],
        key_columns=["id"],
        key_basis="proven_id",
        timestamp_column="updated_at",
        timestamps=[TimestampFitness("updated_at", True, ["moves when the record changes"])],
        warnings=["2 rows repeat another's id"],
    )
    hostile = Table(
        HOSTILE, 0, [Column(HOSTILE, "text", True)], readable=False, problem="no right to read it"
    )
    return SchemaMap(
        "2026-01-14T00:00:00Z",
        "procore",
        [photos, Table("projects", 31, [Column("id", "bigint", False)], key_columns=["id"]), hostile],
        [
            ImplicitRelationship(
                "photos", "project_id", "projects", confidence=0.99, evidence=["name: so it is"]
            )
        ],
        views=[Table("v", 0, kind="view")],
        candidates=[ImplicitRelationship("photos", "url", HOSTILE, confidence=0.3)],
        external_columns=[ExternalColumn("photos", "cost_code_id", "no table is called like it")],
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(maps)
def test_json_loads_back_to_an_equal_map(schema: SchemaMap) -> None:
    text = schema_export.to_json(schema)
    assert SchemaMap.from_json(text) == schema
    assert schema_export.to_json(SchemaMap.from_json(text)) == text


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(maps)
def test_no_name_breaks_markdown_or_the_diagram(schema: SchemaMap) -> None:
    markdown = schema_export.to_markdown(schema)
    rows = [line for line in markdown.split("\n") if line.startswith("| [")]
    assert len(rows) >= len(schema.tables)
    diagram = schema_export.to_mermaid(schema)
    assert diagram.startswith("erDiagram\n")
    assert all(line.count('"') % 2 == 0 for line in diagram.split("\n"))


def test_json_has_every_field_in_order_with_enums_by_value() -> None:
    data = json.loads(schema_export.to_json(example()))
    assert list(data) == [f.name for f in dataclasses.fields(SchemaMap)]
    photos = data["tables"][0]
    assert list(photos)[:5] == ["name", "row_count", "columns", "timestamp_columns", "file_reference_columns"]
    assert photos["file_reference_columns"][0]["reference_type"] == "url"
    assert [t["name"] for t in data["tables"]] == sorted(t["name"] for t in data["tables"])


def test_unknown_members_of_a_newer_version_are_ignored() -> None:
    data = json.loads(schema_export.to_json(example()))
    data["tables"][0]["new_in_next_version"] = 1
    assert SchemaMap.from_json(json.dumps(data)).table("photos").row_count == 7631


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tables": 3}', "nonsense", '{"discovery_timestamp": 1}'])
def test_what_is_no_schema_map_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(errors.SchemaError, match="not an exported schema map"):
        SchemaMap.from_json(text)


def test_markdown_tells_a_newcomer_where_to_start() -> None:
    markdown = schema_export.to_markdown(example())
    for expected in (
        "# Database procore", "**Where to start.**", "[photos](#table-photos)", "7,631", "Referred to by: ",
        "99% sure", "**Cannot be read:** no right to read it", "## Possible references",
        "## References to something outside this database", "**secret**", "2 rows repeat another's id",
        "filename in `name`", "## Views",
    ):  # fmt: skip
        assert expected in markdown


def test_markdown_leads_to_every_section_behind_the_tables() -> None:
    markdown = schema_export.to_markdown(example())
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"(?m)^## (.+)$", markdown)
    }
    (line,) = [line for line in markdown.split("\n") if line.startswith("**Behind the")]
    linked = set(re.findall(r"\(#([a-z-]+)\)", line))
    assert linked == {"tables", "references", "possible-references", "views",
                      "references-to-something-outside-this-database"}  # fmt: skip
    assert linked <= headings


def test_markdown_says_beside_the_column_for_which_rows_a_reference_holds() -> None:
    schema = example()
    schema.relationships.append(
        ImplicitRelationship("photos", "url", "projects", type_column="kind", type_value="Project")
    )
    (row,) = [line for line in schema_export.to_markdown(schema).split("\n") if line.startswith("| `url` |")]
    assert "→ [projects](#table-projects) where `kind` is `Project`" in row


def test_markdown_says_each_thing_that_tables_and_columns_share_once() -> None:
    schema = example()
    schema.table("projects").warnings = ["2 rows repeat another's id"]
    schema.table("photos").timestamps += [TimestampFitness(c, False, ["type", "no word"]) for c in ("a", "b")]
    schema.table("photos").key_duplicates = 2
    markdown = schema_export.to_markdown(schema)
    assert "[photos](#table-photos), [projects](#table-projects): in each, 2 rows repeat" in markdown
    assert "`a`, `b` are not fit: no word" in markdown
    assert "- Key: `id`, not declared; nearly all of its values are distinct" in markdown


def test_mermaid_draws_keys_and_references() -> None:
    diagram = schema_export.to_mermaid(example())
    assert '"photos" {' in diagram
    assert "bigint id PK" in diagram
    assert "bigint project_id FK" in diagram
    assert '"photos" }o..o| "projects" : "project_id"' in diagram


def test_looking_up_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(errors.SchemaError) as caught:
        example().table("photo")
    assert "photos" in caught.value.hint
    with pytest.raises(errors.SchemaError, match="is a view"):
        example().table("v")


def test_relations_are_found_from_both_ends() -> None:
    schema = example()
    assert schema.relations_from("photos") == schema.relations_to("projects") == schema.relationships
    assert schema.has_table("photos")
    assert not schema.has_table("v")
