"""`search`: ask the index."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from app.cli import Invocation
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """Print hits, best first."""
    args, out = inv.args, inv.out
    async with IngestService(inv.settings) as service:
        page = await service.search(
            args.query, table=args.table, project=args.project, limit=args.limit, offset=args.offset
        )
        if args.table and not page.total:
            _check_table(args.table, await service.indexed_tables())
    if out.as_json:
        hits = [
            {
                "doc_id": hit.doc_id,
                "source_table": hit.source_table,
                "source_id": hit.source_id,
                "relevance": hit.relevance,
                "snippet": hit.snippet,
            }
            for hit in page.hits
        ]
        out.json({"total": page.total, "hits": hits})
        return ExitCode.DONE
    for hit in page.hits:
        out.data(f"{hit.doc_id}  ({hit.relevance:.2f})\n    {_printable(hit.snippet)}")
    out.say(
        f"{page.total:,} found" if page.total else "Nothing found: other words, or `ingest --full` first."
    )
    return ExitCode.DONE


def _check_table(name: str, known: Mapping[str, int]) -> None:
    """A table that the index does not hold is told from words that are not found."""
    if name not in known:
        near = get_close_matches(name, known, 3, 0.5)
        raise errors.SchemaError(
            f"the index holds no records of a table {name!r}",
            hint=f"Did you mean {', '.join(near)}?" if near else "`procore-ingest ingest --full` indexes it.",
        )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
