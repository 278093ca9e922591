"""The server process: store, application and granian on one event loop.

granian serves HTTP/1.1 and cleartext HTTP/2 with prior knowledge on one port; pyvespa's async client and
`vespa feed` insist on the latter.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from ingestion import errors
from ingestion.sandbox.vespa_endpoint.document_api import DocumentApi
from ingestion.sandbox.vespa_endpoint.http_app import HttpApp
from ingestion.sandbox.vespa_endpoint.search_api import SearchApi
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.sandbox.vespa_endpoint.writer import Writer

LOCK_FILE = "lock"
_READERS = 4
_READY_POLL_S = 0.005
_GRACE_S = 0.25
# More than any client keeps in flight on one connection (`vespa feed` goes up to 4096 over 8).
_MAX_STREAMS = 4096


def check_host(host: str) -> None:
    """Raise SettingsError unless `host` is this machine's own loopback."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise errors.SettingsError(
            f"the local Vespa endpoint only listens on loopback, not on {host}",
            hint="Leave out --host, or use 127.0.0.1.",
        )


def serve(data_dir: Path, host: str = "127.0.0.1", port: int = 0, port_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one; `port_file` gets the port once ready.

    On uvloop: a put costs about a tenth less work than on asyncio's own loop.
    """

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(stop, data_dir, host, port, ready=ready)

    def ready(port: int) -> None:
        if port_file is not None:
            _write_atomically(port_file, str(port))

    try:
        uvloop.run(main())
    finally:
        if port_file is not None:
            port_file.unlink(missing_ok=True)


async def serve_until(
    stop: asyncio.Event, data_dir: Path, host: str, port: int, *, ready: Callable[[int], None]
) -> None:
    """Serve on this loop until `stop` is set or the call is cancelled; `ready` gets the port once it answers.

    Raises SettingsError for a host that is not loopback, StateError for a folder that another endpoint
    serves, VespaUnavailable for a port that cannot be taken.
    """
    check_host(host)
    host = "127.0.0.1" if host == "localhost" else host
    with contextlib.ExitStack() as held:
        held.enter_context(_lock_folder(data_dir))
        reserved = held.enter_context(reserve_port(host, port))
        port = reserved.getsockname()[1]
        store = Store(data_dir)
        held.callback(store.close)
        executor = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        held.callback(executor.shutdown, wait=False, cancel_futures=True)
        app = HttpApp(DocumentApi(store, Writer(store), executor), SearchApi(store, executor))
        server = _server(app, host, port)
        task = asyncio.create_task(server.serve(), name="granian")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            if await _listening(host, port, task):
                ready(port)
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await _end(server, task)
        if not stop.is_set():
            raise errors.VespaUnavailable("the local Vespa endpoint ended unasked", hint="Start it again.")


def _server(app: HttpApp, host: str, port: int) -> Any:
    return Server(  # untyped
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        websockets=False,
        backlog=1024,
        backpressure=_MAX_STREAMS,
        http1_settings=HTTP1Settings(keep_alive=True, header_read_timeout=600_000),
        http2_settings=HTTP2Settings(max_concurrent_streams=_MAX_STREAMS),
        log_enabled=False,
    )


async def _end(server: Any, task: asyncio.Task[None]) -> None:
    """Stop granian. It waits for open connections, and clients keep theirs; what was acknowledged is safe."""
    if not task.done():
        server.stop()
        await asyncio.wait((task,), timeout=_GRACE_S)
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _listening(host: str, port: int, task: asyncio.Task[None]) -> bool:
    """True once the port answers, False when the server ended before."""
    while not task.done():
        try:
            _, stream = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_READY_POLL_S)
            continue
        stream.close()
        return True
    return False


def reserve_port(host: str, port: int) -> socket.socket:
    """Take `port` (0: a free one) for as long as the returned socket is open.

        granian shares its port with whoever asks for that; two endpoints on one port would then each get
    half of the requests. So the port must first be free for one that does not share. Raises
        VespaUnavailable with the reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return _reserve(family, host, port)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = f"port {port} is in use" if in_use else error.strerror or str(error)
        raise errors.VespaUnavailable(
            f"the local Vespa endpoint cannot listen on {host}:{port}: {reason}",
            hint="Stop what listens there, or choose another port with --port.",
        ) from None


def _reserve(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    holder = socket.socket(family)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((host, port))
    return holder


def _lock_folder(data_dir: Path) -> IO[bytes]:
    """Lock the folder for this process; the lock goes with the process, however that ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (data_dir / LOCK_FILE).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise errors.StateError(
            f"another local Vespa endpoint serves {data_dir}", hint="Stop it, or choose another folder."
        ) from None
    return file


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
