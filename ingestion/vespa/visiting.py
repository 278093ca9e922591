"""Visiting: every document of a namespace and type, page by page, as Vespa's document/v1 guide describes.

A visit is no snapshot: documents written meanwhile may or may not be met. Selections are a linear scan on a
real cluster, so callers visit a whole table, or ask a query for small sets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ingestion import errors
from ingestion.vespa.client import CLUSTER, RECORD, VespaSession, not_vespa

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
    session: VespaSession, doc_type: str, *, selection: str = "", field_set: str = "[document]"
) -> AsyncIterator[list[dict[str, Any]]]:
    """Pages of documents `{"id": …, "fields": {…}}`; pages may be empty or larger than asked for.

    Raises errors.IndexError when Vespa refuses the selection, errors.VespaUnavailable when it goes away.
    """
    path = f"/document/v1/{quote(session.namespace, safe='')}/{doc_type}/docid/"
    params = {
        "cluster": CLUSTER,
        "wantedDocumentCount": str(PAGE),
        "fieldSet": field_set,
        "concurrency": "4",
        "timeout": "25s",
    }
    if selection:
        params["selection"] = selection
    while True:
        answer = await session.request("GET", path, params)
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
        documents = answer.body.get("documents", [])
        if documents:
            yield documents
        continuation = answer.body.get("continuation")
        if not continuation:
            return
        params["continuation"] = str(continuation)


async def records_of_table(
    session: VespaSession, table: str, *, bucket: int | None = None
) -> AsyncIterator[list[IndexedRecord]]:
    """Key, digest and sequence of each indexed record of a table, or of one key bucket of it."""
    selection = f"{RECORD}.source_table == {quoted(table)}"
    if bucket is not None:
        selection += f" and {RECORD}.key_bucket == {bucket}"
    field_set = f"{RECORD}:doc_id,source_table,row_digest,key_bucket,read_seq"
    async for page in visit(session, RECORD, selection=selection, field_set=field_set):
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
