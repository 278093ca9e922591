"""What the Schema screen says about a table: pure functions from the schema to cells, lines and fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import formatting
from app.formatting import Glyphs
from app.widgets.field_list import Field
from app.widgets.ink import Ink, Run
from app.widgets.row_list import ListColumn

if TYPE_CHECKING:
    from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table

TABS = (
    ("columns", "Columns"),
    ("relations", "Relations"),
    ("samples", "Samples"),
    ("files", "Files"),
    ("facts", "Facts"),
)

COLUMN_COLUMNS = (
    ListColumn("name", "Column", flex=3, minimum=14, maximum=34),
    ListColumn("type", "Type", flex=2, minimum=10, maximum=30),
    ListColumn("null", "Null", 4, drop=3),
    ListColumn("notes", "Notes", flex=4, minimum=16),
    ListColumn("default", "Default", flex=2, minimum=10, maximum=24, drop=4),
)

LINK_COLUMNS = (
    ListColumn("way", "", 1),
    ListColumn("column", "Column", flex=3, minimum=12, maximum=34),
    ListColumn("other", "Table", flex=3, minimum=12, maximum=40),
    ListColumn("match", "Match", 5, right=True),
    ListColumn("basis", "Basis", flex=2, minimum=8, maximum=24, drop=2),
)

FILE_COLUMNS = (
    ListColumn("column", "Column", flex=2, minimum=12, maximum=30),
    ListColumn("type", "Kind", 13),
    ListColumn("parsed", "Parsed", 6, right=True),
    ListColumn("pattern", "Pattern", flex=4, minimum=12),
)

KEY_BASES = {
    "primary_key": "primary key",
    "unique_index": "unique index",
    "proven_id": "counted, not declared",
    "row_hash": "no key: rows are told apart by content",
}
_SHORT_BASES = {"unique_index": "unique", "proven_id": "counted", "row_hash": "by content"}


@dataclass(frozen=True, slots=True)
class Link:
    """A relation seen from one table: `kind` out, in, guess_out, guess_in, rejected or outside."""

    kind: str
    column: str
    other: str
    other_column: str
    relation: ImplicitRelationship | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.column}:{self.other}.{self.other_column}"


@dataclass(frozen=True, slots=True)
class FileLine:
    column: str
    kind: str
    parsed: float | None
    pattern: str


def progress_text(step: str, done: int, total: int) -> str:
    """`columns 12 of 49`, as far as it is known."""
    return f"{step} {done:,} of {total:,}" if total else step


def about_lines(table: Table, glyphs: Glyphs) -> list[Ink]:
    """Two lines: size and key; freshness, files, problems."""
    dot: Run = (f" {glyphs.dot} ", "faint")
    if not table.readable:
        return [(f"{glyphs.bad} cannot be read", "bad"), (formatting.one_line(table.problem or ""), "muted")]
    rows = formatting.count(table.row_count, exact=table.row_count_exact, glyphs=glyphs)
    first: list[Run] = [(rows, "strong"), (" rows", "muted")]
    if table.size_bytes:
        first += [dot, (formatting.size(table.size_bytes), "muted")]
    key = ", ".join(table.key_columns) or "none"
    first += [dot, ("key ", "muted"), (formatting.one_line(key), "info")]
    if table.key_basis != "primary_key":
        first += [(f" ({_SHORT_BASES.get(table.key_basis, table.key_basis)})", "faint")]
    second: list[Run] = []
    if table.timestamp_column:
        second += [("fresh by ", "muted"), (formatting.one_line(table.timestamp_column), "info")]
    else:
        second += [("changes are found by comparing", "muted")]
    if table.file_reference_columns:
        second += [dot, (formatting.plural(len(table.file_reference_columns), "file column"), "muted")]
    problems = [*table.warnings, *([table.problem] if table.problem else [])]
    if problems:
        second = [(f"{glyphs.warn} ", "warn"), (formatting.one_line(problems[0]), "warn"), dot, *second]
    return [first, second]


def targets_by_column(schema: SchemaMap, table: Table) -> dict[str, str]:
    """Which table each column refers to."""
    return {r.source_column: r.target_table for r in schema.relationships if r.source_table == table.name}


_SHORT_TYPES = (
    ("timestamp", " without time zone", "timestamp"),
    ("timestamp", " with time zone", "timestamptz"),
    ("time", " without time zone", "time"),
    ("time", " with time zone", "timetz"),
)


def short_type(data_type: str) -> str:
    """PostgreSQL's spelling in its own short form: `timestamptz(3)`, `varchar(36)`."""
    for start, end, short in _SHORT_TYPES:
        match = re.fullmatch(rf"{start}(\(\d\))?{end}(\[\])*", data_type)
        if match:
            return short + (match[1] or "") + (match[2] or "")
    return data_type.replace("character varying", "varchar").replace("double precision", "float8")


