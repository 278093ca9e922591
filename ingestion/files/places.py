"""Where a downloader's files lie: names reserved, equal content linked, temporary files opened off the loop."""

from __future__ import annotations

import asyncio
import filecmp
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from ingestion.files import paths
from ingestion.files.transfer import OnBytes, PartialFile

_REMEMBERED: Final = 20_000
"""Files whose place is remembered, to fetch and to name each once; about 10 MB."""
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
        self._claims: OrderedDict[str, str] = OrderedDict()
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

    def claim(self, path: Path, file_id: str) -> None:
        """Reserve a path for a file that lies there already, so that no other takes its name."""
        _remember(self._claims, str(path).casefold(), file_id)

    def path_for(self, table: str, record: str, name: str, file_id: str) -> Path:
        """Where a file is to lie; two files of one name in a record get different ones."""
        for unique in (False, True):
            path = paths.file_path(self._folder, table, record, name, file_id, unique=unique)
            claim = str(path).casefold()
            if self._claims.get(claim, file_id) == file_id:
                break
        _remember(self._claims, claim, file_id)
        return path

    def remember(self, file_id: str, place: Place) -> None:
        """Keep in mind where a file lies, for a further record that refers to it."""
        _remember(self._fetched, file_id, place)

    def linked(self, file_id: str, target: Path) -> Place | None:
        """A file that was fetched before, now at `target` too; None where it is gone or was changed."""
        known = self._fetched.get(file_id)
        if known is None:
            return None
        source = Path(known.path)
        try:
            if source.is_symlink() or source.stat().st_size != known.size_bytes:
                return None
            if source != target:
                paths.prepare_parent(self._folder, target, self._made)
                paths.link_or_copy(source, target)
        except OSError:
            return None
        return known

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

    async def finish(self, part: PartialFile, target: Path) -> None:
        """Give the whole file its name, as a link where equal content lies on disk already."""
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
                    _remember(self._by_checksum, part.checksum, known)
                    part.discard()
                    return
            except OSError:
                self._by_checksum.pop(part.checksum, None)
        part.commit()
        _remember(self._by_checksum, part.checksum, str(target))

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


def _remember(memory: OrderedDict[str, Any], name: str, value: Any) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
