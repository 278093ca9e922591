"""The stage beside the records that settles their files: each fetched once, indexed, counted, or a failure.

`settle` first stores the files and who refers to them, so that a crash loses none: what a killed job left
pending is found again by `unsettled`. Then workers fetch and extract, and one task feeds and commits what
became of them, many at a time.

Among the files at hand those whose URLs expire soonest go first. Local copies of files that nothing refers to
any more stay on disk; their documents go.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ingestion.events import BytesArrived, Event, FileCounts, FileFinished, FilesCommitted, Publish
from ingestion.file_downloader import FileDownloader, urgency
from ingestion.files import documents as docs
from ingestion.files.arrivals import Arrivals, Arriving
from ingestion.files.extraction import Extractor
from ingestion.files.settling import FileSettler, Settled, Work
from ingestion.files.twins import Twins
from ingestion.files.writer import FileWriter
from ingestion.state.types import BatchCommit, Failure, FileLink
from ingestion.sync.job_control import JobControl
from ingestion.vespa.feeding import Feeder, Outcome, Verdict

if TYPE_CHECKING:
    from ingestion.state.store import StateStore
    from ingestion.sync.sync_io import ReadSequence
    from ingestion.transform.documents import Document

_QUEUED_PER_WORKER: Final = 64
_IN_HAND_PER_WORKER: Final = 3
"""Files in hand for each that may be fetched at a time: while some are looked into, others are fetched."""
_GATHER_S: Final = 0.05
"""Seconds that outcomes are gathered for, before one commit takes them all; full batches are not waited for."""
_MOST_PER_COMMIT: Final = 128
TELL_EVERY_S: Final = 1.0
"""How often bytes are told while any arrive."""


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
        twins: Twins | None = None,
        workers: int = 4,
        control: JobControl | None = None,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.time,
        tell_every_s: float = TELL_EVERY_S,
    ) -> None:
        self._state = state
        self._writer = FileWriter(state, feeder, sequence)
        self._job_id, self._publish = job_id, publish
        self._downloader, self._extractor = downloader, extractor
        self._log = logger or logging.getLogger(__name__)
        self._twins = twins or Twins(state)
        self._workers = max(1, workers)
        self._settler = FileSettler(
            state, self._writer, self._twins, downloader, extractor, self._log, self._workers
        )
        self._control = control or JobControl()
        self._clock = clock
        self._tell_every_s = tell_every_s
        self._queue: asyncio.PriorityQueue[tuple[tuple[int, float], int, Work]] = asyncio.PriorityQueue(
            self._workers * _QUEUED_PER_WORKER
        )
        self._taken = itertools.count()
        self._at_work: set[asyncio.Task[Settled]] = set()
        self._let_go: set[asyncio.Task[Settled]] = set()
        self._outcomes: asyncio.Queue[Settled] = asyncio.Queue(_MOST_PER_COMMIT)
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._fault: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
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
        wanted: dict[str, Work] = {}
        links = []
        for document in documents:
            for file in document.files:
                if not file.file_id:
                    continue
                links += docs.links_of(file, table, document.key)
                if (only is None or file.file_id in only) and file.file_id not in wanted:
                    placed = replace(file, source_table=table, source_record_id=document.key)
                    wanted[file.file_id] = Work(table, document.key, document.record.project_id, placed)
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
            urgent = urgency(work.file, self._clock())
            await self._queue.put((urgent, next(self._taken), replace(work, row=known.get(file_id))))
            self._raise_fault()

    async def forget(self, table: str, keys: Sequence[str]) -> None:
        """The records of these keys are about to leave the index: end what their files' documents say of them."""
        await self._writer.rewrite(await self._state.unlink_records(table, keys))

    async def drain(self) -> None:
        """Wait until all files taken so far are settled, then drop documents of files that nobody refers to.

        A job told to stop leaves what is not settled yet as pending. The workers end; `settle` starts them anew.
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
                for number in range(self._workers * _IN_HAND_PER_WORKER)
            ]
            self._tasks.append(asyncio.create_task(self._guard(self._keep_committing()), name="files-commit"))
            if self._downloader is not None:
                telling = self._guard(self._keep_telling(self._downloader.arrivals))
                self._tasks.append(asyncio.create_task(telling, name="files-bytes"))

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
            _, _, work = await self._queue.get()
            await self._control.until_resumed()
            if self._control.is_stopped:
                self._finished(1)
                continue
            async with self._alone(work.file.file_id):
                settled = await self._unless_stopped(work)
            if settled is None:
                self._finished(1)
            else:
                await self._outcomes.put(settled)

    async def _unless_stopped(self, work: Work) -> Settled | None:
        """What became of a file; None where the job was told to stop meanwhile: what has arrived of it waits."""
        task = asyncio.create_task(self._settler.settle(work), name="files-settle")
        self._at_work.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            worker = asyncio.current_task()
            if task in self._let_go and worker is not None and not worker.cancelling():
                return None
            raise
        finally:
            self._at_work.discard(task)
            self._let_go.discard(task)

    async def _keep_telling(self, arrivals: Arrivals) -> None:
        """Tell of the bytes that arrive, and once more when no file is on its way any more."""
        told_bytes, told_any, told_at = arrivals.size_bytes, False, time.monotonic()
        while True:
            await asyncio.sleep(self._tell_every_s)
            if self._control.is_stopped:
                # A large file over a slow line may take longer than anybody waits who says stop.
                self._let_go |= self._at_work
                for task in self._at_work:
                    task.cancel()
            size_bytes, files, now = arrivals.size_bytes, arrivals.under_way(), time.monotonic()
            if size_bytes != told_bytes or (told_any and not files):
                first = files[0] if files else Arriving("", 0, None)
                arrived = BytesArrived(
                    job_id=self._job_id, size_bytes=size_bytes - told_bytes, seconds=round(now - told_at, 3),
                    under_way=len(files), filename=first.filename, received_bytes=first.size_bytes,
                    expected_bytes=first.expected_bytes,
                )  # fmt: skip
                for event in await self._state.append_events(self._job_id, [arrived]):
                    self._publish(event)
                told_bytes, told_any = size_bytes, bool(files)
            told_at = now

    # -- commits ---------------------------------------------------------------------------------------------

    async def _keep_committing(self) -> None:
        while True:
            batch = [await self._outcomes.get()]
            if self._outcomes.qsize() < _MOST_PER_COMMIT - 1:
                await asyncio.sleep(_GATHER_S)
            while not self._outcomes.empty() and len(batch) < _MOST_PER_COMMIT:
                batch.append(self._outcomes.get_nowait())
            await self._feed(batch)
            tables: dict[str, list[Settled]] = {}
            for settled in batch:
                tables.setdefault(settled.work.table, []).append(settled)
            for table, part in tables.items():
                await self._commit_part(table, part)
            for settled in batch:
                self._settler.committed(settled.row.file_id)
            self._finished(len(batch))

    async def _feed(self, batch: Sequence[Settled]) -> None:
        """Put the documents; one that Vespa refuses turns its file into a failure."""
        latest = {settled.row.file_id: settled for settled in batch if settled.put}

        def maker(settled: Settled) -> Callable[[Sequence[FileLink]], dict[str, Any]]:
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

    async def _commit_part(self, table: str, part: Sequence[Settled]) -> None:
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
        self._twins.note(rows.values())
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


def _refuse(settled: Settled, outcome: Outcome) -> None:
    cause = "vespa_413" if outcome.status == 413 else "vespa_refused"
    settled.row = replace(settled.row, status="failed", cause=cause, message=f"Vespa: {outcome.message}")
    if settled.counts.found:
        settled.counts = FileCounts(found=1, failed=1)