def column_cells(
    table: Table, column: Column, name: str, targets: dict[str, str], glyphs: Glyphs, *, masked: bool = False
) -> Ink:
    """One cell of the list of columns; `masked` says that the plan masks the column."""
    unicode = glyphs.unicode
    if name == "name":
        key = column.name in table.key_columns
        return (formatting.one_line(column.name, unicode=unicode), "strong" if key else "")
    if name == "type":
        return (formatting.one_line(short_type(column.data_type), unicode=unicode), "info")
    if name == "null":
        return ("null", "faint") if column.is_nullable else ("", "")
    if name == "default":
        return (formatting.one_line(column.default_value or "", unicode=unicode), "faint")
    notes = _column_notes(table, column, targets, glyphs)
    return [(f"{glyphs.warn} masked by the plan  ", "warn"), *notes] if masked else notes


def _column_notes(table: Table, column: Column, targets: dict[str, str], glyphs: Glyphs) -> list[Run]:
    notes: list[Run] = []
    if column.sensitivity == "secret":
        notes.append((f"{glyphs.warn} secret, masked", "warn"))
    elif column.sensitivity == "personal":
        notes.append(("personal", "warn"))
    if column.secret_keys:
        notes.append((f"{glyphs.warn} secret keys inside, masked", "warn"))
    if column.personal_keys:
        notes.append(("personal keys inside", "warn"))
    if column.name in table.key_columns:
        notes.append(("key", "accent"))
    if column.name in targets:
        notes.append((f"{glyphs.arrow} {formatting.one_line(targets[column.name])}", "link"))
    if column.name == table.timestamp_column:
        notes.append((f"{glyphs.ok} freshness", "good"))
    elif column.name in table.timestamp_columns:
        notes.append(("time", "muted"))
    notes += [(f"file: {f.reference_type.value}", "good")
              for f in table.file_reference_columns if f.column_name == column.name]  # fmt: skip
    if column.null_share is not None:
        notes.append((f"{formatting.percent(column.null_share)} null", "muted"))
    if column.distinct is not None:
        notes.append((f"{formatting.count(column.distinct)} distinct", "muted"))
    if column.comment:
        notes.append((formatting.one_line(column.comment, unicode=glyphs.unicode), "muted"))
    out: list[Run] = []
    for number, note in enumerate(notes):
        out += [("  ", ""), note] if number else [note]
    return out


def links_of(schema: SchemaMap, table: Table) -> list[Link]:
    """Outgoing, incoming, then guesses and what lies outside; in column order, by name."""
    order = {column.name: column.position for column in table.columns}
    kinds = ("out", "in", "guess_out", "guess_in", "rejected", "outside")
    groups: dict[str, list[Link]] = {kind: [] for kind in kinds}
    for lead, relations in (("", schema.relationships), ("guess_", schema.candidates)):
        for r in relations:
            if r.source_table == table.name:
                groups[f"{lead}out"].append(
                    Link(f"{lead}out", r.source_column, r.target_table, r.target_column, r)
                )
            if r.target_table == table.name:
                groups[f"{lead}in"].append(
                    Link(f"{lead}in", r.target_column, r.source_table, r.source_column, r)
                )
    for r in schema.rejected:
        if r.source_table == table.name:
            groups["rejected"].append(Link("rejected", r.source_column, r.target_table, r.target_column, r))
    for external in schema.external_columns:
        if external.table == table.name:
            groups["outside"].append(Link("outside", external.column, "", "", reason=external.reason))
    for kind, links in groups.items():
        key = "out" in kind
        links.sort(key=lambda link, out=key: (order.get(link.column, 0) if out else 0, link.other))  # type: ignore[misc]
    return [link for links in groups.values() for link in links]


