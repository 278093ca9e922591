"""A SchemaMap as Markdown for somebody who has never seen the database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ingestion.schema_discovery import Column, ImplicitRelationship, SchemaMap, Table

_MOST_CENTRAL = 8
_BASES = {
    "primary_key": "declared primary key",
    "unique_index": "unique index, all columns NOT NULL",
    "proven_id": "not declared; its values were found to be distinct",
    "row_hash": "none: rows are told apart by their content",
}
_KINDS = {
    "partitioned": "partitioned table",
    "foreign": "foreign table",
    "materialized_view": "materialised view",
}


def render(schema_map: SchemaMap) -> str:
    """The whole document, ending in a newline."""
    parts = [
        _overview(schema_map),
        _contents(schema_map),
        "\n\n".join(_table(t, schema_map) for t in schema_map.tables),
        _all_relations(schema_map),
        _candidates(schema_map),
        _rejected(schema_map),
        _external(schema_map),
        _views(schema_map),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(m: SchemaMap) -> str:
    rows = sum(t.row_count for t in m.tables)
    exact = all(t.row_count_exact for t in m.tables if t.readable)
    columns = sum(len(t.columns) for t in m.tables)
    declared = sum(r.basis == "declared" for r in m.relationships)
    files = sum(len(t.file_reference_columns) for t in m.tables)
    lines = [
        f"# Database {text(m.database_name)}",
        "",
        f"PostgreSQL {m.server_version or '(version unknown)'}, looked at {m.discovery_timestamp}.",
        "",
        f"{_count(len(m.tables), 'table')} with {_count(columns, 'column')} and "
        f"{'' if exact else 'about '}{_count(rows, 'row')}; {_count(len(m.views), 'view')}; "
        f"{_count(len(m.relationships), 'reference')} between tables ({declared} declared, "
        f"{len(m.relationships) - declared} found by us); {_count(files, 'column')} that point at files.",
    ]
    central = sorted(
        ((len(m.relations_to(t.name)), t) for t in m.tables), key=lambda pair: (-pair[0], pair[1].name)
    )
    central = [(n, t) for n, t in central if n][:_MOST_CENTRAL]
    if central:
        lines += [
            "",
            "**Where to start.** Most references lead to: "
            + ", ".join(f"{_link(t.name)} ({n})" for n, t in central)
            + ".",
        ]
    largest = sorted((t for t in m.tables if t.row_count), key=lambda t: -t.row_count)[:5]
    if largest:
        lines += ["", "**Most rows:** " + ", ".join(f"{_link(t.name)} ({_rows(t)})" for t in largest) + "."]
    secrets = [f"{t.name}.{c.name}" for t in m.tables for c in t.columns if c.sensitivity == "secret"]
    if secrets:
        lines += ["", f"**Secrets**, always masked: {', '.join(map(code, secrets))}."]
    warnings = [*m.warnings, *(f"{t.name}: {w}" for t in m.tables for w in t.warnings)]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {text(w)}" for w in warnings)]
    return "\n".join(lines)


def _contents(m: SchemaMap) -> str:
    if not m.tables:
        return "There are no tables that this role can see."
    rows = [
        [_link(t.name), _rows(t), str(len(t.columns)), code(", ".join(t.key_columns)) if t.key_columns else "none",
         code(t.timestamp_column) if t.timestamp_column else "none", _size(t.size_bytes)]
        for t in m.tables
    ]  # fmt: skip
    return "## Tables\n\n" + _grid(["table", "rows", "columns", "key", "freshness", "size"], rows)


def _table(t: Table, m: SchemaMap) -> str:
    kind = f" ({_KINDS[t.kind]})" if t.kind in _KINDS else ""
    lines = [f'<a id="{_anchor(t.name)}"></a>', "", f"### {text(t.name)}{kind}", ""]
    if t.comment:
        lines += [f"> {text(t.comment)}", ""]
    if not t.readable:
        lines += [f"**Cannot be read:** {text(t.problem or 'no reason given')}", ""]
    key = f"{code(', '.join(t.key_columns))}: {_BASES[t.key_basis]}" if t.key_columns else _BASES[t.key_basis]
    lines.append(f"- Rows: {_rows(t)}{_size_note(t)}")
    lines.append(f"- Key: {key}{f' ({text(t.key_note)})' if t.key_note else ''}")
    if t.timestamps:
        lines.append(f"- Freshness: {_freshness(t)}")
    if t.partitions:
        lines.append(f"- Partitions: {len(t.partitions)}")
    if t.inherits:
        lines.append(f"- Inherits from {', '.join(map(code, t.inherits))}")
    lines += ["", _columns(t, m)]
    outgoing, incoming = m.relations_from(t.name), m.relations_to(t.name)
    if outgoing:
        lines += ["", "Refers to:", "", *(f"- {_outgoing(r)}" for r in outgoing)]
    if incoming:
        lines += [
            "",
            "Referred to by: "
            + ", ".join(f"{_link(r.source_table)}.{code(r.source_column)}" for r in incoming),
        ]
    if t.file_reference_columns:
        lines += ["", "Files:", ""]
        for f in t.file_reference_columns:
            beside = ", ".join(f"{member} in {code(column)}" for member, column in f.companions.items())
            lines.append(f"- {code(f.column_name)}: {text(f.pattern)}{f'; {beside}' if beside else ''}")
    if t.samples:
        lines += ["", "<details><summary>First rows</summary>", "", _samples(t), "", "</details>"]
    return "\n".join(lines)


def _columns(t: Table, m: SchemaMap) -> str:
    targets = {r.source_column: r.target_table for r in reversed(m.relations_from(t.name))}
    files = {f.column_name for f in t.file_reference_columns}
    statistics = any(c.null_share is not None for c in t.columns)
    header = ["column", "type", "null", "meaning"] + (
        ["empty", "distinct", "range or most frequent"] if statistics else []
    )
    rows = []
    for c in t.columns:
        notes = [f"key{' part' if len(t.key_columns) > 1 else ''}"] if c.name in t.key_columns else []
        if c.name in targets:
            notes.append(f"→ {_link(targets[c.name])}")
        if c.name in files:
            notes.append("file")
        if c.sensitivity != "none":
            notes.append(f"**{c.sensitivity}** ({text(c.sensitivity_reason)})")
        if c.is_generated:
            notes.append("generated")
        if c.comment:
            notes.append(text(c.comment))
        row = [code(c.name), code(c.data_type), "yes" if c.is_nullable else "no", "; ".join(notes)]
        rows.append(row + (_statistics(c) if statistics else []))
    return _grid(header, rows)


def _statistics(c: Column) -> list[str]:
    empty = "" if c.null_share is None else f"{c.null_share:.0%}"
    distinct = "" if c.distinct is None else f"{c.distinct:,}"
    if c.minimum is not None and c.type_category in ("number", "time"):
        span = f"{code(c.minimum)} to {code(c.maximum or '')}"
    else:
        span = ", ".join(code(v[:40]) for v in c.top_values[:3])
    return [empty, distinct, span]


def _freshness(t: Table) -> str:
    if t.timestamp_column:
        chosen = next(x for x in t.timestamps if x.column == t.timestamp_column)
        first = f"{code(t.timestamp_column)}: {text('; '.join(chosen.reasons))}"
    else:
        first = "no column shows it; changes are found by row versions"
    others = [x for x in t.timestamps if not x.fit and x.reasons and x.column != t.timestamp_column]
    more = "; ".join(
        f"{code(x.column)} is not fit: {text(', '.join(x.reasons[1:] or x.reasons))}" for x in others[:3]
    )
    return first + (f". {more}" if more else "")


def _outgoing(r: ImplicitRelationship) -> str:
    sure = "declared" if r.basis == "declared" else f"{_confidence(r)} sure"
    orphans = f", {r.orphan_share:.1%} orphans" if r.orphan_share else ""
    where = f" where {code(r.type_column)} is {code(r.type_value or '')}" if r.type_column else ""
    why = f": {text('; '.join(r.evidence))}" if r.evidence else ""
    target = f"{_link(r.target_table)}.{code(r.target_column)}"
    return f"{code(r.source_column)} → {target}{where} ({sure}{orphans}){why}"


def _confidence(r: ImplicitRelationship) -> str:
    return "over 99%" if r.confidence >= 0.995 else f"{r.confidence:.0%}"


def _all_relations(m: SchemaMap) -> str:
    if not m.relationships:
        return ""
    rows = [
        [f"{_link(r.source_table)}.{code(r.source_column)}", f"{_link(r.target_table)}.{code(r.target_column)}",
         "declared" if r.basis == "declared" else _confidence(r),
         "" if r.orphan_share is None else f"{r.orphan_share:.1%}"]
        for r in m.relationships
    ]  # fmt: skip
    return "## References\n\n" + _grid(["from", "to", "confidence", "orphans"], rows)


def _candidates(m: SchemaMap) -> str:
    if not m.candidates:
        return ""
    lines = [f"- {_link(r.source_table)}.{_outgoing(r)}" for r in m.candidates]
    return (
        "## Possible references\n\nGuesses that nothing follows until somebody accepts them.\n\n"
        + "\n".join(lines)
    )


def _rejected(m: SchemaMap) -> str:
    if not m.rejected:
        return ""
    lines = [
        f"- {_link(r.source_table)}.{code(r.source_column)} → {_link(r.target_table)}" for r in m.rejected
    ]
    return (
        "## Rejected references\n\nWhat an operator said is none (`discover --forget` takes it back).\n\n"
        + "\n".join(lines)
    )


def _external(m: SchemaMap) -> str:
    if not m.external_columns:
        return ""
    lines = [f"- {_link(e.table)}.{code(e.column)}: {text(e.reason)}" for e in m.external_columns]
    return "## References to something outside this database\n\n" + "\n".join(lines)


def _views(m: SchemaMap) -> str:
    if not m.views:
        return ""
    rows = [
        [code(v.name), _KINDS.get(v.kind, "view"), str(len(v.columns)), text(v.comment or "")]
        for v in m.views
    ]
    return "## Views\n\nListed for completeness; never taken along.\n\n" + _grid(
        ["view", "kind", "columns", "comment"], rows
    )


def _samples(t: Table) -> str:
    names = [c.name for c in t.columns]
    rows = [["" if row.get(n) is None else text((row[n] or "")[:60]) for n in names] for row in t.samples]
    return _grid([text(n) for n in names], rows)


def _rows(t: Table) -> str:
    if not t.readable:
        return "unknown"
    return f"{t.row_count:,}" if t.row_count_exact else f"about {t.row_count:,}"


def _size_note(t: Table) -> str:
    return f" ({_size(t.size_bytes)})" if t.size_bytes else ""


def _size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def text(value: str) -> str:
    """Any text as one line of Markdown that shows it as it is."""
    line = re.sub(r"[\x00-\x1f\x7f]+", " ", value)
    # An underscore inside a word means nothing, so names stay readable in the raw text.
    return re.sub(r"([\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)


def code(value: str) -> str:
    """A name or value in code style, whatever it holds."""
    line = re.sub(r"[\x00-\x1f\x7f]+", "␤", value).replace("|", "\\|")
    return f"`{line}`" if "`" not in line else f"`` {line} ``"


def _anchor(name: str) -> str:
    """The same for the same name, and different for different ones, in letters that an address may hold."""
    return "table-" + "".join(
        ch if ch.isascii() and (ch.isalnum() or ch in "_.") else f"-{ord(ch):x}" for ch in name
    )


def _link(name: str) -> str:
    return f"[{text(name)}](#{_anchor(name)})"
