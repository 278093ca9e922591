"""Files fetched to disk by signed URL or from S3: each once, checked, under a name a person can find."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from ingestion import errors
from ingestion.file_detector import DetectedFile
from ingestion.files import checks, paths, sniffing
from ingestion.files.addresses import AddressPolicy
from ingestion.files.arrivals import Arrivals
from ingestion.files.http import HttpFetcher, url_expired
from ingestion.files.naming import FindOwner, Name, Names
from ingestion.files.places import FindCopy, Place, Places
from ingestion.files.references import expires_at, extension
from ingestion.files.s3 import S3Fetcher, S3Settings, has_credentials
from ingestion.files.transfer import Fetched, PartialFile, RetryPolicy, Timeouts, with_retries

DEFAULT_MAX_FILE_SIZE: Final = 100 * 1024 * 1024
_NO_WAY_IN: Final = frozenset({"no_credentials", "no_bucket", "s3_error", "http_403"})
_FALL_BACK: Final = _NO_WAY_IN | {"expired_url", "bad_signature", "http_400", "bad_url"}
_SKIPS: Final = frozenset({"too_large", "unsupported_format"})

OnFileProgress = Callable[[DetectedFile, int], None]
"""Called with a file and the bytes that just arrived, negative when it starts over; from any thread."""


@dataclass
class DownloadResult:
    """What became of one file. `file_size` is bytes on disk; `cause` a slug where `success` is False.

    `cause` is `unchanged` for a file that the store says is what we have; then there is no `local_path`.
    """

    s3_key: str
    success: bool
    local_path: Path | None = None
    file_size: int | None = None
    error: str | None = None
    status: str = "pending"  # pending, success, failed, skipped
    cause: str = ""
    hint: str = ""
    checksum: str = ""
    """SHA-256, hexadecimal."""
    content_type: str = ""
    etag: str = ""
    file: DetectedFile | None = field(default=None, repr=False)


class DownloadStrategy(Enum):
    PROCORE_URL = "procore_url"  # Use signed URL from database
    DIRECT_S3 = "direct_s3"  # Use boto3 with AWS credentials


class FileDownloader:
    """Download files from S3/URLs for indexing.

    One file's failure is its result, never an exception. `async with` keeps connections between calls;
    without it each call opens its own. Cancelled or killed, a download leaves a hidden partial file that the
    next one takes up where the store allows.

    `url_rewrites` replaces URL prefixes; their targets, the S3 endpoint and `allowed_hosts` (`host` or
    `host:port`) may have private addresses, any other host only with `allow_private`.
    """

    def __init__(
        self,
        download_dir: Path,
        strategy: DownloadStrategy = DownloadStrategy.PROCORE_URL,
        logger: logging.Logger | None = None,
        aws_config: dict[str, str] | None = None,
        *,
        url_rewrites: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
        allow_private: bool = False,
        max_file_size: int | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        concurrency: int = 16,
        on_progress: OnFileProgress | None = None,
        find_copy: FindCopy | None = None,
        find_owner: FindOwner | None = None,
    ) -> None:
        self.download_dir = Path(download_dir).expanduser().absolute()
        self.strategy = strategy
        self._log = logger or logging.getLogger(__name__)
        self._s3_settings = S3Settings.of(aws_config)
        self._rewrites = dict(url_rewrites or {})
        self._policy = AddressPolicy.of(
            allow_private=allow_private, hosts=allowed_hosts, urls=self._rewrites.values()
        )
        self._max_file_size = DEFAULT_MAX_FILE_SIZE if max_file_size is None else max_file_size
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or RetryPolicy()
        self._concurrency = max(1, concurrency)
        self._slots = asyncio.Semaphore(self._concurrency)
        self._on_progress = on_progress
        self._places = Places(self.download_dir, find_copy)
        self._names = Names(self.download_dir, find_owner)
        self.arrivals = Arrivals()
        self._users = 0
        self._http: HttpFetcher | None = None
        self._s3: S3Fetcher | None = None
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}

    async def __aenter__(self) -> FileDownloader:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._release()

    async def download(
        self, file: DetectedFile, *, dest: Path | None = None, etag: str = ""
    ) -> DownloadResult:
        """Download a single file to `{download_dir}/{table}/{record}/{filename}`, or to `dest`.

        With the `etag` of a copy we have, the store is only asked whether that is still the file. Without,
        a file that this object has fetched before is linked, not fetched again.
        """
        skip, reason = self.should_skip(file)
        if skip:
            cause = "too_large" if self._is_too_large(file) else "unsupported_format"
            return DownloadResult(file.s3_key, False, error=reason, status="skipped", cause=cause, file=file)
        async with self._alone(file.file_id):
            name = Name(dest) if dest is not None else await self._name_of(file)
            if not etag and (known := await self._places.linked(file.file_id, name)) is not None:
                return DownloadResult(
                    file.s3_key, True, Path(known.path), known.size_bytes, status="success",
                    checksum=known.checksum, content_type=known.content_type, etag=known.etag, file=file,
                )  # fmt: skip
            async with self._slots, self._connections():
                result = await self._fetch_guarded(file, name, etag)
        if result.success and not result.cause and result.file_size is not None:
            place = Place(
                str(result.local_path), result.file_size, result.checksum, result.content_type, result.etag
            )
            self._places.remember(file.file_id, place)
        return result

    async def download_batch(
        self, files: Sequence[DetectedFile], workers: int = 2
    ) -> AsyncIterator[DownloadResult]:
        """Download files in parallel, yielding results as they come; `result.file` says which it is.

        Soon-expiring URLs go first, expired ones last. Raises DownloadError (`disk_full`) before anything is
        fetched if the sizes that the records state cannot fit. Closing the iterator stops the downloads.
        """
        known_bytes = sum(f.file_size or 0 for f in files if not self.should_skip(f)[0])
        paths.require_space(self.download_dir, known_bytes)
        queue = iter(in_order_of_expiry(files, time.time()))
        results: asyncio.Queue[DownloadResult | None] = asyncio.Queue(maxsize=max(2, workers * 2))

        async def work() -> None:
            for file in queue:
                await results.put(await self.download(file))
            await results.put(None)

        async with self:
            tasks = [asyncio.create_task(work(), name=f"download-{n}") for n in range(max(1, workers))]
            try:
                running = len(tasks)
                while running:
                    result = await results.get()
                    if result is None:
                        running -= 1
                        continue
                    yield result
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def download_from_url(self, url: str, dest: Path) -> DownloadResult:
        """Download file from Procore signed URL to exactly `dest`; its type by name is checked."""
        file = _plain_file("", url, dest)
        async with self._slots, self._connections():
            return await self._guarded(file, Name(Path(dest)), functools.partial(self._by_url, file))

    async def download_from_s3(self, s3_key: str, dest: Path) -> DownloadResult:
        """Download file directly from S3 using boto3, from the bucket of `aws_config`, to exactly `dest`."""
        file = _plain_file(s3_key, None, dest)
        async with self._slots, self._connections():
            return await self._guarded(file, Name(Path(dest)), functools.partial(self._by_key, file))

    def should_skip(self, file: DetectedFile) -> tuple[bool, str]:
        """Check if file should be skipped (unsupported type, too large); the reason is for a person.

        A file whose type nothing tells is not skipped: its content will.
        """
        if self._is_too_large(file):
            return True, (
                f"too large: {_size(file.file_size or 0)}, the limit is {_size(self.max_file_size)}"
            )
        kind = sniffing.normal_type(file.file_type or extension(file.filename or file.s3_key))
        # The end of `Level 1.2` is no type: its content will tell.
        if kind and not kind.isdigit() and kind not in self.supported_types and kind != "jpg":
            return True, f"unsupported format: {kind}"
        return False, ""

    @property
    def supported_types(self) -> set[str]:
        """File extensions supported for visual retrieval."""
        return {"pdf", "jpg", "jpeg", "png", "gif", "tiff"}

    @property
    def max_file_size(self) -> int:
        """Maximum file size in bytes (default 100MB)."""
        return self._max_file_size

    def claim(self, path: Path, file_id: str) -> None:
        """Reserve a path for a file that lies there already, so that no other takes its name."""
        self._names.claim(path, file_id)

    def _is_too_large(self, file: DetectedFile) -> bool:
        return file.file_size is not None and file.file_size > self.max_file_size

    async def _name_of(self, file: DetectedFile) -> Name:
        # A name without extension keeps it so: the type found in the content is the index's business.
        name = file.filename or file.s3_key.rpartition("/")[2] or _opaque_name(file)
        return await self._names.of(file.source_table, file.source_record_id, name, file.file_id)

    async def _fetch_guarded(self, file: DetectedFile, name: Name, etag: str) -> DownloadResult:
        first = _expired(file) if file.url and self._is_expired(file.url) else None
        for route in self._routes(file):
            result = await self._guarded(file, name, functools.partial(route, file, etag=etag))
            if first is not None and result.cause in _NO_WAY_IN:
                # Why the URL did not work is what the operator can act on.
                first.error = f"{first.error}; from S3: {result.error}"
                return first
            if result.success or result.cause not in _FALL_BACK:
                return result
            first = first or result
        return first or DownloadResult(
            file.s3_key,
            False,
            error="the record has neither key nor URL",
            status="failed",
            cause="bad_url",
            file=file,
        )

    def _routes(self, file: DetectedFile) -> list[Callable[..., Awaitable[Fetched]]]:
        """The ways to fetch a file, best first."""
        by_s3 = bool(file.s3_key) and bool(file.bucket or self._s3_settings.bucket)
        if not file.url:
            return [self._by_key] if file.s3_key else []
        if not by_s3:
            return [self._by_url]
        if self._is_expired(file.url):
            return [self._by_key]
        if self.strategy is DownloadStrategy.DIRECT_S3:
            return [self._by_key, self._by_url]
        if not (self._s3_settings.bucket or self._s3_settings.options or has_credentials()):
            # The bucket stands in the URL, but there is nothing to open it with: asking an instance for its role
            # would take seconds a file.
            return [self._by_url]
        return [self._by_url, self._by_key]

    def _is_expired(self, url: str) -> bool:
        expires = expires_at(url)
        return expires is not None and expires <= time.time()

    async def _by_url(self, file: DetectedFile, part: PartialFile, *, etag: str = "") -> Fetched:
        http, url = self._http, file.url or ""
        assert http is not None
        return await with_retries(self._retries, lambda: http.fetch(url, part, etag=etag))

    async def _by_key(self, file: DetectedFile, part: PartialFile, *, etag: str = "") -> Fetched:
        if self._s3 is None:
            self._s3 = S3Fetcher(
                self._s3_settings, timeouts=self._timeouts, threads=min(self._concurrency, 16)
            )
        s3 = self._s3
        return await with_retries(
            self._retries,
            lambda: s3.fetch(file.s3_key, part, bucket=file.bucket, etag=etag),
        )

    def _progress_of(self, file: DetectedFile) -> Callable[[int], None] | None:
        progress = self._on_progress
        return None if progress is None else lambda size_bytes: progress(file, size_bytes)

    async def _guarded(
        self, file: DetectedFile, name: Name, fetch: Callable[[PartialFile], Awaitable[Fetched]]
    ) -> DownloadResult:
        """Fetch into a temporary file, check, and give it its name; every failure becomes the result."""
        validator, target = "", name.path
        try:
            part = await self._places.begin(
                target, file.file_size or 0, self.max_file_size, self._progress_of(file)
            )
            with part, self.arrivals.noted(target.name, part):
                try:
                    async with asyncio.timeout(self._timeouts.total_s):
                        fetched = await fetch(part)
                    if fetched.unchanged:
                        part.discard()
                        return DownloadResult(
                            file.s3_key,
                            True,
                            status="success",
                            cause="unchanged",
                            etag=fetched.etag,
                            file=file,
                        )
                    content_type = checks.checked_type(file, part, fetched)
                    target = await self._places.finish(part, name)
                except errors.DownloadError as error:
                    validator = part.validator if error.cause in _SKIPS else ""
                    if error.cause not in ("connection", "timeout", "http_5xx", "http_429"):
                        part.discard()
                    raise
        except errors.DownloadError as error:
            status = "skipped" if error.cause in _SKIPS else "failed"
            return DownloadResult(
                file.s3_key,
                False,
                error=str(error),
                status=status,
                cause=error.cause,
                hint=error.hint,
                etag=validator,
                file=file,
            )
        except TimeoutError:
            error_text = f"not finished within {self._timeouts.total_s:.0f} s"
            return DownloadResult(
                file.s3_key, False, error=error_text, status="failed", cause="timeout", file=file
            )
        except OSError as error:
            return DownloadResult(
                file.s3_key, False, error=f"{target.parent}: {error.strerror or error}", status="failed",
                cause="disk_error", hint="Check the download folder's rights.", file=file,
            )  # fmt: skip
        return DownloadResult(
            file.s3_key, True, target, part.size, status="success", checksum=part.checksum,
            content_type=content_type, etag=fetched.etag, file=file,
        )  # fmt: skip

    @asynccontextmanager
    async def _alone(self, file_id: str) -> AsyncIterator[None]:
        """One at a time per file: whoever waited finds it fetched."""
        lock, users = self._busy.get(file_id) or (asyncio.Lock(), 0)
        self._busy[file_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._busy.pop(file_id)
            if users > 1:
                self._busy[file_id] = lock, users - 1

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[None]:
        await self._open()
        try:
            yield
        finally:
            await self._release()

    async def _open(self) -> None:
        self._users += 1
        if self._http is None:
            endpoint = [self._s3_settings.endpoint_url] if self._s3_settings.endpoint_url else []
            policy = AddressPolicy(
                self._policy.allow_private,
                self._policy.allowed | AddressPolicy.of(allow_private=False, hosts=(), urls=endpoint).allowed,
            )
            self._http = HttpFetcher(
                policy, rewrites=self._rewrites, timeouts=self._timeouts, connections=self._concurrency
            )

    async def _release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._places.close()
            http, self._http = self._http, None
            if self._s3 is not None:
                self._s3.close()
            if http is not None:
                await http.close()


def in_order_of_expiry(files: Sequence[DetectedFile], now: float) -> list[DetectedFile]:
    """Soon-expiring URLs first, then those without known expiry in their order, expired ones last."""
    return sorted(files, key=lambda file: urgency(file, now))


def urgency(file: DetectedFile, now: float) -> tuple[int, float]:
    """What files are sorted by: the sooner a URL expires, the smaller; expired ones are largest."""
    expires = expires_at(file.url) if file.url else None
    if expires is None:
        return 1, 0.0
    return (0, expires) if expires > now else (2, 0.0)


def _expired(file: DetectedFile) -> DownloadResult:
    """What is told of a file whose URL has expired, if no other way leads to it."""
    error = url_expired()
    return DownloadResult(
        file.s3_key, False, error=str(error), status="failed", cause=error.cause, hint=error.hint, file=file
    )


def _plain_file(s3_key: str, url: str | None, dest: Path) -> DetectedFile:
    return DetectedFile(s3_key, "", "", "", Path(dest).name, None, url)


def _opaque_name(file: DetectedFile) -> str:
    """A name for a file that has none: its column and a piece of its id."""
    suffix = f".{file.file_type}" if file.file_type else ""
    return f"{file.source_column or 'file'}-{file.file_id[:12]}{suffix}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"
