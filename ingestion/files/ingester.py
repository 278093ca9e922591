"""The stage beside the records that settles their files: each fetched once, indexed, counted, or a failure.

`settle` first stores the files and who refers to them, so that a crash loses none: what a killed job left
pending is found again by `unsettled`. Then workers fetch and extract, and one task feeds and commits what
became of them, many at a time.

A file already on disk costs one conditional request when a record that refers to it changes; the store's
answer that it is unchanged, or that the old URL is no longer good, leaves it as it is. Local copies of files
that nothing refers to any more stay on disk; their documents go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingestion import errors
from ingestion.events import Event, FileCounts, FileFinished, FilesCommitted, Publish
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import FileDownloader
from ingestion.files import documents as docs
from ingestion.files.extraction import Extractor
from ingestion.files.writer import FileWriter
from ingestion.state.types import BatchCommit, Failure, FileLink, FileRow
from ingestion.sync.job_control import JobControl
from ingestion.vespa.feeding import Feeder, Outcome, Verdict

if TYPE_CHECKING:
    from ingestion.state.store import StateStore
    from ingestion.sync.sync_io import ReadSequence
    from ingestion.transform.documents import Document

_QUEUED_PER_WORKER: Final = 64
_GATHER_S: Final = 0.05
"""Seconds that outcomes are gathered for, before one commit takes them all."""
_MOST_PER_COMMIT: Final = 128
_RECENT: Final = 256
"""Outcomes kept whole, text included, for a further record that refers to the same file."""
_COUNTED: Final = 100_000
"""Files known to be counted in this job; a file met again after so many others is counted again."""
_KEEPS_COPY: Final = frozenset(
    {"expired_url", "bad_signature", "http_403", "connection", "timeout", "http_5xx", "http_429", "no_bucket",
     "no_credentials", "s3_error"}
)  # fmt: skip
"""Causes that say nothing against the copy we have; a 404 does."""


@dataclass(frozen=True, slots=True)
class _Work:
    table: str
    key: str
    project_id: int | None
    file: DetectedFile
    row: FileRow | None = None
    """What was known of the file before; None for a new one."""


@dataclass(slots=True)
class _Settled:
    """What became of one file; `counts` is empty for a file that this job has counted already."""

    work: _Work
    row: FileRow
    facts: Mapping[str, Any] = field(default_factory=dict)
    counts: FileCounts = field(default_factory=FileCounts)
    put: bool = True
    touches: int = 0
    """How far behind the document was before it said what it says now."""


class FileIngester:
    """Settles the files of committed records; one per job. `aclose` it, or use it as a context manager.

    Without a `downloader` nothing is fetched: files are indexed as `referenced`, counted as skipped, and stay
    pending for a later job that fetches. Without an `extractor` no content is looked into.

    Counts are of distinct files: found = downloaded + failed + skipped, an unchanged file being skipped.
    """

    def __init__(
        self,
        *,
        state: StateStore,
        feeder: Feeder,
        sequence: ReadSequence,
        job_id: str,
        publish: Publish,
        downloader: FileDownloader | None = None,
        extractor: Extractor | None = None,
        workers: int = 4,
        control: JobControl | None = None,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._writer = FileWriter(state, feeder, sequence)
        self._job_id, self._publish = job_id, publish
        self._downloader, self._extractor = downloader, extractor
        self._control = control or JobControl()
        self._log = logger or logging.getLogger(__name__)
        self._clock = clock
        self._workers = max(1, workers)
        self._queue: asyncio.Queue[_Work] = asyncio.Queue(self._workers * _QUEUED_PER_WORKER)
        self._outcomes: asyncio.Queue[_Settled] = asyncio.Queue(_MOST_PER_COMMIT)
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._fault: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._recent: OrderedDict[str, tuple[FileRow, Mapping[str, Any]]] = OrderedDict()
        self._counted: OrderedDict[bytes, None] = OrderedDict()
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}

    async def __aenter__(self) -> FileIngester:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def settle(
        self, table: str, documents: Sequence[Document], *, only: Collection[str] | None = None
    ) -> None:
        """Take the files of committed records; waits while too many are under way.

        `only` names file ids, as for a retry of single files. Records without files are taken too: what they
        referred to before ends. Raises StateError and VespaUnavailable, also those met by the workers since.
        """
        self._raise_fault()
        self._start()
        wanted: dict[str, _Work] = {}
        links = []
        for document in documents:
            for file in document.files:
                if not file.file_id:
                    continue
                links += docs.links_of(file, table, document.key)
                if (only is None or file.file_id in only) and file.file_id not in wanted:
                    placed = replace(file, source_table=table, source_record_id=document.key)
                    wanted[file.file_id] = _Work(table, document.key, document.record.project_id, placed)
        before = await self._state.links_of_records(table, [document.key for document in documents])
        relinked = {document.key for document in documents if document.files} | {link.key for link in before}
        if not relinked:
            return
        pairs = {(link.file_id, link.key) for link in links}
        ended = {(link.file_id, link.key) for link in before} - pairs
        begun = pairs - {(link.file_id, link.key) for link in before}
        known = await self._state.file_rows(list(wanted))
        rows = [docs.pending_row(work.file) for file_id, work in wanted.items() if file_id not in known]
        await self._commit(
            BatchCommit(
                job_id=self._job_id, table=table, file_rows=rows, file_links=links,
                relinked=sorted(relinked), files_touched=sorted({file_id for file_id, _ in ended | begun}),
            )
        )  # fmt: skip
        await self._writer.rewrite({file_id for file_id, _ in ended} - wanted.keys())
        if self._downloader is not None:
            for row in known.values():
                if row.path:
                    self._downloader.claim(self._downloader.download_dir / row.path, row.file_id)
        for file_id, work in wanted.items():
            self._under_way += 1
            self._quiet.clear()
            await self._queue.put(replace(work, row=known.get(file_id)))
            self._raise_fault()

    async def forget(self, table: str, keys: Sequence[str]) -> None:
        """The records of these keys are about to leave the index: end what their files' documents say of them."""
        await self._writer.rewrite(await self._state.unlink_records(table, keys))

    async def drain(self) -> None:
        """Wait until all files taken so far are settled, then drop documents of files that nobody refers to.

        A job told to stop leaves what is still queued as pending. The workers end; `settle` starts them anew.
        """
        try:
            self._raise_fault()
            await self._quiet.wait()
            self._raise_fault()
        finally:
            await self.aclose()
        async for page in self._state.orphaned_files():
            await self._writer.rewrite([row.file_id for row in page])
            await self._state.remove_files([row.file_id for row in page])
        if not self._control.is_stopped:
            async for page_behind in self._state.files_behind():
                await self._writer.rewrite(page_behind)

    async def aclose(self) -> None:
        """Stop the workers and the extractor; what they had in hand stays pending. `settle` starts anew."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._extractor is not None:
            await self._extractor.aclose()

    # -- workers ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._guard(self._work()), name=f"files-{number}")
                for number in range(self._workers)
            ]
            self._tasks.append(asyncio.create_task(self._guard(self._keep_committing()), name="files-commit"))

    async def _guard(self, work: Any) -> None:
        """A side task that dies stops the job: its error is raised where the job next looks."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fault = self._fault or error
            self._quiet.set()
            # Whoever waits for room in the queue must wake up to see it.
            while not self._queue.empty():
                self._queue.get_nowait()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _work(self) -> None:
        if self._downloader is None:
            await self._work_off()
        else:
            async with self._downloader:
                await self._work_off()

    async def _work_off(self) -> None:
        while True:
            work = await self._queue.get()
            await self._control.until_resumed()
            if self._control.is_stopped:
                self._finished(1)
                continue
            async with self._alone(work.file.file_id):
                settled = await self._settle_once(work)
            await self._outcomes.put(settled)

    async def _settle_once(self, work: _Work) -> _Settled:
        """A file that this job has settled before is linked to one more record, neither fetched nor counted."""
        file_id = work.file.file_id
        if (recent := self._recent.get(file_id)) is not None:
            return _Settled(work, *recent)
        mark = bytes.fromhex(file_id)
        if mark in self._counted:
            row = await self._state.file_row(file_id) or docs.pending_row(work.file)
            settled = await self._kept(work, row, self._held_path(row))
            settled.counts = FileCounts()
            return settled
        settled = await self._settle_one(work)
        _remember(self._recent, file_id, (settled.row, settled.facts), _RECENT)
        _remember(self._counted, mark, None, _COUNTED)
        return settled

    async def _settle_one(self, work: _Work) -> _Settled:
        row = work.row or docs.pending_row(work.file)
        held = self._held_path(row)
        row = docs.described(row, work.file)
        if self._downloader is None:
            return await self._kept(work, row, held)
        etag = row.etag if held is not None else ""
        if held is not None and not etag and work.file.file_size in (None, row.size_bytes):
            return await self._kept(work, row, held)
        dest = self._downloader.download_dir / row.path if row.path else None
        result = await self._downloader.download(work.file, dest=dest, etag=etag)
        if held is not None and (result.cause == "unchanged" or result.cause in _KEEPS_COPY):
            return await self._kept(work, row, held)
        row = docs.settled_row(row, result, self._downloader.download_dir)
        facts: Mapping[str, Any] = {}
        if result.success and result.local_path is not None:
            row, facts = await self._extracted(row, result.local_path)
        return _Settled(work, row, facts, docs.counts_of(row))

    async def _extracted(self, row: FileRow, path: Path) -> tuple[FileRow, Mapping[str, Any]]:
        if self._extractor is None:
            return row, {}
        try:
            facts = await self._extractor.extract(path, docs.kind_of(row.content_type))
        except errors.DownloadError as error:
            return replace(row, status="failed", cause=error.cause, message=str(error)), {}
        if facts.missing:
            self._log.warning("files are indexed without content: %s is not installed", facts.missing)
        return row, facts.fields()

    async def _kept(self, work: _Work, row: FileRow, held: Path | None) -> _Settled:
        """A file that stays as it is; its document is written again only where it lacks this record."""
        unchanged = FileCounts(found=1, skipped=1)
        behind = await self._state.touches_of_files([row.file_id])
        document = await self._writer.stored(row.file_id)
        if document is not None:
            known: dict[str, Any] = {name: document[name] for name in docs.FACT_FIELDS if name in document}
            told = await self._writer.is_told(row.file_id, document)
            put = not told or document.get("status") != docs.index_status(row)
            return _Settled(work, row, known, unchanged, put, behind.get(row.file_id, 0))
        if held is None:
            return _Settled(work, row, {}, unchanged)
        row, facts = await self._extracted(row, held)
        return _Settled(work, row, facts, docs.counts_of(row) if row.status == "failed" else unchanged)

    def _held_path(self, row: FileRow) -> Path | None:
        """Where the file lies, if we have it whole."""
        if self._downloader is None or row.status != "downloaded" or not row.path:
            return None
        path = self._downloader.download_dir / row.path
        try:
            whole = not path.is_symlink() and path.stat().st_size == row.size_bytes
        except OSError:
            return None
        return path if whole else None

    # -- commits ---------------------------------------------------------------------------------------------

    async def _keep_committing(self) -> None:
        while True:
            batch = [await self._outcomes.get()]
            await asyncio.sleep(_GATHER_S)
            while not self._outcomes.empty() and len(batch) < _MOST_PER_COMMIT:
                batch.append(self._outcomes.get_nowait())
            await self._feed(batch)
            tables: dict[str, list[_Settled]] = {}
            for settled in batch:
                tables.setdefault(settled.work.table, []).append(settled)
            for table, part in tables.items():
                await self._commit_part(table, part)
            self._finished(len(batch))

    async def _feed(self, batch: Sequence[_Settled]) -> None:
        """Put the documents; one that Vespa refuses turns its file into a failure."""
        latest = {settled.row.file_id: settled for settled in batch if settled.put}

        def maker(settled: _Settled) -> Callable[[Sequence[FileLink]], dict[str, Any]]:
            return lambda links: docs.document_fields(
                settled.row, links, settled.facts,
                project_id=settled.work.project_id, ingested_at=int(self._clock() * 1000),
            )  # fmt: skip

        # A file that its record let go of meanwhile has nobody who refers to it, and no document.
        puts = await self._writer.put({file_id: maker(settled) for file_id, settled in latest.items()})
        for file_id, put in puts.items():
            settled = latest[file_id]
            settled.row, settled.touches = replace(settled.row, read_seq=put.read_seq), put.touches
            if put.outcome.verdict is Verdict.REFUSED:
                _refuse(settled, put.outcome)

    async def _commit_part(self, table: str, part: Sequence[_Settled]) -> None:
        counts = sum((settled.counts for settled in part), FileCounts())
        failures: list[Failure] = []
        events: list[Event] = []
        for settled in part:
            work, row = settled.work, settled.row
            if not settled.counts.failed:
                continue
            failures.append(docs.failure_of(row, table, work.key, work.file.source_column))
            events.append(
                FileFinished(
                    job_id=self._job_id, table=table, key=work.key, filename=row.filename, status=row.status,
                    cause=row.cause,
                )
            )  # fmt: skip
        if counts.found:
            events.append(FilesCommitted(job_id=self._job_id, table=table, files=counts))
        rows = {settled.row.file_id: settled.row for settled in part}
        await self._commit(
            BatchCommit(
                job_id=self._job_id, table=table, files=counts, file_rows=list(rows.values()), failures=failures,
                files_told={settled.row.file_id: settled.touches for settled in part}, events=events,
            )
        )  # fmt: skip

    async def _commit(self, batch: BatchCommit) -> None:
        for event in await self._state.commit_batch(batch):
            self._publish(event)

    def _finished(self, files: int) -> None:
        self._under_way -= files
        if self._under_way == 0:
            self._quiet.set()

    @asynccontextmanager
    async def _alone(self, file_id: str) -> AsyncIterator[None]:
        lock, users = self._busy.get(file_id) or (asyncio.Lock(), 0)
        self._busy[file_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._busy.pop(file_id)
            if users > 1:
                self._busy[file_id] = lock, users - 1


async def unsettled(state: StateStore, *, pending: bool = True) -> AsyncIterator[tuple[str, list[str]]]:
    """Tables and keys of records whose files a killed job left: read them again and `settle`.

    Files that are still to be fetched, unless not `pending`, and files without a document.
    """

    async def pages() -> AsyncIterator[list[str]]:
        if pending:
            async for rows in state.files_with_status("pending"):
                yield [row.file_id for row in rows]
        async for file_ids in state.files_behind():
            rows_behind = await state.file_rows(file_ids)
            yield [file_id for file_id, row in rows_behind.items() if not pending or row.status != "pending"]

    async for page in pages():
        keys: dict[str, dict[str, None]] = {}
        for links in (await state.links_of_files(page)).values():
            keys.setdefault(links[0].table, {})[links[0].key] = None
        for table, found in keys.items():
            yield table, list(found)


def _remember(memory: OrderedDict[Any, Any], name: Any, value: Any, most: int) -> None:
    memory[name] = value
    if len(memory) > most:
        memory.popitem(last=False)


def _refuse(settled: _Settled, outcome: Outcome) -> None:
    cause = "vespa_413" if outcome.status == 413 else "vespa_refused"
    settled.row = replace(settled.row, status="failed", cause=cause, message=f"Vespa: {outcome.message}")
    if settled.counts.found:
        settled.counts = FileCounts(found=1, failed=1)
