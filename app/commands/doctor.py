"""`doctor`: every prerequisite checked, all told together, each with what to do."""

from __future__ import annotations

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion import doctor
from ingestion.reports import Check

_MARKS = {"ok": "ok", "warning": "warn", "problem": "FAIL"}


async def run(inv: Invocation) -> ExitCode:
    """Print the checks; the exit code is that of the first problem."""
    checks = await doctor.examine(inv.settings)
    if inv.out.as_json:
        inv.out.json({"checks": checks})
    else:
        rows = [(_MARKS[c.state], c.name, c.message) for c in checks]
        inv.out.data(table(("", "what", "finding"), rows))
        for check in checks:
            if check.hint:
                inv.out.data(f"{check.name}: {check.hint}")
    return _code(checks)


def _code(checks: list[Check]) -> ExitCode:
    codes = {"source": ExitCode.SOURCE, "vespa": ExitCode.VESPA, "settings": ExitCode.USAGE}
    for check in checks:
        if check.state == "problem":
            return codes.get(check.name.split(":")[0], ExitCode.LOCAL)
    return ExitCode.DONE
