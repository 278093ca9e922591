"""One row becomes one document: compiled once per table, pure, no I/O.

The order of steps is a promise: secrets are masked before anything else sees a value, so that neither
digest, content text nor any index field can hold one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from ingestion import errors, values
from ingestion.postgres.sql import base_type, is_array
from ingestion.redaction import redact_text
from ingestion.schema_discovery import Column, SchemaMap, Table
from ingestion.transform import columns, content_text, digest, document_ids, json_text, references
from ingestion.transform.batches import BatchBuilder, ColumnPlan, TablePlan
from ingestion.transform.document import METADATA_LIMIT, CellWarning, Document
from ingestion.transform.file_references import file_reference
from ingestion.transform.references import References, ids_in, relation_name
from ingestion.transform.sensitivity import MASKED, NO_MASKS, MaskPolicy

if TYPE_CHECKING:
    from ingestion.file_detector import DetectedFile

__all__ = [
    "METADATA_LIMIT",
    "CellWarning",
    "Detector",
    "Document",
    "DocumentBuilder",
    "ids_in",
    "relation_name",
]

# Types whose text holds neither refused code points nor secrets and cannot grow long.
_PLAIN_TYPES = frozenset(
    {
        "bool", "int2", "int4", "int8", "oid", "float4", "float8", "uuid", "date", "time", "timetz", "interval",
        "timestamp", "timestamptz", "inet", "cidr", "macaddr", "macaddr8", "xid", "xid8", "cid", "tid", "pg_lsn",
        "money", "int4range", "int8range", "tsrange", "tstzrange", "daterange", "point", "box", "circle", "line",
        "lseg",
    }
)  # fmt: skip
_TIME_TYPES = frozenset({"timestamp", "timestamptz", "date"})
_SHORT, _MOST_UNCHANGED = 64, 256
"""Characters of a value, and values of a column, that are known to need no change."""


_SLICE = 128
"""Rows that go through all steps together: what they are made of stays in the processor's cache."""


class Detector(Protocol):
    """Finds the files that a record points at: `ingestion.file_detector.FileDetector`."""

    def detect_in_record(self, table: str, row: Mapping[str, Any]) -> list[DetectedFile]: ...


Cell = Callable[[str], str]


