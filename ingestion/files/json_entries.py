"""File references inside JSON: maps of id to key, lists, objects, nested, or JSON inside a string."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ingestion.files.references import Reference, extension, parse_reference

DEEPEST: Final = 16
"""Levels that are looked into; real maps have three."""
MOST_ENTRIES: Final = 10_000
LARGEST_SIZE: Final = 2**63 - 1
"""Bytes; what a size is stored in holds no more."""

# Members by their names in lower case without what joins words: `file_name`, `fileName` and `FileName` are one.
_KEY_MEMBERS: Final = ("s3key", "key", "objectkey", "storagekey", "s3path", "path", "filekey")
_URL_MEMBERS: Final = (
    "url",
    "downloadurl",
    "signedurl",
    "fileurl",
    "href",
    "originalurl",
    "s3url",
    "shareurl",
)
_NAME_MEMBERS: Final = ("filename", "name", "originalfilename", "originalname", "title")
_SIZE_MEMBERS: Final = ("filesize", "size", "sizebytes", "bytesize", "contentlength", "contentsize", "bytes")
_TYPE_MEMBERS: Final = ("contenttype", "mimetype", "mime", "filetype", "type")
_ID_MEMBERS: Final = ("id", "attachmentid", "fileid", "uuid")
_BUCKET_MEMBERS: Final = ("bucket", "s3bucket", "bucketname")
_PREVIEWS: Final = frozenset({"thumbnailurl", "previewurl", "thumburl", "viewerurl", "iconurl"})
_ID_LIKE = re.compile(r"(?:[0-9]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{24,64})\Z")
_KEY_LIKE = re.compile(r"/?[0-9]+/[0-9]+/.+|s3[an]?://.+|https?://.+", re.IGNORECASE | re.DOTALL)


# Plain types first: asking the abstract one takes many times as long.
_OBJECT: Final = (dict, Mapping)
_NESTED: Final = (dict, list, tuple, Mapping)


@dataclass(frozen=True, slots=True)
class Entry:
    """One reference found in JSON, with what stood beside it."""

    reference: Reference
    entry_id: str = ""
    filename: str = ""
    size: int | None = None
    content_type: str = ""


def entries(value: Any) -> list[Entry]:
    """Every file reference in a JSON value, typed or as text; nothing in it can make this raise."""
    found: list[Entry] = []
    for entry in _walk(value, "", trusted=True, depth=0):
        found.append(entry)
        if len(found) >= MOST_ENTRIES:
            break
    return found


def whole_number(value: Any) -> int | None:
    """A size in bytes from a number or its text; None for anything else: negatives, and more than any disk has."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= LARGEST_SIZE else None


def _walk(value: Any, entry_id: str, *, trusted: bool, depth: int) -> Iterator[Entry]:
    """`trusted`: the place says that a text here is a reference; elsewhere it must look like one."""
    if depth > DEEPEST:
        return
    if isinstance(value, str):
        yield from _from_text(value, entry_id, trusted=trusted, depth=depth)
    elif isinstance(value, _OBJECT):
        yield from _from_object(value, entry_id, depth)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item, "", trusted=True, depth=depth + 1)


def _from_text(text: str, entry_id: str, *, trusted: bool, depth: int) -> Iterator[Entry]:
    stripped = text.strip()
    if stripped[:1] in ("{", "[", '"') and (parsed := _parse(stripped)) is not None:
        yield from _walk(parsed, entry_id, trusted=trusted, depth=depth + 1)
        return
    if trusted and not entry_id and "/" not in stripped and not extension(stripped):
        return
    if not trusted and not _KEY_LIKE.match(stripped):
        return
    reference = parse_reference(stripped)
    if reference is not None:
        yield Entry(reference, entry_id)


def _from_object(value: Mapping[Any, Any], entry_id: str, depth: int) -> Iterator[Entry]:
    members = {_plain(str(name)): member for name, member in value.items()}
    own = _file_object(members, entry_id)
    if own is not None:
        yield own
    described = own is not None
    for name, member in value.items():
        name = str(name)
        if isinstance(member, _NESTED):
            yield from _walk(member, name if _ID_LIKE.match(name) else "", trusted=True, depth=depth + 1)
        elif isinstance(member, str) and not described and _plain(name) not in _PREVIEWS:
            is_id = _ID_LIKE.match(name) is not None
            yield from _walk(member, name if is_id else "", trusted=is_id, depth=depth + 1)


def _file_object(members: Mapping[str, Any], entry_id: str) -> Entry | None:
    """The file that an object as a whole describes: it has a member for a key or a URL."""
    key = _reference(members, _KEY_MEMBERS)
    url = _reference(members, _URL_MEMBERS)
    if url is not None and not url.url:
        url, key = None, key or url
    if key is None and url is None:
        return None
    if key is not None and not key.key and url is None:
        url, key = key, None
    reference = Reference(
        key=(key.key if key else "") or (url.key if url else ""),
        url=(url.url if url else "") or (key.url if key else ""),
        bucket=(key.bucket if key else "") or (url.bucket if url else "") or _text(members, _BUCKET_MEMBERS),
        filename=(key.filename if key else "") or (url.filename if url else ""),
    )
    own_id = next((members[n] for n in _ID_MEMBERS if isinstance(members.get(n), str | int)), entry_id)
    return Entry(
        reference,
        str(own_id),
        _text(members, _NAME_MEMBERS),
        next((size for n in _SIZE_MEMBERS if (size := whole_number(members.get(n))) is not None), None),
        _text(members, _TYPE_MEMBERS),
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _reference(members: Mapping[str, Any], names: tuple[str, ...]) -> Reference | None:
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and (reference := parse_reference(value)) is not None:
            return reference
    return None


def _text(members: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        # Lone surrogates and huge numbers: the standard library is more lenient.
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
