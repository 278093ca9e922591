"""Database rows become documents in Vespa, record by record or in batches."""

from __future__ import annotations

from dataclasses import dataclass


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
