"""Reading a table's rows in batches that can be gone on from, whatever the table is like.

A batch closes at its row count or at 1 MiB of text. A value that PostgreSQL cannot give costs its own cell: the
range is then read row by row, and the row in question cell by cell.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import asyncpg

from ingestion import errors
from ingestion.db_connection import DatabaseConnection, TextRow
from ingestion.postgres import db_errors, sql
from ingestion.schema_discovery import Table
from ingestion.sync import partitions
from ingestion.sync.partitions import Horizon, Partition, Storage
from ingestion.sync.source_queries import HORIZON, KEY_COLLATIONS, PREFIX, STORAGES, Query, TableQueries

MAX_BATCH_BYTES = 2**20
"""Of row text; a batch is in memory several times over while it is read, sent on, made and fed."""
_PIECE_ROWS = 32
_RETRIES_WITHOUT_PROGRESS = 3


Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Row(NamedTuple):
    """One row version; a tuple, because millions are made.

    `locator` says where it stood: its ctid, or its number in a read without ctids. `version` is its xmin, 0 where
    the source has none. `unreadable` names columns whose value PostgreSQL could not give; they stand as None in
    `values`.
    """

    values: TextRow
    locator: str
    version: int = 0
    unreadable: tuple[str, ...] = ()


class Purpose(Enum):
    """Why the rows of a batch were read."""

    MAIN = "main"
    NULL_KEYS = "null keys"
    DUPLICATES = "duplicates"
    """Rows that share their key with another, in key order, each key's rows without a gap."""
    SINGLES = "singles"
    """Rows to be settled once more, or at last: each is the only one with its key."""


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Rows in reading order; `position` is where to go on behind them, `done` that nothing follows."""

    partition: Partition
    rows: Sequence[Row]
    position: Mapping[str, Any] | None = None
    done: bool = False
    purpose: Purpose = Purpose.MAIN


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table's rows are: `heap` if all of it is in readable heaps, whose blocks can be read apart."""

    heap: bool
    storages: tuple[Storage, ...] = ()
    oid: int = 0
    filenode: int = 0


