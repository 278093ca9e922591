"""What has changed in a table since a moment or since the last sync, told apart by the ledger of the index.

For callers that want the answer as a whole; a sync works with the same reads and bounded memory.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion import errors
from ingestion.checkpoint import CheckpointStore
from ingestion.db_connection import DatabaseConnection
from ingestion.record_ingester import moment_text
from ingestion.schema_discovery import SchemaMap, Table
from ingestion.state.store import StateStore
from ingestion.state.types import TableState
from ingestion.sync import key_lookup, source_reader, table_plan
from ingestion.sync.partitions import out_of_reach
from ingestion.sync.source_queries import Query, TableQueries
from ingestion.sync.source_reader import Row, SourceReader
from ingestion.transform.documents import Document, DocumentBuilder
from ingestion.transform.sensitivity import NO_MASKS, MaskPolicy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Change:
    """One record that differs from the index; `record_id` is its key as in the document's id.

    `updated_at` is the row's own, or when the change was found where it has none. `row` is as it would be
    shown: text, secrets masked; None for a delete.
    """

    table: str
    record_id: str
    change_type: str  # "insert", "update", "delete"
    updated_at: datetime
    row: dict[str, Any] | None = None


@dataclass
class ChangeSet:
    """All changes of a table; `until` is the moment up to which no commit is missing from them."""

    table: str
    since: datetime
    until: datetime
    inserts: list[Change]
    updates: list[Change]
    deletes: list[Change]

    @property
    def total_changes(self) -> int:
        return len(self.inserts) + len(self.updates) + len(self.deletes)


class ChangeDetector:
    """Detect changes in database tables since last sync.

    Without a `schema_map` a table is looked at in the source at the first call about it, so
    `get_timestamp_column`, which cannot wait, knows it only after an awaited call.
    """

    def __init__(
        self,
        db: DatabaseConnection,
        checkpoint_store: CheckpointStore,
        logger: logging.Logger | None = None,
        schema_map: SchemaMap | None = None,
        *,
        state: StateStore | None = None,
        masks: MaskPolicy = NO_MASKS,
        source_timezone: str = "UTC",
    ) -> None:
        self._db, self._store = db, checkpoint_store
        self._log = logger or logging.getLogger(__name__)
        self._schema, self._state = schema_map, state
        self._masks, self._zone = masks, source_timezone

    async def detect_changes(self, table: str, since: datetime | None = None) -> ChangeSet:
        """Detect all changes in a table since timestamp, or since the last sync if none is given.

        Without `since` row versions decide, so that no commit is missed whatever the row's time says; where
        there are none to trust, and with `since` where the table has no time column, every row is compared.
        Rows equal to what the index holds are no changes. Memory grows with the answer. Raises SchemaError,
        SourceUnavailable.
        """
        known, schema = await self._known(table)
        async with self._opened() as state:
            known = table_plan.with_chosen_key(known, await state.table_state(known.name))
            builder = DocumentBuilder(schema, known, masks=self._masks, source_timezone=self._zone)
            reader = await self._reader(known, 1000)
            now = await source_reader.horizon(self._db)
            until = datetime.fromisoformat(now.read_at)
            last = await state.last_success(known.name)
            query = await self._changed(
                reader, known, since, await state.table_state(known.name), now.next_xid
            )
            changes = ChangeSet(known.name, since or last or _EPOCH, until, [], [], [])
            async with self._db.transaction(), aclosing(reader.rows(query)) as batches:
                shared = await self._shared(reader, builder)
                ordinals: dict[str, int] = {}
                async for rows in batches:
                    await self._compare(state, builder, rows, shared, ordinals, changes)
            changes.deletes = [
                Change(known.name, key, "delete", until) for key in await self._gone(reader, builder, state)
            ]
        return changes

    async def get_updated_records(
        self, table: str, since: datetime, batch_size: int = 1000
    ) -> AsyncIterator[dict[str, Any]]:
        """Stream records updated since timestamp, inclusively, those without a time too, as asyncpg gives them.

        A table without a time column is streamed whole. By the rows' own word: a commit that came late with an
        older time is only found by `detect_changes`. Values are not masked.
        """
        known, _ = await self._known(table)
        queries = TableQueries(known, heap=False)
        query = queries.typed()
        if known.timestamp_column is not None:
            query = queries.typed(known.timestamp_column, moment_text(known, since, self._zone))
        async with aclosing(self._db.stream(query.text, *query.args, batch_size=batch_size)) as rows:
            async for row in rows:
                yield row

    async def detect_deletes(self, table: str, known_ids: set[str], sample_size: int = 1000) -> list[str]:
        """Detect deleted records by comparing with known IDs: the keys of documents.

        The answer is complete and sorted; `sample_size` is how many ids go into one query. Each is looked for
        again in a newer snapshot before it counts as gone. Memory grows with the ids.
        """
        known, schema = await self._known(table)
        builder = DocumentBuilder(schema, known, masks=self._masks, source_timezone=self._zone)
        reader = await self._reader(known, 1000)
        suspects = await self._absent(reader, builder, sorted(known_ids), sample_size)
        return await self._absent(reader, builder, suspects, sample_size)

    def get_timestamp_column(self, table: str) -> str:
        """Get the best timestamp column for change detection: the first fit one as discovery judged it.

        Raises SchemaError where none is fit, and without a schema map until an awaited call has loaded the
        table.
        """
        if self._schema is None or not self._schema.has_table(table):
            if self._schema is not None:
                self._schema.table(table)
            raise errors.SchemaError(
                f"{table} has not been looked at yet",
                hint="Give ChangeDetector a schema_map, or await one of its other methods first.",
            )
        known = self._schema.table(table)
        if known.timestamp_column is None:
            raise errors.SchemaError(
                f"{table} has no time column that is fit to follow changes by",
                hint="detect_changes works without one.",
            )
        return known.timestamp_column

    # -- parts --------------------------------------------------------------------------------------------

    async def _known(self, table: str) -> tuple[Table, SchemaMap]:
        if self._schema is None:
            from ingestion.schema_discovery import SchemaDiscovery

            self._schema = await SchemaDiscovery(self._db, self._log).discover()
        return self._schema.table(table), self._schema

    async def _reader(self, table: Table, batch_size: int) -> SourceReader:
        layout = await source_reader.layout(self._db, table)
        info = await self._db.server_info()
        return SourceReader(self._db, table, layout, info.version_num, batch_size, self._log)

    async def _changed(
        self,
        reader: SourceReader,
        table: Table,
        since: datetime | None,
        known: TableState | None,
        next_xid: int,
    ) -> Query:
        if since is not None:
            if table.timestamp_column is None:
                return reader.queries.everything()
            moment = moment_text(table, since, self._zone)
            return reader.queries.since(table.timestamp_column, moment)
        if known is None or known.horizon is None or not reader.layout.heap or known.oid != reader.layout.oid:
            return reader.queries.everything()
        if out_of_reach(known.horizon, next_xid):
            return reader.queries.everything()
        return reader.queries.changed(known.horizon)

    async def _shared(self, reader: SourceReader, builder: DocumentBuilder) -> set[str]:
        if not reader.table.key_columns or reader.table.key_basis in ("primary_key", "unique_index"):
            return set()
        return await key_lookup.duplicated_keys(reader, builder)

    async def _compare(
        self,
        state: StateStore,
        builder: DocumentBuilder,
        rows: list[Row],
        shared: set[str],
        ordinals: dict[str, int],
        changes: ChangeSet,
    ) -> None:
        built: list[tuple[Document, Row]] = []
        for row in rows:
            try:
                document = builder.build(row.values)
            except errors.TransformError as error:
                self._log.warning("%s", error)
                continue
            if document.key in shared:
                continue
            if not builder.table.key_columns:
                ordinal = ordinals[document.key] = ordinals.get(document.key, -1) + 1
                document = builder.build(row.values, ordinal=ordinal) if ordinal else document
            built.append((document, row))
        entries = await state.lookup(changes.table, [document.key for document, _ in built])
        for document, row in built:
            entry = entries.get(document.key)
            if entry is not None and entry.digest == document.digest:
                continue
            updated = document.record.updated_at
            moment = _EPOCH + timedelta(milliseconds=updated) if updated else changes.until
            shown = dict(builder.masked_row(row.values))
            if entry is None:
                changes.inserts.append(Change(changes.table, document.key, "insert", moment, shown))
            else:
                changes.updates.append(Change(changes.table, document.key, "update", moment, shown))

    async def _gone(self, reader: SourceReader, builder: DocumentBuilder, state: StateStore) -> list[str]:
        name = reader.table.name
        known = {entry.key: False async for page in state.ledger_entries(name) for entry in page}
        if not known:
            return []
        if reader.table.key_columns:
            async with aclosing(key_lookup.source_keys(reader, builder)) as batches:
                async for keys in batches:
                    known.update((key, True) for key in keys if key in known)
        suspects = [key for key, met in known.items() if not met]
        return await self._absent(reader, builder, suspects, 1000)

    async def _absent(
        self, reader: SourceReader, builder: DocumentBuilder, keys: list[str], step: int
    ) -> list[str]:
        """Those of `keys` that the source does not hold, in byte order."""
        absent = set(keys)
        # Without a key every look-up reads the whole table, so one must do for all.
        size = max(1, step) if reader.table.key_columns else max(1, len(keys))
        for start in range(0, len(keys), size):
            found = key_lookup.find_keys(reader, builder, keys[start : start + size])
            async with aclosing(found) as batches:
                async for present in batches:
                    absent -= present
        return sorted(absent)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[StateStore]:
        if self._state is not None:
            yield self._state
            return
        async with await StateStore.open(self._store.db_path) as state:
            yield state
