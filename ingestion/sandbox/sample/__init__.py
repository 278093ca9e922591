"""A generated Procore database: 49 tables as a contractor's mirror has them, dirt included.

`load` fills a database; `predicted(read(manifest))` says what a complete run must count.
README.md beside this file lists the kinds of dirt and what is owed to each.
"""

from __future__ import annotations

from ingestion.sandbox.sample.dirt import ALL_KINDS, DirtOptions
from ingestion.sandbox.sample.generator import Sample
from ingestion.sandbox.sample.loader import SampleReport, load
from ingestion.sandbox.sample.manifest import ManifestLine, Predicted, predicted, predicted_files, read
from ingestion.sandbox.sample.secrets import PREFIX as SECRET_PREFIX
from ingestion.sandbox.sample.secrets import planted_secrets


def references() -> dict[str, str]:
    """The truth behind the undeclared relations: `table.column` to the table it refers to."""
    from ingestion.sandbox.sample.references import REFERENCES

    return {name: reference.target for name, reference in REFERENCES.items()}


__all__ = [
    "ALL_KINDS",
    "SECRET_PREFIX",
    "DirtOptions",
    "ManifestLine",
    "Predicted",
    "Sample",
    "SampleReport",
    "load",
    "planted_secrets",
    "predicted",
    "predicted_files",
    "read",
    "references",
]
