"""What a row becomes: fields for Vespa, a digest, and what was noticed on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingestion.file_detector import DetectedFile
    from ingestion.record_ingester import IngestedRecord


METADATA_LIMIT = 256
"""Characters of a value that still goes to the searchable map; longer ones go to `metadata_long`."""


@dataclass(frozen=True, slots=True)
class CellWarning:
    """A cell that is not indexed as it stands; `cause` is one of the slugs of `ingestion.failures`."""

    column: str
    cause: str
    message: str


@dataclass(slots=True)
class Document:
    """A row ready to be fed.

    `fields` are Vespa's, without `read_seq` and `ingested_at`, which belong to the feeding. `files` hold
    full URLs, signature included: they are for fetching, never for storing. `size_bytes` counts the metadata.
    Nothing sets its attributes later; it is not frozen because one is made of every row.
    """

    _record: IngestedRecord | dict[str, str] | None = field(compare=False, repr=False)
    """The record, or else its values in the order of columns where `fields` divides them by length."""
    key: str
    fields: dict[str, Any]
    digest: int
    bucket: int
    warnings: tuple[CellWarning, ...]
    files: tuple[DetectedFile, ...]
    size_bytes: int

    @property
    def record(self) -> IngestedRecord:
        """The row as a record; made of the fields when it is asked for, which feeding never does."""
        record = self._record
        if record is None or isinstance(record, dict):
            record = self._record = _record_of(self.fields, record)
        return record


def _record_of(fields: dict[str, Any], metadata: dict[str, str] | None) -> IngestedRecord:
    from ingestion.record_ingester import IngestedRecord

    return IngestedRecord(
        doc_id=fields["doc_id"],
        source_table=fields["source_table"],
        source_id=fields["source_id"],
        project_id=fields.get("project_id"),
        metadata=fields["metadata"] if metadata is None else metadata,
        relationships=fields["relationships"],
        file_references=fields["file_references"],
        content_text=fields["content_text"],
        created_at=fields.get("created_at", 0),
        updated_at=fields.get("updated_at", 0),
        ingested_at=0,
    )