class DocumentBuilder:
    """Turns rows of one table into documents. One builder per task: it keeps its warnings between calls."""

    def __init__(
        self,
        schema_map: SchemaMap,
        table: Table,
        *,
        masks: MaskPolicy = NO_MASKS,
        source_timezone: str = "UTC",
        file_detector: Detector | None = None,
    ) -> None:
        self.table = table
        self._name = table.name
        self._zone = values.zone_of(source_timezone)
        self._warnings: list[CellWarning] = []
        self._names = tuple(column.name for column in table.columns)
        self._types = tuple(base_type(column) for column in table.columns)
        self._masked = frozenset(
            c.name for c in table.columns if masks.masks(table.name, c.name, c.sensitivity)
        )
        self._cells = tuple(self._cell(column, masks) for column in table.columns)
        self._plan = tuple(zip(self._names, self._cells, strict=True))
        positions = {name: position for position, name in enumerate(self._names)}
        try:
            self._key = tuple(positions[name] for name in table.key_columns)
        except KeyError as missing:
            raise errors.SchemaError(
                f"{table.name} has no column {missing.args[0]!r}, which is its key",
                hint="Run `procore-ingest discover` again.",
            ) from None
        self._key_plain = len(self._key) == 1 and self._is_plain_key(self._key[0])
        self._key_cells = tuple(self._key_cell(position) for position in self._key)
        self._text = content_text.text_columns(table, self._masked)
        self._references = References(
            [
                references.compiled(relation, table)
                for relation in schema_map.relations_from(table.name)
                if relation.source_column in positions and relation.source_column not in self._masked
            ]
        )
        self._times = tuple(
            (field, field)
            for field in ("created_at", "updated_at")
            if field in positions and self._types[positions[field]] in _TIME_TYPES
        )
        self._project = self._project_column(positions)
        self._detector = file_detector if table.file_reference_columns else None
        self._detected = tuple(
            (name, position) for name, position in positions.items() if name not in self._masked
        )
        self._batches = BatchBuilder(
            self._table_plan(masks), self._warned, self._files if self._detector else None
        )

    # -- public --------------------------------------------------------------------------------------------

    def build(self, row: Sequence[str | None], *, ordinal: int = 0) -> Document:
        """The document of a row given as server text, in the order of `table.columns`.

        `ordinal` tells identical rows of a table without a key apart. Raises TransformError for a NULL key
        and for a row of another shape.
        """
        if len(row) != len(self._plan):
            raise errors.TransformError(
                f"{self._name}: a row has {len(row)} values where the table has {len(self._plan)} columns",
                hint="The table changed: run `procore-ingest discover` again.",
            )
        warnings: list[CellWarning] = []
        self._warnings = warnings
        metadata: dict[str, str] = {}
        for (name, cell), value in zip(self._plan, row, strict=True):
            if value is not None:
                metadata[name] = value if cell is None else cell(value)
        key = self._row_key(row, metadata, ordinal)
        if key is None:
            raise errors.TransformError(
                f"{self._name}: the key {', '.join(self.table.key_columns)} is NULL",
                hint="Give the row a key in the source.",
            )
        relationships = self._references.of(metadata)
        data = digest.content(metadata, relationships)
        files = self._files(row)
        return self._document(key, metadata, relationships, files, data, tuple(warnings))

    def build_batch(self, rows: Sequence[Sequence[str | None]]) -> list[Document | errors.TransformError]:
        """What `build` makes of each row, in their order, or the error that it raises for it."""
        if not self._names or any(len(row) != len(self._names) for row in rows):
            return [self._one(row) for row in rows]
        self._warnings = []
        made: list[Document | None] = []
        for start in range(0, len(rows), _SLICE):
            made += self._batches.build(rows[start : start + _SLICE])
        return [document or self._one(row) for document, row in zip(made, rows, strict=True)]

    def _one(self, row: Sequence[str | None]) -> Document | errors.TransformError:
        try:
            return self.build(row)
        except errors.TransformError as error:
            return error

    def build_row(self, row: Mapping[str, Any], *, ordinal: int = 0) -> Document:
        """The document of a row as `execute` gives it, typed or text; absent columns count as NULL."""
        return self.build(self.texts(row), ordinal=ordinal)

    def texts(self, row: Mapping[str, Any]) -> list[str | None]:
        """The row's values as text, in the order of `table.columns`; nothing is masked yet."""
        get = row.get
        return [values.to_text(get(name), kind) for name, kind in zip(self._names, self._types, strict=True)]

    def key_of(self, row: Sequence[str | None]) -> str | None:
        """The key's part of the document id, from server text; None for a NULL key.

        Where the table has no key it is the SHA-256 of the row as it is indexed.
        """
        if self._key:
            return self._row_key(row, {}, 0)
        kept, self._warnings = self._warnings, []
        metadata = {
            name: value if cell is None else cell(value)
            for (name, cell), value in zip(self._plan, row, strict=True)
            if value is not None
        }
        self._warnings = kept
        return self._row_key(row, metadata, 0)

    def keyless(self, rows: Sequence[Sequence[str | None]]) -> set[int]:
        """Positions of the rows whose key is NULL."""
        return {n for position in self._key for n, row in enumerate(rows) if row[position] is None}

    def key_from(self, key_values: Sequence[str | None]) -> str | None:
        """Likewise from the key columns' texts alone, in the order of `table.key_columns`."""
        parts = []
        for value, cell in zip(key_values, self._key_cells, strict=True):
            if value is None:
                return None
            parts.append(value if cell is None else cell(value))
        return document_ids.user_part(parts, self._name)

    def masked_row(self, row: Sequence[str | None]) -> dict[str, str | None]:
        """Column → text fit to be shown or stored: masked, redacted, cleaned; NULL stays None."""
        self._warnings = []
        return {
            name: value if value is None or cell is None else cell(value)
            for (name, cell), value in zip(self._plan, row, strict=True)
        }

    # -- compiling -----------------------------------------------------------------------------------------

    def _cell(self, column: Column, masks: MaskPolicy) -> Cell | None:
        """What a value of the column needs to become its canonical, safe text; None for nothing."""
        if column.name in self._masked:
            return lambda _: MASKED
        kind = base_type(column)
        if kind in _PLAIN_TYPES:
            return values.processor(kind)
        if kind == "numeric":
            return None
        rule = masks.key_rule(self._name, column.name)
        all_keys = masks.watches_all_keys(self._name, column.name)
        always_json = kind in values.JSON_TYPES or (is_array(kind) and kind[1:] in values.JSON_TYPES)
        name, settled = column.name, values.SAFE_CHARS
        unchanged: set[str] = set()

        def cell(text: str) -> str:
            if text in unchanged:
                return text
            given = text
            if len(text) > settled:
                text = self._cut(name, text)
            if always_json or text[:1] in ("{", "["):
                text = json_text.mask_members(text, rule, all_keys=all_keys)
            text = redact_text(text)
            # Last, because masking JSON inside a string spells its escapes out.
            if not text.isprintable():
                text = self._clean(name, text)
            if text is given and len(text) <= _SHORT and len(unchanged) < _MOST_UNCHANGED:
                # States, types and names stand in row after row.
                unchanged.add(text)
            return text

        return cell

    def _table_plan(self, masks: MaskPolicy) -> TablePlan:
        """The same for whole columns."""
        positions = {name: position for position, name in enumerate(self._names)}
        read_as_json = {c.name for c in self._text if c.read is content_text.readable_json}
        return TablePlan(
            table=self._name,
            columns=tuple(
                ColumnPlan(
                    name,
                    cell,
                    is_bounded=kind in _PLAIN_TYPES,
                    is_masked=name in self._masked,
                    is_read_as_json=name in read_as_json,
                    looks_at_all_keys=masks.may_name_keys(self._name, name),
                )
                for name, cell, kind in zip(self._names, self._cells, self._types, strict=True)
            ),
            key=self._key,
            key_cells=self._key_cells,
            texts=tuple((positions[c.name], c.read) for c in self._text),
            references=self._references,
            times=tuple((field, positions[column]) for field, column in self._times),
            zone=self._zone,
            files=tuple(
                positions[file.column_name]
                for file in self.table.file_reference_columns
                if file.column_name in positions and file.column_name not in self._masked
            ),
            project=None if self._project is None else positions[self._project],
        )

    def _key_cell(self, position: int) -> Cell | None:
        column = self.table.columns[position]
        if column.name in self._masked:
            return _hidden_key
        kind = self._types[position]
        if kind in _PLAIN_TYPES or kind == "numeric":
            return values.processor(kind)
        # Escaping copes with any code point; only signatures must not reach an id.
        return redact_text

    def _is_plain_key(self, position: int) -> bool:
        return self._key_cell(position) is None

    def _project_column(self, positions: Mapping[str, int]) -> str | None:
        own = self.table.relname == "projects" and self.table.key_columns in ([], ["id"])
        for name in ("id",) if own else ("project_id",):
            if name in positions and name not in self._masked:
                return name
        return None

    # -- one row -------------------------------------------------------------------------------------------

    def _row_key(self, row: Sequence[str | None], metadata: Mapping[str, str], ordinal: int) -> str | None:
        if self._key_plain:
            value = row[self._key[0]]
            return None if value is None else document_ids.user_part((value,), self._name)
        if self._key:
            return self.key_from([row[position] for position in self._key])
        hashed = hashlib.sha256(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return f"{hashed}-{ordinal}" if ordinal else hashed

    def _files(self, row: Sequence[str | None]) -> tuple[DetectedFile, ...]:
        if self._detector is None:
            return ()
        cells = {name: row[position] for name, position in self._detected}
        return tuple(self._detector.detect_in_record(self._name, cells))

    def _document(
        self,
        key: str,
        metadata: dict[str, str],
        relationships: list[dict[str, str]],
        files: tuple[DetectedFile, ...],
        data: bytes,
        warnings: tuple[CellWarning, ...],
    ) -> Document:
        doc_id = document_ids.doc_id(self._name, key)
        row_digest, bucket = digest.of(data), document_ids.key_bucket(key)
        content = self._content(metadata, files)
        fields: dict[str, Any] = {
            "doc_id": doc_id,
            "source_table": self._name,
            "source_id": key,
            "metadata": metadata,
            "relationships": relationships,
            "file_references": [file_reference(file) for file in files],
            "content_text": content,
            "row_digest": row_digest,
            "key_bucket": bucket,
        }
        long = {name: value for name, value in metadata.items() if len(value) > METADATA_LIMIT}
        if long:
            fields["metadata"] = {name: value for name, value in metadata.items() if name not in long}
            fields["metadata_long"] = long
        project = columns.project_id(metadata.get(self._project)) if self._project is not None else None
        if project is not None:
            fields["project_id"] = project
        for field, column in self._times:
            ms = values.epoch_ms(metadata.get(column), self._zone)
            if ms is not None:
                fields[field] = ms
        return Document(
            metadata if long else None, key, fields, row_digest, bucket, warnings, files, len(data)
        )

    def _content(self, metadata: Mapping[str, str], files: tuple[DetectedFile, ...]) -> str:
        parts = []
        for column in self._text:
            value = metadata.get(column.name)
            if value:
                part = column.read(value)
                if part:
                    parts.append(part)
        content_text.add_names(parts, files)
        return content_text.join(parts)

    # -- cells that are not indexed as they stand ----------------------------------------------------------

    def _cut(self, column: str, text: str) -> str:
        text, was_cut = values.cut(text)
        if was_cut:
            self._warn(column, "cell_cut", f"{column} is longer than 1 MiB and was cut there")
        return text

    def _clean(self, column: str, text: str) -> str:
        cleaned, changed = values.clean(text)
        if changed:
            if any("\udc80" <= char <= "\udcff" for char in text):
                self._warn(
                    column, "undecodable_cell", f"{column} holds bytes that are no text; replaced by U+FFFD"
                )
            else:
                self._warn(
                    column,
                    "replaced_code_points",
                    f"{column} holds characters that Vespa refuses; now U+FFFD",
                )
        return cleaned

    def _warned(self) -> bool:
        """Whether a cell was warned of since this was asked last."""
        warned = bool(self._warnings)
        if warned:
            self._warnings = []
        return warned

    def _warn(self, column: str, cause: str, message: str) -> None:
        self._warnings.append(CellWarning(column, cause, message))


def _hidden_key(value: str) -> str:
    """A masked column can still be the key: its hash tells rows apart without telling the value."""
    return "masked-" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
