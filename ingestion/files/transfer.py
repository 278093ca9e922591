"""One file on its way to disk: temporary name, size limit, checksum, resume, and when to try again."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import random
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ingestion import errors
from ingestion.files.paths import FILE_MODE, partial_path
from ingestion.files.sniffing import HEAD_BYTES

READ_BYTES: Final = 256 * 1024
RESUMED_FROM_BYTES: Final = 128 * 1024
"""A smaller piece of a file is not worth a note for the next process; within this one it is gone on with."""
_Result = TypeVar("_Result")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})

OnBytes = Callable[[int], None]
"""Called with the bytes that just arrived, negative when a transfer starts over: the sum is what is there."""


class TransientError(errors.DownloadError):
    """A failure that may pass; `retry_after_s` is what the store asks for, None if it says nothing."""

    def __init__(self, message: str, *, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, cause=cause)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts in all; waits grow from `first_wait_s`, doubled each time, with jitter of half."""

    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0

    def wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1)."""
        if asked_s is not None:
            return min(asked_s, self.longest_wait_s)
        return min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s) * (
            0.5 + random.random() / 2
        )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, between two pieces, and for a file with all its attempts."""

    connect_s: float = 10.0
    idle_s: float = 30.0
    total_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the store said of a file that arrived, or that has not changed (`unchanged`)."""

    content_type: str = ""
    etag: str = ""
    """The store's ETag, or where it gives none the date of the last change as it wrote it."""
    unchanged: bool = False
    checksums: tuple[tuple[str, str], ...] = ()
    """(algorithm, base64) as the store gave them of the whole file: `sha256`, `sha1`, `crc32`, `md5`."""


