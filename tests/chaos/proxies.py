"""Two proxies that misbehave on purpose: a byte pump before PostgreSQL, an HTTP forwarder before Vespa.

Which request or connection is hit, and how, is drawn from the run's seed; `calm` lets everything through.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

_LOST = (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

VESPA_FAULTS = (
    "reset", "reset", "lost answer", "lost answer", "cut answer", "burst 503", "burst 429", "burst 502",
    "late 504", "early 504", "page 200", "delay", "one 500", "one 507",
)  # fmt: skip
QUESTION_FAULTS = ("reset", "cut answer", "page 200", "delay", "503", "504")
POSTGRES_FAULTS = ("reset", "reset", "cut", "refuse", "stall")


@dataclass(slots=True)
class Faults:
    """A plan of faults: one in about `every` occasions, at most `budget` in all."""

    rng: random.Random
    every: int = 40
    budget: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def draw(self, kinds: tuple[str, ...]) -> str:
        """The fault that befalls this occasion, empty for none."""
        if self.budget <= 0 or self.rng.random() * self.every >= 1:
            return ""
        self.budget -= 1
        kind = self.rng.choice(kinds)
        self.done[kind] += 1
        return kind

    def calm(self) -> None:
        self.budget = 0


CALM = Faults(random.Random(0))


class Proxy:
    """A listener on loopback; `faults` may be exchanged between runs."""

    def __init__(self) -> None:
        self.faults = CALM
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=2**26)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.drop_all()

    def calm(self) -> None:
        """Forget what is still to be refused."""

    async def drop_all(self) -> None:
        """End every connection, so that nothing of one run reaches into the next."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (*_LOST, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class PostgresProxy(Proxy):
    """Forwards to a server's Unix socket, chunk by chunk of what the server says."""

    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self._socket_path = socket_path
        self._refused = 0

    def calm(self) -> None:
        self._refused = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refused:
            self._refused -= 1
            return
        theirs, ours = await asyncio.open_unix_connection(self._socket_path)
        asking = asyncio.create_task(_pump(reader, ours))
        try:
            while chunk := await theirs.read(65536):
                fault = self.faults.draw(POSTGRES_FAULTS)
                if fault == "refuse":
                    self._refused = 2
                if fault == "stall":
                    await asyncio.sleep(0.03)
                elif fault == "cut":
                    writer.write(chunk[: len(chunk) // 2])
                    await writer.drain()
                    return
                elif fault:
                    return
                writer.write(chunk)
                await writer.drain()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            ours.transport.abort()


class VespaProxy(Proxy):
    """Forwards one request at a time per connection; faults befall puts and removes, at times a query."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._upstream = port
        self._burst = (0, 0)
        self.page_instead = 0
        """So many puts and removes are answered with a page that has nothing to do with Vespa."""

    def calm(self) -> None:
        self._burst = (0, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(reader, head)
                if not await self._answer(head, head + body, theirs, ours, writer):
                    return
        finally:
            ours.transport.abort()

    async def _answer(
        self,
        head: bytes,
        request: bytes,
        theirs: asyncio.StreamReader,
        ours: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; False where the connection must end."""
        feeds = head.startswith((b"POST /document", b"DELETE /document"))
        if feeds and self.page_instead:
            self.page_instead -= 1
            writer.write(_page())
            return True
        fault = self.faults.draw(VESPA_FAULTS if feeds else QUESTION_FAULTS)
        if feeds and self._burst[1]:
            fault, self._burst = str(self._burst[0]), (self._burst[0], self._burst[1] - 1)
        if fault.startswith("burst"):
            self._burst = (int(fault[-3:]), self.faults.rng.randint(1, 20))
            fault = fault[-3:]
        match fault:
            case "reset":
                return False
            case "503" | "504" | "429" | "502" | "early 504" | "one 500" | "one 507":
                writer.write(_says(int(fault[-3:])))
                return True
            case "page 200":
                # What a captive portal or a misled load balancer answers: nothing has been stored.
                writer.write(_page())
                return True
            case "delay":
                await asyncio.sleep(0.02 + 0.06 * self.faults.rng.random())
        ours.write(request)
        answer = await _response(theirs)
        match fault:
            case "lost answer":
                return False
            case "cut answer":
                writer.write(answer[: len(answer) - 5])
                await writer.drain()
                return False
            case "late 504":
                answer = _says(504)
        writer.write(answer)
        await writer.drain()
        return True


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(*_LOST):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    low = head.lower()
    at = low.find(b"\r\ncontent-length:")
    if at >= 0:
        size = int(low[at + 17 : low.index(b"\r\n", at + 2)])
        return await reader.readexactly(size) if size else b""
    body = b""
    if b"transfer-encoding: chunked" in low:
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line, 16) + 2)
            body += line + chunk
            if len(chunk) == 2:
                break
    return body


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await _body(reader, head)


def _says(status: int) -> bytes:
    body = b'{"message":"the proxy says %d"}' % status
    return (
        b"HTTP/1.1 %d Proxy\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (status, len(body))
    ) + body


def _page() -> bytes:
    body = b"<html><title>Sign in to the network</title></html>"
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection the hard way: the other side reads ECONNRESET, not an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
