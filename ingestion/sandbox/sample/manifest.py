"""The manifest: one JSON line per planted value, `{table, id, column, kind, expect}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_PREFIX: Final = "file_"
"""Kinds that begin so speak of a file, not of a row."""


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """A planted value. `id` is the row's key as PostgreSQL prints it, None for a NULL."""

    table: str
    id: str | None
    column: str
    kind: str
    expect: str

    def to_json(self) -> str:
        return json.dumps(
            {
                "table": self.table,
                "id": self.id,
                "column": self.column,
                "kind": self.kind,
                "expect": self.expect,
            }
        )


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a complete run must count in one table. Failures are by cause, skipped rows by reason."""

    failed: dict[str, int]
    skipped: dict[str, int]
    warned: int


def read(path: Path) -> Iterator[ManifestLine]:
    """The lines of a manifest."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield ManifestLine(**json.loads(line))


def predicted(lines: Iterable[ManifestLine]) -> dict[str, Predicted]:
    """What the lines say about rows, by table; a table without trouble is left out. Files are left out."""
    failed: dict[str, dict[str, int]] = {}
    skipped: dict[str, dict[str, int]] = {}
    warned: dict[str, set[str | None]] = {}
    for line in lines:
        if line.kind.startswith(FILE_PREFIX):
            continue
        verdict, _, reason = line.expect.partition(":")
        if verdict == "warned":
            warned.setdefault(line.table, set()).add(line.id)
        elif verdict in ("failed", "skipped"):
            counts = (failed if verdict == "failed" else skipped).setdefault(line.table, {})
            counts[reason] = counts.get(reason, 0) + 1
    return {
        table: Predicted(failed.get(table, {}), skipped.get(table, {}), len(warned.get(table, ())))
        for table in sorted({*failed, *skipped, *warned})
    }


def predicted_files(lines: Iterable[ManifestLine]) -> dict[str, int]:
    """How many files must fail, by cause, when all are fetched with the sandbox's bucket at hand."""
    found: dict[str, int] = {}
    for line in lines:
        verdict, _, cause = line.expect.partition(":")
        if line.kind.startswith(FILE_PREFIX) and verdict == "failed":
            found[cause] = found.get(cause, 0) + 1
    return found
