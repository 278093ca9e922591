"""The facts of the sample's schema: tables, columns, indexes, row counts, weights of categories."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

ROOT_SCALED: Final = frozenset(
    {
        "projects",
        "drawing_areas",
        "drawing_sets",
        "project_roles",
        "company_users",
        "vendors",
        "budget_views",
    }
)
"""Tables that grow with the square root of the scale."""

UNSCALED: Final = frozenset({"_prisma_migrations", "api_credentials"})
"""Tables of fixed size, besides webhook_*."""


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """One column as PostgreSQL's format_type names it."""

    name: str
    type: str
    nullable: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class SampleTable:
    """One table; `base_rows` is its size at scale 1."""

    name: str
    base_rows: int
    columns: tuple[SampleColumn, ...]
    indexes: tuple[tuple[str, ...], ...]

    def has(self, column: str) -> bool:
        return any(found.name == column for found in self.columns)


@dataclass(frozen=True, slots=True)
class Category:
    """Relative weights of a column's values; `null` is the share of NULL."""

    weights: dict[str, float]
    null: float


@cache
def tables() -> dict[str, SampleTable]:
    """All tables by name, in the order of their names."""
    return {
        name: SampleTable(
            name,
            facts["rows"],
            tuple(SampleColumn(*column) for column in facts["columns"]),
            tuple(tuple(index) for index in facts["indexes"]),
        )
        for name, facts in _facts()["tables"].items()
    }


@cache
def categories() -> dict[str, Category]:
    """Weights by `table.column`."""
    return {
        name: Category(entry["weights"], float(entry.get("null", 0)))
        for name, entry in _facts()["weights"].items()
    }


def rows_at(table: SampleTable, scale: float, empty_rows: int = 0) -> int:
    """Rows of a table at a scale: whole, at least 1 unless the table is empty at scale 1.

    `empty_rows` is what each table that is empty at scale 1 gets instead of none.
    """
    if table.base_rows == 0:
        return empty_rows
    if table.name in UNSCALED or table.name.startswith("webhook_"):
        return table.base_rows
    factor = math.sqrt(scale) if table.name in ROOT_SCALED else scale
    return max(1, round(table.base_rows * factor))


def create_statements(nullable: frozenset[tuple[str, str]] = frozenset()) -> list[str]:
    """SQL that makes sequences and tables; `nullable` lists (table, column) that lose NOT NULL."""
    statements = [f"CREATE SEQUENCE {_quoted(name)} AS integer" for name in _facts()["sequences"]]
    for table in tables().values():
        lines = []
        for column in table.columns:
            line = f"{_quoted(column.name)} {column.type}"
            if column.default is not None:
                line += f" DEFAULT {column.default}"
            if not column.nullable and (table.name, column.name) not in nullable:
                line += " NOT NULL"
            lines.append(line)
        statements.append(f"CREATE TABLE {_quoted(table.name)} ({', '.join(lines)})")
    statements.append("ALTER SEQUENCE api_credentials_id_seq OWNED BY api_credentials.id")
    return statements


def index_statements() -> list[str]:
    """SQL that makes the indexes; none of them is unique."""
    statements = []
    for table in tables().values():
        for columns in table.indexes:
            name = "_".join((table.name, *columns))[:59] + "_idx"
            listed = ", ".join(_quoted(column) for column in columns)
            statements.append(f"CREATE INDEX {_quoted(name)} ON {_quoted(table.name)} ({listed})")
    return statements


def _quoted(name: str) -> str:
    return f'"{name}"'


@cache
def _facts() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts
