"""The digest by which two readings of a row are told apart: 64 bits over what is indexed of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import orjson


def row_digest(metadata: Mapping[str, str], relationships: Sequence[Mapping[str, str]] = ()) -> int:
    """A signed 64-bit digest of all the record's values and references.

    Independent of the order of columns and references, of the machine and of the Python version.
    Values must be cleaned text: a lone surrogate raises TypeError.
    """
    return of(content(metadata, relationships))


def content(metadata: Mapping[str, str], relationships: Sequence[Mapping[str, str]] = ()) -> bytes:
    """What is digested, as bytes: sorted JSON of the values and the references."""
    references = sorted([tuple(sorted(r.items())) for r in relationships]) if relationships else ()
    return orjson.dumps([metadata, references], option=orjson.OPT_SORT_KEYS)


def of(data: bytes) -> int:
    """The digest of such bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)
