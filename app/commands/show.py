"""`show`: one document, what it refers to, what refers to it, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """Print the document; with --json exactly its fields, with --links besides what it leads to."""
    doc_id, out = inv.args.doc_id, inv.out
    async with IngestService(inv.settings) as service:
        found = await service.show(doc_id)
        if found is None:
            raise errors.SchemaError(
                f"the index has no document {doc_id!r}",
                hint="Ids look like rfis:123 (`search` prints them), or schema:rfis for a table.",
            )
        if out.as_json and not inv.args.links:
            out.json(found)
            return ExitCode.DONE
        is_table = doc_id.startswith("schema:")
        related = [] if is_table else await service.related(doc_id)
        files = [] if is_table else await service.files_of(doc_id)
    if out.as_json:
        out.json({"document": found, "related": related, "files": files})
        return ExitCode.DONE
    if is_table:
        _show_table(inv, found)
        return ExitCode.DONE
    fields = dict(found)
    metadata = fields.pop("metadata", {}) | fields.pop("metadata_long", {})
    for name in ("relationships", "file_references", "content_text"):
        fields.pop(name, None)
    out.data(table(("field", "value"), [(name, _short(value)) for name, value in fields.items()]))
    if metadata:
        out.data(
            "\n" + table(("column", "value"), [(name, _short(value)) for name, value in metadata.items()])
        )
    if related:
        rows = [
            ("→" if r.direction == "out" else "←", r.relation, r.doc_id, r.title, r.exists) for r in related
        ]
        out.data("\n" + table(("", "relation", "document", "title", "indexed"), rows))
    if files:
        listed = [(f.get("filename"), f.get("status"), f.get("size"), f.get("error")) for f in files]
        out.data("\n" + table(("file", "status", "bytes", "error"), listed))
    return ExitCode.DONE


def _show_table(inv: Invocation, fields: Mapping[str, Any]) -> None:
    """A table's own document: its columns with what they are for, and the references both ways."""
    out = inv.out
    key = ", ".join(fields.get("key_columns", ())) or "none"
    out.data(f"{fields.get('table_name')}: {fields.get('row_count', 0):,} rows, key {key}\n")
    columns = [(c.get("name"), c.get("type"), "; ".join(_said(c))) for c in fields.get("columns", ())]
    out.data(table(("column", "type", "what it is"), columns))
    links = [("→", r.get("column"), f"{r.get('target_table')}.{r.get('target_column')}")
             for r in fields.get("relations", ())]  # fmt: skip
    links += [("←", r.get("source_column"), r.get("source_table")) for r in fields.get("referrers", ())]
    if links:
        out.data("\n" + table(("", "column", "table"), links))


def _said(column: Mapping[str, Any]) -> list[str]:
    personal = "personal" if column.get("sensitivity") == "personal" else ""
    return [str(text) for text in (column.get("role"), personal, column.get("comment")) if text]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:199] + "…"
