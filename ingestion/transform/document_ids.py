"""Document ids: reversible, collision-free names for rows, safe in Vespa ids, URLs and file names.

A record's user part is `{table}:{key}`. Bytes outside `[A-Za-z0-9_.-]` are written `~XX`, parts of a
composite key are joined by `:`, and a user part over 200 characters ends in `~~` and the SHA-256 (hex) of
the whole. A hashed part cannot collide with another: `~~` never arises from escaping.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

MAX_USER_PART = 200
BUCKETS = 1024
_HASH_CHARS = 2 + 64
_KEPT = MAX_USER_PART - _HASH_CHARS
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_ESCAPED = re.compile(rb"~([0-9A-F]{2})")


def escape(part: str) -> str:
    """`part` in the safe alphabet; equal only for equal parts. Lone surrogates are escaped too."""
    if part.isalnum() and part.isascii():
        return part
    return _UNSAFE.sub(_escaped, part)


def unescape(part: str) -> str:
    """The text that `escape` wrote."""
    raw = _ESCAPED.sub(lambda m: bytes([int(m.group(1), 16)]), part.encode())
    return raw.decode("utf-8", "surrogatepass")


def user_part(key_values: Sequence[str], table_name: str = "") -> str:
    """The key's part of a record's id: what follows `{table}:`.

    With `table_name` the length rule counts the table's name in, as it must for a record; the result is
    then what `doc_id(table_name, …)` expects.
    """
    key = escape(key_values[0]) if len(key_values) == 1 else ":".join([escape(value) for value in key_values])
    prefix = _prefix(table_name) if table_name else ""
    if len(prefix) + len(key) <= MAX_USER_PART:
        return key
    whole = prefix + key
    return whole[len(prefix) : _KEPT] + _hashed(whole)


def user_parts(values: Sequence[str | None], table_name: str) -> Sequence[str | None]:
    """`user_part` of many keys of one column, as the values stand if none needs change; None stays None."""
    joined = "".join(filter(None, values))
    plain = (joined.isascii() and joined.isalnum()) or _UNSAFE.search(joined) is None
    longest = max(map(len, filter(None, values)), default=0)
    if plain and longest <= MAX_USER_PART - len(_prefix(table_name)):
        return values
    return [value if value is None else user_part((value,), table_name) for value in values]


def doc_id(table_name: str, key: str) -> str:
    """`{table}:{key}`, the user part of the record with this `user_part`."""
    whole = _prefix(table_name) + key
    if len(whole) <= MAX_USER_PART:
        return whole
    cut = key.find("~~")
    if cut >= 0 and len(key) - cut == _HASH_CHARS:
        return whole[:_KEPT] + key[cut:]
    return whole[:_KEPT] + _hashed(whole)


def vespa_id(namespace: str, doc_type: str, user: str) -> str:
    """The full id, `id:{namespace}:{doc_type}::{user}`."""
    return f"id:{namespace}:{doc_type}::{user}"


def key_bucket(key: str) -> int:
    """Which of 1,024 buckets a key's digests are summed in; stable for all time."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) & (BUCKETS - 1)


@lru_cache(maxsize=8192)
def _prefix(table_name: str) -> str:
    return f"{escape(table_name)}:"


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"~{byte:02X}" for byte in match.group().encode("utf-8", "surrogatepass"))


def _hashed(whole: str) -> str:
    return "~~" + hashlib.sha256(whole.encode()).hexdigest()
