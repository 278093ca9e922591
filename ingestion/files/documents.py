"""What the state and the index say of a file: pure transforms of a reference and what became of it.

A file's document has the file's id as its user part, 32 hexadecimal digits, and names every record that
refers to it. Its `status` is `downloaded`, `failed`, `skipped`, or `referenced` where nobody asked to fetch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ingestion import values
from ingestion.events import FileCounts
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import DownloadResult
from ingestion.files.sniffing import MIME
from ingestion.redaction import redact_text, redact_url
from ingestion.state.types import Failure, FileLink, FileRow
from ingestion.transform import document_ids

MOST_RECORDS: Final = 1_000
"""Records that a file's document names; a logo may hang on all of them."""
FACT_FIELDS: Final = ("width", "height", "pages", "taken_at", "extracted_text")
_KINDS = {mime: kind for kind, mime in MIME.items()}


def pending_row(file: DetectedFile) -> FileRow:
    """A file that was met and not settled yet."""
    return FileRow(
        file_id=file.file_id,
        status="pending",
        s3_key=_clean(file.s3_key),
        url=_clean(redact_url(file.url or "")),
        filename=_clean(file.filename or file.s3_key.rpartition("/")[2]),
        content_type=_clean(file.content_type or ""),
        file_type=file.file_type,
        size_bytes=file.file_size,
    )


def links_of(file: DetectedFile, table: str, key: str) -> list[FileLink]:
    """One link per cell that refers to the file."""
    return [
        FileLink(file.file_id, table, key, column) for column in (file.source_column, *file.other_columns)
    ]


def settled_row(row: FileRow, result: DownloadResult, folder: Path, limit: int) -> FileRow:
    """`row` after a download; what the store said replaces what the record claimed. `limit`: bytes allowed."""
    if not result.success:
        return replace(
            row,
            # With it the store need not send again what is only skipped again.
            etag=result.etag,
            detail={"limit": limit} if result.cause == "too_large" else {},
            status=result.status,
            cause=result.cause,
            message=_clean(redact_text(result.error or "")),
            attempts=row.attempts + 1,
            updated_at=0.0,
        )
    return replace(
        row,
        status="downloaded",
        content_type=result.content_type or row.content_type,
        file_type=row.file_type or kind_of(result.content_type),
        size_bytes=result.file_size,
        checksum=result.checksum,
        etag=result.etag,
        path=relative(result.local_path, folder),
        cause="",
        message="",
        attempts=row.attempts + 1,
        updated_at=0.0,
    )


def document_fields(
    row: FileRow,
    links: Sequence[FileLink],
    facts: Mapping[str, Any],
    *,
    project_id: int | None,
    ingested_at: int,
) -> dict[str, Any]:
    """The fields of the file's document; absent ones are omitted. `links` are in a stable order, not empty."""
    first = links[0]
    records = list(dict.fromkeys(document_ids.doc_id(link.table, link.key) for link in links))
    fields: dict[str, Any] = {
        "doc_id": row.file_id,
        "file_id": row.file_id,
        "s3_key": row.s3_key,
        "url": row.url,
        "filename": row.filename,
        "content_type": row.content_type,
        "file_type": row.file_type,
        "checksum": row.checksum,
        "record_doc_ids": records[:MOST_RECORDS],
        "source_table": first.table,
        "source_id": first.key,
        "source_column": first.column,
        "status": index_status(row),
        "error": row.message,
    }
    fields = {name: value for name, value in fields.items() if value}
    if row.size_bytes is not None:
        fields["size"] = row.size_bytes
    if project_id is not None:
        fields["project_id"] = project_id
    return {**fields, **facts, "ingested_at": ingested_at}


def is_refused_for_good(row: FileRow, limit: int) -> bool:
    """Whether the file is skipped for what the store sent, and would be again unless the store has another now."""
    if row.status != "skipped" or not row.etag:
        return False
    return row.cause != "too_large" or limit <= int(row.detail.get("limit", 0))


def facts_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's document says of its content."""
    return {name: document[name] for name in FACT_FIELDS if name in document}


def index_status(row: FileRow) -> str:
    """The `status` of the file's document."""
    return "referenced" if row.status == "pending" else row.status


def described(row: FileRow, file: DetectedFile) -> FileRow:
    """`row` with the name and URL that the record gives today; the content's own facts stay."""
    now = pending_row(file)
    return replace(row, url=now.url or row.url, filename=now.filename or row.filename)


def counts_of(row: FileRow) -> FileCounts:
    """The file in the counts of the job that fetched it."""
    return FileCounts(
        found=1,
        downloaded=int(row.status == "downloaded"),
        failed=int(row.status == "failed"),
        skipped=int(row.status not in ("downloaded", "failed")),
        size_bytes=row.size_bytes or 0 if row.status == "downloaded" else 0,
    )


def failure_of(row: FileRow, table: str, key: str, column: str) -> Failure:
    """The failure that a file's row tells of, at the record where it was met."""
    return Failure(
        table=table,
        key=key,
        stage="file",
        cause=row.cause,
        message=row.message,
        kind="file",
        locator=row.file_id,
        detail={
            "file_id": row.file_id,
            "filename": row.filename,
            "column": column,
            "s3_key": row.s3_key,
            "url": row.url,
        },
    )


def kind_of(content_type: str) -> str:
    """`pdf`, `jpg`, … for a MIME type whose content is looked into; "" for any other."""
    return _KINDS.get(content_type, "")


def relative(path: Path | None, folder: Path) -> str:
    """The path as the state keeps it: within the download folder without it, so that the folder may move."""
    if path is None:
        return ""
    text, within = str(path), f"{folder}{os.sep}"
    return text.removeprefix(within)


def _clean(text: str) -> str:
    return values.clean(text)[0]
