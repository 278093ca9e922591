"""Which files a record points at: keys, S3 addresses, signed and plain URLs, JSON maps and lists of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingestion.discovery import file_columns
from ingestion.files import json_entries
from ingestion.files.references import (
    Reference,
    extension,
    file_identity,
    last_segment,
    parse_reference,
    unsigned,
)
from ingestion.schema_discovery import FileReferenceColumn, FileReferenceType, SchemaMap, Table
from ingestion.transform.document_ids import user_part

_EMPTY = frozenset({None, "", "{}", "[]", "null", '""'})
_URL_WORDS = ("download_url", "file_url", "signed_url", "url", "link", "href")
_KEY_WORDS = ("s3_key", "s3key", "object_key", "storage_key", "s3_path", "key")
_TYPES_BY_MIME = {
    "application/pdf": "pdf", "image/jpeg": "jpg", "image/jpg": "jpg", "image/png": "png", "image/gif": "gif",
    "image/tiff": "tiff", "application/msword": "doc", "application/zip": "zip", "text/plain": "txt",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls", "application/vnd.ms-outlook": "msg", "image/vnd.dwg": "dwg",
}  # fmt: skip


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
            self.file_type = _type_of(self)


@dataclass(frozen=True, slots=True)
class _Source:
    """One file column of a table, with the columns beside it that describe the file."""

    column: str
    is_json: bool
    stem: str
    filename: str = ""
    size: str = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class _TablePlan:
    table: str
    sources: tuple[_Source, ...]
    key_columns: tuple[str, ...]

    def key_of(self, row: Mapping[str, Any]) -> str:
        values = [row.get(column) for column in self.key_columns]
        if not values or None in values:
            return ""
        return user_part([str(value) for value in values], self.table)


_NO_PLAN = _TablePlan("", (), ())


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
        found: list[DetectedFile] = []
        for source in plan.sources:
            value = row.get(source.column)
            if value is None or (isinstance(value, str) and value in _EMPTY):
                continue
            if source.is_json:
                found.extend(self.parse_jsonb_attachments(source.column, value))
            else:
                found.extend(self._scalar(source, value, row))
        if not found:
            return found
        if len(found) > 1:
            found = _merge(found, {source.column: source.stem for source in plan.sources})
        record = plan.key_of(row)
        for file in found:
            file.source_table, file.source_record_id = table, record
        return found

    def parse_s3_key(self, column: str, value: str) -> DetectedFile | None:
        """Parse a direct S3 key value; an S3 address or URL in its place is taken as what it is."""
        reference = parse_reference(value) if isinstance(value, str) else None
        return _detected(column, reference) if reference is not None else None

    def parse_jsonb_attachments(self, column: str, value: dict[str, Any]) -> list[DetectedFile]:
        """Parse JSONB map of file ID to S3 key; lists, nested objects and JSON in strings are taken too."""
        files = [
            _detected(column, entry.reference, entry.filename, entry.size, entry.content_type, entry.entry_id)
            for entry in json_entries.entries(value)
        ]
        return _merge(files, {}) if len(files) > 1 else files

    def parse_url(self, column: str, value: str) -> DetectedFile | None:
        """Parse a URL reference (Procore signed URL, `s3://` too); None for what is no URL at all."""
        reference = parse_reference(value) if isinstance(value, str) and "://" in value else None
        return _detected(column, reference) if reference is not None else None

    def extract_filename(self, s3_key: str) -> str:
        """Extract filename from S3 key path: what follows the last `/`; nothing is decoded."""
        return last_segment(s3_key or "")

    def infer_file_type(self, filename: str) -> str:
        """Infer file type from filename extension: lower case, no dot, "" if there is none."""
        return extension(filename or "")

    def _scalar(self, source: _Source, value: Any, row: Mapping[str, Any]) -> list[DetectedFile]:
        if isinstance(value, dict | list) or (isinstance(value, str) and value.lstrip()[:1] in ("{", "[")):
            # A map that ended up in a text column; a key that merely starts with a bracket falls through.
            nested = self.parse_jsonb_attachments(source.column, value)  # type: ignore[arg-type]
            if nested:
                return nested
        reference = parse_reference(value) if isinstance(value, str) else None
        if reference is None:
            return []
        filename, content_type = row.get(source.filename), row.get(source.content_type)
        return [
            _detected(
                source.column,
                reference,
                filename.strip() if isinstance(filename, str) else "",
                json_entries.whole_number(row.get(source.size)),
                content_type if isinstance(content_type, str) else "",
            )
        ]


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


def _detected(
    column: str,
    reference: Reference,
    filename: str = "",
    size: int | None = None,
    content_type: str = "",
    attachment_id: str = "",
) -> DetectedFile:
    return DetectedFile(
        s3_key=reference.key,
        source_table="",
        source_record_id="",
        source_column=column,
        filename=filename or reference.filename or None,
        file_size=size,
        url=reference.url or None,
        content_type=content_type or None,
        bucket=reference.bucket,
        attachment_id=attachment_id,
    )


def _type_of(file: DetectedFile) -> str:
    """`Plan A` and `Level 1.2` are titles: what they lack, or only seem to have, the record or the key may tell."""
    named = extension(file.filename or "")
    if named and not named.isdigit():
        return named
    told = _declared_type(file.content_type) or extension(last_segment(file.s3_key))
    if told or not file.url or file.filename:
        return told
    reference = parse_reference(file.url)
    return extension(reference.filename) if reference is not None else ""


def _declared_type(content_type: str | None) -> str:
    """The extension that a MIME type, or a bare type name such as `PDF`, stands for."""
    if not content_type:
        return ""
    text = content_type.partition(";")[0].strip().lower()
    if "/" in text:
        return _TYPES_BY_MIME.get(text, "")
    return text.lstrip(".") if text.lstrip(".").isalnum() and len(text) <= 10 else ""


def _merge(files: list[DetectedFile], stems: Mapping[str, str]) -> list[DetectedFile]:
    """One entry per file: references are the same file if key, URL, attachment id or column stem agree."""
    merged: list[DetectedFile] = []
    by_name: dict[tuple[str, str], DetectedFile] = {}
    for file in files:
        names = _names_of(file, stems)
        known = next((by_name[n] for n in names if n in by_name and _compatible(by_name[n], file)), None)
        if known is None:
            known = file
            merged.append(file)
        else:
            _absorb(known, file)
        for name in (*names, *_names_of(known, stems)):
            by_name.setdefault(name, known)
    return merged


def _names_of(file: DetectedFile, stems: Mapping[str, str]) -> list[tuple[str, str]]:
    names = []
    if file.s3_key:
        names.append(("key", file.s3_key))
    if file.url:
        names.append(("url", unsigned(file.url)))
    if file.attachment_id:
        names.append(("attachment", file.attachment_id))
    elif file.source_column in stems:
        names.append(("stem", stems[file.source_column]))
    return names


def _compatible(one: DetectedFile, other: DetectedFile) -> bool:
    """Whether one entry can stand for both: they agree on each address that both give."""
    if one.s3_key and other.s3_key:
        return one.s3_key == other.s3_key
    if one.url and other.url and not (one.s3_key or other.s3_key):
        return unsigned(one.url) == unsigned(other.url)
    return True


def _absorb(known: DetectedFile, other: DetectedFile) -> None:
    known.s3_key = known.s3_key or other.s3_key
    known.url = known.url or other.url
    known.bucket = known.bucket or other.bucket
    known.filename = known.filename or other.filename
    known.file_size = known.file_size if known.file_size is not None else other.file_size
    known.content_type = known.content_type or other.content_type
    known.attachment_id = known.attachment_id or other.attachment_id
    known.file_id = file_identity(known.s3_key, known.url or "", known.bucket)
    known.file_type = known.file_type or other.file_type
    further = (other.source_column, *other.other_columns)
    known.other_columns = tuple(
        dict.fromkeys(c for c in (*known.other_columns, *further) if c != known.source_column)
    )


def _plan_of(table: Table) -> _TablePlan:
    order = {column.name: index for index, column in enumerate(table.columns)}
    files = sorted(table.file_reference_columns, key=lambda f: order.get(f.column_name, len(order)))
    types = {column.name: column.data_type for column in table.columns}
    return _TablePlan(
        table.name,
        tuple(_source_of(table, file, types.get(file.column_name, "")) for file in files),
        tuple(table.key_columns),
    )


def _source_of(table: Table, file: FileReferenceColumn, data_type: str) -> _Source:
    stem = _stem(file.column_name)
    is_json = file.reference_type is FileReferenceType.JSONB_S3_MAP or data_type in ("json", "jsonb")
    beside = file.companions
    if not beside and not is_json and table.has_column(file.column_name):
        beside = file_columns.companions(table, table.column(file.column_name))
    return _Source(
        file.column_name,
        is_json,
        stem,
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
