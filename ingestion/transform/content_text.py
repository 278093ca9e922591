"""The readable text of a record: what people search for, without ids, addresses, keys and markup."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.postgres.sql import base_type, is_array
from ingestion.redaction import redact_text
from ingestion.schema_discovery import Column, Table
from ingestion.transform.json_text import string_leaves
from ingestion.transform.sensitivity import MASKED, is_secret_name, snake
from ingestion.values import clean

if TYPE_CHECKING:
    from ingestion.file_detector import DetectedFile

MAX_CHARS = 1_000_000
"""Vespa indexes no more of a field."""

_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "citext", "xml"})
_JSON_TYPES = frozenset({"json", "jsonb"})
_OTHER_TYPES = frozenset(
    {
        "bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "money", "uuid", "date", "time",
        "timetz", "timestamp", "timestamptz", "interval", "bytea", "inet", "cidr", "macaddr", "macaddr8", "bit",
        "varbit", "tsvector", "tsquery", "point", "line", "lseg", "box", "path", "polygon", "circle", "char",
        "xid", "xid8", "tid", "cid", "pg_lsn", "geometry", "geography", "vector",
    }
)  # fmt: skip
_NUMBER_TYPES = frozenset({"int2", "int4", "int8", "numeric"})
_NUMBERED = re.compile(r"(?:^|_)(?:number|no|num|code|position|revision)$")
_EXCLUDED = re.compile(
    r"(?:^|_)(?:id|ids|uuid|guid|url|urls|uri|href|link|key|keys|token|hash|checksum|digest|etag|signature|sig"
    r"|path|mime|mime_type|content_type|password|secret|opaque|cursor|md5|sha1|sha256)$"
)
_FIRST = re.compile(r"^(?:.*_)?(?:number|title|subject|name|full_name|code)$")
_SHORT = 80
"""Characters of a string whose readable form is remembered."""
_SHORT_JSON = 200
"""Characters of JSON whose readable form is remembered."""
_DEEPEST = 400
_EXCLUDED_KEY, _SECRET_KEY = 1, 2
_JSON_STARTS = frozenset({'{"', "[{", '["'})
_ADDRESS = re.compile(r"(?:https?|s3|ftp|file|data|mailto):\S*$", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
_DROPPED_ELEMENTS = re.compile(r"<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG = re.compile(r"<(?:/?[a-zA-Z]|!|\?)[^<>]*(?:>|\Z)")
_SPACES = re.compile(r"[ \t\xa0]+")


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column that adds to the readable text; `read` gives its part from the canonical text, "" for none."""

    name: str
    read: Callable[[str], str]


def text_columns(table: Table, masked: Iterable[str] = ()) -> tuple[TextColumn, ...]:
    """The columns of a table that hold readable text: numbers, titles and names first, then in order."""
    left_out = set(masked) | {f.column_name for f in table.file_reference_columns}
    chosen = [
        TextColumn(column.name, read)
        for column in table.columns
        if column.name not in left_out and (read := _reader(column)) is not None
    ]
    return tuple(sorted(chosen, key=lambda c: _FIRST.match(snake(c.name)) is None))


def join(parts: Iterable[str]) -> str:
    """The parts as lines, cut at the length that is indexed."""
    text = "\n".join(parts)
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS]


def add_names(parts: list[str], files: Iterable[DetectedFile]) -> None:
    """Add the names of files, each once, in place."""
    for file in files:
        if file.filename:
            name = clean(file.filename)[0]
            if name not in parts:
                parts.append(name)


def readable(text: str) -> str:
    """Text without markup, entities and surplus blanks; "" for an address, an id or a masked value.

    Of text that is JSON, as it may be inside other JSON, only its own readable strings.
    """
    if text[:2] in _JSON_STARTS:
        return readable_json(text)
    if "<" in text or "&" in text:
        text = _without_markup(text)
    if ":" in text and _ADDRESS.match(text.strip()):
        return ""
    if text == MASKED or (len(text) == 36 and text[8] == "-" and _UUID.match(text)):
        return ""
    if "  " in text or "\n" in text or "\t" in text or "\r" in text:
        if "  " in text or "\t" in text or "\xa0" in text:
            text = _SPACES.sub(" ", text)
        text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return text.strip()


