"""`discover`: the SchemaMap as JSON, Markdown or a Mermaid diagram."""

from __future__ import annotations

from pathlib import Path

from app.cli import Invocation
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """Discover, then write to stdout or to the files named by --output."""
    from ingestion.discovery import schema_export

    args, out = inv.args, inv.out
    if args.format == "both" and not args.output:
        raise errors.SettingsError(
            "--format both writes two files", hint="Name them with --output, without ending."
        )
    async with IngestService(inv.settings) as service:
        schema = await service.discover(
            include_samples=args.include_samples,
            include_stats=args.include_stats,
            schemas=args.schema,
            on_progress=inv.steps(),
        )
    renderers = {
        "json": schema_export.to_json,
        "markdown": schema_export.to_markdown,
        "mermaid": schema_export.to_mermaid,
    }
    if args.format == "both":
        for name, ending in (("json", ".json"), ("markdown", ".md")):
            _write(Path(args.output + ending), renderers[name](schema), inv)
    elif args.output:
        _write(Path(args.output), renderers[args.format](schema), inv)
    else:
        chosen = "json" if out.as_json else args.format
        out.document(renderers[chosen](schema))
    unreadable = [table for table in schema.tables if not table.readable]
    if unreadable:
        out.say(f"{len(unreadable)} tables cannot be read: {', '.join(t.name for t in unreadable[:10])}")
    if not schema.tables:
        out.say("The database has no tables that this role can see.")
    return ExitCode.DONE


def _write(path: Path, text: str, inv: Invocation) -> None:
    try:
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise errors.OutputError(
            f"the schema cannot be written to {path}: {error.strerror or error}",
            hint="Choose another path with --output.",
        ) from error
    inv.out.say(f"wrote {path}")
