"""Failures as JSON lines or CSV, one per line, written beside the target and moved into place."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ingestion import errors
from ingestion.state.store import StateStore
from ingestion.state.types import Failure, FailureFilter

MEMBERS = (
    "id", "job_id", "table", "key", "stage", "cause", "message", "attempts", "first_at", "last_at", "status",
)  # fmt: skip


def to_dict(failure: Failure) -> dict[str, Any]:
    """The object that `failures list --json` shows; times ISO with `Z`."""
    found = {name: getattr(failure, name) for name in MEMBERS}
    return {**found, "first_at": _iso(failure.first_at), "last_at": _iso(failure.last_at)}


def to_line(failure: Failure) -> str:
    """One line of the JSON lines form."""
    return orjson.dumps(to_dict(failure)).decode() + "\n"


async def export(state: StateStore, filter: FailureFilter, path: Path) -> int:
    """Write what the filter matches; how many. CSV where the name ends in `.csv`, else JSON lines.

    Raises errors.OutputError where the path cannot be written; nothing half-written stays.
    """
    part = path.with_name(path.name + ".part")
    as_csv = path.suffix.lower() == ".csv"
    count = 0
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            if as_csv:
                file.write(_csv_line(list(MEMBERS)))
            async for failure in state.failures(filter):
                file.write(_csv_line(list(to_dict(failure).values())) if as_csv else to_line(failure))
                count += 1
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise errors.OutputError(
            f"the failures cannot be written to {path}: {error.strerror or error}",
            hint="Choose another path.",
        ) from error
    return count


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    # A cell that begins like a formula would be one when a spreadsheet opens the file.
    safe = [f"'{v}" if isinstance(v, str) and v[:1] in "=+-@\t\r" else v for v in values]
    csv.writer(line).writerow(safe)
    return line.getvalue()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
