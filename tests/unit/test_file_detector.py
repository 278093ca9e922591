"""Which files a record points at: every shape found in real data, and nothing that is no file."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.file_detector import DetectedFile, FileDetector, reference_of
from ingestion.files import json_entries
from ingestion.files.references import expires_at, unsigned
from ingestion.sandbox import signing
from ingestion.schema_discovery import Column, FileReferenceColumn, FileReferenceType, SchemaMap, Table

POLICY = (
    base64.b64encode(b'{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1700000000}}}]}')
    .decode()
    .translate(str.maketrans("+=/", "-_~"))
)
KEY = "562949953421312/562949954421312/photos/562949973421312/site photo #1 %20+.jpg"
URL = signing.sign(KEY, 1, 2, 4_070_908_800)


def _table(name: str, columns: dict[str, str], files: dict[str, FileReferenceType]) -> Table:
    return Table(
        name, 0, [Column("id", "bigint", False), *(Column(n, t, True) for n, t in columns.items())],
        file_reference_columns=[FileReferenceColumn(n, t, "") for n, t in files.items()],
        key_columns=["id"], key_basis="proven_id",
    )  # fmt: skip


KEYED, LINKED, MAPPED = FileReferenceType.S3_KEY, FileReferenceType.URL, FileReferenceType.JSONB_S3_MAP
SCHEMA = SchemaMap(
    "", "d",
    [
        _table("photos", {"url": "text", "thumbnail_url": "text", "s3_key": "text"},
               {"url": LINKED, "thumbnail_url": LINKED, "s3_key": KEYED}),
        _table("drawing_revisions", {"s3_key": "text", "filename": "text", "file_size": "integer"},
               {"s3_key": KEYED}),
        _table("documents", {"url": "text", "file_type": "text", "size": "bigint"}, {"url": LINKED}),
        _table("commitment_change_orders", {"attachments": "jsonb", "attachments_s3_keys": "jsonb"},
               {"attachments": MAPPED, "attachments_s3_keys": MAPPED}),
        _table("rfis", {"question": "text"}, {}),
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def detector() -> FileDetector:
    return FileDetector(SCHEMA)


def _keys(files: list[DetectedFile]) -> list[str]:
    return [file.s3_key for file in files]


@pytest.mark.parametrize(
    ("value", "key", "bucket", "filename"),
    [
        (KEY, KEY, "", "site photo #1 %20+.jpg"),
        ("/" + KEY, KEY, "", "site photo #1 %20+.jpg"),
        (f"  {KEY}\n", KEY, "", "site photo #1 %20+.jpg"),
        ("s3://bucket/a/b.PDF", "a/b.PDF", "bucket", "b.PDF"),
        ("https://bucket.s3.amazonaws.com/a/b%20c.pdf?X-Amz-Expires=1", "a/b c.pdf", "bucket", "b c.pdf"),
        ("https://my.bucket.s3.us-east-1.amazonaws.com/a/b.pdf", "a/b.pdf", "my.bucket", "b.pdf"),
        ("https://s3.us-east-1.amazonaws.com/bucket/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://s3-us-west-2.amazonaws.com/bucket/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://bucket.s3.dualstack.eu-west-1.amazonaws.com/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://bucket.s3-fips.us-gov-west-1.amazonaws.com/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://s3-fips.dualstack.us-east-1.amazonaws.com/bucket/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://bucket.s3-accelerate.dualstack.amazonaws.com/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://bucket.s3-eu-west-1.amazonaws.com/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("https://s3-logs.s3.amazonaws.com/a/b.pdf", "a/b.pdf", "s3-logs", "b.pdf"),
        ("https://bucket.s3.amazonaws.com/a%2Bb/c%23d%3Fe.pdf?v=1#top", "a+b/c#d?e.pdf", "bucket", "c#d?e.pdf"),
        ("https://bucket.s3.amazonaws.com/été/a+b.pdf", "été/a+b.pdf", "bucket", "a+b.pdf"),
        ("arn:aws:s3:::bucket/a/b.pdf", "a/b.pdf", "bucket", "b.pdf"),
        ("photo", "photo", "", "photo"),
    ],
    ids=["key", "leading slash", "blanks", "s3", "virtual", "dotted bucket", "path", "old path", "dualstack",
         "china", "fips", "fips dualstack path", "accelerated", "old virtual", "bucket named s3", "encoded",
         "unicode", "arn", "bare name"],
)  # fmt: skip
def test_every_form_of_a_key_yields_key_bucket_and_name(
    detector: FileDetector, value: str, key: str, bucket: str, filename: str
) -> None:
    file = detector.parse_s3_key("s3_key", value)
    assert file is not None
    assert (file.s3_key, file.bucket, file.filename) == (key, bucket, filename)
    assert (file.source_table, file.source_record_id, file.source_column) == ("", "", "s3_key")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "null",
        "None",
        "N/A",
        "12345",
        "-1.5",
        "1.5e3",
        "true",
        "{}",
        "/",
        "s3://b/",
        None,
        7,
        "x" * 9000,
    ],
)
def test_what_is_no_reference_yields_nothing(detector: FileDetector, value: Any) -> None:
    assert detector.parse_s3_key("s3_key", value) is None
    assert detector.parse_url("url", value) is None


def test_a_pure_url_has_an_empty_key_and_keeps_its_signature_out_of_its_repr(detector: FileDetector) -> None:
    file = detector.parse_url("url", URL)
    assert file is not None
    assert (file.s3_key, file.url, file.filename, file.file_type) == ("", URL, None, "")
    assert "sig=" not in repr(file)


@pytest.mark.parametrize(
    ("url", "filename"),
    [
        ("https://h.example/files/plan%20A.pdf?sig=1", "plan A.pdf"),
        ("https://h.example/files/opaque", None),
        (
            "https://h.example/f/1?response-content-disposition=attachment%3B%20filename%3D%22a%20b.png%22",
            "a b.png",
        ),
        (
            "https://h.example/f/1?rscd=attachment%3B%20filename%3D%22x%3B1.pdf%22%3B%20filename%2A%3DUTF-8%27en%27"
            "%25C3%25A9.pdf",
            "é.pdf",
        ),
        ("https://h.example/f/1?rscd=attachment%3B%20filename%3D%22x%3B1.pdf%22", "x;1.pdf"),
        ("https://h.example/?id=7", None),
        ("https://s3.amazonaws.com.h.example/b/a.pdf", "a.pdf"),
    ],
)
def test_a_urls_name_comes_from_its_path_or_disposition(
    detector: FileDetector, url: str, filename: str | None
) -> None:
    file = detector.parse_url("url", url)
    assert file is not None
    assert file.filename == filename


def test_a_key_is_no_url(detector: FileDetector) -> None:
    assert detector.parse_url("url", KEY) is None


def test_an_s3_address_in_a_url_column_is_a_key_without_url(detector: FileDetector) -> None:
    file = detector.parse_url("url", "s3://bucket/a/b.pdf")
    assert file is not None
    assert (file.s3_key, file.bucket, file.url) == ("a/b.pdf", "bucket", None)


def test_signing_anew_does_not_change_a_files_identity(detector: FileDetector) -> None:
    one = detector.parse_url("url", "https://h.example/f/a.pdf?companyId=1&sig=aaa&Expires=5")
    two = detector.parse_url("url", "https://h.example/f/a.pdf?companyId=1&sig=bbb&Expires=9")
    other = detector.parse_url("url", "https://h.example/f/a.pdf?companyId=2&sig=aaa&Expires=5")
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.file_id == two.file_id != other.file_id
    assert unsigned("https://h.example/f?X-Amz-Signature=1#top") == "https://h.example/f"


ATTACHMENTS = {"9001": KEY, "9002": "1/2/rfis/3/b.pdf"}


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (ATTACHMENTS, [KEY, "1/2/rfis/3/b.pdf"]),
        (json.dumps(ATTACHMENTS), [KEY, "1/2/rfis/3/b.pdf"]),
        (json.dumps(json.dumps(ATTACHMENTS)), [KEY, "1/2/rfis/3/b.pdf"]),
        (list(ATTACHMENTS.values()), [KEY, "1/2/rfis/3/b.pdf"]),
        ({"attachments": ATTACHMENTS}, [KEY, "1/2/rfis/3/b.pdf"]),
        ({"1": None, "2": 7, "3": "", "4": "/" + KEY, "5": [], "6": {}, "7": True}, [KEY]),
        ({"1": {"s3_key": KEY, "filename": "a.jpg"}}, [KEY]),
        ([{"id": 1, "filename": "a.jpg", "s3_key": KEY, "thumbnail_url": "https://h.example/t/1"}], [KEY]),
        ({"a": {"b": {"c": [{"key": KEY}]}}}, [KEY]),
        ({"body": "and/or see https note", "official": True, "created_by": {"id": 1, "name": "A/B"}}, []),
        ({"note": KEY}, [KEY]),
        ([1, 2, "3", None], []),
        ({}, []), ([], []), ("", []), ("null", []), ("{broken", []), (None, []), (3.5, []),
    ],
)  # fmt: skip
def test_json_of_every_shape_yields_its_keys(detector: FileDetector, value: Any, keys: list[str]) -> None:
    assert _keys(detector.parse_jsonb_attachments("attachment_s3_keys", value)) == keys


def test_an_object_with_url_name_size_and_type_is_one_described_file(detector: FileDetector) -> None:
    value = [
        {"id": 5, "name": "plan", "url": URL, "share_url": "https://h.example/share/1", "size": "12",
         "content_type": "application/pdf"}
    ]  # fmt: skip
    (file,) = detector.parse_jsonb_attachments("attachments", value)  # type: ignore[arg-type]
    assert (file.url, file.filename, file.file_size, file.file_type) == (URL, "plan", 12, "pdf")
    assert file.attachment_id == "5"


def test_attachments_nested_in_responses_are_found(detector: FileDetector) -> None:
    value = [
        {"id": 1, "body": "<p>see</p>", "created_by": {"id": 3, "name": "x"},
         "attachments": [{"id": 7, "filename": "a b.PDF", "url": URL}]}
    ]  # fmt: skip
    (file,) = detector.parse_jsonb_attachments("official_responses", value)  # type: ignore[arg-type]
    assert (file.filename, file.file_type, file.attachment_id) == ("a b.PDF", "pdf", "7")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(), c, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_no_json_value_breaks_detection(value: Any) -> None:
    json_entries.entries(value)
    json_entries.entries(json.dumps(value))


KEYS = st.builds(
    "{}/{}/{}/{}/{}".format,
    st.integers(1, 2**53), st.integers(1, 2**53), st.sampled_from(["photos", "rfis", "x y"]), st.integers(1, 99),
    st.text("abé日 #%+-_'\"[]{}.", min_size=1, max_size=12).map("f{}.pdf".format),
)  # fmt: skip
"""Keys of any company and project: whose record names them does not matter."""
IDS = st.integers(1, 2**53).map(str)
NOISE = st.sampled_from([None, 0, 7, -1.5, True, "", "null", "N/A", "  ", [], {}, "{}", "[]", "12345"])
Found = tuple[Any, frozenset[str]]


def _arrangement() -> st.SearchStrategy[Found]:
    """A JSON value in any of the shapes that hold keys, and the keys in it."""
    slashed = st.tuples(KEYS, st.sampled_from(["", "/", "//"])).map(
        lambda k: (k[1] + k[0], frozenset({k[0]}))
    )
    noise = NOISE.map(lambda value: (value, frozenset[str]()))
    mapped = st.dictionaries(IDS, slashed | noise, max_size=4).map(
        lambda m: ({n: v for n, (v, _) in m.items()}, frozenset[str]().union(*(k for _, k in m.values())))
    )
    described = slashed.map(lambda k: ({"id": 5, "filename": "a b.pdf", "s3_key": k[0], "size": "x"}, k[1]))

    def listed(inner: st.SearchStrategy[Found]) -> st.SearchStrategy[Found]:
        several = st.lists(inner | noise, max_size=3)
        return st.one_of(
            several.map(lambda many: ([v for v, _ in many], frozenset[str]().union(*(k for _, k in many)))),
            inner.map(lambda one: ({"attachments": one[0], "note": "and/or", "count": 3}, one[1])),
            inner.map(lambda one: (json.dumps(one[0]), one[1])),
        )

    return st.recursive(mapped | described, listed, max_leaves=4)


@given(_arrangement())
def test_every_key_is_found_in_whatever_shape_it_lies_and_nothing_else(
    detector: FileDetector, arrangement: Found
) -> None:
    value, keys = arrangement
    assert set(_keys(detector.parse_jsonb_attachments("attachments", value))) == keys
    row = {"id": 1, "attachments": json.dumps(value)}
    found = detector.detect_in_record("commitment_change_orders", row)
    assert {file.s3_key for file in found} == keys
    assert len(found) == len(keys)


MESSY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.decimals(), st.dates(),
    st.lists(st.text(), max_size=2), st.dictionaries(st.text(max_size=5), st.text(), max_size=2),
    st.sampled_from(["{", "[1", '{"a":', "s3://", "s3:///", "https://", "//", "/", "\x00", "\ud800", "{}{}"]),
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("id", "s3_key", "filename", "file_size", "url", "file_type", "size"), MESSY)
    )
)
def test_no_value_of_a_row_breaks_detection(detector: FileDetector, row: dict[str, Any]) -> None:
    for table in ("drawing_revisions", "documents", "photos"):
        for file in detector.detect_in_record(table, row):
            assert file.s3_key or file.url
            assert len(file.file_id) == 32
            assert file.file_size is None or 0 <= file.file_size < 2**63


def test_a_json_value_of_two_hundred_levels_is_survived() -> None:
    assert json_entries.entries("[" * 200 + "]" * 200) == []


def test_key_and_url_of_one_photo_are_one_file_with_two_sources(detector: FileDetector) -> None:
    row = {"id": 8, "url": URL, "thumbnail_url": URL.replace("files/", "files/T"), "s3_key": KEY}
    photo, thumbnail = detector.detect_in_record("photos", row)
    assert (photo.s3_key, photo.url, photo.source_column, photo.other_columns) == (
        KEY,
        URL,
        "url",
        ("s3_key",),
    )
    assert (photo.source_table, photo.source_record_id) == ("photos", "8")
    assert thumbnail.source_column == "thumbnail_url"
    assert thumbnail.s3_key == ""


def test_list_and_map_of_one_record_pair_by_attachment_id(detector: FileDetector) -> None:
    row = {
        "id": "3",
        "attachments": json.dumps(
            [
                {"id": 1, "name": "a.pdf", "url": URL},
                {"id": 2, "name": "b", "url": URL.replace("projectId=2", "projectId=3")},
            ]
        ),
        "attachments_s3_keys": json.dumps({"2": "1/2/x/3/b", "3": "1/2/x/3/c.pdf"}),
    }
    files = detector.detect_in_record("commitment_change_orders", row)
    assert [(f.s3_key, f.filename, f.other_columns) for f in files] == [
        ("", "a.pdf", ()), ("1/2/x/3/b", "b", ("attachments_s3_keys",)), ("1/2/x/3/c.pdf", "c.pdf", ())
    ]  # fmt: skip


def test_a_key_listed_twice_in_a_map_is_one_file(detector: FileDetector) -> None:
    assert _keys(detector.parse_jsonb_attachments("m", {"1": KEY, "2": "/" + KEY})) == [KEY]


def test_companion_columns_describe_the_file(detector: FileDetector) -> None:
    row = {"id": 1, "s3_key": KEY, "filename": "A-101.PDF", "file_size": 77}
    (file,) = detector.detect_in_record("drawing_revisions", row)
    assert (file.filename, file.file_size, file.file_type) == ("A-101.PDF", 77, "pdf")
    (document,) = detector.detect_in_record(
        "documents", {"id": 1, "url": URL, "file_type": "application/pdf", "size": "800000"}
    )
    assert (document.file_type, document.file_size) == ("pdf", 800_000)


def test_a_reference_omits_what_is_absent(detector: FileDetector) -> None:
    (file,) = detector.parse_jsonb_attachments("m", {"1": "1/2/x/3/c.pdf"})
    assert reference_of(file) == {
        "file_id": file.file_id, "s3_key": "1/2/x/3/c.pdf", "filename": "c.pdf", "file_type": "pdf",
        "source_column": "m",
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        {"s3_key": "1/2/c.pdf", "file_name": "N.pdf", "byte_size": "7", "mime": "application/pdf"},
        {"s3Key": "/1/2/c.pdf", "fileName": "N.pdf", "fileSize": 7.0, "mimeType": "application/pdf"},
        {"Key": "1/2/c.pdf", "Title": "N.pdf", "Size": 7, "Content-Type": "application/pdf"},
        {"object_key": "1/2/c.pdf", "name": 5, "original_filename": "N.pdf", "size": None, "content_length": "7",
         "content_type": "application/pdf"},
    ],
)  # fmt: skip
def test_what_stands_beside_a_key_describes_it_however_it_is_spelt(
    detector: FileDetector, entry: dict[str, Any]
) -> None:
    (file,) = detector.parse_jsonb_attachments("m", [entry])  # type: ignore[arg-type]
    assert (file.s3_key, file.filename, file.file_size, file.content_type) == (
        "1/2/c.pdf", "N.pdf", 7, "application/pdf",
    )  # fmt: skip


def test_an_object_may_name_its_bucket(detector: FileDetector) -> None:
    (file,) = detector.parse_jsonb_attachments("m", {"bucket": "b", "key": "1/2/c.pdf"})
    assert (file.bucket, file.s3_key) == ("b", "1/2/c.pdf")


@pytest.mark.parametrize("title", ["Plan A", "Level 1.2"])
def test_a_title_that_says_no_type_leaves_it_to_the_key(detector: FileDetector, title: str) -> None:
    (file,) = detector.parse_jsonb_attachments("m", [{"key": "1/2/c.DWG", "title": title}])  # type: ignore[arg-type]
    assert (file.filename, file.file_type) == (title, "dwg")


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [("name", "size", "mime"), ("original_filename", "byte_size", "mime_type"),
     ("photo_file_name", "photo_content_length", "photo_content_type")],
)  # fmt: skip
def test_companions_are_found_where_discovery_did_not_look_for_them(name: str, size: str, kind: str) -> None:
    column = "photo_s3_key"
    columns = [Column(c, "text", True) for c in ("id", column, name, size, kind)]
    reference = FileReferenceColumn(column, FileReferenceType.S3_KEY, "")
    table = Table("photos", 0, columns, file_reference_columns=[reference])
    row = {"id": "1", column: "1/2/c.jpg", name: "Roof.jpg", size: "7", kind: "image/jpeg"}
    (file,) = FileDetector(SchemaMap("", "d", [table])).detect_in_record("photos", row)
    assert (file.filename, file.file_size, file.content_type) == ("Roof.jpg", 7, "image/jpeg")


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("a.PDF", "pdf"),
        ("a", ""),
        (".hidden", ""),
        ("a.tar.gz", "gz"),
        ("v1. final notes", ""),
        ("x.tif", "tif"),
        ("", ""),
    ],
)
def test_a_type_is_the_lower_case_extension(detector: FileDetector, name: str, type: str) -> None:
    assert detector.infer_file_type(name) == type


def test_extract_filename_decodes_nothing(detector: FileDetector) -> None:
    assert detector.extract_filename("a/b/site%20plan+(1).pdf") == "site%20plan+(1).pdf"


@pytest.mark.parametrize(
    ("url", "expires"),
    [
        ("https://h/f?X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=x", 1767229200.0),
        ("https://h/f?AWSAccessKeyId=a&Expires=1700000000&Signature=b", 1700000000.0),
        ("https://h/f?se=2026-01-01T00%3A00%3A00Z&sig=b", 1767225600.0),
        ("https://h/f?se=2026-01-01&sp=r&sig=b", 1767225600.0),
        ("https://h/f?X-Goog-Date=20260101T000000Z&X-Goog-Expires=60", 1767225660.0),
        ("https://h/f?Expires=1700000000&Key-Pair-Id=K&Signature=x", 1700000000.0),
        (f"https://h/f?Policy={POLICY}&Key-Pair-Id=K&Signature=x", 1700000000.0),
        ("https://h/f?Policy=%21&Key-Pair-Id=K&Signature=x", None),
        ("https://h/f?X-Amz-Date=garbage&X-Amz-Expires=3600", None),
        ("https://h/f?Expires=soon", None),
        (URL, None),
    ],
)
def test_expiry_is_read_from_the_url(url: str, expires: float | None) -> None:
    assert expires_at(url) == expires


def test_unknown_tables_and_tables_without_file_columns_have_no_files(detector: FileDetector) -> None:
    assert detector.detect_in_record("rfis", {"id": 1, "question": KEY}) == []
    assert detector.detect_in_record("nowhere", {"id": 1}) == []


def test_rows_without_files_cost_next_to_nothing(detector: FileDetector) -> None:
    row = {"id": "1", "attachments": "[]", "attachments_s3_keys": None}
    start = time.perf_counter()
    for _ in range(25_000):
        detector.detect_in_record("commitment_change_orders", row)
    assert time.perf_counter() - start < 0.5
