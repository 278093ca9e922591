"""File columns by name, by type and by what values are."""

from __future__ import annotations

import json

import pytest

from ingestion.discovery import file_columns
from ingestion.discovery.file_companions import companions
from ingestion.schema_discovery import Column, FileReferenceType, Table

KEY = "562949953425831/562949953522345/photos/8841/IMG 01.JPG"
SIGNED = "https://storage.procore.example/api/v5/files/abc?companyId=1&projectId=2&sig=XYZ"


def table(name: str, *columns: str) -> Table:
    """Columns as `name type`, type text if left out."""
    made = [Column(c.partition(" ")[0], c.partition(" ")[2] or "text", True) for c in columns]
    return Table(name, 100, made, relname=name)


def verdict(owner: Table, column: str, values: list[str] | None = None) -> FileReferenceType | None:
    look = None if values is None else file_columns.look_at(values)
    found = file_columns.judge(owner, owner.column(column), look)
    return found.reference_type if found else None


@pytest.mark.parametrize(
    ("owner", "column", "expected"),
    [
        (table("drawings", "s3_key"), "s3_key", FileReferenceType.S3_KEY),
        (table("rfis", "attachment_s3_keys jsonb"), "attachment_s3_keys", FileReferenceType.JSONB_S3_MAP),
        (table("rfis", "attachments jsonb"), "attachments", FileReferenceType.JSONB_S3_MAP),
        (table("photos", "url", "id bigint"), "url", FileReferenceType.URL),
        (table("photos", "thumbnail_url"), "thumbnail_url", FileReferenceType.URL),
        (table("users", "avatar_url"), "avatar_url", FileReferenceType.URL),
        (table("x", "file_path"), "file_path", FileReferenceType.S3_KEY),
        (table("vendors", "website"), "website", None),
        (table("hooks", "destination_url"), "destination_url", None),
        (table("apps", "callback_url"), "callback_url", None),
        (table("photos", "id bigint"), "id", None),
        (table("photos", "created_at timestamp without time zone"), "created_at", None),
        (table("rfis", "attachments_count integer"), "attachments_count", None),
        (table("vendors", "url"), "url", None),
    ],
)
def test_names_and_types_alone(owner: Table, column: str, expected: FileReferenceType | None) -> None:
    assert verdict(owner, column) is expected


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("location", [KEY, "/" + KEY, KEY], FileReferenceType.S3_KEY),
        ("where", [f"s3://bucket/{KEY}"] * 3, FileReferenceType.URL),
        ("where", ["https://bucket.s3.eu-west-1.amazonaws.com/a/b.pdf"] * 3, FileReferenceType.URL),
        ("link", [SIGNED] * 3, FileReferenceType.URL),
        ("payload", [json.dumps({"1": KEY})] * 3, FileReferenceType.JSONB_S3_MAP),
        ("payload", ['{"a": 1}', '{"b": "text"}', '{"c": [1, 2]}'], None),
        ("url", ["https://api.example.com/rest/v1.0/projects/7"] * 3, None),
        ("website", ["https://www.example.com/", "http://example.org/about"], None),
        ("destination_url", ["https://hooks.example.com/in?token=abc"] * 2, None),
        ("notes", ["see drawing A/1", "approved", "either/or"], None),
        ("title", ["report.pdf is missing", "x"], None),
    ],
)
def test_content_decides_where_there_is_some(
    column: str, values: list[str], expected: FileReferenceType | None
) -> None:
    assert verdict(table("things", column, "id bigint"), column, values) is expected


def test_a_name_that_values_contradict_is_no_file_column() -> None:
    assert verdict(table("x", "attachments jsonb"), "attachments", ['{"count": 3}', "[1, 2]"]) is None


def test_the_verdict_says_what_matched_how_often_and_what_belongs_to_it() -> None:
    owner = table("drawing_revisions", "s3_key", "filename", "file_size integer", "content_type")
    found = file_columns.judge(owner, owner.columns[0], file_columns.look_at([KEY, KEY, "oops", KEY]))
    assert found is not None
    assert (found.sampled, found.parsed_share) == (4, 0.75)
    assert "75%" in found.pattern
    assert found.companions == {"filename": "filename", "size": "file_size", "content_type": "content_type"}


def test_a_thumbnail_does_not_take_the_files_name() -> None:
    owner = table("photos", "url", "thumbnail_url", "filename")
    assert companions(owner, owner.column("url")) == {"filename": "filename"}
    assert companions(owner, owner.column("thumbnail_url")) == {}
