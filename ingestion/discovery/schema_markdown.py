"""A SchemaMap as Markdown for somebody who has never seen the database."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ingestion.discovery import schema_mermaid
from ingestion.discovery.relationship_words import singular, split_words
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


_MOST_FAMILIES = 12
_MOST_SAMPLES = 3
_MOST_UNFIT = 3
_LONGEST_SAMPLE = 60
_OUTSIDE = "references-to-something-outside-this-database"
_LEGEND = (
    "<details><summary>How to read this</summary>\n\n"
    "- **Rows** are counted; a figure with *about* is the planner's estimate.\n"
    "- **Key**: by what rows are told apart. Where nothing is declared, it was found by looking at the values.\n"
    "- **Freshness**: the column that shows how recent a row is, and may narrow an incremental read.\n"
    "- **References** are declared foreign keys, or found by us from names, types and values: *sure* is how"
    " probable we hold one, *orphans* the share of rows whose value no row of the target has.\n"
    "- **refers outside**: named like a reference, but no table of this database holds such keys.\n\n</details>"
)


def render(schema_map: SchemaMap) -> str:
    """The whole document, ending in a newline."""
    parts = [
        _overview(schema_map),
        _warnings(schema_map),
        _drift(schema_map),
        _contents(schema_map),
        _picture(schema_map),
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
    empty = [t for t in m.tables if t.readable and t.row_count_exact and not t.row_count]
    if empty:
        lines += ["", f"**Empty:** {_listed([_link(t.name) for t in empty])}."]
    families = _families(m)
    if families:
        lines += ["", "**Tables that share a first word:** " + "; ".join(families) + "."]
    lines += _sensitive(m)
    lines += _further(m)
    lines += ["", _LEGEND]
    return "\n".join(lines)


def _further(m: SchemaMap) -> list[str]:
    """Where the document goes on behind the tables, which may be thousands of lines away."""
    sections = [
        (f"all {_count(len(m.relationships), 'reference')}", "references", m.relationships),
        (f"{len(m.candidates):,} possible", "possible-references", m.candidates),
        (f"{_count(len(m.external_columns), 'column')} that refer outside", _OUTSIDE, m.external_columns),
        (_count(len(m.views), "view"), "views", m.views),
    ]
    found = [f"[{label}](#{anchor})" for label, anchor, present in sections if present]
    return ["", f"**Behind the [tables](#tables):** {', '.join(found)}."] if found else []


def _sensitive(m: SchemaMap) -> list[str]:
    columns = [(t.name, c) for t in m.tables for c in t.columns]
    secrets = [code(f"{t}.{c.name}") for t, c in columns if c.sensitivity == "secret"]
    secrets += [f"{code(key)} inside {code(f'{t}.{c.name}')}" for t, c in columns for key in c.secret_keys]
    personal = [code(f"{t}.{c.name}") for t, c in columns if c.sensitivity == "personal"]
    personal += [f"{code(key)} inside {code(f'{t}.{c.name}')}" for t, c in columns for key in c.personal_keys]
    lines = []
    if secrets:
        lines += ["", f"**Secrets**, always masked: {', '.join(secrets)}."]
    if personal:
        lines += ["", f"**Personal data**, indexed unless you mask it: {_listed(personal)}."]
    return lines


def _families(m: SchemaMap) -> list[str]:
    """Groups of tables that begin with the same word: what belongs together in most databases."""
    firsts: dict[str, list[Table]] = defaultdict(list)
    for t in m.tables:
        words = split_words(t.relname or t.name)
        if words:
            firsts[singular(words[0])].append(t)
    groups = [tables for tables in firsts.values() if 2 <= len(tables) < max(3, len(m.tables))]
    groups.sort(key=lambda tables: (-len(tables), tables[0].name))
    return [_listed([_link(t.name) for t in tables], 6) for tables in groups[:_MOST_FAMILIES]]


def _warnings(m: SchemaMap) -> str:
    """Warnings, those that several tables share said once."""
    tables: dict[str, list[str]] = defaultdict(list)
    for t in m.tables:
        for warning in t.warnings:
            tables[warning].append(t.name)
    lines = [f"- {text(w)}" for w in m.warnings]
    lines += [
        f"- {_listed([_link(n) for n in names], 12)}: {'in each, ' if len(names) > 1 else ''}{text(w)}"
        for w, names in tables.items()
    ]
    return "\n".join(["## Warnings", "", *lines]) if lines else ""


def _drift(m: SchemaMap) -> str:
    if not m.drift:
        return ""
    return f"## Changes since {text(m.drift_since)}\n\n" + "\n".join(f"- {text(line)}" for line in m.drift)


def _picture(m: SchemaMap) -> str:
    """The references between tables as a diagram, without the tables that nearly everything refers to."""
    drawn = schema_mermaid.overview(m)
    if not drawn.relations:
        return ""
    left_out = ""
    if drawn.hubs:
        hubs = ", ".join(f"{_link(name)} ({_count(count, 'table')})" for name, count in drawn.hubs)
        left_out = f" Left out, because so many tables refer to them: {hubs}."
    if drawn.more:
        left_out += f" {drawn.more:,} more references are not drawn."
    return (
        f"## Picture\n\nWhich table refers to which: solid lines are declared, dotted ones inferred.{left_out}"
        f"\n\n```mermaid\n{drawn.diagram}```"
    )


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
    key = f"{code(', '.join(t.key_columns))}, {_basis(t)}" if t.key_columns else _basis(t)
    lines.append(f"- Rows: {_rows(t)}{_size_note(t)}")
    lines.append(f"- Key: {key}{f' ({text(t.key_note)})' if t.key_note else ''}")
    if t.timestamps:
        lines.append(f"- Freshness: {_freshness(t)}")
    if t.partitions:
        lines.append(f"- Partitions: {len(t.partitions)}")
    if t.inherits:
        lines.append(f"- Inherits from {', '.join(map(_link, t.inherits))}")
    heirs = [other.name for other in m.tables if t.name in other.inherits]
    if heirs:
        lines.append(f"- Inherited by {_listed(list(map(_link, heirs)))}, whose rows are counted there")
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


def _basis(t: Table) -> str:
    if t.key_basis == "proven_id" and (t.key_duplicates or t.key_nulls):
        return "not declared; nearly all of its values are distinct"
    return _BASES[t.key_basis]


def _columns(t: Table, m: SchemaMap) -> str:
    targets: dict[str, list[str]] = defaultdict(list)
    for r in m.relations_from(t.name):
        target = _link(r.target_table) + _where(r)
        if target not in targets[r.source_column]:
            targets[r.source_column].append(target)
    external = {e.column for e in m.external_columns if e.table == t.name}
    files = {f.column_name for f in t.file_reference_columns}
    statistics = any(c.null_share is not None for c in t.columns)
    header = ["column", "type", "null", "meaning"] + (
        ["empty", "distinct", "range or most frequent"] if statistics else []
    )
    rows = []
    for c in t.columns:
        notes = [f"key{' part' if len(t.key_columns) > 1 else ''}"] if c.name in t.key_columns else []
        if c.name in targets:
            notes.append(f"→ {_listed(targets[c.name], 4)}")
        if c.name in external:
            notes.append("refers outside")
        if c.name in files:
            notes.append("file")
        if c.sensitivity != "none":
            notes.append(f"**{c.sensitivity}** ({text(c.sensitivity_reason)})")
        notes += [f"**secret** {code(key)} inside (named like a secret)" for key in c.secret_keys]
        notes += [f"**personal** {code(key)} inside (named like personal data)" for key in c.personal_keys]
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
        same = c.minimum == c.maximum
        span = f"always {code(c.minimum)}" if same else f"{code(c.minimum)} to {code(c.maximum or '')}"
    else:
        span = ", ".join(dict.fromkeys(code(v if len(v) <= 40 else f"{v[:40]}…") for v in c.top_values[:3]))
    if c.longest is not None and c.longest > 40:
        span += f"{'; ' if span else ''}up to {c.longest:,} characters"
    return [empty, distinct, span]


def _freshness(t: Table) -> str:
    if t.timestamp_column:
        chosen = next(x for x in t.timestamps if x.column == t.timestamp_column)
        first = f"{code(t.timestamp_column)}: {text('; '.join(chosen.reasons))}"
    else:
        first = "no column shows it; changes are found by row versions"
    others = [x for x in t.timestamps if not x.fit and x.reasons and x.column != t.timestamp_column]
    unfit: dict[str, list[str]] = defaultdict(list)
    for x in others[:_MOST_UNFIT]:
        unfit[", ".join(x.reasons[1:] or x.reasons)].append(code(x.column))
    more = "; ".join(
        f"{', '.join(columns)} {'is' if len(columns) == 1 else 'are'} not fit: {text(reason)}"
        for reason, columns in unfit.items()
    )
    return first + (f". {more}" if more else "")


def _outgoing(r: ImplicitRelationship) -> str:
    sure = "declared" if r.basis == "declared" else f"{_confidence(r)} sure"
    orphans = f", {r.orphan_share:.1%} orphans" if r.orphan_share else ""
    why = f": {text('; '.join(r.evidence).removeprefix('declared: '))}" if r.evidence else ""
    target = f"{_link(r.target_table)}.{code(r.target_column)}"
    return f"{code(r.source_column)} → {target}{_where(r)} ({sure}{orphans}){why}"


def _where(r: ImplicitRelationship) -> str:
    """For which rows alone the reference holds, empty for all."""
    return f" where {code(r.type_column)} is {code(r.type_value or '')}" if r.type_column else ""


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
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for e in m.external_columns:
        places[e.column, e.reason].append(e.table)
    lines = [
        f"- {code(column)} of {_listed(list(map(_link, tables)), 12)}: {text(reason)}"
        for (column, reason), tables in places.items()
    ]
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
    """The first rows side by side, a line for each column that has a value: wide tables stay readable."""
    shown = t.samples[:_MOST_SAMPLES]
    rows = [
        [code(c.name), *("" if row.get(c.name) is None else text(_cut(row[c.name] or "")) for row in shown)]
        for c in t.columns
        if any(row.get(c.name) is not None for row in shown)
    ]
    return _grid(["column", *(f"row {n + 1}" for n in range(len(shown)))], rows)


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_SAMPLE else f"{value[:_LONGEST_SAMPLE]}…"


def _listed(items: Sequence[str], most: int = 20) -> str:
    """Items with commas between, the first `most` of them."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


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
