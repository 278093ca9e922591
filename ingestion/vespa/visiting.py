"""Visiting: every document of a namespace and type, page by page, as Vespa's document/v1 guide describes.

A visit is no snapshot: documents written meanwhile may or may not be met. Selections are a linear scan on a
real cluster, so callers visit a whole table, or ask a query for small sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ingestion import errors
from ingestion.vespa.client import CLUSTER, RECORD, Answer, VespaSession, not_vespa

PAGE = 1000


@dataclass(frozen=True, slots=True)
class IndexedRecord:
    """What the index says of one record; `key` is the user part without the table."""

    table: str
    key: str
    digest: int
    bucket: int
    read_seq: int


def quoted(text: str) -> str:
    """A string literal of the document selection language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def visit(
    session: VespaSession,
    doc_type: str,
    *,
    selection: str = "",
    field_set: str = "[document]",
    slices: int = 1,
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Pages of documents `{"id": …, "fields": {…}}`; pages may be smaller or larger than asked for.

    Several `slices` are visited at the same time, their pages as they come. Raises errors.IndexError when
    Vespa refuses the selection, errors.VespaUnavailable when it goes away.
    """
    if slices == 1:
        async with aclosing(_pages(session, doc_type, selection, field_set, {})) as pages:
            async for page in pages:
                yield page
        return
    ready: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue(maxsize=slices)

    async def take(number: int) -> None:
        part = {"slices": str(slices), "sliceId": str(number)}
        try:
            async for page in _pages(session, doc_type, selection, field_set, part):
                await ready.put(page)
        finally:
            await ready.put(None)

    tasks = [asyncio.create_task(take(number), name=f"visit {number}") for number in range(slices)]
    try:
        for _ in range(slices):
            while (page_of_one := await ready.get()) is not None:
                yield page_of_one
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        while not ready.empty():  # whoever waits to put its end may now do so
            ready.get_nowait()
        await asyncio.gather(*tasks, return_exceptions=True)


async def remove_selected(session: VespaSession, doc_type: str, selection: str) -> int:
    """Remove every document of the namespace that the selection is true of; how many were.

    Documents that are written meanwhile may stay. Raises errors.SettingsError without a selection,
    errors.IndexError when Vespa refuses it, errors.VespaUnavailable when it goes away: ask again then.
    """
    if not selection.strip():
        raise errors.SettingsError(
            f"removing from {doc_type} needs a selection", hint="Say `true` to remove every document."
        )
    params = {"cluster": CLUSTER, "selection": selection, "timeChunk": "10s", "timeout": "25s"}
    path = f"/document/v1/{quote(session.namespace, safe='')}/{doc_type}/docid/"
    removed = 0
    while True:
        answer = _checked(session, doc_type, await session.request("DELETE", path, params))
        removed += int(answer.body.get("documentCount", 0))
        continuation = answer.body.get("continuation")
        if not continuation:
            return removed
        params["continuation"] = str(continuation)


async def _pages(
    session: VespaSession, doc_type: str, selection: str, field_set: str, part: Mapping[str, str]
) -> AsyncGenerator[list[dict[str, Any]], None]:
    path = f"/document/v1/{quote(session.namespace, safe='')}/{doc_type}/docid/"
    params = {
        **part,
        "cluster": CLUSTER,
        "wantedDocumentCount": str(PAGE),
        "fieldSet": field_set,
        "concurrency": "4",
        "timeout": "25s",
    }
    if selection:
        params["selection"] = selection
    while True:
        answer = _checked(session, doc_type, await session.request("GET", path, params))
        documents = answer.body.get("documents", [])
        if documents:
            yield documents
        continuation = answer.body.get("continuation")
        if not continuation:
            return
        params["continuation"] = str(continuation)


def _checked(session: VespaSession, doc_type: str, answer: Answer) -> Answer:
    if answer.status == 400:
        raise errors.IndexError(f"Vespa refused to visit {doc_type}: {answer.message}")
    if answer.status != 200:
        raise errors.VespaUnavailable(
            f"Vespa stopped a visit of {doc_type} ({answer.status}: {answer.message})",
            hint="Try again once it is healthy.",
        )
    if not answer.is_of_document_api:
        # Taken at its word, a stranger's page would be the end of an empty visit.
        raise not_vespa(session.url, answer)
    return answer


async def records_of_table(
    session: VespaSession, table: str, *, bucket: int | None = None, slices: int = 1
) -> AsyncIterator[list[IndexedRecord]]:
    """Key, digest and sequence of each indexed record of a table, or of one key bucket of it."""
    selection = f"{RECORD}.source_table == {quoted(table)}"
    if bucket is not None:
        selection += f" and {RECORD}.key_bucket == {bucket}"
    field_set = f"{RECORD}:doc_id,source_table,row_digest,key_bucket,read_seq"
    async with aclosing(
        visit(session, RECORD, selection=selection, field_set=field_set, slices=slices)
    ) as pages:
        async for page in pages:
            yield [_indexed(document["fields"]) for document in page]


def _indexed(fields: dict[str, Any]) -> IndexedRecord:
    doc_id = str(fields.get("doc_id", ""))
    return IndexedRecord(
        table=str(fields.get("source_table", "")),
        key=doc_id.partition(":")[2],
        digest=int(fields.get("row_digest", 0)),
        bucket=int(fields.get("key_bucket", 0)),
        read_seq=int(fields.get("read_seq", 0)),
    )
