"""`discover`: the SchemaMap as JSON, Markdown or a Mermaid diagram."""

from __future__ import annotations

from pathlib import Path

from app.cli import Invocation
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.discovering import Verdicts
from ingestion.schema_discovery import SchemaMap
from ingestion.service import IngestService

_MOST_CHANGES = 20


async def run(inv: Invocation) -> ExitCode:
    """Discover, then write to stdout or to the files named by --output."""
    from ingestion.discovery import schema_export

    args, out = inv.args, inv.out
    if args.format == "both" and not args.output:
        raise errors.SettingsError(
            "--format both writes two files", hint="Name them with --output, without ending."
        )
    said = Verdicts(args.accept, args.reject, args.forget)
    async with IngestService(inv.settings) as service:
        if said:
            await service.decide_relations(said)
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
    _tell_drift(schema, inv)
    if said:
        out.say("kept: every later run obeys; records in the index follow with the next sync of their table")
    unreadable = [table for table in schema.tables if not table.readable]
    if unreadable:
        count = "1 table" if len(unreadable) == 1 else f"{len(unreadable):,} tables"
        out.say(f"{count} cannot be read: {', '.join(t.name for t in unreadable[:10])}")
    if not schema.tables:
        out.say("The database has no tables that this role can see.")
    return ExitCode.DONE


def _tell_drift(schema: SchemaMap, inv: Invocation) -> None:
    """What changed since the last discovery, as narration; the document has all of it."""
    if not schema.drift:
        return
    inv.out.say(f"since the discovery of {schema.drift_since}:")
    for line in schema.drift[:_MOST_CHANGES]:
        inv.out.say(f"  {line}")
    if len(schema.drift) > _MOST_CHANGES:
        inv.out.say(f"  and {len(schema.drift) - _MOST_CHANGES:,} more changes")


def _write(path: Path, text: str, inv: Invocation) -> None:
    try:
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise errors.OutputError(
            f"the schema cannot be written to {path}: {error.strerror or error}",
            hint="Choose another path with --output.",
        ) from error
    inv.out.say(f"wrote {path}")
