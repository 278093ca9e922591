"""Operations under way: keys whose documents Vespa may or may not have taken, because nobody lived to say.

A batch notes its keys here before it is sent, and its commit takes the note away. What a killed process leaves
are keys of which the ledger may be wrong: a document that was written or removed, and then no row that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from ingestion.state.connection import StateConnection, Transaction, json_list, loads
from ingestion.state.lock import still_ours

# A batch is about to be sent.
BEGIN: Final = "INSERT INTO in_flight (table_id, keys) VALUES (:table_id, :keys) RETURNING id"
# A batch has been settled.
END: Final = "DELETE FROM in_flight WHERE id IN (SELECT value FROM json_each(:ids))"
# What was never settled.
LEFT: Final = """SELECT id, keys FROM in_flight WHERE table_id = (SELECT id FROM tables WHERE name = :table)
    ORDER BY id"""


class InFlight(StateConnection):
    """Durable before the first operation is sent, gone with the commit that says what became of it."""

    async def begin_feed(self, table: str, keys: Collection[str]) -> int:
        """Note that documents of these keys are about to be written or removed; the number that ends the note."""

        async def begin(tx: Transaction) -> int:
            await still_ours(tx)
            return await note(tx, await tx.table_id(table), keys)

        return await self._write(begin)

    async def left_in_flight(self, table: str) -> tuple[list[int], set[str]]:
        """Notes that no commit has ended, and their keys."""
        rows = await self._read(LEFT, {"table": table})
        return [row["id"] for row in rows], {key for row in rows for key in loads(row["keys"])}


async def note(tx: Transaction, table_id: int, keys: Collection[str]) -> int:
    """Note keys inside a transaction."""
    row = await tx.one(BEGIN, {"table_id": table_id, "keys": json_list(keys)})
    assert row is not None
    return int(row["id"])


async def end(tx: Transaction, table_id: int, ids: Sequence[int], in_doubt: Collection[str]) -> None:
    """End notes inside a transaction; keys still in doubt get a new one."""
    if ids:
        await tx.run(END, {"ids": json_list(ids)})
    if in_doubt:
        await note(tx, table_id, in_doubt)
