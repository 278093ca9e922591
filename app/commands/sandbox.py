"""`sandbox`: the embedded PostgreSQL, Vespa endpoint and file store alone."""

from __future__ import annotations

import asyncio

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table


async def run(inv: Invocation) -> ExitCode:
    """Start, stop or describe the sandbox."""
    from ingestion.sandbox import sandbox

    home = sandbox.default_home()
    if inv.args.action == "down":
        stopped = await asyncio.to_thread(sandbox.down, home)
        inv.out.say("the sandbox is down; its data stays" if stopped else "no sandbox is running")
        if inv.out.as_json:
            inv.out.json({"stopped": bool(stopped)})
        return ExitCode.DONE
    if inv.args.action == "up":
        info = await sandbox.up(home, scale=inv.args.scale, seed=inv.args.seed, on_progress=inv.out.say)
    else:
        found = await asyncio.to_thread(sandbox.status, home)
        if found is None:
            inv.out.say("no sandbox is running; `procore-ingest sandbox up` starts it")
            if inv.out.as_json:
                inv.out.json({})
            return ExitCode.DONE
        info = found
    if inv.out.as_json:
        inv.out.json(info)
        return ExitCode.DONE
    rows = [("database", info.database_url), ("vespa", info.vespa_url), ("files", info.files_url),
            ("state", info.state_dir), ("manifest", info.manifest)]  # fmt: skip
    inv.out.data(table(("service", "where"), rows))
    if inv.args.action == "up":
        inv.out.data("\n" + table(("table", "SHA-256 of its COPY stream"), sorted(info.copy_sha256.items())))
    inv.out.say("`procore-ingest sandbox down` stops it")
    return ExitCode.DONE
