"""Failed files tried again, each by the reference that its record holds now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing

from ingestion.files.stage import FileStage
from ingestion.state.types import Failure
from ingestion.sync import settlement
from ingestion.sync.key_lookup import find_rows
from ingestion.sync.settlement import TableRun
from ingestion.transform.documents import Document


async def retry(run: TableRun, files: FileStage, failures: Sequence[Failure]) -> None:
    """Settle the files of these failures once more; a failure whose record no longer names its file ends."""
    wanted: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        wanted[failure.key].append(failure)
    file_ids = {failure.locator for failure in failures}
    named: set[tuple[str, str]] = set()
    async with aclosing(find_rows(run.reader, run.builder, list(wanted))) as batches:
        async for rows in batches:
            built = [settlement.build(run, row) for row in rows]
            documents = [document for document in built if isinstance(document, Document)]
            named |= {(document.key, file.file_id) for document in documents for file in document.files}
            await files.settle(run.name, documents, only=file_ids)
    gone = [failure.id for failure in failures if (failure.key, failure.locator) not in named]
    if gone:
        await run.io.state.resolve_failures(gone, "no record names the file any more")
    await files.drain()
