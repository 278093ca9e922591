"""Files by URL: redirects re-checked, addresses guarded, ranges resumed, answers judged.

Ranges and validators follow RFC 9110, sections 13 and 14. A server's word is checked, not trusted: the
range it sends, the length it promises, the encoding it names.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from ingestion import errors
from ingestion.files.addresses import AddressPolicy, GuardedResolver, refused, rewritten
from ingestion.files.references import expires_at
from ingestion.files.transfer import (
    READ_BYTES,
    Fetched,
    Inflater,
    PartialFile,
    Timeouts,
    TransientError,
)
from ingestion.version import __version__

MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERROR_BODY_BYTES: Final = 4096
_NOT_MODIFIED_IF: Final = frozenset({"If-None-Match", "If-Modified-Since"})
_CHECKSUMS: Final = (
    ("sha256", "x-amz-checksum-sha256"), ("sha1", "x-amz-checksum-sha1"), ("crc32", "x-amz-checksum-crc32"),
    ("md5", "Content-MD5"),
)  # fmt: skip
_BLANK = re.compile(r"\s")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")


class _GuardedConnector(aiohttp.TCPConnector):
    """Connections whose other end is a permitted address; nothing is sent over any other."""

    def __init__(self, policy: AddressPolicy, connections: int) -> None:
        super().__init__(limit=connections, resolver=GuardedResolver(policy), use_dns_cache=False)
        self._policy = policy

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """Names were judged when they were resolved; this judges who really answered."""
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        host = req.url.host or ""
        if peer and not self._policy.permits(host, req.url.port or 0, str(peer[0])):
            connection.close()
            raise refused(host)
        return connection


class HttpFetcher:
    """Fetches URLs into partial files; owns its session, so `close` it."""

    def __init__(
        self, policy: AddressPolicy, *, rewrites: Mapping[str, str], timeouts: Timeouts, connections: int
    ) -> None:
        self._policy = policy
        self._rewrites = rewrites
        self._session = aiohttp.ClientSession(
            connector=_GuardedConnector(policy, connections),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.idle_s
            ),
            headers={"User-Agent": f"procore-ingest/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def fetch(self, url: str, part: PartialFile, *, etag: str = "") -> Fetched:
        """One attempt; `part` holds the whole file when this returns, unless the answer is `unchanged`.

        `etag`: what came with a copy we have; the store may answer that it has not changed. Raises DownloadError,
        TransientError where another attempt may help.
        """
        headers: dict[str, str] = {}
        if part.size and not part.validator:
            part.restart()  # a piece of who knows which version of the file
        if part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator}
        elif etag:
            headers = {"If-Modified-Since" if _is_date(etag) else "If-None-Match": etag}
        try:
            return await self._follow(rewritten(url, self._rewrites), headers, part)
        except aiohttp.ServerTimeoutError as error:
            raise TransientError("the store did not answer in time", cause="timeout") from error
        except ValueError as error:  # hosts, names and passwords that no request can carry; InvalidURL is one
            raise errors.DownloadError("the URL cannot be used", cause="bad_url") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | ConnectionError):
                raise
            raise TransientError(f"the connection broke ({_reason(error)})", cause="connection") from error

    async def _follow(self, url: str, headers: Mapping[str, str], part: PartialFile) -> Fetched:
        for _ in range(MOST_REDIRECTS + 1):
            self._policy.check_url(url)
            # A signature covers the URL as written, so it is not quoted anew unless it must be.
            target = URL(url, encoded=url.isascii() and _BLANK.search(url) is None)
            # Digits of other scripts have become plain ones by now: a number that nobody resolves.
            self._policy.check_host(target.host or "", target.port or 0)
            async with self._session.get(target, headers=headers, allow_redirects=False) as answer:
                if answer.status == 304 and not _NOT_MODIFIED_IF & headers.keys():
                    raise errors.DownloadError(
                        "the store says that the file has not changed (304), though nobody asked",
                        cause="wrong_content",
                    )
                if answer.status not in _REDIRECTS:
                    return await _receive(url, answer, part)
                location = answer.headers.get("Location", "")
                if not location:
                    raise errors.DownloadError(f"redirect ({answer.status}) to nowhere", cause="redirects")
                url = urljoin(url, location)
        raise errors.DownloadError(f"more than {MOST_REDIRECTS} redirects", cause="redirects")


async def _receive(url: str, answer: aiohttp.ClientResponse, part: PartialFile) -> Fetched:
    if answer.status == 304:
        return Fetched(etag=_validator(answer), unchanged=True)
    if answer.status not in (200, 206):
        raise await _refusal(url, answer, part)
    inflater = Inflater(answer.headers.get("Content-Encoding", ""))
    _position(answer, part, resumable=not inflater.active)
    length = answer.content_length
    if length is not None and not inflater.active:
        part.expect(length)
    async for data in answer.content.iter_chunked(READ_BYTES):
        inflater.feed(data, part.write)
    inflater.finish(part.write)
    return Fetched(
        content_type=answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        etag=_validator(answer),
        checksums=() if inflater.active else _checksums(answer),
    )


def _position(answer: aiohttp.ClientResponse, part: PartialFile, *, resumable: bool) -> None:
    """Put `part` where the answer's first byte belongs, or fail if the answer is not what was asked."""
    if answer.status == 206:
        match = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        whole = match is not None and (match[3] == "*" or int(match[2]) + 1 == int(match[3]))
        is_same = not part.size or answer.headers.get("ETag", part.validator) == part.validator
        if match is not None and int(match[1]) == part.size and whole and is_same:
            if part.size == 0:
                part.restart()
            return
        # Appending it would make a file that never existed.
        part.restart()
        raise TransientError("the store sent another range than was asked for", cause="wrong_range")
    etag = answer.headers.get("ETag", "")
    part.restart(etag if resumable and not etag.startswith("W/") else "")


