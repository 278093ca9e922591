"""`checkpoints`: how far each table is, and forgetting that."""

from __future__ import annotations

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """List or clear."""
    async with IngestService(inv.settings) as service:
        if inv.args.action == "clear":
            return await _clear(inv, service)
        checkpoints = await service.checkpoints()
    if inv.out.as_json:
        inv.out.json({"items": checkpoints})
        return ExitCode.DONE
    rows = [
        (
            c.table_name,
            c.sync_status,
            c.last_sync_timestamp.isoformat().replace("+00:00", "Z"),
            c.last_record_id,
            c.records_processed,
            c.records_failed,
            c.error_message,
        )
        for c in checkpoints
    ]
    headers = ("table", "status", "synced up to", "last key", "read", "failed", "message")
    if rows:
        inv.out.data(table(headers, rows, numbers=frozenset({4, 5})))
    else:
        inv.out.say("no checkpoints yet; `procore-ingest ingest --full` makes them")
    return ExitCode.DONE


async def _clear(inv: Invocation, service: IngestService) -> ExitCode:
    name = inv.args.table
    if name is None and not inv.args.yes:
        raise errors.SettingsError(
            "this would forget the checkpoints of all tables", hint="Name a table, or say --yes."
        )
    await service.clear_checkpoint(name)
    what = f"the checkpoint of {name} is" if name else "all checkpoints are"
    inv.out.say(f"{what} forgotten; no document was touched, the next sync reads in full")
    if inv.out.as_json:
        inv.out.json({"cleared": name or "*"})
    return ExitCode.DONE
