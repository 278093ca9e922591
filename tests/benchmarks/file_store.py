"""A store that costs next to nothing: real images of any size over HTTP/1.1, made before the clock starts.

`python -m tests.benchmarks.file_store` prints its URL and serves until its standard input ends.
`GET /{bytes}/{number}.jpg` is one image; different numbers are different content.
"""

from __future__ import annotations

import asyncio
import io
import sys
from typing import cast

import uvloop
from PIL import Image

_CHUNK = 256 * 1024


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (320, 240), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


_HEAD = _picture()
_TAIL = bytes(range(256)) * (_CHUNK // 256)


class Store(asyncio.Protocol):
    """One connection; answers one request after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = b""
        self._sending: asyncio.Task[None] | None = None

    def pause_writing(self) -> None:
        self._open.clear()

    def resume_writing(self) -> None:
        self._open.set()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while b"\r\n\r\n" in self._waiting:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            _, size_text, name = path.split(b"/")
            self._answer(int(size_text), name)

    def _answer(self, size: int, name: bytes) -> None:
        mark = name.ljust(32, b".")
        head = b'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nETag: "%s"\r\nContent-Length: %d\r\n\r\n'
        left = size - len(_HEAD) - len(mark)
        self._transport.write(head % (name, size) + _HEAD + mark + _TAIL[: min(left, _CHUNK)])
        if left > _CHUNK:
            self._sending = asyncio.get_running_loop().create_task(self._rest(left - _CHUNK))

    async def _rest(self, left: int) -> None:
        while left > 0 and not self._transport.is_closing():
            await self._open.wait()
            self._transport.write(_TAIL[: min(left, _CHUNK)])
            left -= _CHUNK


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Store, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(_serve())