async def with_retries(policy: RetryPolicy, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
    """The first attempt's result that is no TransientError; the last such error is raised."""
    number = 1
    while True:
        try:
            return await attempt()
        except TransientError as error:
            if number >= policy.attempts:
                raise
            wait_s = policy.wait_s(number, error.retry_after_s)
        number += 1
        await asyncio.sleep(wait_s)


class PartialFile:
    """The bytes of a file so far, under a temporary name beside `dest`, held by a lock while open.

    A partial file of an earlier process is taken up if it carries the store's validator; otherwise it is
    started over. Used as a context manager; leaving it without `commit` keeps the bytes if they can be
    resumed. Raises DownloadError (`busy`) where another process has the file in hand.
    """

    def __init__(self, dest: Path, max_bytes: int, on_bytes: OnBytes | None = None) -> None:
        self.dest = dest
        self.max_bytes = max_bytes
        self.expected_bytes: int | None = None
        self._on_bytes = on_bytes
        self.path = partial_path(dest)
        self.note_path = self.path.with_suffix(".json")
        self.size = 0
        self.head = b""
        self.validator = ""
        self._hash = hashlib.sha256()
        self._committed = False
        self._fd = _open_locked(self.path)
        self._written = os.fstat(self._fd).st_size > 0
        self._noted = self._written and self.note_path.exists()
        try:
            self._take_up()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def checksum(self) -> str:
        """SHA-256 of what is there, hexadecimal."""
        return self._hash.hexdigest()

    def check_size(self, size_bytes: int) -> None:
        """Raise DownloadError (`too_large`) for more than the limit."""
        if size_bytes > self.max_bytes:
            raise errors.DownloadError(
                f"larger than the limit of {self.max_bytes:,} bytes",
                hint="Raise PROCORE_MAX_FILE_SIZE to fetch it.",
                cause="too_large",
            )

    def expect(self, more_bytes: int) -> None:
        """So many bytes are promised beyond what is there; raises DownloadError (`too_large`) beyond the limit."""
        self.check_size(self.size + more_bytes)
        self.expected_bytes = self.size + more_bytes

    def restart(self, validator: str = "") -> None:
        """Forget what is there; from now on the bytes belong to `validator` (a strong ETag, "" for none)."""
        if self._written:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._written = False
        if self._on_bytes is not None and self.size:
            self._on_bytes(-self.size)
        self.size, self.head, self.validator = 0, b"", validator
        self._hash = hashlib.sha256()
        self._unnote()

    def write(self, data: bytes) -> None:
        """Append; raises DownloadError `too_large` or `disk_full`."""
        self.check_size(self.size + len(data))
        self._written = True
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise errors.DownloadError(
                    f"no room for {self.dest.name}: {error.strerror}",
                    hint="Free space in the download folder.",
                    cause="disk_full",
                ) from error
            raise
        self._account(data)
        if self.validator and not self._noted and self.size >= RESUMED_FROM_BYTES:
            self.note_path.write_text(json.dumps({"validator": self.validator}), encoding="utf-8")
            self._noted = True

    def commit(self) -> None:
        """Give the file its name; whatever had the name before is replaced in one step."""
        os.replace(self.path, self.dest)
        self._committed = True
        self._unnote()

    def discard(self) -> None:
        """Remove the bytes; the object is still to be closed."""
        self._committed = True
        with suppress(FileNotFoundError):
            self.path.unlink()
        self._unnote()

    def close(self) -> None:
        if self._fd < 0:
            return
        if not self._committed and not self._noted:
            self.discard()
        os.close(self._fd)
        self._fd = -1

    def _take_up(self) -> None:
        if not self._written:
            return
        validator = ""
        with suppress(OSError, ValueError):
            validator = str(json.loads(self.note_path.read_text(encoding="utf-8")).get("validator", ""))
        if not validator:
            self.restart()
            return
        while data := os.read(self._fd, READ_BYTES):
            self._account(data)
        self.validator = validator

    def _unnote(self) -> None:
        if self._noted:
            self._noted = False
            with suppress(FileNotFoundError):
                self.note_path.unlink()

    def _account(self, data: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.size += len(data)
        self._hash.update(data)
        if self._on_bytes is not None:
            self._on_bytes(len(data))


def _open_locked(path: Path) -> int:
    """A descriptor of the file that has this name now, locked."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, another process may have finished it and given it its name.
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            os.close(fd)
            raise errors.DownloadError("another process is downloading the file", cause="busy") from error
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return fd  # some network file systems have no locks; the state's own lock keeps jobs apart
            os.close(fd)
            raise
        os.close(fd)


class Inflater:
    """Undoes a content encoding piece by piece, never holding more than `READ_BYTES` of output.

    Raises DownloadError (`wrong_content`) for an encoding nobody asked for and broken data.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        self.active = name not in ("", "identity")
        if name in ("gzip", "x-gzip"):
            self._wbits = 31
        elif name == "deflate":
            self._wbits = 15
        elif self.active:
            raise errors.DownloadError(f"content encoding {name!r} is not known", cause="wrong_content")
        else:
            self._wbits = 0
        self._inflate = zlib.decompressobj(self._wbits) if self.active else None

    def feed(self, data: bytes, write: Callable[[bytes], None]) -> None:
        """Pass the decoded form of `data` to `write`, in bounded pieces."""
        if self._inflate is None:
            write(data)
            return
        try:
            while data:
                if self._inflate.eof:
                    # A further gzip member.
                    self._inflate = zlib.decompressobj(self._wbits)
                write(self._inflate.decompress(data, READ_BYTES))
                data = self._inflate.unconsumed_tail or self._inflate.unused_data
        except zlib.error as error:
            raise errors.DownloadError("the compressed content is broken", cause="wrong_content") from error

    def finish(self, write: Callable[[bytes], None]) -> None:
        """Check that the stream is complete; TransientError (`connection`) if it is cut off."""
        if self._inflate is None:
            return
        write(self._inflate.flush())
        if not self._inflate.eof:
            raise TransientError("the compressed content is cut off", cause="connection")
