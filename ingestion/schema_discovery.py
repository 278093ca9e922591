"""What a PostgreSQL database holds: tables, keys, implied references, files, and which columns carry time.

The types are plain data, in the public contract's order, followed by what this product adds. A table is
called by `Table.name` everywhere (the bare name in `public`, else `schema.table`) and is always looked up
through `SchemaMap.table`, never parsed apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING

from ingestion import errors

if TYPE_CHECKING:
    from ingestion.db_connection import DatabaseConnection

Decisions = Mapping[tuple[str, str, str], bool]
"""(source table, source column, target table) → accepted or rejected by the operator."""

OnProgress = Callable[[str, int, int], None]
"""Called with a step's name, steps done and steps in all; from the event loop, never from a thread."""


class FileReferenceType(Enum):
    S3_KEY = "s3_key"
    URL = "url"
    JSONB_S3_MAP = "jsonb_s3_map"


@dataclass
class Column:
    """One column; `data_type` is PostgreSQL's own spelling (`character varying(36)`, `bigint[]`).

    `sensitivity` is `none`, `secret` (always masked) or `personal`. `secret_keys` and `personal_keys` are names
    of members inside JSON values that hold such data (secret ones are masked), as far as sampled rows showed them.
    The figures from `null_share` on are filled only when statistics were asked for.
    """

    name: str
    data_type: str
    is_nullable: bool
    default_value: str | None = None
    max_length: int | None = None
    sensitivity: str = "none"
    sensitivity_reason: str = ""
    position: int = 0
    type_category: str = ""
    """`number text uuid time boolean json array range enum composite binary other`, domains by their base."""
    base_type: str = ""
    """Bare name of the base type below domains and type modifiers: `int8`, `varchar`, `_text`."""
    comment: str | None = None
    is_generated: bool = False
    identity: str = ""
    null_share: float | None = None
    distinct: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    longest: int | None = None
    top_values: list[str] = field(default_factory=list)
    secret_keys: list[str] = field(default_factory=list)
    personal_keys: list[str] = field(default_factory=list)


@dataclass
class FileReferenceColumn:
    """A column whose values point at files; `pattern` says in words what matched.

    `companions` maps `filename`, `size`, `content_type`, `checksum` to columns of the same table.
    `parsed_share` is the share of `sampled` non-empty values that parse; None without a sample.
    """

    column_name: str
    reference_type: FileReferenceType
    pattern: str
    companions: dict[str, str] = field(default_factory=dict)
    sampled: int = 0
    parsed_share: float | None = None
    confidence: float = 1.0


@dataclass
class Index:
    """An index as far as it tells about keys; `columns` is empty where it is on expressions."""

    name: str
    columns: list[str] = field(default_factory=list)
    is_primary: bool = False
    is_unique: bool = False
    is_partial: bool = False
    method: str = "btree"


@dataclass
class TimestampFitness:
    """Whether a time column may narrow an incremental read, and why (or why not)."""

    column: str
    fit: bool
    reasons: list[str] = field(default_factory=list)


