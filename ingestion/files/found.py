"""What the columns of one record say of files, put together: references to the same file become one entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingestion.files.references import Reference, extension, last_segment, unsigned

_TYPES_BY_MIME = {
    "application/pdf": "pdf", "image/jpeg": "jpg", "image/jpg": "jpg", "image/png": "png", "image/gif": "gif",
    "image/tiff": "tiff", "application/msword": "doc", "application/zip": "zip", "text/plain": "txt",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls", "application/vnd.ms-outlook": "msg", "image/vnd.dwg": "dwg",
}  # fmt: skip


@dataclass(slots=True)
class Found:
    """One reference, or several to one file; empty strings are what nothing told.

    `file_type` is an extension in lower case, `other_columns` are further ones that point at the same file.
    """

    column: str
    key: str
    url: str
    bucket: str
    filename: str
    size: int | None
    content_type: str
    attachment_id: str
    file_type: str
    other_columns: tuple[str, ...] = ()


def found(
    column: str,
    reference: Reference,
    filename: str = "",
    size: int | None = None,
    content_type: str = "",
    attachment_id: str = "",
) -> Found:
    """A reference with what stands beside it."""
    key, name = reference.key, filename or reference.filename
    file_type = type_of(name, content_type, key)
    return Found(
        column, key, reference.url, reference.bucket, name, size, content_type, attachment_id, file_type
    )


def type_of(filename: str, content_type: str, key: str) -> str:
    """`Plan A` and `Level 1.2` are titles: what they lack, or only seem to have, the record or the key may tell."""
    named = extension(filename)
    if named and not named.isdigit():
        return named
    told = _declared_type(content_type)
    return told or (extension(last_segment(key)) if key else "")


def _declared_type(content_type: str) -> str:
    """The extension that a MIME type, or a bare type name such as `PDF`, stands for."""
    if not content_type:
        return ""
    text = content_type.partition(";")[0].strip().lower()
    if "/" in text:
        return _TYPES_BY_MIME.get(text, "")
    return text.lstrip(".") if text.lstrip(".").isalnum() and len(text) <= 10 else ""


def merged(all_found: Sequence[Found], stems: Mapping[str, str]) -> list[Found]:
    """One entry per file: references are the same file if key, URL, attachment id or column stem agree."""
    kept: list[Found] = []
    by_name: dict[tuple[str, str], Found] = {}
    for one in all_found:
        names = _names_of(one, stems)
        known = next((k for n in names if (k := by_name.get(n)) is not None and _compatible(k, one)), None)
        if known is None:
            known = one
            kept.append(one)
        else:
            _absorb(known, one)
            names += _names_of(known, stems)
        for name in names:
            by_name.setdefault(name, known)
    return kept


def _names_of(one: Found, stems: Mapping[str, str]) -> list[tuple[str, str]]:
    names = []
    if one.key:
        names.append(("key", one.key))
    if one.url:
        names.append(("url", unsigned(one.url)))
    if one.attachment_id:
        names.append(("attachment", one.attachment_id))
    elif one.column in stems:
        names.append(("stem", stems[one.column]))
    return names


def _compatible(one: Found, other: Found) -> bool:
    """Whether one entry can stand for both: they agree on each address that both give."""
    if one.key and other.key:
        return one.key == other.key
    if one.url and other.url and not (one.key or other.key):
        return unsigned(one.url) == unsigned(other.url)
    return True


def _absorb(known: Found, other: Found) -> None:
    known.key = known.key or other.key
    known.url = known.url or other.url
    known.bucket = known.bucket or other.bucket
    known.filename = known.filename or other.filename
    known.size = known.size if known.size is not None else other.size
    known.content_type = known.content_type or other.content_type
    known.attachment_id = known.attachment_id or other.attachment_id
    known.file_type = known.file_type or other.file_type
    further = (other.column, *other.other_columns)
    known.other_columns = tuple(
        dict.fromkeys(c for c in (*known.other_columns, *further) if c != known.column)
    )