def _validator(answer: aiohttp.ClientResponse) -> str:
    """By what the store knows the file again: its ETag, or else the date of its last change."""
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _is_date(validator: str) -> bool:
    return not validator.endswith('"') and email.utils.parsedate(validator) is not None


def _checksums(answer: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    if answer.status != 200:
        return ()  # of a range, perhaps
    stated = [(name, answer.headers[header]) for name, header in _CHECKSUMS if header in answer.headers]
    for one in answer.headers.get("x-goog-hash", "").split(","):
        name, _, value = one.strip().partition("=")
        if name == "md5":
            stated.append((name, value))
    # One of a file uploaded in parts is over the parts' checksums, not over the file: `…=-3`.
    return tuple((name, value) for name, value in stated if "-" not in value)


async def _refusal(url: str, answer: aiohttp.ClientResponse, part: PartialFile) -> errors.DownloadError:
    status = answer.status
    body = await answer.content.read(_ERROR_BODY_BYTES)
    if status == 416:
        part.restart()
        return TransientError("the store cannot continue the file", cause="wrong_range")
    if status in _TRANSIENT or status > 504:
        cause = "http_429" if status == 429 else "timeout" if status in (408, 504) else "http_5xx"
        return TransientError(_said(status, body), cause=cause, retry_after_s=_retry_after(answer))
    said = body.lower()
    expires = expires_at(url)
    if status in (400, 401, 403, 410) and (
        b"expired" in said or (expires is not None and expires <= time.time())
    ):
        return url_expired(status)
    if status == 403 and b"signature" in said:
        return errors.DownloadError("the store refuses the URL's signature (403)", cause="bad_signature")
    cause = {401: "http_403", 410: "http_404"}.get(status, f"http_{status}")
    return errors.DownloadError(_said(status, body), cause=cause)


def url_expired(status: int | None = None) -> errors.DownloadError:
    """The error of a signed URL whose time is over, as the store said with `status` or as it says itself."""
    return errors.DownloadError(
        "the signed URL has expired" + (f" ({status})" if status else ""),
        hint="Sync the record again for a fresh URL, or give AWS credentials so that it comes from S3.",
        cause="expired_url",
    )


def _said(status: int, body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    match = re.search(r"<(?:Message|title)>([^<]{1,200})</", text, re.IGNORECASE)
    return f"the store answered {status}" + (f": {' '.join(match[1].split())}" if match else "")


def _retry_after(answer: aiohttp.ClientResponse) -> float | None:
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _reason(error: BaseException) -> str:
    """An error without the URL that aiohttp may put into it."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        # asyncio writes the address into strerror, so the number's own text is the clearer one.
        return f"{error.host}: {os.strerror(number) if number and number > 0 else 'name not found'}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the content is shorter than promised"
    return type(error).__name__
