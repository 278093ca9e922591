"""A transaction that several queries of one task share, and its savepoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import asyncpg


def is_gone(connection: Any) -> bool:
    """Whether a pool's connection is closed, or was taken back because it broke."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


@dataclass(slots=True)
class Held:
    connection: Any
    lock: asyncio.Lock
    depth: int = 0


class TransactionBlock(AbstractAsyncContextManager[Any]):
    """`DatabaseConnection.transaction()`; its own class, because a generator may be closed elsewhere."""

    def __init__(
        self,
        current: ContextVar[Held | None],
        session: Callable[[], AbstractAsyncContextManager[Any]],
        translated: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._current, self._session, self._translated = current, session, translated
        self._entered: Any = None
        self._held: Held | None = None
        self._savepoint = ""

    async def __aenter__(self) -> Any:
        held = self._current.get()
        if held is None:
            self._entered = self._session()
            held = Held(await self._entered.__aenter__(), asyncio.Lock())
            self._current.set(held)
        else:
            name = f"procore_ingest_{held.depth}"
            async with held.lock, self._translated():
                await held.connection.execute(f"SAVEPOINT {name}")
            held.depth += 1
            self._savepoint = name
        self._held = held
        return held.connection

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        held = self._held
        assert held is not None
        if self._entered is not None:
            self._current.set(None)
            return bool(await self._entered.__aexit__(kind, error, trace))
        held.depth -= 1
        ending = "RELEASE SAVEPOINT" if kind is None else "ROLLBACK TO SAVEPOINT"
        if not is_gone(held.connection):
            async with held.lock, self._translated():
                await held.connection.execute(f"{ending} {self._savepoint}")
        return None


class LockedCursor:
    """A cursor of a shared transaction: its fetches take turns with the other queries there."""

    def __init__(self, cursor: Any, lock: asyncio.Lock) -> None:
        self._cursor, self._lock = cursor, lock

    async def fetch(self, count: int) -> list[Any]:
        async with self._lock:
            return list(await self._cursor.fetch(count))
