"""A file as the document of its record names it: nothing in it is a secret or refused by Vespa."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from ingestion import values
from ingestion.redaction import redact_text, redact_url

if TYPE_CHECKING:
    from ingestion.file_detector import DetectedFile

_MEMBERS = ("s3_key", "filename", "file_type", "source_column")
_members = attrgetter(*_MEMBERS)
_NOTHING: dict[str, str] = {}


def file_reference(file: DetectedFile, cleaned: Mapping[str, str] = _NOTHING) -> dict[str, str]:
    """The members that are known; `cleaned` are texts of the record with what they are indexed as."""
    members = {"file_id": file.file_id} if file.file_id else {}
    for name, value in zip(_MEMBERS, _members(file), strict=True):
        if not value:
            continue
        if value.isidentifier() or value.isalnum():
            members[name] = value
        elif value in cleaned:
            members[name] = cleaned[value]
        else:
            members[name] = redact_text(values.clean(value)[0])
    if file.url:
        members["url"] = cleaned[file.url] if file.url in cleaned else _url(file.url)
    return members


def _url(url: str) -> str:
    url = redact_url(url)
    cleaned, changed = values.clean(url)
    return redact_text(cleaned) if changed else url
