"""Processes that make and feed documents for one job: all of the processor's cores, without its accounting.

One process does all work of a small job. From `WORTH_ROWS` rows on, the making of documents and their feeding,
which is most of the time that a row takes, goes to worker processes; reading, order per key, failures, counts and
checkpoints stay with the job's process. It makes none meanwhile, so that it never keeps a worker waiting. What is
accounted for is the same either way.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import marshal
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingestion import errors, memory
from ingestion.record_ingester import IngestedRecord
from ingestion.state.types import Failure
from ingestion.sync import building
from ingestion.sync.worker_process import LENGTH
from ingestion.transform.documents import Document, DocumentBuilder
from ingestion.vespa.feeding import FeedStats, Outcome, Verdict

if TYPE_CHECKING:
    from ingestion.transform.transform import Transform
    from ingestion.vespa.client import VespaSession

WORTH_ROWS = 4000
"""Rows of a job after which more processes are worth their start."""
MOST_WORKERS = 3
"""Beyond these the job's own process is the narrow place."""
_SURE_ROWS = 5 * WORTH_ROWS
"""Rows that a job expects for which the processes start before the first row is read."""
_END_S = 5.0

_ACCEPTED = Outcome(Verdict.ACCEPTED, 200)
_NO_FIELDS: dict[str, Any] = {}


class WorkerLost(errors.IngestionError):
    """A worker process ended by itself: what became of the documents that it was feeding is unknown."""


@dataclass(slots=True)
class Held:
    """A batch whose documents lie in a worker, and the documents of ours that stand for them."""

    worker: Worker
    number: int
    places: dict[int, int] = field(default_factory=dict)
    """`id` of a document → its place in the worker's batch."""
    is_there: bool = True

    async def feed(self, documents: Sequence[Document], read_seq: int, now_ms: int) -> list[Outcome]:
        """Feed these of the batch's documents, in their order, and let the others go; see `Feeder.feed`."""
        places = [self.places[id(document)] for document in documents]
        chosen = None if len(places) == len(self.places) and places == sorted(places) else places
        self.is_there = False
        answer, stats = await self.worker.ask("feed", self.number, chosen, read_seq, now_ms)
        self.worker.stats = FeedStats(*stats)
        outcomes = [_ACCEPTED] * len(documents)
        for place, verdict, status, message in answer:
            outcomes[place] = Outcome(Verdict(verdict), status, message)
        return outcomes

    def __del__(self) -> None:
        # Let the documents go that nobody fed: a batch of which none was new, or of a table that was left.
        if self.is_there:
            self.is_there = False
            self.worker.tell("drop", self.number)


@dataclass(slots=True)
class Made:
    """What a worker made of a batch: documents, beside the positions of their rows, and failures with theirs."""

    held: Held
    positions: list[int]
    documents: list[Document]
    failures: list[tuple[int, Failure]]


