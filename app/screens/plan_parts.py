"""What the Plan screen says: cells, the plan's figures, and what leaving tables out means. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from app import formatting
from app.formatting import Glyphs
from app.screens.schema_parts import KEY_BASES
from app.widgets.field_list import Field
from app.widgets.ink import Ink
from app.widgets.row_list import ListColumn
from ingestion import estimating
from ingestion.plan import Plan

if TYPE_CHECKING:
    from ingestion.reports import Estimate
    from ingestion.schema_discovery import SchemaMap, Table

MOST_WHAT_IF = 4
"""References named of those that would dangle; all are, once the table is left out."""

COLUMNS = (
    ListColumn("take", "", 3),
    ListColumn("name", "Table", flex=9, minimum=24),
    ListColumn("rows", "Rows", 9, right=True),
    ListColumn("size", "Size", 9, right=True, drop=3),
    ListColumn("key", "Key", flex=1, minimum=6, maximum=14, drop=4),
    ListColumn("fresh", "Changes by", 14, drop=5),
    ListColumn("files", "Files", 7, right=True, drop=2),
)


def cells(
    table: Table, column: str, width: int, taken: bool, files_per_row: Mapping[str, float], glyphs: Glyphs
) -> Ink:
    """One cell of the list of tables."""
    tone = "" if taken else "muted"
    if column == "take":
        box = f"[{glyphs.on if taken else ' '}]"
        return (box, "accent" if taken else "faint")
    if column == "name":
        name = formatting.one_line(table.name, unicode=glyphs.unicode)
        return (formatting.middle(name, width, glyphs), tone)
    if column == "rows":
        rows = formatting.count(table.row_count, exact=table.row_count_exact, glyphs=glyphs)
        return (rows if table.readable else "no right", tone if table.readable else "bad")
    if column == "size":
        return (formatting.size(table.size_bytes), "muted" if taken else "faint")
    if column == "key":
        key = ", ".join(table.key_columns) or KEY_BASES.get(table.key_basis, "")
        return (formatting.one_line(key), "muted" if table.key_columns else "warn")
    if column == "fresh":
        return (table.timestamp_column or "comparing", "muted" if taken else "faint")
    return _files_cell(table, files_per_row, taken, glyphs)


def _files_cell(table: Table, files_per_row: Mapping[str, float], taken: bool, glyphs: Glyphs) -> Ink:
    if not table.file_reference_columns:
        return ("", "")
    share = files_per_row.get(table.name, 0.0 if not table.row_count else None)
    tone = "info" if taken else "faint"
    if share is None:
        return (glyphs.ellipsis, tone)
    return (formatting.short_count(round(share * table.row_count), exact=False, glyphs=glyphs), tone)


def summary(
    plan: Plan,
    estimate: Estimate | None,
    files_per_row: Mapping[str, float] | None,
    tables: tuple[int, int],
    known_rate: bool,
    glyphs: Glyphs,
) -> list[Ink]:
    """The plan's figures, one to a line; `tables` are those taken and all there are."""

    def line(name: str, value: str, note: str = "", tone: str = "strong") -> Ink:
        return [(f"{name:<8}", "muted"), (value, tone), (f"  {note}" if note else "", "faint")]

    lines = [line("tables", f"{tables[0]:,} of {tables[1]:,}")]
    if estimate is None:
        lines += [
            line("rows", glyphs.ellipsis),
            line("bytes", glyphs.ellipsis),
            line("time", glyphs.ellipsis),
        ]
    else:
        exact = all(table.exact for table in estimate.tables)
        lines.append(line("rows", formatting.count(estimate.rows, exact=exact, glyphs=glyphs)))
        lines.append(line("bytes", formatting.size(estimate.size_bytes)))
        note = "files on top" if plan.download_files else "" if known_rate else "a guess so far"
        lines.append(line("time", formatting.eta(estimate.seconds, exact=False, glyphs=glyphs), note))
    lines.append(line("files", *_files(plan, estimate, files_per_row, glyphs)))
    lines.append(line("batch", f"{plan.batch_size or 'default'}", "rows", ""))
    lines.append(line("workers", f"{plan.workers or 'default'}", "tables at a time", ""))
    return lines


