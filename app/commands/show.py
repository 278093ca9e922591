"""`show`: one document, what it refers to, what refers to it, and its files."""

from __future__ import annotations

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """Print the document; with --json exactly its fields."""
    doc_id, out = inv.args.doc_id, inv.out
    async with IngestService(inv.settings) as service:
        found = await service.show(doc_id)
        if found is None:
            raise errors.SchemaError(
                f"the index has no document {doc_id!r}",
                hint="Ids look like rfis:123 (`search` prints them), or schema:rfis for a table.",
            )
        if out.as_json:
            out.json(found)
            return ExitCode.DONE
        related = [] if doc_id.startswith("schema:") else await service.related(doc_id)
        files = [] if doc_id.startswith("schema:") else await service.files_of(doc_id)
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


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:199] + "…"
