"""Columns whose values point at files: judged by name, type and, where there are rows, by what values hold.

S3 keys and addresses, signed and plain URLs of files, JSON maps, lists and objects of them. Links to pages,
interfaces and web sites look alike and are told apart by what they point at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.discovery.file_companions import companions
from ingestion.discovery.relationship_words import singular, split_words, stem_set, word_set
from ingestion.files import json_entries
from ingestion.files.references import extension, parse_reference, unsigned
from ingestion.postgres.sql import ident, rows_of
from ingestion.schema_discovery import Column, FileReferenceColumn, FileReferenceType, Table
from ingestion.transform import json_text, sensitivity

_SAMPLE_VALUES = 100
_LOOKED_AT_ROWS = 20_000
_SAMPLE_DOCUMENTS = 60
_LONGEST_TEXT = 4_000
_LONGEST_JSON = 100_000
_LOOKED_AT_CHARS = 20_000
"""Of one JSON value, when its keys are looked for."""

_QUERY_LIMIT_S = 3.0

_FILE_WORDS = stem_set(
    """asset attachment audio avatar blob document download drawing file image logo media pdf photo picture scan
    signature thumbnail upload video"""
)
_PAGE_WORDS = stem_set(
    """api base callback canonical destination domain endpoint homepage hook host html issue login map next
    permalink previous profile redirect referer referrer repo repository self site ticket webhook website"""
)
_KEY_NAMES = re.compile(
    r"(?:^|_)(?:s3|object|storage|blob|bucket|file)_?(?:key|path|uri)s?$|(?:^|_)s3(?:_|$)"
)
_PATH_NAMES = re.compile(r"(?:^|_)(?:file|image|photo|picture|document|attachment)_?(?:path|location)$")
_URL_NAMES = re.compile(r"(?:^|_)(?:url|uri|link|href)s?$")
_FILE_EXTENSIONS = word_set(
    """7z avi bin bmp csv doc docx dwf dwg dxf eml gif gz heic htm html ifc jpeg jpg json key mov mp3 mp4 mpp msg
    numbers nwd ods odt pages pdf png ppt pptx rar rtf rvt skp svg tar tif tiff txt wav webp xls xlsx xml zip"""
)
_FILE_FOLDERS = re.compile(r"/(?:files?|attachments?|downloads?|images?|blobs?)/[^/]+")


@dataclass(frozen=True, slots=True)
class Look:
    """What sampled values of one column are; shares are of `sampled` non-empty ones."""

    sampled: int
    keys: int = 0
    file_urls: int = 0
    signed_urls: int = 0
    page_urls: int = 0
    json_with_files: int = 0
    json_values: int = 0
    members: frozenset[str] = frozenset()
    """Keys of the objects in JSON values."""

    @property
    def files(self) -> int:
        return self.keys + self.file_urls + self.signed_urls + self.json_with_files


def may_hold_files(column: Column) -> bool:
    """Whether the type can hold a reference at all: text, JSON, and arrays of text."""
    if column.base_type:
        return column.base_type in (
            "text",
            "varchar",
            "bpchar",
            "citext",
            "json",
            "jsonb",
            "_text",
            "_varchar",
        )
    return column.data_type.startswith(("text", "character varying", "character(", "json", "citext"))


def is_json(column: Column) -> bool:
    return column.type_category == "json" or column.data_type in ("json", "jsonb")


def by_name(table: Table, column: Column) -> FileReferenceColumn | None:
    """What the name and the type alone say; a lower confidence where a name may also mean a page."""
    if not may_hold_files(column):
        return None
    name = column.name.lower()
    words = {singular(w) for w in split_words(column.name)}
    table_words = {singular(w) for w in split_words(table.relname or table.name)}
    if is_json(column) or column.data_type.endswith("[]"):
        if _KEY_NAMES.search(name) or re.search(r"(?:^|_)s3_keys?$", name):
            return FileReferenceColumn(
                column.name, FileReferenceType.JSONB_S3_MAP, "named like a map of S3 keys"
            )
        if words & {singular("attachments"), singular("files")} and not name.endswith(
            ("_id", "_ids", "_count")
        ):
            pattern = "named like a list of attachments"
            return FileReferenceColumn(column.name, FileReferenceType.JSONB_S3_MAP, pattern, confidence=0.8)
        return None
    if _KEY_NAMES.search(name):
        return FileReferenceColumn(column.name, FileReferenceType.S3_KEY, "named like an S3 key")
    if _PATH_NAMES.search(name):
        return FileReferenceColumn(
            column.name, FileReferenceType.S3_KEY, "named like a file's path", confidence=0.6
        )
    if _URL_NAMES.search(name) and not words & {singular(w) for w in _PAGE_WORDS}:
        if words & _FILE_WORDS:
            return FileReferenceColumn(
                column.name, FileReferenceType.URL, "named like a file's URL", confidence=0.9
            )
        if table_words & _FILE_WORDS or companions(table, column):
            pattern = "a URL in a table of files"
            return FileReferenceColumn(column.name, FileReferenceType.URL, pattern, confidence=0.8)
    return None


def judge(table: Table, column: Column, look: Look | None) -> FileReferenceColumn | None:
    """The verdict on one column: its name, corrected by what its values are."""
    named = by_name(table, column)
    if look is None or not look.sampled:
        if named is not None:
            named.companions = companions(table, column)
        return named
    share = look.files / look.sampled
    found = _by_content(column, look, named)
    if found is None:
        return None
    found.sampled, found.parsed_share = look.sampled, round(min(share, 1.0), 4)
    found.companions = companions(table, column)
    return found


def _by_content(column: Column, look: Look, named: FileReferenceColumn | None) -> FileReferenceColumn | None:
    if is_json(column) or look.json_values * 2 > look.sampled:
        least = 0.05 if named else 0.5
        if look.json_with_files < max(1, least * look.sampled):
            return None
        inside = "JSON" if is_json(column) else "JSON inside text"
        pattern = f"{inside} with file references in {look.json_with_files / look.sampled:.0%} of the values"
        return FileReferenceColumn(
            column.name, FileReferenceType.JSONB_S3_MAP, _with(named, pattern), confidence=0.95
        )
    # A webhook's address may carry a token, and a page a signature: neither is a file.
    page = bool({singular(w) for w in split_words(column.name)} & _PAGE_WORDS)
    urls = look.file_urls + (0 if page else look.signed_urls)
    if look.keys > urls and (named is not None or look.keys >= 0.9 * look.sampled):
        pattern = f"paths of files in {look.keys / look.sampled:.0%} of the values"
        return FileReferenceColumn(column.name, FileReferenceType.S3_KEY, _with(named, pattern))
    if urls >= 0.2 * look.sampled or (named is not None and urls):
        kind = "signed URLs" if look.signed_urls >= look.file_urls else "URLs of files"
        pattern = f"{kind} in {urls / look.sampled:.0%} of the values"
        return FileReferenceColumn(column.name, FileReferenceType.URL, _with(named, pattern))
    if named is not None and named.reference_type is FileReferenceType.URL and look.page_urls and not urls:
        # `thumbnail_url` without an extension is still an image; a bare `url` of a page is not.
        return named if named.confidence >= 0.9 else None
    return named if named is not None and named.confidence >= 0.9 and look.files else None


def _with(named: FileReferenceColumn | None, pattern: str) -> str:
    return f"{named.pattern}; {pattern}" if named else pattern


async def examine(
    db: DatabaseConnection, table: Table, columns: Sequence[Column]
) -> list[FileReferenceColumn]:
    """File columns of one table; raises TableProblem when its values cannot be read in time."""
    fitting = [c for c in columns if may_hold_files(c) and c.sensitivity != "secret"]
    looks: dict[str, Look] = {}
    if fitting and table.row_count and table.readable:
        looks = await _look(db, table, fitting)
    for column in fitting:
        sensitivity.mark_members(column, looks[column.name].members if column.name in looks else ())
    found = [judge(table, c, looks.get(c.name)) for c in fitting]
    return [f for f in found if f is not None]


async def _look(db: DatabaseConnection, table: Table, columns: Sequence[Column]) -> dict[str, Look]:
    """A look at up to a hundred values of each column, spread over the table."""
    picked = ", ".join(f"{ident(c.name)} AS c{i}" for i, c in enumerate(columns))
    part = ""
    if table.kind == "table" and table.row_count > 2 * _LOOKED_AT_ROWS:
        part = f" TABLESAMPLE SYSTEM ({min(100.0, 150.0 * _LOOKED_AT_ROWS / table.row_count):.4f}) REPEATABLE (3)"
    every = max(1, min(table.row_count, _LOOKED_AT_ROWS) // (4 * _SAMPLE_VALUES))
    outputs = ", ".join(f"ARRAY({_values_query(c, i)}) AS v{i}" for i, c in enumerate(columns))
    query = (
        f"WITH r AS (SELECT {picked}, row_number() OVER () AS place FROM {rows_of(table)}{part}"
        f" LIMIT {_LOOKED_AT_ROWS}), s AS MATERIALIZED (SELECT * FROM r ORDER BY place % {every}, place"
        f" LIMIT {8 * _SAMPLE_VALUES}) SELECT {outputs}"
    )
    (row,) = await limited.fetch(db, query, timeout_s=_QUERY_LIMIT_S)
    return {c.name: look_at([v for v in row[f"v{i}"] if v]) for i, c in enumerate(columns)}


def _values_query(column: Column, place: int) -> str:
    """Non-empty values of one column as text; huge documents are passed over, so that a look stays a look."""
    name = f"c{place}"
    length, count, small = _LONGEST_TEXT, _SAMPLE_VALUES, ""
    if is_json(column):
        length, count, small = (
            _LONGEST_JSON,
            _SAMPLE_DOCUMENTS,
            f" AND pg_column_size({name}) < {_LONGEST_JSON // 2}",
        )
    empty = "('', '{}', '[]', 'null', '\"\"')"
    return (
        f"SELECT left({name}::text, {length}) FROM s WHERE {name} IS NOT NULL{small}"
        f" AND {name}::text NOT IN {empty} LIMIT {count}"
    )


def look_at(values: Sequence[str]) -> Look:
    """Sort sampled values (as text) by what they point at."""
    counts = dict.fromkeys(
        ("keys", "file_urls", "signed_urls", "page_urls", "json_with_files", "json_values"), 0
    )
    members: set[str] = set()
    for value in values:
        kind = _kind_of(value)
        if kind in ("json_with_files", "json_values"):
            members |= json_text.member_names(value[:_LOOKED_AT_CHARS])
        if kind:
            counts[kind] += 1
        if kind == "json_with_files":
            counts["json_values"] += 1
    return Look(sampled=len(values), members=frozenset(members), **counts)


def _kind_of(value: str) -> str:
    text = value.strip()
    if text[:1] in ("{", "[", '"'):
        return "json_with_files" if any(_is_file(e) for e in json_entries.entries(text)) else "json_values"
    reference = parse_reference(text)
    if reference is None:
        return ""
    if reference.url and not reference.key:
        return url_kind(reference.url)
    if "://" in text:
        return "file_urls" if unsigned(text) == text else "signed_urls"
    return "keys" if is_path(text) else ""


def _is_file(entry: json_entries.Entry) -> bool:
    reference = entry.reference
    if reference.url and not reference.key:
        return url_kind(reference.url) != "page_urls"
    return bool(reference.bucket) or is_path(reference.key) or bool(entry.entry_id and "/" in reference.key)


def url_kind(url: str) -> str:
    """`signed_urls`, `file_urls`, or `page_urls` for links to pages and interfaces."""
    if unsigned(url).partition("#")[0] != url.partition("#")[0]:
        return "signed_urls"
    try:
        path = urlsplit(url).path
    except ValueError:
        return "page_urls"
    ending = extension(path.rpartition("/")[2])
    if ending in _FILE_EXTENSIONS and ending not in ("html", "htm", "json", "xml"):
        return "file_urls"
    return (
        "file_urls"
        if re.search(r"/(?:files?|attachments?|downloads?|images?|blobs?)/[^/]+", path)
        else "page_urls"
    )


def is_path(text: str) -> bool:
    """Whether a text without scheme is the path of a file rather than prose, a name or a number."""
    if len(text) > 1024 or "\n" in text:
        return False
    parts = text.strip("/").split("/")
    if len(parts) < 2 or not parts[-1]:
        return False
    if extension(parts[-1]) in _FILE_EXTENSIONS:
        return True
    # `{company}/{project}/{type}/{id}/{name}`: a name without an extension still ends a deep path of ids.
    return len(parts) >= 4 and sum(p.isdigit() for p in parts[:-1]) >= 2
