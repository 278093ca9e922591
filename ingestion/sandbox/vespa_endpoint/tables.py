"""How a document type lies in SQLite: its tables, indexes and statements, derived from the schema.

    TYPE            key, id ("namespace:user"), one column per single-valued attribute, body (JSON of all fields)
    TYPE__FIELD     elements of an array with searchable members: (key, ordinal, member…)
    TYPE__text      FTS5 over the full-text fields, without a copy of the text; rowid = key

Attributes match without regard to case unless their field is cased, so their columns collate NOCASE or
BINARY. Maps have no table of their own: thousands of distinct keys a document type would cost more than
they serve; the search narrows them with a text test on the body first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ingestion.vespa.schemas import SCHEMAS, Field, Schema

_NUMBER_TYPE = "INTEGER"

# The lookups that our screens and clients make; each index costs every put a few microseconds.
_INDEXES: dict[str, tuple[str, ...]] = {
    "procore_record": (
        "doc_id",
        "source_table",
        "source_table, key_bucket, source, row_digest",
        "source_table, source_id",
        "project_id, source_table",
        "source, read_seq",
        "updated_at",
    ),
    "procore_file": (
        "doc_id",
        "file_id",
        "s3_key",
        "source_table, source_id",
        "project_id",
        "source, read_seq",
        "status",
    ),
    "procore_schema": ("table_name", "source, read_seq"),
}
_ELEMENT_INDEXES: dict[str, tuple[str, ...]] = {
    "procore_record__relationships": ("target_table, target_id",),
    "procore_record__file_references": ("s3_key", "file_id"),
    "procore_file__record_doc_ids": ("item",),
    "procore_schema__relations": ("target_table",),
}


@dataclass(frozen=True, slots=True)
class ElementTable:
    """The side table of one array field; `members` are its columns after key and ordinal."""

    name: str
    field: str
    members: tuple[str, ...]
    of_structs: bool
    cased: bool

    def rows(self, key: int, fields: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        """The rows for one document."""
        for ordinal, element in enumerate(fields.get(self.field, ())):
            if self.of_structs:
                yield (key, ordinal, *(element.get(member) for member in self.members))
            else:
                yield (key, ordinal, element)

    @property
    def insert(self) -> str:
        """INSERT of one element."""
        marks = ", ".join("?" * (2 + len(self.members)))
        return f"INSERT INTO {self.name} VALUES ({marks})"

    @property
    def delete(self) -> str:
        """DELETE of one document's elements."""
        return f"DELETE FROM {self.name} WHERE key = ?"


@dataclass(frozen=True, slots=True)
class TypeTables:
    """Names and statements of one document type."""

    schema: Schema
    name: str
    columns: tuple[str, ...]
    elements: tuple[ElementTable, ...]
    text: str
    text_columns: tuple[str, ...]

    def values(self, fields: Mapping[str, Any]) -> tuple[Any, ...]:
        """The attribute columns of one document."""
        get = fields.get
        return tuple([get(column) for column in self.columns])

    def texts(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The full-text columns of one document, "" where absent."""
        get = fields.get
        return tuple([get(column, "") for column in self.text_columns])

    @property
    def insert(self) -> str:
        """INSERT of one document: key, id, attributes…, body."""
        marks = ", ".join("?" * (3 + len(self.columns)))
        return f"INSERT INTO {self.name} VALUES ({marks})"

    @property
    def update(self) -> str:
        """UPDATE of one document: attributes…, body, key."""
        sets = ", ".join(f'"{column}" = ?' for column in (*self.columns, "body"))
        return f"UPDATE {self.name} SET {sets} WHERE key = ?"

    @property
    def text_insert(self) -> str:
        """Index one document's text: key, text…"""
        marks = ", ".join("?" * (1 + len(self.text_columns)))
        return f"INSERT INTO {self.text}(rowid, {', '.join(self.text_columns)}) VALUES ({marks})"

    @property
    def text_delete(self) -> str:
        """Take one document's text out of the index: key and the very text it was indexed with."""
        marks = ", ".join("?" * (1 + len(self.text_columns)))
        columns = ", ".join(self.text_columns)
        return f"INSERT INTO {self.text}({self.text}, rowid, {columns}) VALUES ('delete', {marks})"

    def ddl(self) -> Iterable[str]:
        """The statements that make the tables, each harmless when they exist."""
        columns = ", ".join(
            f'"{item.name}" {_text_type(item.cased) if item.type == "string" else _NUMBER_TYPE}'
            for item in self.schema.attributes
        )
        yield (
            f"CREATE TABLE IF NOT EXISTS {self.name} "
            f"(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, {columns}, body TEXT NOT NULL)"
        )
        for index in _INDEXES[self.name]:
            yield _index(self.name, index)
        for table in self.elements:
            members = ", ".join(f'"{member}" {_text_type(table.cased)}' for member in table.members)
            yield (
                f"CREATE TABLE IF NOT EXISTS {table.name} (key INTEGER, ordinal INTEGER, {members}, "
                "PRIMARY KEY (key, ordinal)) WITHOUT ROWID"
            )
            for index in _ELEMENT_INDEXES.get(table.name, ()):
                yield _index(table.name, index)
        yield (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {self.text} USING fts5({', '.join(self.text_columns)}, "
            "content='', tokenize='porter unicode61 remove_diacritics 2')"
        )


@cache
def tables_of(type_name: str) -> TypeTables:
    """The tables of a document type."""
    schema = SCHEMAS[type_name]
    return TypeTables(
        schema=schema,
        name=schema.name,
        columns=tuple(item.name for item in schema.attributes),
        elements=tuple(
            _element_table(schema, item)
            for item in schema.fields
            if item.kind == "array" and is_searchable(item)
        ),
        text=f"{schema.name}__text",
        text_columns=tuple(item.name for item in schema.indexed),
    )


def is_searchable(item: Field) -> bool:
    """Whether a query may name the field's values (attribute) or members (searchable)."""
    return item.attribute or bool(item.searchable)


def all_ddl() -> Iterable[str]:
    """Every table of every document type."""
    for type_name in SCHEMAS:
        yield from tables_of(type_name).ddl()


def _element_table(schema: Schema, item: Field) -> ElementTable:
    of_structs = schema.struct(item.element_type) is not None
    members = tuple(member.name for member in item.searchable) if of_structs else ("item",)
    return ElementTable(
        f"{schema.name}__{item.name}", item.name, members, of_structs, item.cased and not of_structs
    )


def _text_type(cased: bool) -> str:
    return f"TEXT COLLATE {'BINARY' if cased else 'NOCASE'}"


def _index(table: str, columns: str) -> str:
    name = f"{table}__by__{columns.replace(', ', '__')}"
    quoted = ", ".join(f'"{column}"' for column in columns.split(", "))
    return f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({quoted})"
