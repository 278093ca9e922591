"""A source to write to, the local index and a state file, and independent eyes on all three."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from ingestion.checkpoint import CheckpointStore
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.events import Event
from ingestion.schema_discovery import SchemaDiscovery
from ingestion.state.store import StateStore
from ingestion.state.types import Failure, FailureFilter
from ingestion.sync_manager import SyncConfig, SyncManager, SyncResult
from ingestion.vespa import client
from ingestion.vespa.visiting import visit

QUIET = logging.getLogger("quiet")
QUIET.setLevel(logging.CRITICAL)


class World:
    """`sql` writes to the source; `full` and `incremental` sync it; `documents` is what the index holds."""

    def __init__(
        self, url: str, vespa_url: str, namespace: str, state_path: Path, writer: Any, db: DatabaseConnection
    ) -> None:
        self.url, self.namespace, self.state_path = url, namespace, state_path
        self.vespa = client.build(vespa_url)
        self.writer, self.db = writer, db
        self.events: list[Event] = []
        self.schema: Any = None
        self._writing = asyncio.Lock()

    async def sql(self, *statements: str) -> None:
        async with self._writing:
            for statement in statements:
                await self.writer.execute(statement)

    async def value(self, query: str) -> Any:
        return await self.writer.fetchval(query)

    async def discover(self) -> None:
        self.schema = await SchemaDiscovery(self.db, QUIET).discover()

    async def manager(self, **options: Any) -> SyncManager:
        if self.schema is None:
            await self.discover()
        options = {"namespace": self.namespace, "publish": self.events.append, **options}
        store = CheckpointStore(self.state_path)
        return SyncManager(self.db, self.vespa, self.schema, store, QUIET, **options)

    async def full(self, config: SyncConfig | None = None, **options: Any) -> SyncResult:
        return await (await self.manager(**options)).run_full_sync(config or SyncConfig())

    async def incremental(self, config: SyncConfig | None = None, **options: Any) -> SyncResult:
        return await (await self.manager(**options)).run_incremental_sync(config or SyncConfig())

    async def documents(self, table: str = "") -> dict[str, dict[str, Any]]:
        """doc_id → fields, of one table or all."""
        found: dict[str, dict[str, Any]] = {}
        async with client.VespaSession(self.vespa, namespace=self.namespace) as session:
            async for page in visit(session, client.RECORD):
                for document in page:
                    fields = document["fields"]
                    assert fields["doc_id"] not in found, "a document was visited twice"
                    found[fields["doc_id"]] = fields
        return {k: v for k, v in found.items() if not table or v["source_table"] == table}

    async def column(self, table: str, column: str) -> dict[str, str | None]:
        """Key → the value of one column, as indexed."""
        return {
            fields["source_id"]: fields.get("metadata", {}).get(column)
            for fields in (await self.documents(table)).values()
        }

    async def failures(self, **filter: Any) -> list[Failure]:
        async with await StateStore.open(self.state_path) as state:
            return [failure async for failure in state.failures(FailureFilter(**filter))]

    @asynccontextmanager
    async def state(self) -> AsyncIterator[StateStore]:
        async with await StateStore.open(self.state_path) as state:
            yield state


@asynccontextmanager
async def world(url: str, vespa_url: str, namespace: str, folder: Path) -> AsyncIterator[World]:
    writer = await asyncpg.connect(url)
    db = DatabaseConnection(ConnectionConfig.from_url(url), QUIET)
    await db.connect()
    try:
        yield World(url, vespa_url, namespace, folder / "state" / "state.db", writer, db)
    finally:
        await db.close()
        await writer.close()


def counts(result: SyncResult, table: str) -> tuple[int, int, int, int]:
    """read, indexed, failed, skipped."""
    found = next(t for t in result.tables if t.table == table)
    return found.counts.read, found.counts.indexed, found.counts.failed, found.counts.skipped
