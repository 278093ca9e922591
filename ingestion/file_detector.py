"""Which files a record points at: keys, S3 addresses, signed and plain URLs, JSON maps and lists of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingestion.discovery.file_companions import companions
from ingestion.files import json_entries
from ingestion.files.found import Found, found, merged, type_of
from ingestion.files.references import extension, file_identity, last_segment, parse_reference
from ingestion.schema_discovery import FileReferenceColumn, FileReferenceType, SchemaMap, Table
from ingestion.transform.document_ids import user_part

_EMPTY = frozenset({None, "", "{}", "[]", "null", '""'})
_URL_WORDS = ("download_url", "file_url", "signed_url", "url", "link", "href")
_KEY_WORDS = ("s3_key", "s3key", "object_key", "storage_key", "s3_path", "key")


@dataclass
class DetectedFile:
    """A file that a record points at. `s3_key` is empty for a pure URL; `file_size` is bytes, as the record
    claims them. `other_columns` are further columns of the record that point at the same file.

    The URL may be signed, so it never shows in a `repr`.
    """

    s3_key: str
    source_table: str
    source_record_id: str
    source_column: str
    filename: str | None
    file_size: int | None
    url: str | None = field(repr=False)
    file_id: str = ""
    """Names the file across records: 32 hexadecimal digits of its key, or of its URL without signature."""
    file_type: str = ""
    """Lower-case extension, from the name, else the record's own statement, else the key; empty if none tells."""
    content_type: str | None = None
    bucket: str = ""
    attachment_id: str = ""
    other_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.file_id and (self.s3_key or self.url):
            self.file_id = file_identity(self.s3_key, self.url or "", self.bucket)
        if not self.file_type:
            self.file_type = self._type()

    def _type(self) -> str:
        name, key = self.filename or "", self.s3_key
        told = type_of(name, self.content_type or "", key)
        if told or name or not self.url:
            return told
        reference = parse_reference(self.url)
        return extension(reference.filename) if reference is not None else ""


@dataclass(frozen=True, slots=True)
class _Source:
    """One file column of a table, with the columns beside it that describe the file."""

    column: str
    is_json: bool
    filename: str = ""
    size: str = ""
    content_type: str = ""

    @property
    def is_described(self) -> bool:
        return bool(self.filename or self.size or self.content_type)


@dataclass(frozen=True, slots=True)
class _TablePlan:
    table: str
    sources: tuple[_Source, ...]
    key_columns: tuple[str, ...]
    stems: Mapping[str, str]
    """Columns without what says key or URL; see `_stem`."""

    def key_of(self, row: Mapping[str, Any]) -> str:
        values = [row.get(column) for column in self.key_columns]
        if not values or None in values:
            return ""
        return user_part([str(value) for value in values], self.table)


_NO_PLAN = _TablePlan("", (), (), {})


class FileDetector:
    """Detect and extract file references from database records; pure, so safe to share."""

    def __init__(self, schema_map: SchemaMap, logger: logging.Logger | None = None) -> None:
        self._log = logger or logging.getLogger(__name__)
        self._plans = {
            table.name: plan
            for table in (*schema_map.tables, *schema_map.views)
            if (plan := _plan_of(table)).sources
        }

    def detect_in_record(self, table: str, row: Mapping[str, Any]) -> list[DetectedFile]:
        """Every file the record points at, each once, in column order; [] for a table that is not known.

        Values may be typed or text. `source_record_id` is the key as documents carry it, empty without one.
        """
        plan = self._plans.get(table, _NO_PLAN)
        all_found: list[Found] = []
        for source in plan.sources:
            value = row.get(source.column)
            if value is None or (isinstance(value, str) and value in _EMPTY):
                continue
            if source.is_json:
                all_found += _in_json(source.column, value)
            else:
                all_found += _scalar(source, value, row)
        if not all_found:
            return []
        if len(all_found) > 1:
            all_found = merged(all_found, plan.stems)
        record = plan.key_of(row)
        return [_detected(one, table, record) for one in all_found]

    def parse_s3_key(self, column: str, value: str) -> DetectedFile | None:
        """Parse a direct S3 key value; an S3 address or URL in its place is taken as what it is."""
        reference = parse_reference(value) if isinstance(value, str) else None
        return _detected(found(column, reference)) if reference is not None else None

    def parse_jsonb_attachments(self, column: str, value: dict[str, Any]) -> list[DetectedFile]:
        """Parse JSONB map of file ID to S3 key; lists, nested objects and JSON in strings are taken too."""
        return [_detected(one) for one in _in_json(column, value)]

    def parse_url(self, column: str, value: str) -> DetectedFile | None:
        """Parse a URL reference (Procore signed URL, `s3://` too); None for what is no URL at all."""
        reference = parse_reference(value) if isinstance(value, str) and "://" in value else None
        return _detected(found(column, reference)) if reference is not None else None

    def extract_filename(self, s3_key: str) -> str:
        """Extract filename from S3 key path: what follows the last `/`; nothing is decoded."""
        return last_segment(s3_key or "")

    def infer_file_type(self, filename: str) -> str:
        """Infer file type from filename extension: lower case, no dot, "" if there is none."""
        return extension(filename or "")


