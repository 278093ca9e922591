"""Database rows become documents in Vespa, record by record or in batches, without any state of their own.

A sync with checkpoints, failures and counts is `ingestion.sync_manager`; both make documents the same way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ingestion import errors
from ingestion.transform import digest, document_ids

if TYPE_CHECKING:
    from vespa.application import Vespa

    from ingestion.db_connection import DatabaseConnection
    from ingestion.schema_discovery import SchemaMap, Table
    from ingestion.sync.source_queries import Query
    from ingestion.sync.source_reader import Row, SourceReader
    from ingestion.transform.documents import Detector, Document, DocumentBuilder
    from ingestion.transform.sensitivity import MaskPolicy
    from ingestion.vespa.client import VespaSession
    from ingestion.vespa.feeding import Feeder, Outcome


@dataclass
class IngestedRecord:
    """A row as it is indexed.

    `metadata` holds every non-null column as canonical text. Times are epoch milliseconds, 0 where the
    row has none (NULL, infinite, or beyond 64 bits). `relationships` are outgoing references only.
    """

    doc_id: str
    source_table: str
    source_id: str
    project_id: int | None
    metadata: dict[str, str]
    relationships: list[dict[str, str]]
    file_references: list[dict[str, str]]
    content_text: str
    created_at: int
    updated_at: int
    ingested_at: int


@dataclass
class IngestionResult:
    """What became of one record; `error` names the reason when `success` is False."""

    success: bool
    doc_id: str
    error: str | None = None


class RecordIngester:
    """Transform and index database records to Vespa.

    Usable as it is, each call then opening a connection to Vespa of its own; as an async context manager it
    keeps one open. A document that a newer reading has overtaken counts as indexed.
    """

    def __init__(
        self,
        db: DatabaseConnection,
        vespa: Vespa,
        schema_map: SchemaMap,
        logger: logging.Logger | None = None,
        *,
        namespace: str = "procore",
        masks: MaskPolicy | None = None,
        source_timezone: str = "UTC",
        detector: Detector | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`detector` finds files in records; without one `FileDetector` does."""
        self._db, self._vespa, self._schema = db, vespa, schema_map
        self._log = logger or logging.getLogger(__name__)
        self._namespace, self._masks, self._zone = namespace, masks, source_timezone
        self._detector, self._clock = detector, clock
        self._builders: dict[tuple[str, bool], DocumentBuilder] = {}
        self._session: VespaSession | None = None
        self._read_seq = 0

    async def __aenter__(self) -> Self:
        from ingestion.vespa.client import VespaSession

        self._session = VespaSession(self._vespa, namespace=self._namespace)
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- tables -------------------------------------------------------------------------------------------

    async def ingest_table(
        self, table: str, batch_size: int = 10000, since: datetime | None = None
    ) -> AsyncIterator[IngestionResult]:
        """Ingest records from a table. Yields result for each record.

        Reads one snapshot. With `since` only rows whose time column is at or after it or NULL; a table without
        such a column is read whole. A row without a key, and every one of differing rows that share a key,
        fails; identical copies are one document. Raises SourceUnavailable, SchemaError, VespaUnavailable.
        """
        from ingestion.sync.key_lookup import duplicated_keys

        known = self._schema.table(table)
        builder = self._builder(table)
        reader = await self._reader(known, batch_size)
        query = self._query(reader, known, since)
        async with self._feeder() as feeder, self._db.transaction():
            shared: set[str] = set()
            if known.key_columns and known.key_basis not in ("primary_key", "unique_index"):
                shared = await duplicated_keys(reader, builder)
            copies: dict[str, list[Document]] = {}
            ordinals: dict[str, int] = {}
            async with aclosing(reader.rows(query)) as batches:
                async for rows in batches:
                    documents: list[Document] = []
                    for row in rows:
                        built = self._built(builder, row, ordinals)
                        if isinstance(built, IngestionResult):
                            yield built
                        elif built.key in shared:
                            copies.setdefault(built.key, []).append(built)
                        else:
                            documents.append(built)
                    for result in await self._feed(feeder, documents):
                        yield result
            async with aclosing(self._settled(feeder, copies)) as results:
                async for result in results:
                    yield result

    def transform_record(self, table: str, row: dict[str, Any]) -> IngestedRecord:
        """Transform a database row to IngestedRecord; typed values and text give the same.

        Raises TransformError when the row's key is NULL, SchemaError for an unknown table.
        """
        return self._builder(table).build_row(row).record

    def extract_relationships(self, table: str, row: dict[str, Any]) -> list[dict[str, str]]:
        """Extract relationship references from row: `{relation, target_table, target_id, source_column}`."""
        return self._builder(table, keyed=False).build_row(row).record.relationships

    def extract_file_references(self, table: str, row: dict[str, Any]) -> list[dict[str, str]]:
        """Extract file references from row; what signs a URL is REDACTED."""
        return self._builder(table, keyed=False).build_row(row).record.file_references

    def generate_content_text(self, table: str, row: dict[str, Any]) -> str:
        """Generate searchable text content from row."""
        return self._builder(table, keyed=False).build_row(row).record.content_text

    # -- records ------------------------------------------------------------------------------------------

    async def index_record(self, record: IngestedRecord) -> IngestionResult:
        """Index a single record to Vespa. Raises VespaUnavailable once retries are spent."""
        (result,) = await self.index_batch([record])
        return result

    async def index_batch(self, records: list[IngestedRecord]) -> list[IngestionResult]:
        """Index a batch of records to Vespa in parallel; one result per record, in their order.

        A record that Vespa refuses is an unsuccessful result. Of several records with one id the last stands.
        Raises VespaUnavailable once retries are spent.
        """
        from ingestion.vespa.client import RECORD
        from ingestion.vespa.operations import Operation

        if not records:
            return []
        now_ms = int(self._clock() * 1000)
        async with self._feeder() as feeder:
            first = await self._reserve(feeder, len(records))
            operations = [
                Operation("put", RECORD, record.doc_id, first + number, fields_of(record, now_ms))
                for number, record in enumerate(records)
            ]
            outcomes = await feeder.feed(operations)
        return [_result(record.doc_id, outcome) for record, outcome in zip(records, outcomes, strict=True)]

    # -- parts --------------------------------------------------------------------------------------------

    def _builder(self, table: str, *, keyed: bool = True) -> DocumentBuilder:
        from ingestion.file_detector import FileDetector
        from ingestion.transform.documents import DocumentBuilder
        from ingestion.transform.sensitivity import NO_MASKS

        builder = self._builders.get((table, keyed))
        if builder is None:
            known = self._schema.table(table)
            if not keyed:
                known = replace(known, key_columns=[], key_basis="row_hash")
            detector = self._detector or FileDetector(self._schema, self._log)
            builder = self._builders[table, keyed] = DocumentBuilder(
                self._schema,
                known,
                masks=self._masks or NO_MASKS,
                source_timezone=self._zone,
                file_detector=detector,
            )
        return builder

    async def _reader(self, table: Table, batch_size: int) -> SourceReader:
        from ingestion.sync import source_reader

        layout = await source_reader.layout(self._db, table)
        info = await self._db.server_info()
        return source_reader.SourceReader(self._db, table, layout, info.version_num, batch_size, self._log)

    def _query(self, reader: SourceReader, table: Table, since: datetime | None) -> Query:
        if since is None or table.timestamp_column is None:
            return reader.queries.everything()
        return reader.queries.since(table.timestamp_column, moment_text(table, since, self._zone))

    def _built(
        self, builder: DocumentBuilder, row: Row, ordinals: dict[str, int]
    ) -> Document | IngestionResult:
        try:
            document = builder.build(row.values)
            if not builder.table.key_columns:
                ordinal = ordinals[document.key] = ordinals.get(document.key, -1) + 1
                document = builder.build(row.values, ordinal=ordinal) if ordinal else document
            return document
        except errors.TransformError as error:
            return IngestionResult(False, "", str(error))

    async def _settled(
        self, feeder: Feeder, copies: dict[str, list[Document]]
    ) -> AsyncGenerator[IngestionResult, None]:
        """Results of rows that share their key."""
        for documents in copies.values():
            first = documents[0]
            if len({document.digest for document in documents}) > 1:
                for document in documents:
                    error = f"{len(documents)} differing rows hold the key {document.key}"
                    yield IngestionResult(False, document.record.doc_id, error)
                continue
            (result,) = await self._feed(feeder, [first])
            for _ in documents:
                yield result

    async def _feed(self, feeder: Feeder, documents: Sequence[Document]) -> list[IngestionResult]:
        from ingestion.vespa.client import RECORD
        from ingestion.vespa.operations import Operation

        if not documents:
            return []
        now_ms = int(self._clock() * 1000)
        read_seq = await self._reserve(feeder, 1)
        outcomes = await feeder.feed(
            [
                Operation("put", RECORD, d.record.doc_id, read_seq, {**d.fields, "ingested_at": now_ms})
                for d in documents
            ]
        )
        return [_result(d.record.doc_id, outcome) for d, outcome in zip(documents, outcomes, strict=True)]

    @asynccontextmanager
    async def _feeder(self) -> AsyncIterator[Feeder]:
        from ingestion.vespa.client import VespaSession
        from ingestion.vespa.feeding import Feeder

        if self._session is not None:
            yield Feeder(self._session)
            return
        async with VespaSession(self._vespa, namespace=self._namespace) as session:
            yield Feeder(session)

    async def _reserve(self, feeder: Feeder, count: int) -> int:
        """The first of `count` read numbers above all that the index holds and that were given here."""
        from ingestion.vespa import queries

        if not self._read_seq:
            self._read_seq = await queries.largest_read_seq(feeder.session)
        first = self._read_seq + 1
        self._read_seq += count
        return first


