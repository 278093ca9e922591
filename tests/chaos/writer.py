"""A writer that never rests: changes while a sync reads, and transactions that are held open across its borders."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.chaos.tables import KINDS, Mischief, Statement

_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(slots=True)
class Held:
    """A transaction under way, and after how many further changes it ends."""

    connection: Any
    left: int
    commits: bool


@dataclass(slots=True)
class Writer:
    """Changes the tables of one database until told to stop; `changes` and `late` count what it did."""

    url: str
    tables: Sequence[str]
    rng: random.Random
    pause_s: float = 0.004
    changes: int = 0
    late: int = 0
    _held: list[Held] = field(default_factory=list)
    _spare: list[Any] = field(default_factory=list)
    _main: Any = None
    _running: asyncio.Task[None] | None = None
    _stopping: bool = False

    async def start(self) -> None:
        self._main = await self._connect()
        self._spare = [await self._connect() for _ in range(2)]

    def go(self) -> None:
        """Begin to change things, until `stop`."""
        self._running = asyncio.create_task(self._run(), name="writer")

    async def _run(self) -> None:
        makers = [Mischief(KINDS[name], self.rng) for name in self.tables]
        while not self._stopping:
            maker = self.rng.choice(makers)
            draw = self.rng.random()
            if draw < 0.02:
                await self._apply(self._main, [(f"VACUUM FULL {maker.kind.name}", ())], transaction=False)
            elif draw < 0.07:
                await self._apply(self._main, [(f"VACUUM {maker.kind.name}", ())], transaction=False)
            elif draw < 0.09:
                await self._apply(self._main, maker.rewrite())
            elif draw < 0.10:
                await self._apply(self._main, [(_HANG_UP, ())])
            elif draw < 0.30 and self._spare:
                await self._hold(maker)
            else:
                await self._apply(self._main, maker.one())
            await self._tick()
            await asyncio.sleep(self.pause_s * self.rng.random() * 2)

    async def begin_late(self) -> None:
        """Open a transaction that is stamped now and ends much later."""
        if self._spare:
            await self._hold(
                Mischief(KINDS[self.rng.choice(list(self.tables))], self.rng), self.rng.randint(10, 60)
            )

    async def stop(self) -> None:
        """End what is open and close; afterwards the database rests. Stopped already: nothing."""
        if self._running is not None:
            self._stopping = True
            await self._running
            self._running = None
        for held in self._held:
            await self._end(held)
        connections = [self._main, *self._spare, *(held.connection for held in self._held)]
        self._main, self._spare, self._held = None, [], []
        for connection in connections:
            if connection is not None:
                await connection.close(timeout=5)

    async def _connect(self) -> Any:
        return await asyncpg.connect(
            self.url, server_settings={"lock_timeout": "30", "application_name": "writer", "timezone": "UTC"}
        )

    async def _hold(self, maker: Mischief, left: int | None = None) -> None:
        connection = self._spare.pop()
        await connection.execute("BEGIN")
        with suppress(*_REFUSED):
            for _ in range(self.rng.randint(1, 4)):
                # In savepoints, so that a row that another holds costs only its own statement.
                await self._apply(connection, maker.one())
        self._held.append(Held(connection, left or self.rng.randint(1, 25), self.rng.random() < 0.85))

    async def _tick(self) -> None:
        for held in list(self._held):
            held.left -= 1
            if held.left <= 0:
                self._held.remove(held)
                await self._end(held)
                self._spare.append(held.connection)

    async def _end(self, held: Held) -> None:
        self.late += held.commits
        with suppress(*_REFUSED):
            await held.connection.execute("COMMIT" if held.commits else "ROLLBACK")

    async def _apply(self, connection: Any, statements: list[Statement], *, transaction: bool = True) -> None:
        try:
            if not transaction:
                await connection.execute(statements[0][0])
                return
            async with connection.transaction():
                for text, args in statements:
                    await connection.execute(text, *args)
            self.changes += 1
        except _REFUSED:
            # A lock that another transaction holds, a key that exists: the next change follows.
            return


_HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'procore-ingest%'"
)
