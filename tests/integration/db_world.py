"""Parts of the connection tests: connections that close, and a network that can fail."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from ingestion.db_connection import ConnectionConfig, DatabaseConnection


@asynccontextmanager
async def connected(url: str, **changes: Any) -> AsyncIterator[DatabaseConnection]:
    db = DatabaseConnection(replace(ConnectionConfig.from_url(url), **changes), logging.getLogger("test"))
    await db.connect()
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


class Relay:
    """A TCP front of the server that can drop its connections: the network, as far as a client sees it."""

    def __init__(self, target: str, port: int = 5432, tls: ssl.SSLContext | None = None) -> None:
        self._path, self._tls, self.accepted = f"{target}/.s.PGSQL.{port}", tls, 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop()
        for task in list(self._tasks):
            task.cancel()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._tls is not None:
            # The eight bytes of an SSLRequest, answered by S; then the handshake.
            await reader.readexactly(8)
            writer.write(b"S")
            try:
                await writer.start_tls(self._tls)
            except (ssl.SSLError, OSError):
                writer.transport.abort()
                return
        try:
            back_reader, back_writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, back_writer]
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            task = asyncio.create_task(_pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.transport.abort()


@asynccontextmanager
async def answering(serve: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    """A server of our own on loopback; its port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
