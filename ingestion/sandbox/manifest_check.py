"""A job on the sample against its manifest: is every row that did not get through one that was meant not to?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ingestion.reports import JobReport
from ingestion.sandbox.sample import manifest
from ingestion.service import IngestService
from ingestion.state.types import FailureFilter

_PAGE = 1000


async def surprises(service: IngestService, manifest_path: str, report: JobReport) -> list[str]:
    """One line for each outcome that the manifest does not predict, and each prediction that did not come true.

    Records are compared one by one, with their cause; skipped rows and warned rows by their number per table.
    Files are told apart by cause only in their own counts.
    """
    lines = list(manifest.read(Path(manifest_path)))
    taken = {table.table for table in report.tables}
    expected = Counter(
        (line.table, line.id or "", line.expect.partition(":")[2])
        for line in lines
        if line.expect.startswith("failed:") and not line.kind.startswith(manifest.FILE_PREFIX)
        if line.table in taken
    )
    found = Counter(await _failed_records(service))
    said = [f"not foreseen: {_named(item)} ({count})" for item, count in sorted((found - expected).items())]
    said += [
        f"foreseen, but did not fail: {_named(item)} ({count})"
        for item, count in sorted((expected - found).items())
    ]
    predicted = manifest.predicted(lines)
    for table in report.tables:
        foreseen = predicted.get(table.table)
        skipped = sum(foreseen.skipped.values()) if foreseen else 0
        warned = foreseen.warned if foreseen else 0
        if table.counts.skipped != skipped:
            said.append(f"{table.table}: {table.counts.skipped} rows skipped where {skipped} are foreseen")
        if table.counts.warned != warned:
            said.append(f"{table.table}: {table.counts.warned} rows warned where {warned} are foreseen")
        if not table.counts.adds_up:
            said.append(f"{table.table}: read is not indexed + failed + skipped")
    return said


async def _failed_records(service: IngestService) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    after: int | None = None
    while True:
        page = await service.failures(FailureFilter(kinds=("record",)), after, _PAGE)
        found += [(f.table, f.key, f.cause) for f in page.items]
        if page.next is None:
            return found
        after = page.next


def _named(item: tuple[str, str, str]) -> str:
    table, key, cause = item
    return f"{table} {key or '(no key)'}: {cause}"
