"""What one column's name consists of, and which types can refer to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.discovery import relationship_words as words
from ingestion.schema_discovery import Column


@dataclass(slots=True)
class ParsedName:
    stem: tuple[str, ...]
    key_word: str = ""
    """The word that marks it as an identifier (`id`, `code`), empty if none does."""
    words: tuple[str, ...] = ()
    """The stem as it is written."""

    @property
    def strong(self) -> bool:
        return self.key_word in words.STRONG_KEY_WORDS


def type_family(column: Column) -> str:
    """`int`, `text`, `uuid`, or the base type's name: only columns of one family can refer to each other."""
    base = column.base_type or column.data_type.split("(")[0].strip()
    if base in ("int2", "int4", "int8", "smallint", "integer", "bigint", "oid"):
        return "int"
    if base in ("numeric", "decimal"):
        scale = column.data_type.partition(",")[2].rstrip(")")
        return "numeric" if scale in ("", "0") else "decimal"
    if base in (
        "text",
        "varchar",
        "bpchar",
        "name",
        "citext",
        "character varying",
        "character",
        '"char"',
        "char",
    ):
        return "text"
    return base


REFERENCE_FAMILIES = frozenset({"int", "numeric", "text", "uuid"})
"""Types that rows are named by; all others never take part in a reference."""


def compatible(column: Column, key: Column, strong: bool) -> bool:
    """Whether the types let `column` hold values of `key`; `strong`: its name says that it is an id."""
    a, b = type_family(column), type_family(key)
    return a == b or (strong and {a, b} == {"int", "numeric"})


def same_size(column: Column, key: Column) -> bool:
    """Whether both hold equally large numbers or equally long texts; of unlike families, never."""
    if type_family(column) != type_family(key):
        return False
    bases = (c.base_type or c.data_type.partition("(")[0] for c in (column, key))
    one, other = (_NAMES.get(base, base) for base in bases)
    return one == other and column.max_length == key.max_length


_NAMES = {"integer": "int4", "bigint": "int8", "smallint": "int2", "character varying": "varchar"}


def parse_words(parts: Sequence[str], prefix: str = "") -> ParsedName:
    """The stem of a column's words and the word that marks it as an identifier."""
    parts = list(parts)
    if prefix and len(parts) > 1 and parts[0] == prefix:
        parts = parts[1:]
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    key_word = ""
    while parts and parts[-1] in words.STRONG_KEY_WORDS:
        key_word = parts.pop()
    # `api_key_id` is the id of an api key: only one weak word, and only at the very end. So is `fk_api_key`.
    marked = len(parts) > 2 and parts[0] in words.STRONG_KEY_WORDS
    if parts and not key_word and not marked and parts[-1] in words.WEAK_KEY_WORDS:
        key_word = parts.pop()
    if parts and parts[0] in ("id", "fk", "uuid", "guid", "ids", "idx", "cod", "code", "ref"):
        if len(parts) > 1:
            key_word = key_word if key_word in words.STRONG_KEY_WORDS else parts[0]
            if key_word in ("cod", "idx", "ids"):
                key_word = "id" if key_word != "cod" else "code"
            parts = parts[1:]
        elif not key_word:
            key_word, parts = "id", []
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    if len(parts) > 1 and len(parts[-1]) > 1 and parts[-1][-1].isdigit():
        parts[-1] = parts[-1].rstrip("0123456789")
    return ParsedName(tuple(words.singular(p) for p in parts), key_word, tuple(parts))
