"""A SchemaMap as a Mermaid ER diagram (https://mermaid.js.org/syntax/entityRelationshipDiagram.html)."""

from __future__ import annotations

import re

from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table

_MOST_COLUMNS = 12
"""Columns drawn per table: keys and references first, so that a wide table stays readable."""


def render(schema_map: SchemaMap) -> str:
    """The diagram; solid lines for declared references, dotted ones for inferred."""
    lines = ["erDiagram"]
    known = {table.name: table for table in schema_map.tables}
    for table in schema_map.tables:
        references = {r.source_column for r in schema_map.relationships if r.source_table == table.name}
        lines += _entity(table, references)
    for relation in schema_map.relationships:
        if relation.source_table in known and relation.target_table in known:
            lines.append(f"    {_line(relation, known[relation.source_table])}")
    return "\n".join(lines) + "\n"


def _entity(table: Table, references: set[str]) -> list[str]:
    keys = set(table.key_columns)
    ranked = sorted(table.columns, key=lambda c: (c.name not in keys, c.name not in references, c.position))
    shown = ranked[:_MOST_COLUMNS]
    lines = [f"    {quoted(table.name)} {{"]
    for column in sorted(shown, key=lambda c: c.position):
        marks = [mark for mark, names in (("PK", keys), ("FK", references)) if column.name in names]
        lines.append(
            " ".join([f"        {_word(column.data_type)}", _word(column.name), ", ".join(marks)]).rstrip()
        )
    if len(ranked) > len(shown):
        lines.append(f'        more columns "and {len(ranked) - len(shown)} more"')
    return [*lines, "    }"]


def _line(relation: ImplicitRelationship, source: Table) -> str:
    optional = any(c.name == relation.source_column and c.is_nullable for c in source.columns)
    left = "|o" if relation.cardinality == "one_to_one" else "}o"
    line = "--" if relation.basis == "declared" else ".."
    right = "o|" if optional else "||"
    ends = f"{quoted(relation.source_table)} {left}{line}{right} {quoted(relation.target_table)}"
    return f"{ends} : {quoted(relation.source_column)}"


def quoted(name: str) -> str:
    """A name in double quotes, without what would end the quotes or the line."""
    return '"' + re.sub(r'["\r\n%\\]+', "'", name) + '"'


def _word(text: str) -> str:
    """A type or a name as the one word that the grammar allows there: it begins with a letter."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "x"
    return word if word[0].isalpha() else f"x_{word}"
