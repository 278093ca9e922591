"""Where a downloader's files lie: equal content linked, temporary files opened off the loop."""

from __future__ import annotations

import asyncio
import filecmp
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ingestion.files import paths
from ingestion.files.naming import Name, remember
from ingestion.files.transfer import OnBytes, PartialFile

_THREADS: Final = 4
SLOW_S: Final = 0.0004
"""A disk slower than this is waited for in threads; a faster one costs less than a thread's turn."""
_WEIGHT: Final = 0.1
"""Of the newest measurement of the disk in the mean."""

FindCopy = Callable[[str], Awaitable[Path | None]]
"""Where a file with this checksum lies that was fetched before, by whomever; its bytes are compared."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies that was fetched before."""

    path: str
    size_bytes: int
    checksum: str
    content_type: str
    etag: str


class Places:
    """The files below one folder. A slow disk is waited for in threads: a loop that waits for it keeps everything
    else waiting. `close` ends the threads; a later use starts them anew."""

    def __init__(self, folder: Path, find_copy: FindCopy | None) -> None:
        self._folder = folder
        self._find_copy = find_copy
        self._fetched: OrderedDict[str, Place] = OrderedDict()
        self._by_checksum: OrderedDict[str, str] = OrderedDict()
        self._made: set[str] = set()
        self._asked_space_at = -1e9
        self._pool: ThreadPoolExecutor | None = None
        self._opening_s = 0.0
        """How long the disk has taken lately to make a folder and a file in it."""

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def remember(self, file_id: str, place: Place) -> None:
        """Keep in mind where a file lies, for a further record that refers to it."""
        remember(self._fetched, file_id, place)

    async def linked(self, file_id: str, name: Name) -> Place | None:
        """A file that was fetched before, now under this name too; None where it is gone or was changed."""
        known = self._fetched.get(file_id)
        if known is None:
            return None
        source = Path(known.path)
        try:
            if source.is_symlink() or source.stat().st_size != known.size_bytes:
                return None
            target = await self._free(name, source)
            if source != target:
                paths.prepare_parent(self._folder, target, self._made)
                paths.link_or_copy(source, target)
        except OSError:
            return None
        return replace(known, path=str(target))

    async def begin(
        self, target: Path, expected_bytes: int, max_bytes: int, on_bytes: OnBytes | None
    ) -> PartialFile:
        """The temporary file of `target`, its folders made; raises DownloadError and OSError."""

        def opened() -> PartialFile:
            started = time.perf_counter()
            paths.prepare_parent(self._folder, target, self._made)
            self._require_space(target.parent, expected_bytes)
            part = PartialFile(target, max_bytes, on_bytes)
            self._opening_s += (time.perf_counter() - started - self._opening_s) * _WEIGHT
            return part

        if self._opening_s < SLOW_S:
            return opened()
        work = self._in_thread(opened)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread goes on; what it opens must not stay open.
            await asyncio.wait([work])
            if work.exception() is None:
                work.result().close()
            raise

    async def finish(self, part: PartialFile, name: Name) -> Path:
        """Give the whole file its name, as a link where equal content lies on disk already; where it lies now."""
        part.dest = target = await self._free(name, part.path)
        earlier = None
        if part.checksum not in self._by_checksum and self._find_copy is not None:
            earlier = await self._find_copy(part.checksum)
            if earlier is not None and not await self._in_thread(partial(_equal, earlier, part.path)):
                earlier = None
        # Looked up only now: while we asked, another worker may have placed the same content.
        known = self._by_checksum.get(part.checksum) or (str(earlier) if earlier is not None else None)
        if known is not None and (twin := Path(known)) != target:
            try:
                if not twin.is_symlink() and twin.stat().st_size == part.size:
                    paths.link_or_copy(twin, target)
                    remember(self._by_checksum, part.checksum, known)
                    part.discard()
                    return target
            except OSError:
                self._by_checksum.pop(part.checksum, None)
        part.commit()
        remember(self._by_checksum, part.checksum, str(target))
        return target

    async def _free(self, name: Name, content: Path) -> Path:
        """Of a name's places the one that holds nothing else than this content."""
        if name.beside is None or not os.path.lexists(name.path):
            return name.path
        return name.path if await self._in_thread(partial(_equal, name.path, content)) else name.beside

    def _in_thread(self, work: Callable[[], _Result]) -> asyncio.Future[_Result]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="files-disk")
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _require_space(self, folder: Path, size_bytes: int) -> None:
        """Ask the disk for large files, and about once a second for small ones."""
        now = time.monotonic()
        if size_bytes > paths.DISK_RESERVE_BYTES // 8 or now - self._asked_space_at > 1.0:
            paths.require_space(folder, size_bytes)
            self._asked_space_at = now


def _equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes; one that cannot be read does not."""
    try:
        return not one.is_symlink() and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
