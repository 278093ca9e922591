"""The Schema screen's tree: schemas with their tables and counts, narrowed by letters of a name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import formatting
from app.formatting import Glyphs
from app.widgets.fuzzy import ranked, score
from app.widgets.ink import Ink
from app.widgets.row_list import ListColumn

if TYPE_CHECKING:
    from ingestion.schema_discovery import SchemaMap, Table

VIEWS = "views"
HINT = "/ tables, or .columns"

TREE_COLUMNS = (ListColumn("name", "Table", flex=1, minimum=12), ListColumn("rows", "Rows", 6, right=True))


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the tree: a schema (no table) or a table in it; `note` says why a filter found it."""

    group: str
    table: Table | None = None
    tables: int = 0
    rows: int = 0
    view: bool = False
    note: str = ""

    @property
    def key(self) -> str:
        return f"t:{self.table.name}" if self.table is not None else f"g:{self.group}"


def lines(schema: SchemaMap, query: str, folded: Collection[str]) -> list[Node]:
    """The tree, or what a query matches, best first; `.name` looks for columns instead of tables."""
    query = query.strip()
    if query.startswith("."):
        return _with_columns(schema, query[1:])
    if query:
        found = ranked(query, schema.tables, lambda table: table.name)
        views = ranked(query, schema.views, lambda view: view.name)
        return [Node(t.schema, t) for t in found] + [Node(VIEWS, v, view=True) for v in views]
    groups: dict[str, list[Table]] = {}
    for table in schema.tables:
        groups.setdefault(table.schema, []).append(table)
    nodes: list[Node] = []
    for group, tables in sorted(groups.items(), key=lambda g: (g[0] != "public", g[0])):
        nodes.append(Node(group, None, len(tables), sum(t.row_count for t in tables)))
        if group not in folded:
            nodes += [Node(group, table) for table in tables]
    if schema.views:
        nodes.append(Node(VIEWS, None, len(schema.views), 0))
        if VIEWS not in folded:
            nodes += [Node(VIEWS, view, view=True) for view in schema.views]
    return nodes


def _with_columns(schema: SchemaMap, query: str) -> list[Node]:
    found: list[tuple[float, int, Node]] = []
    for number, table in enumerate(schema.tables):
        points, name = max(((score(query, c.name), c.name) for c in table.columns), default=(0.0, ""))
        if points > 0:
            found.append((-points, number, Node(table.schema, table, note=name)))
    return [node for _, _, node in sorted(found, key=lambda f: f[:2])]


def cells(node: Node, column: str, width: int, taken: Collection[str], folded: Collection[str],
          glyphs: Glyphs) -> Ink:  # fmt: skip
    """One cell of the tree; `taken` are the tables of the plan."""
    if node.table is None:
        if column == "rows":
            return (formatting.short_count(node.rows, glyphs=glyphs) if node.rows else "", "muted")
        arrow = glyphs.collapsed if node.group in folded else glyphs.expanded
        return [(f"{arrow} {node.group}", "head"), (f"  {node.tables:,}", "faint")]
    table = node.table
    if column == "rows":
        if not table.readable:
            return (glyphs.bad, "bad")
        text = formatting.short_count(table.row_count, exact=table.row_count_exact, glyphs=glyphs)
        return (text, "muted" if table.row_count else "faint")
    # Tables of one family begin alike: both ends of a long name tell them apart.
    name = formatting.middle(formatting.one_line(table.name, unicode=glyphs.unicode), width - 2, glyphs)
    if node.view:
        return [("  ", ""), (name, "muted")]
    here = table.name in taken
    mark = (glyphs.on, "info") if here else (glyphs.off, "faint")
    tone = "bad" if not table.readable else "" if here else "muted"
    note = f" .{formatting.one_line(node.note, unicode=glyphs.unicode)}" if node.note else ""
    return [mark, (" ", ""), (name, tone), (note, "info")]
