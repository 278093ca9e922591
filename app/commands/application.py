"""No command: the terminal application, where there is a terminal."""

from __future__ import annotations

import sys

from app.cli import Invocation
from app.exit_codes import ExitCode
from ingestion import errors
from ingestion.service import IngestService


async def run(inv: Invocation) -> ExitCode:
    """Open the application on the settings; without a terminal say which command does the same."""
    return await open_application(inv, IngestService(inv.settings))


async def open_application(inv: Invocation, service: IngestService) -> ExitCode:
    """Run the application on a service and close the service afterwards."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        await service.aclose()
        raise errors.SettingsError(
            "the application needs a terminal",
            hint="Without one use a command: `procore-ingest demo --headless`, `discover`, `ingest --full`.",
        )
    from app import application

    try:
        code = await application.run(
            service, screen=getattr(inv.args, "screen", None), table=getattr(inv.args, "table", None)
        )
    finally:
        await service.aclose()
    return ExitCode(code)
