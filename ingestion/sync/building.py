"""A row becomes a document or the failure that says why not, in whichever process that happens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ingestion import errors
from ingestion.state.types import Failure
from ingestion.transform.documents import Document, DocumentBuilder

ROWS_AT_A_TIME = 128
"""Rows made before other tasks get their turn: some milliseconds. Fewer cost more a row."""

Places = Mapping[int, tuple[str, Collection[str]]]
"""Positions of rows of which PostgreSQL could not give everything: where they stand and which columns."""


def build_all(
    builder: DocumentBuilder, rows: Sequence[Sequence[str | None]], places: Places, first: int = 0
) -> list[Document | Failure]:
    """What `build` gives for each row; `first` is the position of the first of them in `places`."""
    made: list[Document | Failure] = []
    for position, document in enumerate(builder.build_batch(rows)):
        if isinstance(document, errors.TransformError) or position + first in places:
            locator, unreadable = places.get(position + first, ("", ()))
            made.append(build(builder, rows[position], locator, unreadable))
        else:
            made.append(document)
    return made


def build(
    builder: DocumentBuilder,
    values: Sequence[str | None],
    locator: str = "",
    unreadable: Collection[str] = (),
    ordinal: int = 0,
) -> Document | Failure:
    """The row's document, or why there is none; `locator` says where the row stands."""
    name = builder.table.name
    if unreadable and set(unreadable) & set(builder.table.key_columns):
        message = "PostgreSQL cannot give the row's key"
        return Failure(
            table=name, key="", stage="read", cause="unreadable_row", message=message, locator=locator
        )
    try:
        return builder.build(values, ordinal=ordinal)
    except errors.TransformError as error:
        try:
            key = builder.key_of(values) or ""
        except errors.TransformError:
            key = ""
        return Failure(
            table=name, key=key, stage="transform", cause="transform_error", message=str(error),
            locator="" if key else locator,
        )  # fmt: skip