@dataclass(slots=True)
class SourceReader:
    """Reads one table; its queries join a `db.transaction()` that the calling task holds."""

    db: DatabaseConnection
    table: Table
    layout: Layout
    version_num: int
    batch_size: int
    log: Log
    queries: TableQueries = field(init=False)
    _relations: dict[str, tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.queries = TableQueries(self.table, self.layout.heap)
        self._relations = {
            str(s.oid): (f"{sql.ident(s.schema)}.{sql.ident(s.relname)}", s.relname)
            for s in self.layout.storages
        }

    def over(self, layout: Layout) -> SourceReader:
        """The same reader for where the table's rows are now."""
        return SourceReader(self.db, self.table, layout, self.version_num, self.batch_size, self.log)

    async def blocks(
        self, partition: Partition, position: Mapping[str, Any] | None, since: int | None = None
    ) -> AsyncGenerator[ReadBatch, None]:
        """A block range, from behind `position`, in one snapshot per attempt.

        An attempt that ends with the connection goes on in a new one, under the same horizon.
        Raises SourceUnavailable when that brings nothing, Rewritten when the blocks mean other rows now,
        SchemaError when the table has changed or gone.
        """
        after = str((position or {}).get("ctid", ""))
        fruitless = 0
        while True:
            query = self.queries.blocks(partition, self.version_num, after=after, since=since)
            try:
                async with self.db.transaction() as connection:
                    await connection.execute(_IN_PHYSICAL_ORDER)
                    await self._hold(partition)
                    async with aclosing(self._text(query)) as batches:
                        async for batch in batches:
                            after, fruitless = str(batch[-1][1]), 0
                            yield ReadBatch(partition, self._rows(batch), {"ctid": after})
                break
            except errors.IngestionError as error:
                if is_data_error(error):
                    self.log.warning("%s; reading %s row by row", error, partition.name)
                    tuples = self.queries.block_tuples(partition, self.version_num, after=after, since=since)
                    async with aclosing(self._piecemeal(tuples)) as rows:
                        async for piece in rows:
                            yield ReadBatch(partition, piece, {"ctid": piece[-1].locator.rpartition(" ")[2]})
                    break
                fruitless += 1
                if not db_errors.is_transient(error) or fruitless > _RETRIES_WITHOUT_PROGRESS:
                    raise
                self.log.warning("%s; going on behind %s", error, after or "the start")
        yield ReadBatch(partition, (), done=True)

    async def _hold(self, partition: Partition) -> None:
        """Keep the relation from being rewritten until the transaction's end; raises Rewritten if it was."""
        name = f"{sql.ident(partition.schema)}.{sql.ident(partition.relname)}"
        await self.db.execute(f"SELECT FROM ONLY {name} LIMIT 0")
        (row,) = await self.db.execute("SELECT pg_relation_filenode(to_regclass($1))::bigint AS now", name)
        if row["now"] != partition.filenode:
            raise Rewritten(f"{partition.schema}.{partition.relname} was rewritten meanwhile")

    async def pages(
        self, partition: Partition, position: Mapping[str, Any] | None
    ) -> AsyncGenerator[ReadBatch, None]:
        """Keyset pages behind `position`, each with a snapshot of its own.

        Raises UnreadablePage where a page holds a value that PostgreSQL cannot give.
        """
        after: Sequence[str] | None = (position or {}).get("key")
        width = len(self.table.key_columns)
        limit = min(self.batch_size, 100)
        while True:
            query = self.queries.page(after, limit)
            try:
                rows = [row async for batch in self._text(query) for row in batch]
            except errors.IngestionError as error:
                if is_data_error(error) and self.layout.heap:
                    raise UnreadablePage(str(error)) from error
                raise
            done = len(rows) < limit
            if rows:
                after = [str(cell) for cell in rows[-1][PREFIX : PREFIX + width]]
                cells = [self._row(row[:PREFIX] + row[PREFIX + width :]) for row in rows]
                yield ReadBatch(partition, cells, {"key": list(after)}, done)
                size = sum(len(cell) for row in rows for cell in row if cell)
                # A page is held whole, so its limit follows the width of the rows just seen.
                limit = max(1, min(self.batch_size, 4 * limit, MAX_BATCH_BYTES // max(1, size // len(rows))))
            elif done:
                yield ReadBatch(partition, (), done=True)
            if done:
                return

    async def stream(self, partition: Partition) -> AsyncGenerator[ReadBatch, None]:
        """Every row, from the one snapshot that the calling task holds."""
        number = 0
        async with aclosing(self.rows(self.queries.everything())) as batches:
            async for batch in batches:
                numbered = self.numbered(batch, number)
                number += len(batch)
                yield ReadBatch(partition, numbered)
        yield ReadBatch(partition, (), done=True)

    def numbered(self, rows: Sequence[Row], before: int) -> list[Row]:
        """The rows, those without a place called by their number in this read."""
        return [
            row if row.locator else Row(row.values, f"row {number}", row.version, row.unreadable)
            for number, row in enumerate(rows, before + 1)
        ]

    async def rows(self, query: Query) -> AsyncGenerator[list[Row], None]:
        """The rows of a query, those of a poisonous range one by one.

        To be called where the task holds a transaction, so that both ways see the same snapshot.
        """
        delivered = Delivered(query.physical)
        try:
            async with self.db.transaction():
                if query.physical:
                    await self.db.execute(_IN_ORDER_OF_SCAN)
                async with aclosing(self._text(query)) as batches:
                    async for batch in batches:
                        rows = self._rows(batch)
                        if self.layout.heap:
                            delivered.add(batch)
                        yield rows
            return
        except errors.IngestionError as error:
            if not (self.layout.heap and is_data_error(error)):
                raise
            self.log.warning("%s; reading row by row", error)
        async with aclosing(self._piecemeal(self.queries.tuples_of(query), delivered)) as pieces:
            async for piece in pieces:
                yield piece

    async def texts(self, query: Query) -> AsyncGenerator[list[TextRow], None]:
        """Rows of any query whose columns are all text."""
        async with aclosing(self._text(query)) as batches:
            async for batch in batches:
                yield batch

    def _text(self, query: Query) -> AsyncGenerator[list[TextRow], None]:
        return self.db.text_batches(
            query.text, *query.args, batch_size=self.batch_size, max_bytes=MAX_BATCH_BYTES
        )

    def _rows(self, batch: Sequence[TextRow]) -> list[Row]:
        if len(self._relations) == 1:
            return [Row(row[PREFIX:], row[1] or "", int(row[2] or 0)) for row in batch]
        return [self._row(row) for row in batch]

    def _row(self, row: TextRow) -> Row:
        relation, ctid, xmin = row[:PREFIX]
        return Row(row[PREFIX:], self._locator(relation, ctid), int(xmin) if xmin else 0)

    def _locator(self, relation: str | None, ctid: str | None) -> str:
        if ctid is None or relation is None:
            return ""
        # A partitioned table's leaves number their blocks each for itself.
        if len(self._relations) < 2:
            return ctid
        # One that was attached a moment ago is called by its number.
        return f"{self._relations.get(relation, ('', relation))[1]} {ctid}"

    def _reference(self, relation: str) -> str:
        if relation not in self._relations:
            raise Rewritten(f"the partitions of {self.table.name} have changed meanwhile")
        return self._relations[relation][0]

    async def _piecemeal(
        self, tuples: Query, delivered: Delivered | None = None
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of `tuples` in small groups, single rows and single cells, so that only the bad cell is lost."""
        async with aclosing(self._text(tuples)) as batches:
            async for batch in batches:
                left = [
                    (str(row[0]), str(row[1])) for row in batch if delivered is None or row not in delivered
                ]
                for start in range(0, len(left), _PIECE_ROWS):
                    piece = left[start : start + _PIECE_ROWS]
                    found: dict[tuple[str, str], Row] = {}
                    for relation in dict.fromkeys(oid for oid, _ in piece):
                        found.update(
                            await self._at(relation, [ctid for oid, ctid in piece if oid == relation])
                        )
                    rows = [found[place] for place in piece if place in found]
                    if rows:
                        yield rows

    async def _at(self, relation: str, ctids: list[str]) -> dict[tuple[str, str], Row]:
        query = Query(self.queries.at(self._reference(relation), len(ctids)), (ctids,))
        try:
            async with self.db.transaction():
                rows = [row async for batch in self._text(query) for row in batch]
        except errors.IngestionError as error:
            if not is_data_error(error):
                raise
            if len(ctids) == 1:
                return {(relation, ctids[0]): await self._cells_at(relation, ctids[0])}
            found: dict[tuple[str, str], Row] = {}
            for ctid in ctids:
                found.update(await self._at(relation, [ctid]))
            return found
        return {(relation, str(row[1])): self._row(row) for row in rows}

    async def _cells_at(self, relation: str, ctid: str) -> Row:
        values: list[str | None] = []
        unreadable: list[str] = []
        for column in self.table.columns:
            query = Query(self.queries.cell_at(self._reference(relation), column), (ctid,))
            try:
                async with self.db.transaction():
                    cells = [row[0] async for batch in self._text(query) for row in batch]
                values.append(cells[0] if cells else None)
            except errors.IngestionError as error:
                if not is_data_error(error):
                    raise
                values.append(None)
                unreadable.append(column.name)
        return Row(tuple(values), self._locator(relation, ctid), 0, tuple(unreadable))


class Delivered:
    """Which row versions a query has given before it failed: of a scan in physical order only how far it came."""

    def __init__(self, physical: bool) -> None:
        self._physical = physical
        self._ends: dict[str | None, str] = {}
        self._places: set[tuple[str | None, str | None]] = set()

    def add(self, batch: Sequence[TextRow]) -> None:
        """Take the next rows, their `PREFIX` first."""
        if not self._physical:
            self._places.update((row[0], row[1]) for row in batch)
        elif batch[0][0] == batch[-1][0]:
            # Partitions are scanned one after the other.
            self._ends[batch[-1][0]] = str(batch[-1][1])
        else:
            self._ends.update((row[0], str(row[1])) for row in batch)

    def __contains__(self, row: TextRow) -> bool:
        if not self._physical:
            return (row[0], row[1]) in self._places
        end = self._ends.get(row[0])
        return end is not None and _place(str(row[1])) <= _place(end)


class UnreadablePage(errors.IngestionError):
    """A keyset page holds a value that PostgreSQL cannot give: the table must be read by blocks."""


class Rewritten(errors.IngestionError):
    """A relation has a new file, in which rows stand elsewhere without a new row version."""


_IN_ORDER_OF_SCAN = (
    "SELECT pg_catalog.set_config('synchronize_seqscans', 'off', true),"
    " pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)"
)
"""A scan begins at the first block, and gives its rows in the order of their ctids."""

_IN_PHYSICAL_ORDER = (
    "SELECT pg_catalog.set_config('enable_seqscan', 'off', true),"
    " pg_catalog.set_config('synchronize_seqscans', 'off', true),"
    " pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)"
)
"""A reading goes on behind the last ctid it saw, so rows must come in the order of their ctids."""


def _place(ctid: str) -> tuple[int, int]:
    return partitions.block_of(ctid), partitions.item_of(ctid)


def is_data_error(error: BaseException) -> bool:
    """Whether single values, not the server or the query, make a read fail; smaller reads may succeed."""
    cause = error.__cause__
    if not isinstance(cause, asyncpg.PostgresError):
        return False
    code: str = cause.sqlstate or ""
    # Data exceptions, limits exceeded, broken storage, and queries that took too long.
    return code.startswith(("22", "54", "58", "XX")) or code == "57014"


async def horizon(db: DatabaseConnection) -> Horizon:
    """The horizon of a snapshot taken now, or of the transaction that the calling task holds."""
    (row,) = await db.execute(HORIZON)
    return Horizon(int(row["xid"]), int(row["next_xid"]), str(row["read_at"]))


async def layout(db: DatabaseConnection, table: Table) -> Layout:
    """Where the table's rows are now; raises SchemaError if it is gone."""
    rows = await db.execute(STORAGES, sql.table_ref(table))
    if not rows:
        raise errors.SchemaError(
            f"{table.name} is no longer in the source", hint="Run `procore-ingest discover` again."
        )
    root = rows[0]
    leaves = rows[1:] if root["relkind"] == "p" else rows[:1]
    heap = all(
        leaf["relkind"] in ("r", "m") and leaf["method"] == "heap" and leaf["readable"] for leaf in leaves
    )
    storages = tuple(
        Storage(leaf["schema"], leaf["relname"], leaf["filenode"], leaf["blocks"], int(leaf["oid"]))
        for leaf in leaves
    )
    if not heap:
        return Layout(False, oid=int(root["oid"]))
    return Layout(True, storages, int(root["oid"]), root["filenode"])


async def sorts_by_bytes(db: DatabaseConnection, table: Table) -> bool:
    """Whether the key's text columns are ordered by their bytes, which no library update can change."""
    (row,) = await db.execute(KEY_COLLATIONS, sql.table_ref(table), list(table.key_columns))
    return not row["others"]
