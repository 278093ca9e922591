"""A worker process: rows in, documents made and fed here, and only what the accounting needs goes back.

Its standard input is a socket to the process of the job, which alone reads the source, decides what is fed and
writes the state. When that process ends, this one ends at once. Messages are length, then `marshal`; what is no
plain data is a pickle inside: both ends are the same program on the same machine.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import pickle
import socket
import struct
import sys
from functools import partial
from typing import Any

import orjson

from ingestion import errors
from ingestion.state.types import Failure
from ingestion.sync import building
from ingestion.transform.documents import DocumentBuilder
from ingestion.vespa.client import RECORD, VespaSession
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation

LENGTH = struct.Struct(">Q")


class Worker:
    """Keeps the documents of the batches under way until they are fed or dropped."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._builders: dict[int, DocumentBuilder] = {}
        self._batches: dict[int, list[tuple[str, bytes]]] = {}
        """Ids of documents and their fields as JSON, which takes a third of the memory of what it was made of."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._making = asyncio.Lock()
        """One batch at a time: of two that take turns each ends later, and both take memory."""
        self._transform: Any = None
        self._session: VespaSession | None = None
        self._feeder: Feeder | None = None

    async def run(self) -> None:
        """Do what is asked until nobody asks any more."""
        while True:
            try:
                (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                self._begin(*marshal.loads(await self._reader.readexactly(size)))
            except (asyncio.IncompleteReadError, ConnectionError):
                os._exit(0)  # the job's process is gone: nothing that is done here would be accounted for

    def _begin(self, number: int, kind: str, *args: Any) -> None:
        if kind == "cancel":
            if (task := self._tasks.get(args[0])) is not None:
                task.cancel()
        elif kind == "drop":
            self._batches.pop(args[0], None)
        else:
            task = asyncio.create_task(self._answer(number, getattr(self, f"_{kind}"), args), name=kind)
            self._tasks[number] = task
            task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)

    async def _answer(self, number: int, work: Any, args: tuple[Any, ...]) -> None:
        try:
            answer = (number, True, await work(*args))
        except errors.IngestionError as error:
            answer = (number, False, (type(error).__name__, str(error), error.hint))
        except asyncio.CancelledError:
            answer = (number, False, ("", "cancelled", ""))
        except Exception as error:
            answer = (
                number,
                False,
                ("IngestionError", f"internal error: {type(error).__name__}: {error}", ""),
            )
        self._send(answer)

    def _send(self, message: Any) -> None:
        data = marshal.dumps(message, 2)
        self._writer.write(LENGTH.pack(len(data)) + data)

    # -- what is asked ------------------------------------------------------------------------------------

    async def _open(self, transform: bytes, recipe: bytes, max_in_flight: int, deadline_s: float) -> None:
        self._transform = pickle.loads(transform)
        self._session = VespaSession.from_recipe(pickle.loads(recipe))
        self._feeder = Feeder(
            self._session,
            max_in_flight=max_in_flight,
            deadline_s=deadline_s,
            on_backoff=lambda reason, wait_s: self._send((0, True, (reason, wait_s))),
        )

    async def _table(self, number: int, table: bytes) -> None:
        self._builders[number] = self._transform.builder(pickle.loads(table))

    async def _prepare(
        self,
        batch: int,
        table: int,
        texts: bytes,
        places: dict[int, tuple[str, tuple[str, ...]]],
    ) -> Any:
        """Make documents of rows, marshalled; `places` are locator and unreadable columns of those that have any.

        Answers, beside each other: positions of rows that became documents, their keys, digests, buckets and
        sizes; then positions and pickles of what only some have: warnings and files, and failures.
        """
        async with self._making:
            return await self._made(batch, self._builders[table], marshal.loads(texts), places)

    async def _made(
        self,
        batch: int,
        builder: DocumentBuilder,
        rows: list[tuple[str | None, ...]],
        places: dict[int, tuple[str, tuple[str, ...]]],
    ) -> Any:
        documents: list[tuple[str, bytes]] = []
        positions, keys, digests, buckets, sizes = [], [], [], [], []
        more: dict[int, Any] = {}
        failures: list[tuple[int, Failure]] = []
        for first in range(0, len(rows), building.ROWS_AT_A_TIME):
            if first:
                await asyncio.sleep(0)
            piece = rows[first : first + building.ROWS_AT_A_TIME]
            rows[first : first + len(piece)] = [()] * len(piece)  # a row goes as its document comes
            for position, made in enumerate(building.build_all(builder, piece, places, first), first):
                if isinstance(made, Failure):
                    failures.append((position, made))
                    continue
                fields = made.fields
                if made.warnings or made.files:
                    more[len(documents)] = (made.warnings, made.files, fields.get("project_id"))
                documents.append((fields["doc_id"], orjson.dumps(fields)))
                positions.append(position)
                keys.append(made.key)
                digests.append(made.digest)
                buckets.append(made.bucket)
                sizes.append(made.size_bytes)
        self._batches[batch] = documents
        return (
            positions, keys, digests, buckets, sizes,
            pickle.dumps(more) if more else b"", pickle.dumps(failures) if failures else b"",
        )  # fmt: skip

    async def _feed(self, batch: int, chosen: list[int] | None, read_seq: int, now_ms: int) -> Any:
        """Feed documents of a batch, all if none are `chosen`; answers those that were not simply accepted."""
        assert self._feeder is not None
        documents = self._batches.pop(batch)
        if chosen is not None:
            documents = [documents[position] for position in chosen]
        moment = b',"ingested_at":%d}' % now_ms
        operations = []
        while documents:
            doc_id, fields = documents.pop()
            operations.append(Operation("put", RECORD, doc_id, read_seq, encoded=fields[:-1] + moment))
        operations.reverse()
        outcomes = await self._feeder.feed(operations)
        stats = self._feeder.stats
        return [
            (position, outcome.verdict.value, outcome.status, outcome.message)
            for position, outcome in enumerate(outcomes)
            if outcome.verdict is not Verdict.ACCEPTED
        ], tuple(getattr(stats, name) for name in stats.__slots__)


async def _main() -> None:
    ours = socket.socket(fileno=sys.stdin.fileno())
    reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
    await Worker(reader, writer).run()


if __name__ == "__main__":
    import gc

    import uvloop

    from ingestion import priority

    priority.give_way_as_a_session()
    # A batch is thousands of objects, none of them in a cycle.
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(_main())
