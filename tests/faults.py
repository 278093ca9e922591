"""A proxy that misbehaves by plan: the network and the overloaded server between a client and a real service.

    async with FaultProxy(vespa_url, every(3, Answer(503))) as proxy:        # HTTP/1.1, fault per request
        session = VespaSession(client.build(proxy.url))
    async with FaultProxy("unix:/dir/.s.PGSQL.5432", first(Reset())) as proxy:   # TCP, fault per connection
        await asyncpg.connect(host="127.0.0.1", port=proxy.port)

A target that is an http:// URL is proxied request by request, any other byte by byte. A plan is a function
from the exchange (one request, or one connection) to the fault that befalls it; None lets it pass.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_LIMIT = 2**27
_CHUNK = 2**16

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers in the service's place; with `acted`, only after the service did as it was asked."""

    status: int
    message: str = "scripted"
    acted: bool = False
    html: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection breaks; with `acted`, only after the service did as it was asked."""

    acted: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """Everything goes its way, but later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """A request waits for `go`, whether its client still lives or not; `acted` is set once it took effect."""

    go: asyncio.Event
    acted: asyncio.Event


@dataclass(frozen=True, slots=True)
class Cut:
    """The service acts, and the connection ends after the first bytes of its answer."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing is passed on, nothing is answered, for as long as the client waits."""


Fault = Answer | Reset | Delay | Held | Cut | Hang


@dataclass(frozen=True, slots=True)
class Exchange:
    """The request or connection that a fault may befall; `number` counts from 1, over all clients."""

    number: int
    method: str = ""
    path: str = ""


Plan = Callable[[Exchange], Fault | None]


def never(exchange: Exchange) -> Fault | None:
    """A plan without faults."""
    return None


def always(fault: Fault) -> Plan:
    """The same fault every time."""
    return lambda exchange: fault


def first(*faults: Fault) -> Plan:
    """These faults for the first exchanges, one each; the later ones pass."""
    return lambda exchange: faults[exchange.number - 1] if exchange.number <= len(faults) else None


def every(nth: int, *faults: Fault) -> Plan:
    """Each nth exchange suffers, by the faults in turn."""
    return lambda exchange: (
        None if exchange.number % nth else faults[(exchange.number // nth - 1) % len(faults)]
    )


def writes(plan: Plan) -> Plan:
    """The plan for all requests but GET; its numbers count them alone."""
    seen = 0

    def planned(exchange: Exchange) -> Fault | None:
        nonlocal seen
        if exchange.method == "GET":
            return None
        seen += 1
        return plan(Exchange(seen, exchange.method, exchange.path))

    return planned


class FaultProxy:
    """Listens on a free loopback port while entered. `plan` may be exchanged at any time."""

    def __init__(self, target: str, plan: Plan = never) -> None:
        self.plan, self.exchanges, self.port = plan, 0, 0
        self._target, self._http = target, target.startswith("http://")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[Writer] = set()
        self._broken: list[BaseException] = []

    @property
    def url(self) -> str:
        """Where clients connect, as an http URL."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all there is. Raises what a plan that made no sense led to."""
        self.down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._broken:
            raise self._broken.pop()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Refuse connections from now on, and drop those there are."""
        if self._server is not None:
            self._server.close()
        self.drop()

    def drop(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _accept(self, reader: Reader, writer: Writer) -> None:
        serve = self._serve_http if self._http else self._serve_tcp
        self._writers.add(writer)
        self._start(_quietly(serve(reader, writer), writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="fault proxy")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.append(error)  # a wrong plan: told when the test leaves the proxy

    def _fault(self, method: str = "", path: str = "") -> Fault | None:
        self.exchanges += 1
        return self.plan(Exchange(self.exchanges, method, path))

    async def _connect(self) -> tuple[Reader, Writer]:
        if self._target.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(
                self._target.removeprefix("unix:"), limit=_LIMIT
            )
        else:
            parts = urlsplit(self._target if self._http else f"//{self._target}")
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_LIMIT)
        self._writers.add(writer)
        return reader, writer

    # ------------------------------------------------------------------ HTTP

    async def _serve_http(self, reader: Reader, writer: Writer) -> None:
        upstream: tuple[Reader, Writer] | None = None
        while request := await _message(reader):
            method, path, _ = request.split(b"\r\n", 1)[0].decode().split(" ", 2)
            fault = self._fault(method, path)
            if isinstance(fault, Hang):
                await reader.read()
                return
            if isinstance(fault, Delay):
                await asyncio.sleep(fault.seconds)
            if isinstance(fault, Held):
                await fault.go.wait()
            answer = b""
            if not isinstance(fault, Answer | Reset) or fault.acted:
                upstream = upstream or await self._connect()
                upstream[1].write(request)
                answer = await _message(upstream[0], bodiless=method == "HEAD")
            if isinstance(fault, Held):
                fault.acted.set()
            if isinstance(fault, Reset):
                return
            if isinstance(fault, Cut):
                writer.write(answer[: fault.after_bytes])
                await writer.drain()
                return
            writer.write(_scripted(fault) if isinstance(fault, Answer) else answer)
            await writer.drain()

    # ------------------------------------------------------------------- TCP

    async def _serve_tcp(self, reader: Reader, writer: Writer) -> None:
        fault = self._fault()
        if isinstance(fault, Answer | Held):
            raise TypeError(f"{type(fault).__name__} needs an http:// target")
        if isinstance(fault, Reset):
            return
        if isinstance(fault, Hang):
            await reader.read()
            return
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        back_reader, back_writer = await self._connect()
        left = fault.after_bytes if isinstance(fault, Cut) else None
        up = self._start(_quietly(_pump(reader, back_writer), back_writer))
        try:
            await _pump(back_reader, writer, left)
        finally:
            up.cancel()
            back_writer.transport.abort()


async def _quietly(work: Coroutine[Any, Any, None], writer: Writer) -> None:
    """Do the work; whatever breaks it, and its end, break the connection."""
    try:
        await work
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


async def _pump(source: Reader, sink: Writer, left: int | None = None) -> None:
    while data := await source.read(_CHUNK if left is None else min(_CHUNK, left)):
        sink.write(data)
        await sink.drain()
        if left is not None:
            left -= len(data)


async def _message(reader: Reader, *, bodiless: bool = False) -> bytes:
    """One whole HTTP/1.1 request or response, `b""` at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if bodiless:
        return head
    if b"chunked" not in headers.get(b"transfer-encoding", b""):
        return head + await reader.readexactly(int(headers.get(b"content-length", b"0")))
    parts, size = [head], -1
    while size != 0:
        parts.append(await reader.readuntil(b"\r\n"))
        size = int(parts[-1].split(b";")[0], 16)
        parts.append(await reader.readexactly(size + 2))
    return b"".join(parts)


def _scripted(fault: Answer) -> bytes:
    kind = "text/html" if fault.html else "application/json"
    body = f"<html>{fault.message}</html>" if fault.html else json.dumps({"message": fault.message})
    head = f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {len(body.encode())}\r\n\r\n{body}".encode()