def link_cells(link: Link, column: str, glyphs: Glyphs) -> Ink:
    unicode = glyphs.unicode
    guess = link.kind.startswith("guess")
    if column == "way":
        if link.kind in {"outside", "rejected"}:
            return (glyphs.dot if link.kind == "outside" else glyphs.bad, "faint")
        return (glyphs.arrow if link.kind.endswith("out") else glyphs.back, "muted" if guess else "accent")
    if column == "column":
        return (formatting.one_line(link.column, unicode=unicode), "muted" if guess else "")
    if column == "other":
        if link.kind == "outside":
            return ("outside this database", "faint")
        text = f"{link.other}.{link.other_column}"
        return (formatting.one_line(text, unicode=unicode), "muted" if guess else "link")
    relation = link.relation
    if relation is None:
        return (formatting.one_line(link.reason, unicode=unicode), "faint") if column == "basis" else ""
    if column == "match":
        if relation.orphan_share is None:
            return (glyphs.dash, "faint")
        share = 1 - relation.orphan_share
        return (formatting.percent(share), "good" if share >= 0.9 else "warn" if share >= 0.5 else "bad")
    if guess or link.kind == "rejected":
        return ("a guess" if guess else "rejected by you", "faint")
    return (relation.basis, "good" if relation.basis in {"declared", "operator"} else "muted")


def alternatives(schema: SchemaMap, relation: ImplicitRelationship) -> list[ImplicitRelationship]:
    """Other targets that were considered for the same column."""
    return [
        r
        for r in (*schema.relationships, *schema.candidates)
        if (r.source_table, r.source_column) == (relation.source_table, relation.source_column)
        and r.target_table != relation.target_table
    ]


def file_lines(table: Table) -> list[FileLine]:
    return [
        FileLine(f.column_name, f.reference_type.value, f.parsed_share, f.pattern)
        for f in table.file_reference_columns
    ]


def file_cells(line: FileLine, column: str, width: int) -> Ink:
    if column == "column":
        return formatting.one_line(line.column)
    if column == "type":
        return (line.kind, "info")
    if column == "parsed":
        return (formatting.percent(line.parsed), "good" if (line.parsed or 0) > 0.9 else "warn")
    return (formatting.one_line(line.pattern), "muted")


def fact_fields(table: Table, glyphs: Glyphs) -> list[Field]:
    """Key, times with reasons, indexes, storage."""
    fields = [Field("Key", heading=True)]
    fields.append(Field("columns", ", ".join(table.key_columns) or "none", depth=1))
    fields.append(Field("basis", KEY_BASES.get(table.key_basis, table.key_basis), depth=1))
    fields.append(Field("indexed", "yes" if table.key_indexed else "no: read by block ranges", depth=1))
    if table.key_note:
        fields.append(Field("note", table.key_note, depth=1))
    if table.key_duplicates is not None:
        fields.append(Field("duplicates", formatting.count(table.key_duplicates), depth=1))
    if table.key_nulls is not None:
        fields.append(Field("without key", formatting.count(table.key_nulls), depth=1))
    fields.append(Field("Times", heading=True))
    for fitness in table.timestamps:
        verdict = f"{glyphs.ok} fit" if fitness.fit else f"{glyphs.bad} not fit"
        chosen = ", chosen" if fitness.column == table.timestamp_column else ""
        text = f"{verdict}{chosen}" + "".join(f"\n{reason}" for reason in fitness.reasons)
        fields.append(Field(fitness.column, text, depth=1, tone="good" if fitness.fit else "muted"))
    if not table.timestamps:
        fields.append(Field("none", "changes are found by comparing", depth=1))
    fields += _sensitive_fields(table, glyphs)
    if table.indexes:
        fields.append(Field("Indexes", heading=True))
        for index in table.indexes:
            kind = "primary" if index.is_primary else "unique" if index.is_unique else index.method
            fields.append(Field(index.name, f"{kind}: {', '.join(index.columns) or 'expression'}", depth=1))
    fields.append(Field("Storage", heading=True))
    fields.append(Field("kind", table.kind, depth=1))
    fields.append(Field("size", formatting.size(table.size_bytes, glyphs=glyphs), depth=1))
    if table.partitions:
        fields.append(Field("partitions", ", ".join(table.partitions), depth=1))
    if table.comment:
        fields.append(Field("comment", table.comment, depth=1))
    fields += [Field("warning", warning, depth=1, tone="warn") for warning in table.warnings]
    return fields


def _sensitive_fields(table: Table, glyphs: Glyphs) -> list[Field]:
    """Columns that hold secrets or personal data, each with the reason."""
    fields = []
    for column in table.columns:
        keys = f"{glyphs.warn} masked inside: {', '.join(column.secret_keys)}" if column.secret_keys else ""
        if column.sensitivity == "secret":
            text = f"{glyphs.warn} secret, masked"
        elif column.sensitivity == "personal":
            text = "personal, indexed"
        elif keys:
            text = keys
        else:
            continue
        reason = f" ({column.sensitivity_reason})" if column.sensitivity_reason else ""
        fields.append(Field(column.name, text + reason, depth=1, tone="warn"))
    return [Field("Sensitive", heading=True), *fields] if fields else []
