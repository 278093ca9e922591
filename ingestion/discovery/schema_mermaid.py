"""A SchemaMap as a Mermaid ER diagram (https://mermaid.js.org/syntax/entityRelationshipDiagram.html)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from ingestion.schema_discovery import ImplicitRelationship, SchemaMap, Table

_MOST_EDGES = 120
_MOST_REFERRING = 10
"""Tables that may refer to one before it is left out of the overview, where its lines would hide the rest."""

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


@dataclass(frozen=True, slots=True)
class Overview:
    """A diagram without columns; `hubs` are tables left out, with how many others refer to them."""

    diagram: str
    relations: int
    hubs: list[tuple[str, int]]
    more: int


def overview(schema_map: SchemaMap) -> Overview:
    """Which table refers to which, at a glance: hubs and what does not fit are left out and named."""
    names = {table.name for table in schema_map.tables}
    pairs: dict[tuple[str, str], list[ImplicitRelationship]] = defaultdict(list)
    for relation in schema_map.relationships:
        if {relation.source_table, relation.target_table} <= names:
            pairs[relation.source_table, relation.target_table].append(relation)
    referring = Counter(target for source, target in pairs if source != target)
    hubs = [(name, n) for name, n in referring.most_common() if n > _MOST_REFERRING]
    hidden = {name for name, _ in hubs}
    kept = [(pair, relations) for pair, relations in pairs.items() if pair[1] not in hidden]
    lines = ["erDiagram"]
    known = {table.name: table for table in schema_map.tables}
    for (source, _), relations in kept[:_MOST_EDGES]:
        columns = ", ".join(dict.fromkeys(r.source_column for r in relations))
        lines.append(f"    {_line(relations[0], known[source], columns)}")
    return Overview("\n".join(lines) + "\n", len(kept), hubs, max(0, len(kept) - _MOST_EDGES))


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


def _line(relation: ImplicitRelationship, source: Table, label: str = "") -> str:
    optional = any(c.name == relation.source_column and c.is_nullable for c in source.columns)
    left = "|o" if relation.cardinality == "one_to_one" else "}o"
    line = "--" if relation.basis == "declared" else ".."
    right = "o{" if relation.cardinality == "many_to_many" else "o|" if optional else "||"
    ends = f"{quoted(relation.source_table)} {left}{line}{right} {quoted(relation.target_table)}"
    return f"{ends} : {quoted(label or relation.source_column)}"


def quoted(name: str) -> str:
    """A name in double quotes, without what would end the quotes or the line."""
    return '"' + re.sub(r'["\r\n%\\]+', "'", name) + '"'


def _word(text: str) -> str:
    """A type or a name as the one word that the grammar allows there: it begins with a letter."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "x"
    return word if word[0].isalpha() else f"x_{word}"
