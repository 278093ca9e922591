"""The sandbox's file store: signed URLs and S3 reads over HTTP, on the loopback interface only.

`python -m ingestion.sandbox.file_store --port 0 --port-file F` serves until it is terminated; `start` runs
that as a process. Answers follow the S3 API reference: GetObject and HeadObject in path style, ranges,
conditional requests, and errors as XML.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ingestion import errors, priority
from ingestion.sandbox import signing
from ingestion.sandbox.file_contents import Content, content_of

if TYPE_CHECKING:
    pass
from aiohttp import web

START_TIMEOUT_S: Final = 20.0
_LAST_MODIFIED: Final = formatdate(1_700_000_000, usegmt=True)


@dataclass(slots=True)
class FileStoreProcess:
    """A running store; `stop` ends it and may be called twice."""

    url: str
    pid: int
    _process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self) -> None:
        """Terminate the process and wait for its end, at most 10 seconds before it is killed."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def start(port: int = 0) -> FileStoreProcess:
    """Start the store as a process of its own and wait until it answers; blocking, about a second.

    Port 0 takes a free one. Raises IngestionError when it does not come up, such as for a port in use.
    """
    with tempfile.TemporaryDirectory(prefix="procore-files-") as folder:
        port_file = Path(folder) / "port"
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ingestion.sandbox.file_store",
                "--port",
                str(port),
                "--port-file",
                port_file,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _import_path()},
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if port_file.exists():
                if process.stderr is not None:
                    process.stderr.close()
                return FileStoreProcess(f"http://127.0.0.1:{port_file.read_text()}", process.pid, process)
            if process.poll() is not None:
                break
            time.sleep(0.02)
        process.kill()
        _, said = process.communicate()
        reason = said.decode(errors="replace").strip().splitlines()[-1:] or ["it did not answer in time"]
        raise errors.IngestionError(
            f"the local file store did not start: {reason[0]}",
            hint="Choose another port, or 0 for a free one.",
        )


def application() -> web.Application:
    """The store as an aiohttp application, for those who serve it in a loop of their own."""
    from aiohttp import web

    app = web.Application()
    app.router.add_get("/health", _health)
    app.router.add_get(signing.PATH + "{opaque:.*}", _signed)
    app.router.add_get("/{bucket}/{key:.*}", _object)
    return app


async def _health(request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    return web.Response(text="ok")


async def _signed(request: web.Request) -> web.StreamResponse:
    verdict = signing.verify(request.path_qs, time.time())
    if isinstance(verdict, signing.Verified):
        return _serve(request, verdict.key)
    if verdict.reason == "expired":
        expired = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(verdict.expires, 2**40)))
        return _refusal(request, 403, "AccessDenied", "Request has expired", f"<Expires>{expired}</Expires>")
    if verdict.reason == "bad_signature":
        message = "The request signature we calculated does not match the signature you provided."
        return _refusal(request, 403, "SignatureDoesNotMatch", message)
    return _refusal(request, 400, "InvalidRequest", "The URL names no file")


async def _object(request: web.Request) -> web.StreamResponse:
    # The raw path, decoded once: a key may itself hold %20, + and double slashes.
    path = request.rel_url.raw_path
    return _serve(request, unquote(path[1:].partition("/")[2]))


def _serve(request: web.Request, key: str) -> web.StreamResponse:
    from aiohttp import web

    content = content_of(key)
    if content is None:
        return _refusal(
            request, 404, "NoSuchKey", "The specified key does not exist.", f"<Key>{escape(key)}</Key>"
        )
    headers = {
        "ETag": content.etag,
        "Last-Modified": _LAST_MODIFIED,
        "Accept-Ranges": "bytes",
        "Content-Type": content.content_type,
    }
    if content.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    start, stop, status = 0, len(content.body), 200
    if "Range" in request.headers and request.headers.get("If-Range", content.etag) == content.etag:
        found = _range(request, content)
        if found is None:
            return _refusal(request, 416, "InvalidRange", "The requested range is not satisfiable")
        start, stop = found
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content.body)}"
    return web.Response(status=status, headers=headers, body=content.body[start:stop])


def _range(request: web.Request, content: Content) -> tuple[int, int] | None:
    size = len(content.body)
    try:
        asked = request.http_range
    except ValueError:
        return 0, size
    start = asked.start or 0
    if start < 0:
        start = max(0, size + start)
    stop = size if asked.stop is None else min(asked.stop, size)
    return (start, stop) if start < stop else None


def _refusal(
    request: web.Request, status: int, code: str, message: str, more: str = ""
) -> web.StreamResponse:
    from aiohttp import web

    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        f"{more}<RequestId>SANDBOX</RequestId></Error>"
    )
    return web.Response(
        status=status, text="" if request.method == "HEAD" else body, content_type="application/xml"
    )


async def _run(port: int, port_file: Path | None) -> None:
    from aiohttp import web

    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        if port_file is not None:
            # Renamed into place, so that a reader never sees half a number.
            draft = port_file.with_suffix(".part")
            draft.write_text(str(runner.addresses[0][1]))
            draft.rename(port_file)
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, done.set)
        await done.wait()
    finally:
        await runner.cleanup()


def _import_path() -> str:
    """The folder that holds the `ingestion` package, before whatever is set: a checkout works uninstalled."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 1 when the port cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.sandbox.file_store", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="written with the port once the store answers")
    options = parser.parse_args(arguments)
    try:
        with suppress(KeyboardInterrupt):
            import uvloop

            uvloop.run(_run(options.port, options.port_file))
    except OSError as error:
        sys.stderr.write(f"port {options.port} cannot be used: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    priority.give_way()
    sys.exit(main())
