"""`verify`: source against index, table by table."""

from __future__ import annotations

from app.cli import Invocation
from app.exit_codes import ExitCode
from app.output import table
from ingestion.reports import VerifyReport
from ingestion.service import IngestService

_COLUMNS = (
    "table", "source", "indexed", "failed", "skipped", "pending", "missing", "extra", "different"
)  # fmt: skip


async def run(inv: Invocation) -> ExitCode:
    """Compare, mend with --repair, and end 3 where something is missing, extra or different."""
    args = inv.args
    async with IngestService(inv.settings) as service:
        report = await service.verify(
            tuple(name for part in args.tables or () for name in part) or None,
            exclude=tuple(name for part in args.exclude or () for name in part),
            deep=args.deep,
            repair=args.repair,
            allow_mass_delete=args.allow_mass_delete,
            on_progress=inv.steps(),
        )
    if inv.out.as_json:
        inv.out.json(to_json(report))
    else:
        inv.out.data(to_text(report))
    return ExitCode.DONE if report.equal else ExitCode.INCOMPLETE


def to_json(report: VerifyReport) -> dict[str, object]:
    """The object that `verify --json` prints; its keys are stable."""
    ids = ("missing_ids", "extra_ids", "different_ids", "truncated", "message")
    return {
        "equal": report.equal,
        "deep": report.deep,
        "repaired": report.repaired,
        "tables": [{name: getattr(t, name) for name in (*_COLUMNS, *ids)} for t in report.tables],
    }


def to_text(report: VerifyReport) -> str:
    """The table of differences and the ids behind them."""
    rows = [tuple(getattr(t, name) for name in _COLUMNS) for t in report.tables]
    lines = [table(_COLUMNS, rows, numbers=frozenset(range(1, 9))), ""]
    for difference in report.tables:
        if difference.message:
            lines.append(f"{difference.table}: {difference.message}")
        for name in ("missing", "extra", "different"):
            ids = getattr(difference, f"{name}_ids")
            if ids:
                shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
                lines.append(f"{difference.table}: {name}: {shown}")
    if report.repaired:
        lines.append(f"{report.repaired:,} documents were mended")
    lines.append(
        "source and index are equal"
        if report.equal
        else "source and index differ; `procore-ingest verify --repair` mends exactly this"
    )
    return "\n".join(lines)