class Worker:
    """One process and the questions put to it."""

    def __init__(self, on_backoff: Callable[[str, float], None]) -> None:
        self._on_backoff = on_backoff
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._tables: dict[DocumentBuilder, tuple[int, asyncio.Task[None]]] = {}
        self.stats: FeedStats | None = None
        self.is_alive = False

    @property
    def load(self) -> int:
        """Questions without an answer."""
        return len(self._questions)

    async def start(self, *opening: Any) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is for the job's process, which ends this one when it is done.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ingestion.sync.worker_process",
                stdin=theirs.fileno(),
                env={**os.environ, **memory.GIVE_BACK},
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
        self._listener = asyncio.create_task(self._listen(reader), name="worker")
        self.is_alive = True
        await self.ask("open", *opening)

    async def close(self) -> None:
        """End the process; questions under way raise WorkerLost."""
        self.is_alive = False
        if self._writer is not None:
            self._writer.close()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), _END_S)
            except TimeoutError:
                self._process.send_signal(signal.SIGKILL)
                await self._process.wait()

    async def number_of(self, builder: DocumentBuilder) -> int:
        """The number under which the process has a builder of its own like this one.

        The builder is kept: the address of one that is gone would become another table's.
        """
        if builder not in self._tables:
            number = len(self._tables) + 1
            task = asyncio.create_task(self.ask("table", number, pickle.dumps(builder.table)))
            self._tables[builder] = number, task
        number, task = self._tables[builder]
        await asyncio.shield(task)
        return number

    async def ask(self, kind: str, *args: Any) -> Any:
        """The answer; raises what the process raised, and WorkerLost when it ends. Cancelled, so is the work."""
        if not self.is_alive:
            raise _lost()  # a dead process's socket takes what is written to it, and nobody would answer
        number = next(self._numbers)
        future = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(number, kind, *args)
            return await future
        except asyncio.CancelledError:
            self.tell("cancel", number)
            raise
        finally:
            self._questions.pop(number, None)

    def tell(self, kind: str, *args: Any) -> None:
        """Say something that has no answer; nobody may be there to hear it."""
        if self.is_alive:
            self._send(0, kind, *args)

    def _send(self, *message: Any) -> None:
        # Who is gone never answers, and a write to a broken socket does not say so.
        if not self.is_alive or self._writer is None or self._writer.is_closing():
            raise _lost()
        data = marshal.dumps(message, 2)
        self._writer.write(LENGTH.pack(len(data)) + data)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                number, is_answer, answer = marshal.loads(await reader.readexactly(size))
                if not number:
                    self._on_backoff(*answer)
                elif (future := self._questions.get(number)) is not None and not future.done():
                    if is_answer:
                        future.set_result(answer)
                    else:
                        future.set_exception(_error(*answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.is_alive = False
            for future in self._questions.values():
                if not future.done():
                    future.set_exception(_lost())


class Workers:
    """The worker processes of a job: `count` from the start, or one a core once they are worth it."""

    def __init__(
        self,
        session: VespaSession,
        transform: Transform,
        *,
        count: int | None = None,
        expected: int = 0,
        max_in_flight: int = 64,
        deadline_s: float = 120.0,
        on_backoff: Callable[[str, float], None] = lambda reason, wait_s: None,
        on_start: Callable[[int], None] = lambda max_in_flight: None,
        log: logging.Logger | None = None,
    ) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        automatic = min(cores, MOST_WORKERS) if cores > 1 else 0
        self._count = automatic if count is None else count
        self._waits = count is not None
        self._is_sure = self._waits or expected >= _SURE_ROWS
        self._transform = transform
        self._session, self._deadline_s = session, deadline_s
        self._max_in_flight = max(1, max_in_flight // (self._count + 1))
        """Each process's share, the job's own among them, which `on_start` is told of."""
        self._on_backoff, self._on_start = on_backoff, on_start
        self._log = log or logging.getLogger(__name__)
        self._rows = 0
        self._batches = itertools.count(1)
        self._workers: list[Worker] = []
        self._ended: list[FeedStats] = []
        self._starting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start the processes where it is sure that they are worth it; until they are there, nobody waits."""
        if self._count and self._is_sure:
            self._begin()

    def _begin(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="start workers")

    @property
    def stats(self) -> list[FeedStats]:
        """What the processes' feeders say of themselves, or said last."""
        return [*self._ended, *(worker.stats for worker in self._workers if worker.stats is not None)]

    async def ready(self, rows: int) -> bool:
        """Whether a process is there to `prepare` these many rows; else they are made into documents here."""
        self._rows += rows
        if not self._count or not rows:
            return False
        if self._rows >= WORTH_ROWS:
            self._begin()
        if self._starting is None:
            return False
        if self._waits:
            await asyncio.shield(self._starting)
        return any(worker.is_alive for worker in self._workers)

    async def prepare(
        self, builder: DocumentBuilder, rows: list[tuple[str | None, ...]], places: building.Places
    ) -> Made:
        """Have documents made of rows by the process that has least to do; `rows` is empty afterwards.

        `places` are locator and unreadable columns of rows that have any. Raises WorkerLost.
        """
        worker = min((one for one in self._workers if one.is_alive), key=lambda one: one.load, default=None)
        if worker is None:
            raise _lost()
        # As bytes, which take half the memory, until the process comes to them.
        texts = marshal.dumps(rows, 2)
        rows.clear()
        table = await worker.number_of(builder)
        number = next(self._batches)
        positions, keys, digests, buckets, sizes, more, failed = await worker.ask(
            "prepare", number, table, texts, places
        )
        held, nothing = Held(worker, number), _record(None)
        documents = [
            Document(nothing, key, _NO_FIELDS, digest, bucket, (), (), size)
            for key, digest, bucket, size in zip(keys, digests, buckets, sizes, strict=True)
        ]
        extra: dict[int, Any] = pickle.loads(more) if more else {}
        for place, (warnings, files, project) in extra.items():
            documents[place] = Document(
                _record(project), keys[place], _NO_FIELDS, digests[place], buckets[place], warnings, files,
                sizes[place],
            )  # fmt: skip
        held.places = {id(document): place for place, document in enumerate(documents)}
        return Made(held, positions, documents, pickle.loads(failed) if failed else [])

    async def close(self) -> None:
        """End the processes."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        self._ended = self.stats
        workers, self._workers, self._count = self._workers, [], 0
        await asyncio.gather(*(worker.close() for worker in workers), return_exceptions=True)

    async def _start(self) -> None:
        opening = (
            pickle.dumps(self._transform), pickle.dumps(self._session.recipe()),
            self._max_in_flight, self._deadline_s,
        )  # fmt: skip

        async def one() -> None:
            worker = Worker(self._on_backoff)
            try:
                await worker.start(*opening)
            except BaseException:
                await worker.close()
                raise
            self._workers.append(worker)

        self._on_start(self._max_in_flight)
        try:
            await asyncio.gather(*(one() for _ in range(self._count)))
        except (OSError, errors.IngestionError) as error:
            self._log.warning("no worker processes, so one process does all the work: %s", error)


def _record(project_id: int | None) -> IngestedRecord:
    """The little that is asked of a record whose document lies in a worker."""
    return IngestedRecord("", "", "", project_id, {}, [], [], "", 0, 0, 0)


def _lost() -> WorkerLost:
    return WorkerLost("a worker process ended by itself", hint="Resume the job if it does not go on.")


def _error(name: str, message: str, hint: str) -> BaseException:
    if not name:
        return asyncio.CancelledError()
    kind = getattr(errors, name, errors.IngestionError)
    error: errors.IngestionError = kind(message, hint=hint)
    return error
