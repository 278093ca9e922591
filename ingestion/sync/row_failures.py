"""What stands against a row: why it is not in the index, or not as it stands in the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ingestion.schema_discovery import Table
from ingestion.state.types import Failure
from ingestion.sync.source_reader import Row
from ingestion.transform.documents import Document
from ingestion.vespa.feeding import Outcome

_REFUSALS = {413: "vespa_413", 500: "vespa_500"}


def null_key(table: Table, row: Row) -> Failure:
    """The failure of a row without a key; its place in the table tells it from others."""
    message = f"the key {', '.join(table.key_columns)} is NULL"
    return _failure(table, "", row, "read", "null_key", message)


def duplicate_key(table: Table, key: str, row: Row, copies: int) -> Failure:
    """The failure of one of several differing rows with one key."""
    message = f"{copies} differing rows hold the key {key}"
    return replace(_failure(table, key, row, "read", "duplicate_key", message), locator=row.locator)


def identical_copy(table: Table, key: str, row: Row) -> Failure:
    """The note on a copy that is left out because an identical one is indexed."""
    message = f"an identical row with the key {key} is indexed"
    return _warning(table, key, row.locator, "identical_copy", message, "read")


def refusal(table: Table, key: str, outcome: Outcome) -> Failure:
    """The failure of a document that Vespa will never take as it is."""
    return Failure(
        table=table.name, key=key, stage="index", cause=_REFUSALS.get(outcome.status, "vespa_refused"),
        message=outcome.message or f"HTTP {outcome.status}",
    )  # fmt: skip


def warnings(table: Table, document: Document, unreadable: Sequence[str]) -> Iterator[Failure]:
    """What is said of cells of an indexed row; `unreadable` are columns whose value PostgreSQL could not give."""
    for warning in document.warnings:
        yield _warning(table, document.key, warning.column, warning.cause, warning.message, "transform")
    for column in unreadable:
        message = f"PostgreSQL cannot give the value of {column}; the rest of the row is indexed"
        yield _warning(table, document.key, column, "unreadable_cell", message, "read")


def at(failure: Failure, row: Row) -> Failure:
    """The failure, with the row's place where no key tells which row it is."""
    return failure if failure.key or failure.locator else replace(failure, locator=row.locator)


def _failure(table: Table, key: str, row: Row, stage: str, cause: str, message: str) -> Failure:
    return Failure(
        table=table.name, key=key, stage=stage, cause=cause, message=message,
        locator="" if key else row.locator,
    )  # fmt: skip


def _warning(table: Table, key: str, locator: str, cause: str, message: str, stage: str) -> Failure:
    return Failure(
        table=table.name, key=key, stage=stage, cause=cause, message=message, kind="warning", locator=locator
    )
