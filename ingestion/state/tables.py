"""What is known beyond any one job: the source's identity, per table the key and the horizon, numbers given."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from typing import Any, Final

from ingestion import errors
from ingestion.state.connection import StateConnection, Transaction, dumps, loads
from ingestion.state.types import SourceIdentity, TableState

# A single value.
GET_META: Final = "SELECT value FROM meta WHERE name = :name"
SET_META: Final = "INSERT OR REPLACE INTO meta (name, value) VALUES (:name, :value)"
# Numbers for readings: above the floor and above all given before. The last one given is stored.
RESERVE: Final = """INSERT INTO meta (name, value) VALUES ('read_seq', :floor + :count)
    ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), :floor) + :count
    RETURNING CAST(value AS INTEGER)"""
# What is known of tables.
STATES: Final = "SELECT * FROM tables WHERE has_state AND (:table IS NULL OR name = :table) ORDER BY name"
SET_STATE: Final = """UPDATE tables SET has_state = 1, oid = :oid, relfilenode = :relfilenode,
    key_columns = :key_columns, key_basis = :key_basis, horizon = :horizon, epoch = :epoch,
    transform_version = :transform_version, detail = :detail WHERE id = :table_id"""
# Forget a table, all but its failures and history.
FORGET: Final = (
    "DELETE FROM ledger WHERE table_id = :table_id",
    "DELETE FROM in_flight WHERE table_id = :table_id",
    "DELETE FROM file_links WHERE table_id = :table_id",
    "DELETE FROM checkpoints WHERE table_id = :table_id",
    """UPDATE tables SET has_state = 0, oid = NULL, relfilenode = NULL, key_columns = NULL, key_basis = '',
        horizon = NULL, epoch = NULL, transform_version = NULL, detail = '{}' WHERE id = :table_id""",
)
# A table found under a new name takes all it has with it.
RENAME: Final = "UPDATE tables SET name = :new WHERE name = :old"
EXISTS: Final = "SELECT 1 FROM tables WHERE name = :table"


class Tables(StateConnection):
    """Single values and per-table facts."""

    async def get_meta(self, name: str) -> Any:
        """A JSON value; None when it was never set."""
        row = await self._read_one(GET_META, {"name": name})
        return None if row is None else loads(row[0])

    async def set_meta(self, name: str, value: Any) -> None:
        """Store a JSON-safe value, such as `schema_map` or `transform_version`."""
        if name == "read_seq":
            raise errors.StateError("read_seq is moved by reserve_read_seq only.")
        await self._write(lambda tx: tx.run(SET_META, {"name": name, "value": dumps(value)}))

    async def source_identity(self) -> SourceIdentity | None:
        """As last stored; None before the first sync."""
        value = await self.get_meta("source_identity")
        return None if value is None else SourceIdentity(**value)

    async def set_source_identity(self, identity: SourceIdentity) -> None:
        await self.set_meta("source_identity", asdict(identity))

    async def reserve_read_seq(self, floor: int, count: int = 1) -> int:
        """The first of `count` consecutive numbers, above `floor` and above all given before; durable."""

        async def reserve(tx: Transaction) -> int:
            row = await tx.one(RESERVE, {"floor": floor, "count": count})
            assert row is not None
            return int(row[0]) - count + 1

        return await self._write(reserve)

    async def table_state(self, table: str) -> TableState | None:
        row = await self._read_one(STATES, {"table": table})
        return None if row is None else _state(row)

    async def table_states(self) -> dict[str, TableState]:
        """Of every table that has one, by name; also of tables that the source no longer has."""
        return {row["name"]: _state(row) for row in await self._read(STATES, {"table": None})}

    async def set_table_state(self, state: TableState) -> None:
        """Store all fields of `state`."""
        await self._write(lambda tx: put_state(tx, state))

    async def forget_table(self, table: str) -> None:
        """Drop ledger, file links, checkpoint and table state of a table; its failures and history stay."""

        async def forget(tx: Transaction) -> None:
            table_id = await tx.table_id(table)
            for statement in FORGET:
                await tx.run(statement, {"table_id": table_id})

        await self._write(forget)

    async def rename_table(self, old: str, new: str) -> None:
        """Move everything known of `old` to `new`. StateError when `new` is known already."""

        async def rename(tx: Transaction) -> None:
            if await tx.one(EXISTS, {"table": new}) is not None:
                raise errors.StateError(f"The state knows both {old} and {new}; {old} cannot be moved there.")
            await tx.run(RENAME, {"old": old, "new": new})

        await self._write(rename)


async def put_state(tx: Transaction, state: TableState) -> None:
    """Store a table's state inside a transaction."""
    keys = None if state.key_columns is None else dumps(list(state.key_columns))
    await tx.run(
        SET_STATE,
        {
            "table_id": await tx.table_id(state.table), "oid": state.oid, "relfilenode": state.relfilenode,
            "key_columns": keys, "key_basis": state.key_basis, "horizon": state.horizon, "epoch": state.epoch,
            "transform_version": state.transform_version, "detail": dumps(state.detail),
        },
    )  # fmt: skip


def _state(row: sqlite3.Row) -> TableState:
    keys = row["key_columns"]
    return TableState(
        table=row["name"],
        oid=row["oid"],
        relfilenode=row["relfilenode"],
        key_columns=None if keys is None else tuple(loads(keys)),
        key_basis=row["key_basis"],
        horizon=row["horizon"],
        epoch=row["epoch"],
        transform_version=row["transform_version"],
        detail=loads(row["detail"]),
    )