def readable_json(text: str) -> str:
    """The readable strings inside a JSON document, one a line, each once."""
    if text in ("{}", "[]", "null", '""') or '"' not in text:
        return ""
    try:
        return read_json(text)[0]
    except (orjson.JSONDecodeError, RecursionError):
        # Too deep for the parser, cut at the cell's limit, or json that orjson is stricter about.
        seen: dict[str, None] = {}
        for key, leaf in string_leaves(text):
            if leaf and not _KEYS[key] & _EXCLUDED_KEY and (part := _part(leaf)):
                seen[part] = None
        return "\n".join(seen)


def read_json(text: str) -> tuple[str, bool]:
    """The same of JSON that a parser takes, and whether any of its own keys is named like a secret.

    Raises orjson.JSONDecodeError or RecursionError for other text.
    """
    return _read_short(text) if len(text) <= _SHORT_JSON else _read(text)


def _read(text: str) -> tuple[str, bool]:
    leaves: list[str] = []
    keys = _gather(0, [orjson.loads(text)], leaves, 0)
    parts = [_short_part(leaf) if len(leaf) <= _SHORT else _part(leaf) for leaf in dict.fromkeys(leaves)]
    return "\n".join(dict.fromkeys(filter(None, parts))), keys & _SECRET_KEY != 0


# Whoever made or answers for a record stands in row after row.
_read_short = lru_cache(maxsize=4096)(_read)


def short_readable(text: str) -> str:
    """`readable`, remembered for short texts, which stand in row after row."""
    return _short_readable(text) if len(text) <= _SHORT else readable(text)


def _reader(column: Column) -> Callable[[str], str] | None:
    kind, name = base_type(column), snake(column.name)
    if _EXCLUDED.search(name):
        return None
    if kind in _JSON_TYPES:
        return readable_json
    if is_array(kind):
        return None if kind[1:] in _OTHER_TYPES else readable_json
    if kind in _NUMBER_TYPES:
        return str if _NUMBERED.search(name) else None
    if kind in _OTHER_TYPES or kind.endswith("range"):
        return None
    return readable


def _gather(key: int, item: dict[str, Any] | list[Any], leaves: list[str], depth: int) -> int:
    """Adds the strings that may be read, in the document's order; `key` is what is known of the nearest one above.

    Gives what is known of all keys inside, together.
    """
    if depth > _DEEPEST:
        raise RecursionError
    seen = 0
    if type(item) is dict:
        keys = _KEYS
        for name, member in item.items():
            known = keys[name]
            kind = type(member)
            if known:
                seen |= known
                if kind is str and known & _EXCLUDED_KEY:
                    continue
            if kind is str:
                leaves.append(member)
            elif kind is dict or kind is list:
                seen |= _gather(known, member, leaves, depth + 1)
        return seen
    for member in item:
        if type(member) is str:
            if not key & _EXCLUDED_KEY:
                leaves.append(member)
        elif type(member) is dict or type(member) is list:
            seen |= _gather(key, member, leaves, depth + 1)
    return seen


def _part(leaf: str) -> str:
    """What a string inside JSON adds, "" for nothing."""
    # An escape in the JSON may stand for a character that must not reach the index.
    part = readable(leaf if leaf.isprintable() else clean(leaf)[0])
    return "" if _is_key_like(part) else part


# States, types and names stand in row after row.
_short_part = lru_cache(maxsize=4096)(_part)


_short_readable = lru_cache(maxsize=4096)(readable)


class _Keys(dict[str, int]):
    """JSON key → whether what stands under it is no readable text, and whether it is a secret; remembered."""

    def __missing__(self, key: str) -> int:
        answer = _EXCLUDED_KEY if _EXCLUDED.search(snake(key)) is not None else 0
        answer |= _SECRET_KEY if is_secret_name(key) else 0
        if len(self) < 16384:
            self[key] = answer
        return answer


_KEYS = _Keys()


def _is_key_like(text: str) -> bool:
    """Whether a leaf is an object key such as `1/2/photos/3/a.jpg`: several slashes, starting with digits."""
    return text.count("/") >= 3 and text.lstrip("/")[:1].isdigit()


def _without_markup(text: str) -> str:
    if "<" in text:
        text = (
            _COMMENT.sub(" ", _DROPPED_ELEMENTS.sub(" ", text))
            if "<s" in text.lower() or "<!--" in text
            else text
        )
        text = _TAG.sub(" ", text)
    if "&" in text:
        text, _ = clean(html.unescape(text))
        if "=" in text:
            # An address written with entities shows its signature only now.
            text = redact_text(text)
    return text
