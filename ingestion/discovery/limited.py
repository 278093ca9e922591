"""Queries with a time limit of their own, so that one bad table costs only itself."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ingestion import errors
from ingestion.db_connection import DatabaseConnection, Row
from ingestion.postgres import db_errors

_ATTEMPTS = 4
_GONE = frozenset({"42P01", "3F000"})
"""SQLSTATEs: no such table, no such schema."""


async def fetch(
    db: DatabaseConnection, query: str, *args: Any, timeout_s: float, lock_s: float = 1.0
) -> list[Row]:
    """Rows of one read-only query that may take `timeout_s` seconds and wait `lock_s` for a lock.

    Asked again when the connection is lost on the way. Raises TableProblem when this query or its table is at
    fault, ConnectionError when the server is gone.
    """
    for attempt in range(_ATTEMPTS):
        try:
            async with db.transaction():
                await db.execute(f"SET LOCAL statement_timeout = {max(1, round(timeout_s * 1000))}")
                await db.execute(f"SET LOCAL lock_timeout = {max(1, round(lock_s * 1000))}")
                return await db.execute(query, *args)
        except errors.IngestionError as error:
            cause = error.__cause__
            if cause is None or not db_errors.is_connection_lost(cause):
                raise TableProblem(_plain(error), timed_out=_is_timeout(cause)) from error
            if attempt == _ATTEMPTS - 1 or not db_errors.is_transient(error):
                raise
        await asyncio.sleep(0.1 * 2**attempt * (0.5 + random.random()))
    raise AssertionError("unreachable")


class TableProblem(errors.SchemaError):
    """A query about one table failed; `timed_out` when it took too long or waited too long for a lock."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message, hint="The other tables are not affected.")
        self.timed_out = timed_out


def _is_timeout(cause: BaseException | None) -> bool:
    return getattr(cause, "sqlstate", "") in ("57014", "55P03")


def _plain(error: errors.IngestionError) -> str:
    """The server's own words, without the address that our translation puts in front."""
    if getattr(error.__cause__, "sqlstate", "") in _GONE:
        return "it was dropped or renamed while it was looked at"
    message = getattr(error.__cause__, "message", None)
    return str(message).splitlines()[0] if message else str(error)
