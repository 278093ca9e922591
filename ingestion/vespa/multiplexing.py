"""Many requests at a time on one HTTP/2 connection, for feeding: what the official clients speak.

HTTP/1.1 costs a system call and a turn of the event loop for each request and each answer. Here one write carries
as many requests as there is room for and one read brings all the answers that are there, which takes about a
tenth of the time. Every request still has an answer of its own, and its own place in the bound on requests under
way. The general HTTP/2 libraries of Python spend more time on one request than a whole ingest may on one row.

Of HTTP/2 (RFC 9113) and HPACK (RFC 7541) this speaks what requests with small bodies to one origin need: in clear
text with prior knowledge, over TLS where the server chooses it by ALPN (RFC 7301). Header tables are switched
off, so that equal answers have equal headers.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

LOST, UNPROCESSED = 0, -1
"""In the place of a status: what became of the request is unknown; the server never looked at it."""
LARGEST_BODY_BYTES = 48 * 2**10
"""Larger ones would have to wait for the server's window in pieces; they go over HTTP/1.1."""
NEGOTIATION_S = 2.0

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_TABLE_SIZE, _ENABLE_PUSH, _MOST_STREAMS, _INITIAL_WINDOW, _FRAME_SIZE = 1, 2, 3, 4, 5
_REFUSED_STREAM, _CANCEL = 7, 8
_OUR_WINDOW = 2**30
_FRAME = struct.Struct(">BHBBI")
_LAST_STREAM_ID = 2**30
_LARGEST_FRAME = 2**20
_STATIC_STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_ALPN = "h2"
_HTTP, _HTTPS = b"\x86", b"\x87"
_GZIPPED = b"\x0f\x0b\x04gzip"
"""`content-encoding: gzip`, the name by its number in HPACK's static table."""
_METHODS = {"POST": b"\x83", "PUT": b"\x02\x03PUT", "DELETE": b"\x02\x06DELETE"}
_DIGITS = {(5, 0): "0", (5, 1): "1", (5, 2): "2", **{(6, 0x19 + n): str(3 + n) for n in range(7)}}
"""HPACK's Huffman codes of the digits: number of bits and value."""

Answered = Callable[[Any, int, bytes], None]
"""Called with a request's token, its status (or LOST, UNPROCESSED) and the body of its answer."""


