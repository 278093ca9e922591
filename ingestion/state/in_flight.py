"""Operations under way: keys whose documents Vespa may or may not have taken, because nobody lived to say.

A batch notes its keys here before it is sent, and its commit takes the note away. What a killed process leaves
are keys of which the ledger may be wrong: a document that was written or removed, and then no row that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from ingestion.state.connection import StateConnection, Transaction, json_list, loads
from ingestion.state.lock import still_ours

# A batch is about to be sent.
BEGIN: Final = """INSERT INTO in_flight (table_id, keys, gone) VALUES (:table_id, :keys, :gone)
    RETURNING id"""
# A batch has been settled.
END: Final = "DELETE FROM in_flight WHERE id IN (SELECT value FROM json_each(:ids))"
# What was never settled.
LEFT: Final = """SELECT id, keys, gone FROM in_flight WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    ORDER BY id"""


@dataclass(frozen=True, slots=True)
class LeftInFlight:
    """Notes that nobody ended, and their keys; `gone` are those that a sync has found gone since."""

    ids: tuple[int, ...] = ()
    keys: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class InFlight(StateConnection):
    """Durable before the first operation is sent, gone with the commit that says what became of it."""

    async def begin_feed(self, table: str, keys: Collection[str]) -> int:
        """Note that documents of these keys are about to be written or removed; the number that ends the note."""

        async def begin(tx: Transaction) -> int:
            await still_ours(tx)
            return await note(tx, await tx.table_id(table), keys)

        return await self._write(begin)

    async def left_in_flight(self, table: str) -> LeftInFlight:
        """What no commit has ended."""
        rows = await self._read(LEFT, {"table": table})
        keys: dict[bool, set[str]] = {False: set(), True: set()}
        for row in rows:
            keys[bool(row["gone"])].update(loads(row["keys"]))
        return LeftInFlight(
            tuple(row["id"] for row in rows), frozenset(keys[False]), frozenset(keys[True] - keys[False])
        )


async def note(tx: Transaction, table_id: int, keys: Collection[str], *, gone: bool = False) -> int:
    """Note keys inside a transaction."""
    row = await tx.one(BEGIN, {"table_id": table_id, "keys": json_list(keys), "gone": gone})
    assert row is not None
    return int(row["id"])


async def end(
    tx: Transaction, table_id: int, ids: Sequence[int], in_doubt: Collection[str], gone: Collection[str]
) -> None:
    """End notes inside a transaction; keys still in doubt, and those found gone just now, get a new one."""
    if ids:
        await tx.run(END, {"ids": json_list(ids)})
    if in_doubt:
        await note(tx, table_id, in_doubt)
    if gone:
        await note(tx, table_id, gone, gone=True)
