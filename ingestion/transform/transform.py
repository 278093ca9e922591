"""How rows become documents, the same for all tables of a job; light to load, because worker processes get it."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.schema_discovery import SchemaMap, Table
from ingestion.transform.documents import Detector, DocumentBuilder
from ingestion.transform.sensitivity import NO_MASKS, MaskPolicy


@dataclass(frozen=True, slots=True)
class Transform:
    """What `DocumentBuilder` is told beside the table."""

    schema: SchemaMap
    masks: MaskPolicy = NO_MASKS
    source_timezone: str = "UTC"
    detector: Detector | None = None

    def builder(self, table: Table) -> DocumentBuilder:
        return DocumentBuilder(
            self.schema, table, masks=self.masks, source_timezone=self.source_timezone,
            file_detector=self.detector,
        )  # fmt: skip