class Channel(asyncio.Protocol):
    """One connection. `answered` is told of every request once, `settled` after each group of answers."""

    def __init__(
        self,
        authority: str,
        headers: Mapping[str, str],
        answered: Answered,
        settled: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ):
        self._answered, self._settled = answered, settled
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = self._loop.create_future()
        scheme = _HTTP if tls is None else _HTTPS
        self._before = scheme + b"\x01" + _string(authority.encode()) + b"\x04"
        regular = {"content-type": "application/json", "accept": "application/json", **headers}
        self._after = b"".join(
            b"\x00" + _string(name.lower().encode()) + _string(value.encode())
            for name, value in regular.items()
        )
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._window = self._stream_window = 65_535
        self._most_streams, self._frame_size = 100, 16_384
        self._taken = 0
        self._out: list[bytes] = []
        self._buffer = b""
        self._statuses: dict[bytes, int] = {}
        self._head: tuple[int, int, bytes] | None = None
        self.is_open = False

    @property
    def under_way(self) -> int:
        """Requests without an answer."""
        return len(self._streams)

    def send(self, token: Any, method: str, target: str, body: bytes | None, gzipped: bool = False) -> bool:
        """Put a request into the next write, or say that there is no room for it now."""
        size = len(body) if body is not None else 0
        if (
            not self.is_open
            or len(self._streams) >= self._most_streams
            or size > min(self._window, self._stream_window)
        ):
            return False
        number = self._next_id
        self._next_id += 2
        if self._next_id >= _LAST_STREAM_ID:
            self.is_open = False
        path = target.encode("ascii")
        block = b"".join((_METHODS[method], self._before, _string(path), self._after))
        out = self._out
        self._streams[number] = _Stream(token, self._loop.time())
        if body is None:
            out += (_frame(len(block), _HEADERS, _END_HEADERS | _END_STREAM, number), block)
            return True
        length = str(size).encode()
        block += b"\x0f\x0d" + _string(length)
        if gzipped:
            block += _GZIPPED
        out += (_frame(len(block), _HEADERS, _END_HEADERS, number), block)
        self._window -= size
        if size <= self._frame_size:
            out += (_frame(size, _DATA, _END_STREAM, number), body)
            return True
        for start in range(0, size, self._frame_size):
            piece = body[start : start + self._frame_size]
            last = start + self._frame_size >= size
            out += (_frame(len(piece), _DATA, _END_STREAM if last else 0, number), piece)
        return True

    def flush(self) -> None:
        """Write what `send` has gathered."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def forget(self, wanted: Callable[[Any], bool]) -> None:
        """Give up requests; nobody is told of them any more."""
        gone = [number for number, stream in self._streams.items() if wanted(stream.token)]
        for number in gone:
            del self._streams[number]
            self._out += (_frame(4, _RESET, 0, number), _CANCEL.to_bytes(4, "big"))
        self.flush()

    def expire(self, timeout_s: float) -> None:
        """End the connection when a request has waited for longer than this: nothing else moves it on."""
        oldest = next(iter(self._streams.values()), None)
        if oldest is not None and self._loop.time() - oldest.since > timeout_s:
            self.end()

    def end(self) -> None:
        """Close at once; what became of requests under way is unknown."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
        self._lose(LOST)

    # -- what the loop tells ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != _ALPN:
            self.ready.set_result(False)
            return
        settings = ((_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, _OUR_WINDOW))
        payload = b"".join(struct.pack(">HI", name, value) for name, value in settings)
        self._transport.write(
            b"".join(
                (
                    _PREFACE, _frame(len(payload), _SETTINGS, 0, 0), payload,
                    _frame(4, _WINDOW, 0, 0), (_OUR_WINDOW - 65_535).to_bytes(4, "big"),
                )
            )
        )  # fmt: skip

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if not self.ready.done():
            self.ready.set_result(False)
        self._lose(LOST)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        at, end = 0, len(data)
        try:
            while end - at >= 9:
                high, size, kind, flags, number = _READ_FRAME(data, at)
                size |= high << 16
                if size > _LARGEST_FRAME or (not self.ready.done() and kind != _SETTINGS):
                    raise ValueError("this is not HTTP/2")
                if end - at < 9 + size:
                    break
                at += 9
                self._take(kind, flags, number & 0x7FFFFFFF, data[at : at + size])
                at += size
        except (ValueError, IndexError, struct.error):
            if not self.ready.done():
                self.ready.set_result(False)
            self.end()
            return
        self._buffer = data[at:]
        self._settled()
        self.flush()

    # -- frames -------------------------------------------------------------------------------------------

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _DATA:
            self._taken += len(payload)
            if self._taken > _OUR_WINDOW // 2:
                self._out += (_frame(4, _WINDOW, 0, 0), self._taken.to_bytes(4, "big"))
                self._taken = 0
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            stream = self._streams.get(number)
            if stream is not None:
                stream.body = stream.body + payload if stream.body else payload
                if flags & _END_STREAM:
                    self._answer(number, stream)
        elif kind == _HEADERS:
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & _PRIORITY:
                payload = payload[5:]
            if flags & _END_HEADERS:
                self._headers(number, flags, payload)
            else:
                self._head = (number, flags, payload)
        elif kind == _CONTINUATION and self._head is not None:
            number, first, block = self._head
            self._head = (number, first, block + payload)
            if flags & _END_HEADERS:
                self._headers(number, first, block + payload)
                self._head = None
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _WINDOW and number == 0:
            self._window += int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        elif kind == _PING and not flags & _ACK:
            self._out += (_frame(8, _PING, _ACK, 0), payload[:8])
        elif kind == _RESET and (stream := self._streams.pop(number, None)) is not None:
            refused = int.from_bytes(payload[:4], "big") == _REFUSED_STREAM
            self._answered(stream.token, UNPROCESSED if refused else LOST, b"")
        elif kind == _GOAWAY:
            self._go_away(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF)

    def _headers(self, number: int, flags: int, block: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if not stream.status:  # else a trailer
            status = self._statuses.get(block)
            if status is None:
                status = _status_of(block)
                if len(self._statuses) > 64:
                    self._statuses.clear()
                self._statuses[block] = status
            stream.status = status if status >= 200 else 0
        if flags & _END_STREAM:
            self._answer(number, stream)

    def _answer(self, number: int, stream: _Stream) -> None:
        del self._streams[number]
        self._answered(stream.token, stream.status or LOST, stream.body)
        if not self.is_open and not self._streams and self._transport is not None:
            self._transport.close()

    def _settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _MOST_STREAMS:
                self._most_streams = value
            elif name == _INITIAL_WINDOW:
                self._stream_window = value
            elif name == _FRAME_SIZE:
                self._frame_size = min(value, 2**16)
        self._out.append(_frame(0, _SETTINGS, _ACK, 0))
        if not self.ready.done():
            self.is_open = True
            self.ready.set_result(True)

    def _go_away(self, last: int) -> None:
        """The server takes no new requests here; those that it took it answers still."""
        self.is_open = False
        for number in [number for number in self._streams if number > last]:
            self._answered(self._streams.pop(number).token, UNPROCESSED, b"")
        if not self._streams and self._transport is not None:
            self._transport.close()

    def _lose(self, status: int) -> None:
        streams, self._streams = self._streams, {}
        self._out.clear()
        for stream in streams.values():
            self._answered(stream.token, status, b"")
        if streams:
            self._settled()


class Multiplexer:
    """Connections to one origin that share requests among them; belongs to one event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        headers: Mapping[str, str],
        connections: int,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        name = f"[{host}]" if ":" in host else host
        self._host, self._port, self._headers, self._tls = host, port, dict(headers), tls
        self._authority = name if port == (443 if tls is not None else 80) else f"{name}:{port}"
        if tls is not None:
            tls.set_alpn_protocols([_ALPN, "http/1.1"])
        self._most, self._timeout_s = max(1, connections), timeout_s
        self._channels: list[Channel] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def open(self, answered: Answered, settled: Callable[[], None]) -> bool:
        """Make the connections that are missing; False where the server does not speak HTTP/2, or not now."""
        loop = asyncio.get_running_loop()
        self._channels = [channel for channel in self._channels if channel.is_open or channel.under_way]
        while sum(channel.is_open for channel in self._channels) < self._most:
            channel: Channel | None = None
            try:
                async with asyncio.timeout(NEGOTIATION_S):
                    _, channel = await loop.create_connection(
                        lambda: Channel(self._authority, self._headers, answered, settled, self._tls),
                        self._host,
                        self._port,
                        ssl=self._tls,
                    )
                    opened = await asyncio.shield(channel.ready)
            except (OSError, TimeoutError):
                opened = False
            except BaseException:
                if channel is not None:
                    channel.end()
                raise
            if not opened:
                if channel is not None:
                    channel.end()
                return any(channel.is_open for channel in self._channels)
            assert channel is not None
            self._channels.append(channel)
        if self._sweep is None:
            self._look_after(loop)
        return True

    @property
    def lacks(self) -> bool:
        """Whether a connection is missing."""
        return sum([channel.is_open for channel in self._channels]) < self._most

    def send(self, token: Any, method: str, target: str, body: bytes | None, gzipped: bool = False) -> bool:
        """Give a request to the connection with the fewest; False while there is no room for it."""
        if len(self._channels) == 1:
            return self._channels[0].send(token, method, target, body, gzipped)
        by_load = sorted(self._channels, key=_load)
        return any(channel.send(token, method, target, body, gzipped) for channel in by_load)

    def flush(self) -> None:
        for channel in self._channels:
            channel.flush()

    def forget(self, wanted: Callable[[Any], bool]) -> None:
        for channel in self._channels:
            channel.forget(wanted)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for channel in self._channels:
            channel.end()
        self._channels.clear()

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        for channel in self._channels:
            channel.expire(self._timeout_s)
        self._sweep = loop.call_later(min(1.0, self._timeout_s / 8), self._look_after, loop)


class _Stream:
    __slots__ = ("body", "since", "status", "token")

    def __init__(self, token: Any, since: float) -> None:
        self.token, self.since, self.status, self.body = token, since, 0, b""


def _load(channel: Channel) -> int:
    return channel.under_way


_READ_FRAME = _FRAME.unpack_from


def _frame(size: int, kind: int, flags: int, number: int) -> bytes:
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, number)


def _string(text: bytes) -> bytes:
    """A string literal, not compressed."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    out = [127]
    while size >= 128:
        out.append(size % 128 + 128)
        size //= 128
    return bytes((*out, size)) + text


def _status_of(block: bytes) -> int:
    """The status in a response's headers, which stands before all others; raises ValueError where it does not."""
    at = 0
    while block[at] & 0xE0 == 0x20:  # the header table's size, which we have set to nothing
        longer = block[at] & 0x1F == 0x1F
        at += 1
        while longer:
            longer = block[at] >= 0x80
            at += 1
    first = block[at]
    if first in _STATIC_STATUSES:
        return _STATIC_STATUSES[first]
    if first in (0x08, 0x18, 0x48):  # a literal under the static name `:status`
        at += 1
    elif first in (0x00, 0x10, 0x40) and block[at + 1 : at + 9] == b"\x07:status":
        at += 9
    else:
        raise ValueError("the answer's first header is not its status")
    size = block[at] & 0x7F
    text = block[at + 1 : at + 1 + size]
    digits = _unpacked(text) if block[at] & 0x80 else text.decode("ascii")
    if len(digits) != 3 or not digits.isdigit():
        raise ValueError("the answer has no status")
    return int(digits)


def _unpacked(text: bytes) -> str:
    """Digits out of HPACK's Huffman code."""
    bits, value, found = 0, 0, ""
    for bit in "".join(f"{byte:08b}" for byte in text):
        value, bits = value << 1 | (bit == "1"), bits + 1
        if (bits, value) in _DIGITS:
            found += _DIGITS[bits, value]
            bits = value = 0
        elif bits > 7:
            raise ValueError("a status holds something other than digits")
    return found