def _files(
    plan: Plan, estimate: Estimate | None, files_per_row: Mapping[str, float] | None, glyphs: Glyphs
) -> tuple[str, str]:
    what = "fetched too" if plan.download_files else "f fetches"
    if estimate is None or files_per_row is None:
        return glyphs.ellipsis, what
    number = estimating.files(estimate, files_per_row)
    return (f"{glyphs.about}{number:,}", what) if number else ("none", "")


def effects(
    schema: SchemaMap, included: Collection[str], dangling: Collection[tuple[str, str, str]], glyphs: Glyphs
) -> list[Field]:
    """What leaving tables out means: what will not be found, and which references lead nowhere."""
    out = [table for table in schema.tables if table.name not in included]
    closed = [table.name for table in schema.tables if table.name in included and not table.readable]
    fields = [Field(glyphs.warn, f"{name} cannot be read: it will fail", tone="warn") for name in closed[:20]]
    if not out:
        return [*fields, Field(glyphs.ok, "every table is taken: no reference dangles", tone="good")]
    rows = sum(table.row_count for table in out)
    size = formatting.size(sum(table.size_bytes for table in out))
    head = f"{formatting.plural(len(out), 'table')} left out"
    fields += [Field(head, heading=True), Field("", f"{rows:,} rows, {size} will not be found", tone="muted")]
    counts = {table.name: table.row_count for table in schema.tables}
    groups: dict[str, list[tuple[str, str]]] = {}
    for source, column, target in dangling:
        groups.setdefault(target, []).append((source, column))
    for target, sources in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0])):
        lost = formatting.plural(len(sources), "reference")
        fields.append(Field(glyphs.warn, f"{target}: {lost} will dangle", tone="warn"))
        for source, column in sorted(sources, key=lambda s: (-counts.get(s[0], 0), s)):
            fields.append(Field("", f"{source}.{column} ({counts.get(source, 0):,} rows)", tone="muted"))
    if not groups:
        fields.append(Field(glyphs.ok, "no reference is left dangling", tone="good"))
    return fields


def what_if(schema: SchemaMap, included: Collection[str], table: Table, glyphs: Glyphs) -> list[Field]:
    """What leaving out (or taking) the table under the cursor would mean."""
    users = [
        r
        for r in schema.relations_to(table.name)
        if r.source_table in included and r.source_table != table.name
    ]
    if table.name not in included:
        mended = formatting.plural(len(users), "reference")
        text = f"taking it adds {table.row_count:,} rows" + (f" and mends {mended}" if users else "")
        return [Field(f"With {table.name}", heading=True), Field("", text, tone="muted")]
    fields = [Field(f"Without {table.name}", heading=True)]
    if not users:
        return [*fields, Field(glyphs.ok, "no reference would dangle", tone="muted")]
    rows = sum(schema.table(name).row_count for name in {r.source_table for r in users})
    text = f"{formatting.plural(len(users), 'reference')} would dangle, in up to {rows:,} rows"
    fields.append(Field("", text, tone="warn"))
    columns = sorted({(r.source_table, r.source_column) for r in users})
    for table_name, column in columns[:MOST_WHAT_IF]:
        held = schema.table(table_name).row_count
        fields.append(Field("", f"{table_name}.{column} ({held:,} rows)", tone="muted"))
    if len(columns) > MOST_WHAT_IF:
        fields.append(Field("", f"and {len(columns) - MOST_WHAT_IF:,} more", tone="muted"))
    return fields


def rules(plan: Plan, width: int) -> list[Ink]:
    """The patterns that the plan file will hold."""
    lines: list[Ink] = [[("+ ", "good"), ("  ".join(plan.include) or "nothing", "")]]
    if plan.exclude:
        lines.append([("- ", "bad"), ("  ".join(plan.exclude), "")])
    for name, globs in (("mask", plan.mask), ("unmask", plan.unmask)):
        if globs:
            lines.append([(f"{name} ", "warn"), ("  ".join(globs), "")])
    return lines