def fields_of(record: IngestedRecord, ingested_at: int) -> dict[str, Any]:
    """The Vespa fields of a record, without `read_seq`."""
    from ingestion.transform.documents import METADATA_LIMIT

    long = {name: value for name, value in record.metadata.items() if len(value) > METADATA_LIMIT}
    fields: dict[str, Any] = {
        "doc_id": record.doc_id,
        "source_table": record.source_table,
        "source_id": record.source_id,
        "metadata": {name: value for name, value in record.metadata.items() if name not in long},
        "relationships": record.relationships,
        "file_references": record.file_references,
        "content_text": record.content_text,
        "row_digest": digest.row_digest(record.metadata, record.relationships),
        "key_bucket": document_ids.key_bucket(record.source_id),
        "ingested_at": ingested_at,
    }
    if long:
        fields["metadata_long"] = long
    if record.project_id is not None:
        fields["project_id"] = record.project_id
    for name in ("created_at", "updated_at"):
        if getattr(record, name):
            fields[name] = getattr(record, name)
    return fields


def moment_text(table: Table, moment: datetime, source_timezone: str) -> str:
    """A moment in the terms of the table's time column: with its zone, or as the source's clock shows it."""
    from ingestion import values
    from ingestion.postgres import sql

    assert table.timestamp_column is not None
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if sql.base_type(table.column(table.timestamp_column)) == "timestamptz":
        return aware.astimezone(UTC).isoformat()
    return aware.astimezone(values.zone_of(source_timezone)).replace(tzinfo=None).isoformat()


def _result(doc_id: str, outcome: Outcome) -> IngestionResult:
    from ingestion.vespa.feeding import Verdict

    if outcome.verdict is Verdict.REFUSED:
        return IngestionResult(False, doc_id, outcome.message or f"HTTP {outcome.status}")
    return IngestionResult(True, doc_id)