def _in_json(column: str, value: Any) -> list[Found]:
    """The files of one JSON cell, each once."""
    files = [
        found(column, entry.reference, entry.filename, entry.size, entry.content_type, entry.entry_id)
        for entry in json_entries.entries(value)
    ]
    return merged(files, {}) if len(files) > 1 else files


def _scalar(source: _Source, value: Any, row: Mapping[str, Any]) -> Sequence[Found]:
    """The file that a cell of another type points at, with what the columns beside it say of it."""
    is_text = isinstance(value, str)
    if isinstance(value, dict | list) or (is_text and value.lstrip()[:1] in ("{", "[")):
        # A map that ended up in a text column; a key that merely starts with a bracket falls through.
        nested = _in_json(source.column, value)
        if nested:
            return nested
    reference = parse_reference(value) if is_text else None
    if reference is None:
        return ()
    if not source.is_described:
        return (found(source.column, reference),)
    filename, content_type = row.get(source.filename), row.get(source.content_type)
    return (
        found(
            source.column,
            reference,
            filename.strip() if isinstance(filename, str) else "",
            json_entries.whole_number(row.get(source.size)),
            content_type if isinstance(content_type, str) else "",
        ),
    )


def _detected(one: Found, table: str = "", record: str = "") -> DetectedFile:
    return DetectedFile(
        s3_key=one.key,
        source_table=table,
        source_record_id=record,
        source_column=one.column,
        filename=one.filename or None,
        file_size=one.size,
        url=one.url or None,
        file_type=one.file_type,
        content_type=one.content_type or None,
        bucket=one.bucket,
        attachment_id=one.attachment_id,
        other_columns=one.other_columns,
    )


def reference_of(file: DetectedFile, url: str = "") -> dict[str, str]:
    """The file as a record's document names it; `url` is the redacted form. Absent members are omitted."""
    members = {
        "file_id": file.file_id,
        "s3_key": file.s3_key,
        "url": url,
        "filename": file.filename or "",
        "file_type": file.file_type,
        "source_column": file.source_column,
    }
    return {name: value for name, value in members.items() if value}


def _plan_of(table: Table) -> _TablePlan:
    order = {column.name: index for index, column in enumerate(table.columns)}
    files = sorted(table.file_reference_columns, key=lambda f: order.get(f.column_name, len(order)))
    types = {column.name: column.data_type for column in table.columns}
    sources = tuple(_source_of(table, file, types.get(file.column_name, "")) for file in files)
    stems = {source.column: _stem(source.column) for source in sources}
    return _TablePlan(table.name, sources, tuple(table.key_columns), stems)


def _source_of(table: Table, file: FileReferenceColumn, data_type: str) -> _Source:
    is_json = file.reference_type is FileReferenceType.JSONB_S3_MAP or data_type in ("json", "jsonb")
    beside = file.companions
    if not beside and not is_json and table.has_column(file.column_name):
        beside = companions(table, table.column(file.column_name))
    return _Source(
        file.column_name,
        is_json,
        beside.get("filename", ""),
        beside.get("size", ""),
        beside.get("content_type", ""),
    )


def _stem(column: str) -> str:
    """The column's name without what says key or URL: `s3_key` and `url` share one, `thumbnail_url` not."""
    name = column.lower()
    for word in (*_KEY_WORDS, *_URL_WORDS):
        if name == word:
            return ""
        if name.endswith(f"_{word}"):
            return name[: -len(word) - 1]
    return name
