"""A lean HTTP/1.1 client for one plain http:// origin: kept connections, one request at a time on each.

Feeding is millions of small requests to one server. A general client spends more time on one of them than
PostgreSQL, the transform and the index together; this one speaks just what document/v1 and search need (RFC 9112):
fixed and chunked bodies, bodies that end with the connection, interim answers, `Connection: close`. TLS and
proxies are left to aiohttp. Requests are not pipelined: servers answer in order, so one slow document would hold
up those behind it, and a lost connection would leave many outcomes unknown instead of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

LONGEST_HEAD_BYTES = 64 * 2**10
LONGEST_BODY_BYTES = 512 * 2**20
IDLE_S = 20.0
"""A connection that lay idle for longer is not used again: the server may be about to close it."""
_JOINED_BYTES = 256 * 2**10
"""A body up to this size is sent in one piece with its head."""


class ConnectionLost(ConnectionError):
    """The connection broke before the whole answer was there: what became of the request is unknown."""


class BadAnswer(OSError):
    """What came back is not HTTP, or larger than any answer may be; the connection is closed."""


class Transport:
    """Requests to one origin over at most `max_connections` connections; belongs to one event loop.

    `timeout_s` bounds a request from its first byte to the last of its answer, `connect_s` the connecting.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        headers: Mapping[str, str],
        max_connections: int,
        timeout_s: float,
        connect_s: float = 10.0,
    ) -> None:
        """Raises ValueError for a header that is no header."""
        self._host, self._port = host, port
        self._most, self._timeout_s, self._connect_s = max_connections, timeout_s, connect_s
        name = f"[{host}]" if ":" in host else host
        common = {"Host": name if port == 80 else f"{name}:{port}", "Accept": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in common.items())
        if len(lines.splitlines()) != len(common) or not lines.isascii():
            raise ValueError("a header holds a line break or is not ASCII")
        self._tail = f" HTTP/1.1\r\n{lines}"
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(
        self, method: str, target: str, body: bytes | None = None, *, gzipped: bool = False
    ) -> tuple[int, bytes]:
        """Status and body of the answer; `target` is the path, percent-encoded, with its query.

        Raises ConnectionLost, BadAnswer, TimeoutError, and the OSError of a connection that cannot be made.
        Cancelled, the request may have taken effect; its connection is closed. A GET that met a connection
        which the server had just closed is sent once more.
        """
        head = self._head(method, target, body, gzipped)
        while True:
            connection = self._idle_connection() or await self._connection()
            kept = connection.used
            try:
                return await connection.exchange(head, body)
            except ConnectionLost:
                if not kept or method != "GET" or connection.answered:
                    raise
            finally:
                self._release(connection)

    async def close(self) -> None:
        """Close every connection; requests under way raise ConnectionLost."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.end(ConnectionLost("the client was closed"))
        self._idle.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectionLost("the client was closed"))
        # A closed transport tells its protocol in the next turn of the loop.
        await asyncio.sleep(0)

    def _head(self, method: str, target: str, body: bytes | None, gzipped: bool) -> bytes:
        if body is None:
            return f"{method} {target}{self._tail}\r\n".encode("ascii")
        kind = "Content-Encoding: gzip\r\n" if gzipped else ""
        return (
            f"{method} {target}{self._tail}Content-Type: application/json\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode("ascii")

    # -- the pool -----------------------------------------------------------------------------------------

    def _idle_connection(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh:
                return connection
            self._open.discard(connection)
            connection.end(ConnectionLost("idle for too long"))
        return None

    async def _connection(self) -> _Connection:
        """A connection of our own, once there is room for one."""
        loop = asyncio.get_running_loop()
        while len(self._open) + self._opening >= self._most:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
            finally:
                with suppress(ValueError):
                    self._waiting.remove(waiter)
            if (idle := self._idle_connection()) is not None:
                return idle
        if self._closed:
            raise ConnectionLost("the client was closed")
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), self._host, self._port
                )
        except BaseException:
            self._wake()
            raise
        finally:
            self._opening -= 1
        self._open.add(connection)
        if self._sweep is None:
            self._look_after(loop)
        return connection

    def _release(self, connection: _Connection) -> None:
        if connection.is_reusable and not self._closed:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
            connection.end(ConnectionLost("done with"))
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all requests: a timer for each would cost more than sending it."""
        now = loop.time()
        for connection in list(self._open):
            connection.expire(now, self._timeout_s)
        self._open = {connection for connection in self._open if not connection.is_closed}
        self._idle = [connection for connection in self._idle if not connection.is_closed]
        self._sweep = (
            loop.call_later(min(1.0, self._timeout_s / 8), self._look_after, loop) if self._open else None
        )


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_closing",
        "_known",
        "_known_head",
        "_left",
        "_loop",
        "_parts",
        "_since",
        "_size",
        "_status",
        "_transport",
        "_until_end",
        "_waiter",
        "answered",
        "is_closed",
        "used",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = self._known_head = b""
        self._known = (0, 0)
        self._since = loop.time()
        self.used = self.answered = self.is_closed = self._closing = False
        self._reset()

    @property
    def is_reusable(self) -> bool:
        return not (self.is_closed or self._closing) and self._waiter is None

    @property
    def is_fresh(self) -> bool:
        return self.is_reusable and self._loop.time() - self._since < IDLE_S

    async def exchange(self, head: bytes, body: bytes | None) -> tuple[int, bytes]:
        transport = self._transport
        if transport is None or self.is_closed:
            self.answered = False
            raise ConnectionLost("the server closed the connection")
        loop = self._loop
        waiter: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        self._waiter = waiter
        self._since, self.answered, self.used = loop.time(), False, True
        if body is None:
            transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        try:
            return await waiter
        finally:
            if self._waiter is not None:  # cancelled before the answer was there
                self._waiter = None
                self.end(ConnectionLost("given up"))

    def end(self, reason: OSError) -> None:
        """Close at once; a request under way raises `reason`."""
        self._closing = True
        self._fail(reason)
        if self._transport is not None and not self.is_closed:
            self._transport.abort()

    def expire(self, now: float, timeout_s: float) -> None:
        """Close what has waited, or lain idle, for too long."""
        waited = now - self._since
        if self._waiter is None:
            if waited > IDLE_S:
                self.end(ConnectionLost("idle for too long"))
        elif waited > timeout_s:
            self._closing = True
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_exception(TimeoutError(f"no answer within {timeout_s:g} s"))
            self.end(ConnectionLost("timed out"))

    # -- what the loop tells ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport promises without being of that class.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._waiter is not None and self._until_end and error is None:
            self._done(b"".join(self._parts))
        self._fail(ConnectionLost(str(error) if error else "the server closed the connection"))

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.end(ConnectionLost("the server spoke unasked"))
            return
        self.answered = True
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            self._read(data)
        except ValueError:
            self.end(BadAnswer("the answer is not HTTP"))
        except BadAnswer as error:
            self.end(error)

    # -- reading an answer ----------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._status = self._size = 0
        self._left = 0
        self._parts: list[bytes] = []
        self._chunked = self._until_end = False

    def _read(self, data: bytes) -> None:
        while not self._status:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > LONGEST_HEAD_BYTES:
                    raise BadAnswer("the answer's head does not end")
                self._buffer = data
                return
            self._read_head(data[:end])
            data = data[end + 4 :]
            if 100 <= self._status < 200:
                self._reset()
        if self._chunked:
            self._read_chunks(data)
        elif self._until_end:
            self._take(data)
        elif len(data) >= self._left:
            rest = data[self._left :]
            if self._parts:
                self._parts.append(data[: self._left])
                self._done(b"".join(self._parts), rest)
            else:
                self._done(data[: self._left] if rest else data, rest)
        else:
            self._left -= len(data)
            self._take(data)

    def _read_head(self, head: bytes) -> None:
        if head == self._known_head:
            # Answers of one second differ in nothing but their bodies, if in them.
            self._status, self._left = self._known
            return
        if not head.startswith(b"HTTP/1."):
            raise BadAnswer("the answer is not HTTP/1.1")
        status = int(head[9:12])
        if not 100 <= status <= 599:
            raise BadAnswer("the answer has no status")
        keeps = head[7:8] != b"0"
        length: int | None = None
        _, _, lines = head.partition(b"\r\n")
        for line in lines.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            # Header names differ in their lengths: most lines are told from those that matter by it.
            if len(name) == 14 and name.lower() == b"content-length":
                text = value.strip()
                if not text.isdigit() or (length is not None and int(text) != length):
                    raise BadAnswer("the answer has no clear length")
                length = int(text)
            elif len(name) == 17 and name.lower() == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise BadAnswer("the answer comes in an unknown encoding")
                self._chunked = True
            elif len(name) == 10 and name.lower() == b"connection":
                tokens = value.lower()
                keeps = b"keep-alive" in tokens or (keeps and b"close" not in tokens)
            elif not colon and line:
                raise BadAnswer("the answer is not HTTP/1.1")
        self._status = status
        if status in (204, 304):
            self._chunked, length = False, 0
        if length is not None and length > LONGEST_BODY_BYTES:
            raise BadAnswer("the answer is larger than any may be")
        if not self._chunked and length is None and status >= 200:
            self._until_end, keeps = True, False
        self._left = 0 if self._chunked else length or 0
        if not keeps and status >= 200:
            self._closing = True
        elif not self._chunked and status >= 200:
            self._known_head, self._known = head, (status, self._left)

    def _read_chunks(self, data: bytes) -> None:
        """`_left`: bytes of the chunk under way, its line end included; 0 before a size, -1 in the trailer."""
        at = 0
        while True:
            if self._left > 0:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                # The last two bytes of a chunk are its line end.
                over = max(0, 2 - self._left) if self._left < 2 else 0
                self._take(piece[: max(0, len(piece) - over)] if over else piece)
                if self._left:
                    return
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LONGEST_HEAD_BYTES:
                    raise BadAnswer("a chunk's size does not end")
                self._buffer = data[at:]
                return
            line, at = data[at:end], end + 2
            if self._left == 0:
                text = line.partition(b";")[0].strip()
                if not text or not all(c in b"0123456789abcdefABCDEF" for c in text):
                    raise BadAnswer("a chunk has no size")
                size = int(text, 16)
                if size > LONGEST_BODY_BYTES:
                    raise BadAnswer("the answer is larger than any may be")
                self._left = size + 2 if size else -1
            elif not line:
                self._done(b"".join(self._parts), data[at:])
                return

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > LONGEST_BODY_BYTES:
            raise BadAnswer("the answer is larger than any may be")
        if data:
            self._parts.append(data)

    def _done(self, body: bytes, rest: bytes = b"") -> None:
        waiter, self._waiter = self._waiter, None
        status = self._status
        self._reset()
        self._since = self._loop.time()
        if rest:
            self._closing = True
        if waiter is not None and not waiter.done():
            waiter.set_result((status, body))

    def _fail(self, reason: OSError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(reason)
