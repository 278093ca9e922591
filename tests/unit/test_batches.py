"""Many rows at once become what each becomes by itself, whatever stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors
from ingestion.file_detector import FileDetector
from ingestion.redaction import lowered, may_change, redact_text
from ingestion.schema_discovery import (
    Column,
    FileReferenceColumn,
    FileReferenceType,
    ImplicitRelationship,
    SchemaMap,
    Table,
)
from ingestion.transform.documents import Document, DocumentBuilder
from ingestion.transform.sensitivity import MaskPolicy
from ingestion.values import SAFE_CHARS

COLUMNS = {
    "id": "text", "project_id": "bigint", "title": "text", "body": "text", "extra": "jsonb", "names": "text[]",
    "watcher_ids": "bigint[]", "owner": "jsonb", "owner_type": "text", "owner_id": "bigint", "s3_key": "text",
    "url": "text", "attachments": "jsonb", "payload_key": "json", "email": "text", "password": "text",
    "amount": "numeric", "created_at": "timestamp without time zone", "updated_at": "timestamp with time zone",
}  # fmt: skip
FILES = {
    "s3_key": FileReferenceType.S3_KEY, "url": FileReferenceType.URL,
    "attachments": FileReferenceType.JSONB_S3_MAP,
}  # fmt: skip
RELATIONS = [
    ImplicitRelationship("t", "project_id", "projects"),
    ImplicitRelationship("t", "watcher_ids", "users", relation="watchers"),
    ImplicitRelationship("t", "owner", "users"),
    ImplicitRelationship("t", "owner_id", "vendors", "owner", type_column="owner_type", type_value="Vendor"),
]
SIGNED = "https://files.example/1/a.pdf?x=1&sig=abcdef0123456789"
HOSTILE = [
    "",
    "a",
    "Tower 1",
    " padded\t\n",
    "a\x00b",
    "\x0b",
    "\ud800",
    "\ufffe",
    "\ufdd0",
    "\U0001ffff",
    "\u0130",
    "é\uefff",
    "\ufb01",
    "😀",
    "<b>bold</b> &amp; more",
    "&lt;script&gt;",
    "[masked]",
    "{}",
    "[]",
    "null",
    '""',
    "{broken",
    '{"a":',
    '{"token": "s3cret-value"}',
    '{"a": {"apiKey": 5, "name": "x"}}',
    '{"a": "{\\"password\\": \\"p\\"}"}',
    '{"to\\u006ben": "value"}',
    '{"name": "a\\u0000b"}',
    '{"name": "\\ud800"}',
    '{"name": "Ann", "at": "9", "tokens": ["q"]}',
    '["one", "two", "one"]',
    '[{"id": 5, "name": "five"}]',
    "[1, 2, null]",
    '{"id": 7}',
    '{"n": 1e999}',
    "[" * 500,
    "[" * 500 + '"x"' + "]" * 500,
    SIGNED,
    f'{{"1": "1/2/a.pdf", "2": "{SIGNED}"}}',
    "1/2/3/plan.pdf",
    "//1/2/Plan A.PDF ",
    "s3://bucket/1/2/b.dwg",
    "postgres://me:pw@host/db",
    "Bearer abcdefghijklmnop1234567890",
    "a" * 300,
    "long\n" * 80,
    "5629499534213120",
    "-3",
    "9" * 25,
    "Vendor",
    "11111111-2222-3333-4444-555555555555",
    "password = hunter2x",
    "a:b/c~d",
    '[["token"], {"x": "sig"}]/k?sig=abcdef',
    '{"Authorization": "Basic YWxhZGRpbjpvcGVuc2VzYW1l"}',
]
TIMES = [
    "2024-01-31 08:05:00.12",
    "infinity",
    "0044-03-15 00:00:00 BC",
    "294276-12-31 23:59:59",
    "0001-01-01 00:00:00",
]


def table_of(key: Sequence[str], columns: dict[str, str] = COLUMNS) -> Table:
    table = Table(
        "t", 0, [Column(n, kind, True, position=i) for i, (n, kind) in enumerate(columns.items())],
        key_columns=list(key),
    )  # fmt: skip
    table.file_reference_columns = [FileReferenceColumn(n, kind, "named so") for n, kind in FILES.items()]
    return table


def builder(key: Sequence[str] = ("id",), **options: Any) -> DocumentBuilder:
    table = table_of(key)
    schema = SchemaMap("", "procore", [table], RELATIONS)
    return DocumentBuilder(schema, table, file_detector=FileDetector(schema), **options)


def seen(made: Document | errors.TransformError) -> Any:
    """All that can be told of a result; fields with the order of their members, as they go over the wire."""
    if isinstance(made, errors.TransformError):
        return type(made), str(made), made.hint
    files = [(file, file.url) for file in made.files]
    return (
        made.key, orjson.dumps(made.fields), made.digest, made.bucket, made.warnings, files, made.size_bytes,
        made.record,
    )  # fmt: skip


def one_by_one(build: DocumentBuilder, rows: Sequence[Sequence[str | None]]) -> list[Any]:
    made: list[Any] = []
    for row in rows:
        try:
            made.append(seen(build.build(row)))
        except errors.TransformError as error:
            made.append(seen(error))
    return made


def cells(kind: str) -> st.SearchStrategy[str | None]:
    if kind == "bigint":
        return st.sampled_from([None, "1", "5629499534213120", "-3", "0"])
    if kind.startswith("timestamp"):
        zone = "+00" if "with time" in kind else ""
        return st.sampled_from([None, *(t if "inf" in t else t.replace(" BC", "") + zone for t in TIMES)])
    if kind == "numeric":
        return st.sampled_from([None, "1.50", "9" * 400])
    return st.none() | st.sampled_from(HOSTILE) | st.text(max_size=30)


ROWS = st.lists(st.tuples(*map(cells, COLUMNS.values())), max_size=12)
POLICIES = [
    MaskPolicy(),
    MaskPolicy(mask_personal=True, unmask=("t.extra.token",)),
    MaskPolicy(mask=("t.body", "t.*name*", "t.extra.at")),
]


@given(ROWS, st.sampled_from(POLICIES), st.sampled_from([("id",), ("id", "project_id"), ("created_at",), ()]))
def test_a_batch_is_what_its_rows_are_one_by_one(
    rows: list[tuple[str | None, ...]], masks: MaskPolicy, key: tuple[str, ...]
) -> None:
    build = builder(key, masks=masks, source_timezone="America/New_York" if len(rows) % 2 else "UTC")
    assert [seen(made) for made in build.build_batch(rows)] == one_by_one(build, rows)


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 200])
def test_each_hostile_cell_among_clean_rows(kept: int) -> None:
    names = list(COLUMNS)
    plain = [str(n) if n == "id" else None for n in names]
    rows = [(f"k{n}", *plain[1:]) for n in range(kept)]
    texts = [n for n, kind in COLUMNS.items() if kind in ("text", "jsonb", "json", "text[]")]
    for at, name in enumerate(texts):
        for number, text in enumerate(HOSTILE):
            row = [f"{at}-{number}", *plain[1:]]
            row[names.index(name)] = text
            rows.append(tuple(row))
    build = builder()
    assert [seen(made) for made in build.build_batch(rows)] == one_by_one(build, rows)


def test_rows_without_key_of_another_shape_and_beyond_the_limit_fail_or_warn_alone() -> None:
    names = list(COLUMNS)
    row: list[str | None] = [None] * len(names)
    keyed: list[str | None] = ["1", *row[1:]]
    long = list(keyed)
    long[names.index("body")] = "ü" * (SAFE_CHARS * 2 + 5)
    build = builder()
    made = build.build_batch([keyed, row, long, keyed])
    assert [seen(one) for one in made] == one_by_one(build, [keyed, row, long, keyed])
    assert isinstance(made[1], errors.TransformError)
    assert isinstance(made[2], Document)
    assert made[2].warnings[0].cause == "cell_cut"
    assert isinstance(made[3], Document)
    assert not made[3].warnings
    short = build.build_batch([keyed, ("1",)])
    assert [type(one) for one in short] == [Document, errors.TransformError]
    assert build.build_batch([]) == []


@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=12), max_size=6))
def test_a_look_at_joined_texts_never_misses_one_that_is_redacted(texts: list[str]) -> None:
    if any(redact_text(text) != text for text in texts):
        assert may_change(",".join(texts))


def test_lowered_text_has_the_ascii_letters_that_lower_case_has() -> None:
    for code in range(0x110000):
        low = chr(code).lower()
        if low.isascii() or any(letter.isascii() for letter in low):
            assert lowered(f"x{chr(code)}y") == f"x{low}y".encode()
