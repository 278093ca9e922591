"""What becomes of one file: fetched, kept as it is, looked into, or failed; as its row and its document's facts.

A file already on disk costs one conditional request when a record that refers to it changes; the store's
answer that it is unchanged, or that the old URL is no longer good, leaves it as it is. The same holds for one that
was skipped by what the store sent: it is not sent again to be skipped again. Content that was looked into once, in
this job or an earlier one, is not looked into again under another name.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingestion import errors
from ingestion.events import FileCounts
from ingestion.file_detector import DetectedFile
from ingestion.file_downloader import FileDownloader
from ingestion.files import documents as docs
from ingestion.files.extraction import Extractor
from ingestion.files.twins import Twins
from ingestion.files.writer import FileWriter
from ingestion.state.types import FileRow

if TYPE_CHECKING:
    from ingestion.state.store import StateStore

_RECENT: Final = 256
"""Outcomes kept whole, text included, for a further record that refers to the same file or content."""
_MOST_TEXT: Final = 4_000_000
"""Characters of all outcomes that are kept."""
_COUNTED: Final = 100_000
"""Files known to be counted in this job; a file met again after so many others is counted again."""
_KEEPS_COPY: Final = frozenset(
    {"expired_url", "bad_signature", "http_403", "connection", "timeout", "http_5xx", "http_429", "no_bucket",
     "no_credentials", "s3_error"}
)  # fmt: skip
"""Causes that say nothing against the copy we have; a 404 does."""
_FETCHED_ALL_THE_SAME: Final = frozenset({"extraction_failed", "vespa_refused", "vespa_413"})
"""Causes of failures that leave the file whole on disk."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """One file to settle, for the record that refers to it."""

    table: str
    key: str
    project_id: int | None
    file: DetectedFile
    row: FileRow | None = None
    """What was known of the file before; None for a new one."""


@dataclass(slots=True)
class Settled:
    """What became of one file; `counts` is empty for a file that this job has counted already."""

    work: Work
    row: FileRow
    facts: Facts = field(default_factory=dict)
    counts: FileCounts = field(default_factory=FileCounts)
    put: bool = True
    touches: int = 0
    """How far behind the document was before it said what it says now."""


class FileSettler:
    """Settles the files of one job, fetching `fetches` at a time. Without a `downloader` files are referenced, not
    fetched."""

    def __init__(
        self,
        state: StateStore,
        writer: FileWriter,
        twins: Twins,
        downloader: FileDownloader | None,
        extractor: Extractor | None,
        logger: logging.Logger,
        fetches: int,
    ) -> None:
        self._state, self._writer, self._twins = state, writer, twins
        self._downloader, self._extractor = downloader, extractor
        self._limit = downloader.max_file_size if downloader is not None else 0
        self._log = logger
        self._fetching = asyncio.Semaphore(fetches)
        self._recent: OrderedDict[str, tuple[FileRow, Facts]] = OrderedDict()
        self._text = 0
        self._contents: OrderedDict[str, Facts] = OrderedDict()
        self._contents_text = 0
        self._looking: dict[str, asyncio.Lock] = {}
        self._in_hand: set[str] = set()
        """Files that are settled and not committed yet."""
        self._counted: OrderedDict[bytes, None] = OrderedDict()

    async def settle(self, work: Work) -> Settled:
        """A file that this job has settled before is linked to one more record, neither fetched nor counted."""
        file_id = work.file.file_id
        if (recent := self._recent.get(file_id)) is not None:
            return Settled(work, *recent)
        mark = bytes.fromhex(file_id)
        if mark in self._counted:
            row = await self._state.file_row(file_id) or docs.pending_row(work.file)
            settled = await self._kept(work, row, self._held_path(row))
            settled.counts = FileCounts()
            return settled
        settled = await self._settle_one(work)
        self._in_hand.add(file_id)
        self._keep(settled)
        self._counted[mark] = None
        if len(self._counted) > _COUNTED:
            self._counted.popitem(last=False)
        return settled

    def committed(self, file_id: str) -> None:
        """What became of the file is stored: a further record that refers to it may ask the state."""
        self._in_hand.discard(file_id)

    def _keep(self, settled: Settled) -> None:
        file_id = settled.row.file_id
        self._recent[file_id] = settled.row, settled.facts
        self._text += _characters(settled.facts)
        while len(self._recent) > _RECENT or self._text > _MOST_TEXT:
            oldest = next(iter(self._recent))
            if oldest in self._in_hand:
                break
            self._text -= _characters(self._recent.pop(oldest)[1])

    async def _settle_one(self, work: Work) -> Settled:
        known = work.row or docs.pending_row(work.file)
        held = self._held_path(known)
        row = docs.described(known, work.file)
        if self._downloader is None:
            return await self._kept(work, row, held)
        etag = row.etag if held is not None or docs.is_refused_for_good(row, self._limit) else ""
        if held is not None and not etag and work.file.file_size in (None, row.size_bytes):
            return await self._kept(work, row, held)
        dest = self._downloader.download_dir / row.path if row.path else None
        async with self._fetching:
            result = await self._downloader.download(work.file, dest=dest, etag=etag)
        if result.cause == "unchanged" or (held is not None and result.cause in _KEEPS_COPY):
            return await self._kept(work, row, held)
        row = docs.settled_row(row, result, self._downloader.download_dir, self._limit)
        facts: Facts = {}
        if result.success and result.local_path is not None:
            row, facts = await self._extracted(row, result.local_path)
        return Settled(work, row, facts, docs.counts_of(row))

    async def _extracted(self, row: FileRow, path: Path) -> tuple[FileRow, Facts]:
        if self._extractor is None:
            return row, {}
        kind = docs.kind_of(row.content_type)
        if not kind:
            return row, {}
        # Whoever has the same content waits, and finds it looked into.
        lock = self._looking.setdefault(row.checksum, asyncio.Lock())
        try:
            async with lock:
                facts = await self._told_before(row)
                if facts is None:
                    facts = await self._look_into(path, kind)
                self._learn(row.checksum, facts)
        except errors.DownloadError as error:
            return replace(row, status="failed", cause=error.cause, message=str(error)), {}
        finally:
            if not lock.locked():
                self._looking.pop(row.checksum, None)
        return row, facts

    async def _look_into(self, path: Path, kind: str) -> Facts:
        assert self._extractor is not None
        found = await self._extractor.extract(path, kind)
        if found.missing:
            self._log.warning("files are indexed without content: %s is not installed", found.missing)
        return found.fields()

    async def _told_before(self, row: FileRow) -> Facts | None:
        """What the same content said when it was looked into under another name."""
        if (facts := self._contents.get(row.checksum)) is not None:
            return facts
        is_image = docs.kind_of(row.content_type) != "pdf"
        if is_image and self._extractor is not None and self._extractor.personal:
            return None  # what was found when nobody asked for more is not enough
        twin = await self._twins.of(row.checksum, row.file_id)
        document = await self._writer.stored(twin.file_id) if twin is not None else None
        if document is None or document.get("checksum") != row.checksum:
            return None
        facts = docs.facts_in(document)
        if is_image:
            facts.pop("extracted_text", None)  # asked for in an earlier job
        return facts or None

    def _learn(self, checksum: str, facts: Facts) -> None:
        if not facts or checksum in self._contents:
            return
        self._contents[checksum] = facts
        self._contents_text += _characters(facts)
        while len(self._contents) > _RECENT or self._contents_text > _MOST_TEXT:
            self._contents_text -= _characters(self._contents.popitem(last=False)[1])

    async def _kept(self, work: Work, row: FileRow, held: Path | None) -> Settled:
        """A file that stays as it is; its document is written again only where it lacks this record."""
        unchanged = FileCounts(found=1, skipped=1)
        if held is not None and row.status == "failed":
            # The file is whole, what came after it failed: that alone is tried again.
            row = replace(
                row, status="downloaded", cause="", message="", attempts=row.attempts + 1, updated_at=0.0
            )
            row, facts = await self._extracted(row, held)
            return Settled(work, row, facts, docs.counts_of(row) if row.status == "failed" else unchanged)
        behind = await self._state.touches_of_files([row.file_id])
        document = await self._writer.stored(row.file_id)
        if document is not None:
            told = await self._writer.is_told(row.file_id, document)
            put = not told or document.get("status") != docs.index_status(row)
            return Settled(work, row, docs.facts_in(document), unchanged, put, behind.get(row.file_id, 0))
        if held is None:
            return Settled(work, row, {}, unchanged)
        row, facts = await self._extracted(row, held)
        return Settled(work, row, facts, docs.counts_of(row) if row.status == "failed" else unchanged)

    def _held_path(self, row: FileRow) -> Path | None:
        """Where the file lies, if we have it whole."""
        if self._downloader is None or not row.path:
            return None
        if row.status != "downloaded" and row.cause not in _FETCHED_ALL_THE_SAME:
            return None
        path = self._downloader.download_dir / row.path
        try:
            whole = not path.is_symlink() and path.stat().st_size == row.size_bytes
        except OSError:
            return None
        return path if whole else None


def _characters(facts: Facts) -> int:
    return len(facts.get("extracted_text", ""))
