"""A row's document: everything that is in the row, nothing that must not be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors, values
from ingestion.file_detector import FileDetector
from ingestion.schema_discovery import (
    Column,
    FileReferenceColumn,
    FileReferenceType,
    ImplicitRelationship,
    SchemaMap,
    Table,
)
from ingestion.transform import digest
from ingestion.transform.content_text import readable, readable_json
from ingestion.transform.documents import Document, DocumentBuilder, relation_name
from ingestion.transform.sensitivity import MaskPolicy

COLUMNS = {
    "id": "bigint", "project_id": "bigint", "number": "text", "title": "text", "description": "text",
    "status": "text", "created_by_id": "bigint", "amount": "numeric(15,2)", "active": "boolean",
    "custom_fields": "jsonb", "attachment_ids": "bigint[]", "access_token": "text", "email": "text",
    "s3_key": "text", "url": "text", "owner_type": "text", "owner_id": "bigint",
    "created_at": "timestamp(3) without time zone", "updated_at": "timestamp with time zone",
}  # fmt: skip
RELATIONS = [
    ImplicitRelationship("change_orders", "project_id", "projects"),
    ImplicitRelationship("change_orders", "created_by_id", "company_users"),
    ImplicitRelationship("change_orders", "attachment_ids", "attachments"),
    ImplicitRelationship(
        "change_orders",
        "owner_id",
        "vendors",
        relation="owner",
        type_column="owner_type",
        type_value="Vendor",
    ),
]


def table_of(
    columns: Mapping[str, str], name: str = "change_orders", key: tuple[str, ...] = ("id",)
) -> Table:
    return Table(
        name,
        0,
        [Column(column, kind, True, position=i) for i, (column, kind) in enumerate(columns.items())],
        key_columns=list(key),
    )


TABLE = table_of(COLUMNS)
TABLE.file_reference_columns = [
    FileReferenceColumn("s3_key", FileReferenceType.S3_KEY, "named s3_key"),
    FileReferenceColumn("url", FileReferenceType.URL, "named url"),
]
SCHEMA = SchemaMap("2024-01-01T00:00:00Z", "procore", [TABLE], RELATIONS)


def builder(table: Table = TABLE, **options: Any) -> DocumentBuilder:
    schema = SCHEMA if table is TABLE else SchemaMap("", "procore", [table], RELATIONS)
    return DocumentBuilder(schema, table, **options)


def document(row: Mapping[str, Any], **options: Any) -> Document:
    return builder(**options).build_row({"id": 562949953421313, **row})


def test_every_column_that_is_not_null_is_in_the_metadata() -> None:
    made = document(
        {
            "project_id": 7, "number": "CO-011", "amount": Decimal("1.50"), "active": False, "description": "",
            "custom_fields": {"a": [1, "é"]}, "attachment_ids": [3, None, 5],
            "created_at": datetime.fromisoformat("2024-01-31T08:05:00.120"),
            "updated_at": datetime(2024, 1, 31, 8, 5, tzinfo=UTC),
        }
    )  # fmt: skip
    assert made.record.metadata == {
        "id": "562949953421313", "project_id": "7", "number": "CO-011", "amount": "1.50", "active": "false",
        "description": "", "custom_fields": '{"a": [1, "é"]}', "attachment_ids": "[3,null,5]",
        "created_at": "2024-01-31T08:05:00.12", "updated_at": "2024-01-31T08:05:00Z",
    }  # fmt: skip
    assert made.record.doc_id == "change_orders:562949953421313"
    assert (made.record.source_table, made.record.source_id) == ("change_orders", "562949953421313")
    assert (made.record.project_id, made.fields["project_id"]) == (7, 7)
    assert (made.record.created_at, made.record.updated_at) == (1706688300120, 1706688300000)
    assert made.digest == digest.row_digest(made.record.metadata, made.record.relationships)
    assert orjson.loads(orjson.dumps(made.fields)) == made.fields
    assert made.warnings == ()


def test_typed_rows_and_server_text_give_the_same_document() -> None:
    row = {"id": 1, "project_id": 2, "amount": Decimal("0.10"), "active": True, "attachment_ids": [1]}
    text = {"id": "1", "project_id": "2", "amount": "0.10", "active": "true", "attachment_ids": "[1]"}
    build = builder()
    assert build.build_row(row) == build.build([text.get(name) for name in COLUMNS])


def test_long_values_leave_the_searchable_map() -> None:
    made = document({"description": "x" * 257, "title": "y" * 256})
    assert set(made.fields["metadata_long"]) == {"description"}
    assert set(made.fields["metadata"]) == {"id", "title"}
    assert set(made.record.metadata) == {"id", "title", "description"}
    assert "metadata_long" not in document({}).fields


def test_times_that_are_none_are_zero_in_the_record_and_absent_in_the_index() -> None:
    for value in (None, "infinity", "-infinity"):
        made = document({"created_at": value})
        assert made.record.created_at == 0
        assert "created_at" not in made.fields
    assert document({"created_at": "1970-01-01 00:00:00"}).fields["created_at"] == 0


def test_naive_times_follow_the_source_s_zone() -> None:
    made = document({"created_at": "2024-01-31 08:05:00"}, source_timezone="Europe/Berlin")
    assert made.record.created_at == 1706688300000 - 3_600_000
    assert made.record.metadata["created_at"] == "2024-01-31T08:05:00"


def test_references_name_role_target_and_column() -> None:
    made = document({"project_id": 7, "created_by_id": 9, "attachment_ids": [3, None, 3, 5], "owner_id": 4})
    assert [tuple(r.values()) for r in made.record.relationships] == [
        ("project", "projects", "7", "project_id"),
        ("created_by", "company_users", "9", "created_by_id"),
        ("attachment", "attachments", "3", "attachment_ids"),
        ("attachment", "attachments", "5", "attachment_ids"),
    ]
    assert made.fields["relationships"] == made.record.relationships
    owned = document({"owner_type": "Vendor", "owner_id": 4}).record.relationships
    assert [(r["relation"], r["target_table"], r["target_id"]) for r in owned] == [("owner", "vendors", "4")]


@pytest.mark.parametrize(
    ("column", "role"),
    [
        ("created_by_id", "created_by"),
        ("project_id", "project"),
        ("projectId", "project"),
        ("role_ids", "role"),
        ("id", "id"),
    ],
)
def test_roles_come_from_column_names(column: str, role: str) -> None:
    assert relation_name(column) == role


def test_a_project_is_in_its_own_project() -> None:
    projects = table_of({"id": "bigint", "name": "text"}, "projects")
    assert builder(projects).build(["5", "Tower"]).record.project_id == 5
    assert document({}).record.project_id is None
    assert (
        builder(table_of({"id": "bigint", "project_id": "text"}, "t")).build(["1", "abc"]).record.project_id
        is None
    )


# -- keys --------------------------------------------------------------------------------------------------


def test_a_null_key_is_refused_by_name() -> None:
    build = builder()
    assert build.key_of([None] * len(COLUMNS)) is None
    with pytest.raises(errors.TransformError, match="change_orders: the key id is NULL"):
        build.build([None] * len(COLUMNS))


def test_a_row_of_another_shape_is_refused() -> None:
    with pytest.raises(errors.TransformError, match="1 values where the table has 19 columns"):
        builder().build(["1"])


def test_composite_and_odd_keys_are_escaped() -> None:
    build = builder(table_of({"a": "text", "b": "timestamp with time zone", "c": "text"}, "t", ("a", "b")))
    row = ["x y", "2024-01-31 08:05:00+00", None]
    made = build.build(row)
    assert made.record.doc_id == "t:x~20y:2024-01-31T08~3A05~3A00Z"
    assert made.key == build.key_of(row) == build.key_from(row[:2]) == made.record.source_id


def test_a_table_without_a_key_is_told_apart_by_content_and_ordinal() -> None:
    build = builder(table_of({"a": "text", "access_token": "text"}, "t", ()))
    first, other = build.build(["x", "s1"]), build.build(["y", "s1"])
    assert first.key == build.key_of(["x", "s1"]) != other.key
    assert len(first.key) == 64
    assert build.build(["x", "s1"], ordinal=1).key == f"{first.key}-1"


def test_a_secret_key_column_does_not_show_in_the_id() -> None:
    made = builder(table_of({"access_token": "text", "scope": "text"}, "t", ("access_token",))).build(
        ["geheim", "all"]
    )
    assert "geheim" not in orjson.dumps(made.fields).decode()
    assert made.key.startswith("masked-")


def test_a_missing_key_column_is_a_schema_error() -> None:
    with pytest.raises(errors.SchemaError, match="gone"):
        builder(table_of({"a": "text"}, "t", ("gone",)))


# -- secrets -----------------------------------------------------------------------------------------------

URL = "https://storage.procore.example/api/v5/files/op?companyId=1&projectId=2&sig={}"


def test_secrets_are_nowhere_in_the_document() -> None:
    secret = "5up3rS3cr3t"
    made = document(
        {
            "access_token": secret,
            "custom_fields": {"x": {"apiKey": secret, "ok": 1}, "inner": json.dumps({"password": secret})},
            "description": f"see {URL.format(secret)} and postgresql://u:{secret}@h/d",
            "url": URL.format(secret),
            "title": f'<a href="{URL.format(secret).replace("&", "&amp;")}">plan</a>',
        },
        file_detector=FileDetector(SCHEMA, logging.getLogger("test")),
    )
    assert secret not in orjson.dumps(made.fields).decode()
    assert secret not in repr(made.record)
    assert made.record.metadata["access_token"] == "[masked]"
    assert "[masked]" not in made.record.content_text
    assert made.record.file_references[0]["url"] == URL.format("REDACTED")
    assert any(secret in (file.url or "") for file in made.files), "the fetcher needs the whole URL"


def test_resigning_and_a_new_token_are_no_change() -> None:
    def digest_of(secret: str) -> int:
        return document(
            {"url": URL.format(secret), "access_token": secret, "custom_fields": {"token": secret}}
        ).digest

    assert digest_of("one") == digest_of("two%2F")
    assert document({"title": "a"}).digest != document({"title": "b"}).digest


def test_personal_data_is_indexed_unless_the_plan_masks_it() -> None:
    row = {"email": "someone@example.test", "project_id": 7}
    assert document(row).record.metadata["email"] == "someone@example.test"
    masked = document(row, masks=MaskPolicy(mask_personal=True))
    assert masked.record.metadata["email"] == "[masked]"
    assert "someone" not in masked.record.content_text
    hidden = document(row, masks=MaskPolicy(mask=("change_orders.project_id",)))
    assert (hidden.record.project_id, hidden.record.relationships) == (None, [])


def test_masked_row_is_fit_to_be_shown() -> None:
    row = [None] * len(COLUMNS)
    shown = builder().masked_row(["1", *row[1:11], "tok", "e", None, URL.format("x"), *row[15:]])
    assert shown["access_token"] == "[masked]"
    assert shown["url"] == URL.format("REDACTED")
    assert shown["title"] is None


# -- cells that are not indexed as they stand --------------------------------------------------------------


def test_each_bad_cell_warns_once_with_its_cause() -> None:
    made = document(
        {
            "title": "a\u0001b\u0002",
            "description": "é" * 700_000,
            "status": "\udcff",
            "number": "x\ufffe" + "y" * 1_100_000,
        }
    )
    assert [(w.column, w.cause) for w in made.warnings] == [
        ("number", "cell_cut"), ("number", "replaced_code_points"), ("title", "replaced_code_points"),
        ("description", "cell_cut"), ("status", "undecodable_cell"),
    ]  # fmt: skip
    assert made.record.metadata["title"] == "a\ufffdb\ufffd"
    assert len(made.record.metadata["description"].encode()) == 1024 * 1024
    assert all(warning.column in warning.message for warning in made.warnings)
    assert builder().build_row({"id": 1}).warnings == ()


@given(
    st.dictionaries(
        st.sampled_from(["title", "description", "custom_fields", "number"]), st.text(st.characters())
    )
)
def test_any_text_becomes_a_document_that_vespa_takes(row: dict[str, str]) -> None:
    made = document({**row, "custom_fields": json.dumps(row)})
    text = orjson.dumps(made.fields).decode()
    for value in (*made.record.metadata.values(), made.record.content_text, text):
        assert values.clean(value) == (value, False)


# -- readable text -----------------------------------------------------------------------------------------


def test_content_text_is_what_people_search_for() -> None:
    made = document(
        {
            "number": "CO-011", "title": "Slab", "status": "Approved ", "amount": 12, "project_id": 7,
            "description": "<p>Pour &amp; cure&nbsp;it</p><script>alert(1)</script>",
            "custom_fields": {"f1": {"value": "North wing", "id": "x1", "url": "https://s/x"}, "n": 4},
            "s3_key": "1/2/change_orders/3/Plan A.pdf", "url": URL.format("z"), "email": "a@example.test",
        },
        file_detector=FileDetector(SCHEMA, logging.getLogger("test")),
    )  # fmt: skip
    assert made.record.content_text.split("\n") == [
        "CO-011", "Slab", "Pour & cure it", "Approved", "North wing", "a@example.test", "Plan A.pdf"
    ]  # fmt: skip
    assert [r["source_column"] for r in made.fields["file_references"]] == ["s3_key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b and c > d", "a < b and c > d"), ("<b>x</b><br/>y", "x y"), ("&lt;b&gt;", "<b>"),
        ("<!-- no -->x<style>p{}</style>", "x"), ("https://s/x?a=1", ""), ("s3://b/k", ""),
        ("00112233-4455-6677-8899-aabbccddeeff", ""), ("Re: see https://s/x", "Re: see https://s/x"),
        ("<img src='data:image/png;base64,AAAA'>", ""), (" a\t\n\n b ", "a\nb"), ("<p", ""), ("", ""),
    ],
)  # fmt: skip
def test_markup_goes_and_words_stay(text: str, expected: str) -> None:
    assert readable(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "A", "id": "B", "s3_key": "C", "list": ["D", {"label": "A"}]}', "A\nD"),
        ('{"123": "5629/31/photos/7/a b.jpg"}', ""), ("{}", ""), ("[1, 2.5, null]", ""), ('"text"', "text"),
        ('{"a": "cut off he', "cut off he"), ('{"big": 1e999, "b": "x"}', "x"), ('{"c": "\\u0001x"}', "\ufffdx"),
        (json.dumps({"payload": json.dumps({"note": "inner", "id": "7"})}), "inner"),
        ('["a"' + ', ["b"' * 2000 + "]" * 2001, "a\nb"),
    ],
)  # fmt: skip
def test_json_gives_its_readable_leaves(text: str, expected: str) -> None:
    assert readable_json(text) == expected


def test_content_text_is_bounded() -> None:
    wide = table_of({"id": "bigint", **{f"note_{i}": "text" for i in range(4)}}, "t")
    made = builder(wide).build(["1", *["word " * 100_000] * 4])
    assert len(made.record.content_text) == 1_000_000
