"""Columns beside a file column that describe the same file: its name, size, MIME type and checksum."""

from __future__ import annotations

import re

from ingestion.discovery.relationship_words import split_words
from ingestion.schema_discovery import Column, Table

_COMPANIONS = {
    "filename": (
        "filename",
        "file_name",
        "original_filename",
        "original_file_name",
        "original_name",
        "document_name",
    ),
    "size": ("file_size", "size", "size_bytes", "byte_size", "content_length", "filesize"),
    "content_type": (
        "content_type",
        "mime_type",
        "mimetype",
        "mime",
        "file_type",
        "media_type",
        "content_mime_type",
    ),
    "checksum": ("checksum", "md5", "sha256", "etag", "file_hash", "digest"),
}


def companions(table: Table, column: Column) -> dict[str, str]:
    """Columns of the same row that describe the file: those with the column's own prefix come first."""
    stem = re.sub(r"_?(?:s3_?keys?|url|uri|key|path|link)$", "", column.name.lower())
    names = {c.name.lower(): c.name for c in table.columns if c.name != column.name}
    found = {}
    for member, spellings in _COMPANIONS.items():
        for spelling in spellings:
            name = names.get(f"{stem}_{spelling}") if stem else None
            name = name or (names.get(spelling) if _is_main(table, column) else None)
            if name:
                found[member] = name
                break
    if found and "filename" not in found and "name" in names and _is_main(table, column):
        found["filename"] = names["name"]
    return found


def _is_main(table: Table, column: Column) -> bool:
    """A thumbnail beside the file itself has no claim to the file's own name and size."""
    return (
        not split_words(column.name)[0].startswith(("thumb", "preview", "icon", "avatar"))
        or len(table.columns) < 3
    )