@dataclass
class Table:
    """A table, a partitioned root, a foreign table, or (in `SchemaMap.views`) a view.

    `row_count` is 0 for an unreadable table and exact unless `row_count_exact` is False.
    `key_basis` is `primary_key`, `unique_index`, `proven_id` or `row_hash` (then `key_columns` is empty).
    `key_indexed`: a btree on exactly the key columns exists, so keyset pages are cheap.
    `key_duplicates` and `key_nulls` are rows, None where the key is declared or was not counted.
    """

    name: str
    row_count: int
    columns: list[Column] = field(default_factory=list)
    timestamp_columns: list[str] = field(default_factory=list)
    file_reference_columns: list[FileReferenceColumn] = field(default_factory=list)
    schema: str = "public"
    relname: str = ""
    kind: str = "table"
    """`table`, `partitioned`, `foreign`; among the views `view` or `materialized_view`."""
    readable: bool = True
    problem: str | None = None
    row_count_exact: bool = True
    key_columns: list[str] = field(default_factory=list)
    key_basis: str = "row_hash"
    key_indexed: bool = False
    key_note: str = ""
    key_duplicates: int | None = None
    key_nulls: int | None = None
    timestamp_column: str | None = None
    timestamps: list[TimestampFitness] = field(default_factory=list)
    oid: int = 0
    size_bytes: int = 0
    comment: str | None = None
    indexes: list[Index] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    inherits: list[str] = field(default_factory=list)
    samples: list[dict[str, str | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.relname:
            self.relname = self.name

    def column(self, name: str) -> Column:
        """The column of exactly this name; raises SchemaError that names the nearest ones."""
        for column in self.columns:
            if column.name == name:
                return column
        near = get_close_matches(name, [c.name for c in self.columns])
        raise errors.SchemaError(
            f"{self.name} has no column {name!r}",
            hint=f"Did you mean {', '.join(near)}?" if near else "Run discovery again if the table changed.",
        )

    def has_column(self, name: str) -> bool:
        return any(c.name == name for c in self.columns)


@dataclass
class ImplicitRelationship:
    """`source_table.source_column` holds keys of `target_table.target_column`.

    `confidence` is between 0 and 1. `evidence` says in plain words what speaks for it (and against).
    `orphan_share` is the share of sampled distinct values that no target row has, None if not tested.
    `basis`: `declared` (a foreign key), `inferred`, or `operator` (accepted by hand).
    `type_column`/`type_value`: a polymorphic reference holds only where that column has that value.
    """

    source_table: str
    source_column: str
    target_table: str
    target_column: str = "id"
    confidence: float = 1.0
    evidence: list[str] = field(default_factory=list)
    orphan_share: float | None = None
    basis: str = "inferred"
    cardinality: str = ""
    """`many_to_one`, `one_to_one`, or `many_to_many` where each value is a list of ids; empty when unknown."""
    relation: str = ""
    """The role that the column's name gives: `created_by`, `project`."""
    type_column: str | None = None
    type_value: str | None = None


@dataclass
class ExternalColumn:
    """A column that looks like a reference, but to nothing in this database.

    `tested`: its values were held against the tables that they could refer to.
    """

    table: str
    column: str
    reason: str
    tested: bool = False


@dataclass
class SchemaMap:
    """Everything discovery found; `tables` hold no views.

    `relationships` are what the product asserts, `candidates` guesses it does not, `external_columns`
    references to something outside this database. `warnings` are about the whole database.
    """

    discovery_timestamp: str
    database_name: str
    tables: list[Table] = field(default_factory=list)
    relationships: list[ImplicitRelationship] = field(default_factory=list)
    views: list[Table] = field(default_factory=list)
    candidates: list[ImplicitRelationship] = field(default_factory=list)
    external_columns: list[ExternalColumn] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    server_version: str = ""
    rejected: list[ImplicitRelationship] = field(default_factory=list)
    """What the operator said is no reference; nothing follows it, and it can be taken back."""
    drift: list[str] = field(default_factory=list)
    """What changed since the discovery before, one sentence each; empty when that is not known."""
    drift_since: str = ""
    """When that discovery was; empty when there was none to compare with."""

    def table(self, name: str) -> Table:
        """The table of exactly this name; raises SchemaError that names the nearest ones."""
        for table in self.tables:
            if table.name == name:
                return table
        near = get_close_matches(name, [t.name for t in self.tables])
        if any(view.name == name for view in self.views):
            raise errors.SchemaError(f"{name} is a view, not a table", hint="Views are listed, never synced.")
        raise errors.SchemaError(
            f"no table {name!r} in database {self.database_name!r}",
            hint=f"Did you mean {', '.join(near)}?"
            if near
            else "Run `procore-ingest discover` for the list.",
        )

    def has_table(self, name: str) -> bool:
        return any(table.name == name for table in self.tables)

    def relations_from(self, table: str) -> list[ImplicitRelationship]:
        """Asserted references that rows of `table` hold."""
        return [r for r in self.relationships if r.source_table == table]

    def relations_to(self, table: str) -> list[ImplicitRelationship]:
        """Asserted references of other rows to rows of `table`."""
        return [r for r in self.relationships if r.target_table == table]

    @classmethod
    def from_json(cls, text: str) -> SchemaMap:
        """The equal of the map that `to_json` wrote; raises SchemaError if the text is no such map."""
        from ingestion.discovery import schema_export

        return schema_export.from_json(text)


class SchemaDiscovery:
    """Read-only introspection of one database."""

    def __init__(self, db: DatabaseConnection, logger: logging.Logger | None = None) -> None:
        self._db = db
        self._log = logger or logging.getLogger(__name__)

    async def discover(
        self,
        include_samples: bool = False,
        *,
        include_stats: bool = False,
        schemas: list[str] | None = None,
        read_rows: bool = True,
        on_progress: OnProgress | None = None,
        decisions: Decisions | None = None,
        before: SchemaMap | None = None,
    ) -> SchemaMap:
        """Perform full schema discovery: catalog, counts, keys, times, files, references with evidence.

        A table that cannot be read is listed with its problem. `schemas` limits it to those schemas;
        `decisions` are the operator's verdicts on references; one asserted in `before` stays while it is likely at
        all. Raises errors.SourceUnavailable when the
        server is gone, errors.SchemaError for a schema that is not there. Cancelled, it leaves nothing.
        """
        from ingestion.discovery import steps

        options = steps.Options(
            samples=include_samples, statistics=include_stats, rows=read_rows, schemas=tuple(schemas or ())
        )
        return await steps.run(self._db, self._log, options, on_progress, decisions, before)

    async def get_tables(self, schema: str = "public") -> list[str]:
        """Get list of table names: `Table.name` of each table of the schema, views and partitions left out."""
        from ingestion.discovery import catalog

        return [table.name for table in (await catalog.load(self._db, [schema])).tables]

    async def get_columns(self, table: str) -> list[Column]:
        """Get columns for a table, in order; raises SchemaError for a table that is not there."""
        return (await self._find(table)).columns

    async def get_row_count(self, table: str) -> int:
        """Get row count for a table: exact, however long it takes."""
        from ingestion.discovery import keys

        return await keys.exact_count(self._db, await self._find(table))

    async def detect_file_columns(self, table: str, columns: list[Column]) -> list[FileReferenceColumn]:
        """Detect columns containing file references among `columns`, by name, type and sampled content."""
        from ingestion.discovery import file_columns

        found = await self._find(table)
        found.row_count = 1
        return await file_columns.examine(self._db, found, columns)

    async def infer_relationships(self, tables: list[Table]) -> list[ImplicitRelationship]:
        """Infer relationships from _id column patterns, and from all else that names, types and rows say."""
        from ingestion.discovery import steps

        return (await steps.relations_of(self._db, self._log, tables)).relationships

    async def _find(self, name: str) -> Table:
        """The table of this name with its columns; a view is found too."""
        from ingestion.discovery import catalog, steps

        found = await catalog.load(self._db)
        steps.mark_sensitive([*found.tables, *found.views])
        for table in (*found.tables, *found.views):
            if table.name == name:
                return table
        return SchemaMap("", self._db.config.database, found.tables).table(name)

    def to_json(self, schema_map: SchemaMap) -> str:
        """Export schema map to JSON."""
        from ingestion.discovery import schema_export

        return schema_export.to_json(schema_map)

    def to_markdown(self, schema_map: SchemaMap) -> str:
        """Export schema map to Markdown."""
        from ingestion.discovery import schema_export

        return schema_export.to_markdown(schema_map)
