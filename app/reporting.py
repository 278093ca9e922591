"""Reports that are saved: of a job and of a verification, as Markdown for people and JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app import formatting
from ingestion.jobs import job_reports

if TYPE_CHECKING:
    from ingestion.events import Counts
    from ingestion.reports import JobReport, VerifyReport

_COUNTS = ("read", "indexed", "failed", "skipped", "warned")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; pipes inside cells are escaped, numbers stand at the right."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return lines


def _figures(counts: Counts) -> list[str]:
    return [formatting.count(getattr(counts, name)) for name in _COUNTS]


def job_markdown(report: JobReport) -> str:
    """Head, counts per table and in all, files, where the state is."""
    lines = [
        f"# Job {report.job_id}",
        "",
        f"{report.kind}, **{report.status}** in {formatting.duration(report.seconds)}. {report.message}".rstrip(),
        "",
    ]
    rows = [[f"{t.table} ({t.status})", *_figures(t.counts)] for t in report.tables]
    rows.append(["**in all**", *_figures(report.counts)])
    lines += _table(["Table", *(name.capitalize() for name in _COUNTS)], rows)
    files = report.files
    lines += [
        "",
        f"Files: {files.found:,} found, {files.downloaded:,} downloaded, {files.failed:,} failed, "
        f"{files.skipped:,} skipped.",
    ]
    if report.state_path:
        lines += ["", f"State: `{report.state_path}`"]
    return "\n".join(lines) + "\n"


def job_json(report: JobReport) -> str:
    """The members that `--json` promises for a job."""
    return json.dumps(job_reports.to_json(report), indent=2, ensure_ascii=False) + "\n"


_CHECKED = ("source", "indexed", "failed", "skipped", "pending", "missing", "extra", "different")


def verify_markdown(report: VerifyReport) -> str:
    """The verdict, then every table; ids of differences below."""
    verdict = "equal" if report.equal else "different"
    depth = "every document compared" if report.deep else "counts, keys and digests compared"
    lines = [f"# Verification: {verdict}", "", f"{depth}; {report.repaired:,} repaired.", ""]
    rows = [
        [
            f"{t.table} ({'equal' if t.equal else 'different'})",
            *(formatting.count(getattr(t, n)) for n in _CHECKED),
        ]
        for t in report.tables
    ]
    lines += _table(["Table", *(name.capitalize() for name in _CHECKED)], rows)
    for table in report.tables:
        for name in ("missing", "extra", "different"):
            ids = getattr(table, f"{name}_ids")
            if ids:
                more = ", more were cut" if table.truncated else ""
                lines += ["", f"## {table.table}: {name}{more}", "", *(f"- `{i}`" for i in ids)]
    return "\n".join(lines) + "\n"


def verify_json(report: VerifyReport) -> str:
    """The members that `--json` promises for a verification."""
    from app.commands.verify import to_json

    return json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n"
