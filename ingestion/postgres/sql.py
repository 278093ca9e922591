"""PostgreSQL text: quoted identifiers, and the expression that gives a column's canonical text.

The only place that quotes. Names are never parsed apart again, see
https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.schema_discovery import Column, Table

CELL_LIMIT_BYTES = 1024 * 1024
"""A cell's text is cut at this many bytes of UTF-8."""

_READ_CHARS = CELL_LIMIT_BYTES + 1
"""One character more than can stay, so that the reader sees that a cell was cut."""

# Types whose text cannot come near the limit: no need to measure them.
_SHORT = frozenset(
    {
        "bool", "int2", "int4", "int8", "oid", "float4", "float8", "money", "uuid", "date", "time", "timetz",
        "timestamp", "timestamptz", "interval", "cidr", "macaddr", "macaddr8", "name", "char", "xid", "xid8",
        "cid", "tid", "pg_lsn", "numeric", "int4range", "int8range", "numrange", "tsrange", "tstzrange",
        "daterange", "point", "box", "circle", "line", "lseg",
    }
)  # fmt: skip
_MODIFIER = re.compile(r"\([^)]*\)")
_SPELLINGS = {
    "boolean": "bool", "smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4",
    "double precision": "float8", "character varying": "varchar", "character": "bpchar",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
    "time without time zone": "time", "time with time zone": "timetz", "bit varying": "varbit",
    '"char"': "char", "int": "int4", "decimal": "numeric",
}  # fmt: skip


def ident(name: str) -> str:
    """`name` quoted as an identifier, whatever it holds; raises ValueError for a NUL."""
    if "\x00" in name:
        raise ValueError("a PostgreSQL identifier cannot hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def idents(names: Iterable[str]) -> str:
    """Quoted identifiers joined by `, `."""
    return ", ".join(map(ident, names))


def literal(text: str) -> str:
    """`text` as a string literal, safe under any `standard_conforming_strings`."""
    if "\x00" in text:
        raise ValueError("a PostgreSQL string cannot hold a NUL character")
    quoted = text.replace("'", "''")
    if "\\" in text:
        return " E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def table_ref(table: Table) -> str:
    """`"schema"."relation"`."""
    return f"{ident(table.schema)}.{ident(table.relname or table.name)}"


def rows_of(table: Table) -> str:
    """What stands after FROM for the table's own rows: those of tables that inherit from it are left to these."""
    return f"ONLY {table_ref(table)}" if table.kind == "table" else table_ref(table)


def base_type(column: Column) -> str:
    """The bare name of the column's type below domains: `int8`, `varchar`, `_text` for an array.

    Falls back on `data_type` where discovery left `base_type` empty.
    """
    if column.base_type:
        return column.base_type
    return type_name(column.data_type)


def type_name(data_type: str) -> str:
    """`timestamp(3) without time zone` → `timestamp`; `numeric(15,2)[]` → `_numeric`."""
    spelled = _MODIFIER.sub("", data_type).strip()
    dimensions = spelled.endswith("[]")
    while spelled.endswith("[]"):
        spelled = spelled[:-2].strip()
    if spelled.startswith("interval"):
        spelled = "interval"
    if spelled not in _SPELLINGS and not spelled.startswith('"'):
        spelled = spelled.rpartition(".")[2]
    name = _SPELLINGS.get(spelled, spelled)
    return f"_{name}" if dimensions else name


def is_array(type_name: str) -> bool:
    """Whether a bare type name is an array's."""
    return type_name.startswith("_")


def text_column(column: Column, alias: str = "") -> str:
    """An expression of type text: what `values.canonical` expects of this column, NULL for NULL.

    Valid inside `DatabaseConnection` sessions, which fix time zone, date style and the like. A long cell
    comes back cut, one character longer than can stay.
    """
    name = f"{alias}.{ident(column.name)}" if alias else ident(column.name)
    kind = base_type(column)
    if kind in _SHORT:
        return f"{name}::text"
    if kind == "inet":
        # The cast adds /32 to a single address, which PostgreSQL itself does not print.
        return f"pg_catalog.abbrev({name}::pg_catalog.inet)"
    if kind == "bpchar":
        # The cast strips the padding, which PostgreSQL itself prints.
        return _cut(f"pg_catalog.textin(pg_catalog.bpcharout({name}))")
    if kind == "bytea":
        half = CELL_LIMIT_BYTES // 2 + 1
        return _cut(f"pg_catalog.substr({name}::pg_catalog.bytea, 1, {half})::text")
    if is_array(kind):
        return _cut(f"pg_catalog.to_json({name})::text")
    return _cut(f"{name}::text")


def text_columns(columns: Sequence[Column], alias: str = "") -> str:
    """`text_column` of each, in order, joined by `, `."""
    return ", ".join(text_column(column, alias) for column in columns)


def _cut(expression: str) -> str:
    return f"pg_catalog.left({expression}, {_READ_CHARS})"
