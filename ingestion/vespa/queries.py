"""Questions to the index: text search, one record, its relations and files, counts and sums per table.

Every query is limited to the session's namespace through the attribute `source`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingestion.transform import document_ids
from ingestion.vespa.client import FILE, RECORD, SCHEMA, VespaSession

SNIPPET_CHARACTERS = 160
_MARK = re.compile("</?hi>")
LARGEST_OFFSET = 1_000
"""Vespa refuses a larger one (`maxOffset` of its default query profile)."""
SCHEMA_PREFIX = "schema:"
"""What the id of a table's own document begins with, where ids of records begin with their table."""
MOST_LISTED = 100
"""Records of a file that are listed; more belong to a file that is in use everywhere, such as a logo."""
MOST_GROUPS = 5_000
"""Vespa refuses more than 10,000 groups over a whole request unless a query profile raises that."""


@dataclass(frozen=True, slots=True)
class Hit:
    doc_id: str
    source_table: str
    source_id: str
    relevance: float
    snippet: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """`total` counts all matches as Vespa reports it, which for weakAnd is a lower bound."""

    total: int
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class BucketSum:
    """Documents of one key bucket: how many, and the exclusive or of their row digests."""

    count: int
    xor: int


@dataclass(frozen=True, slots=True)
class Related:
    """A record that another one refers to (`out`) or that refers to it (`in`)."""

    direction: str
    relation: str
    doc_id: str
    source_table: str
    source_id: str
    exists: bool
    title: str = ""


def literal(text: str) -> str:
    """A YQL string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


async def search(
    session: VespaSession,
    text: str,
    *,
    table: str | None = None,
    project: int | None = None,
    limit: int = 20,
    offset: int = 0,
) -> SearchPage:
    """Records and tables that match any word of `text`, best first (BM25); an empty text lists the newest records.

    A table's own document explains its columns and relations; it belongs to no project. Hits hold what the
    summary `lean` holds, never whole texts. Raises errors.IndexError when Vespa refuses the query (its
    limits: 400 hits, offset 1,000).
    """
    asked = text.strip()
    sources, where = [RECORD], [_scope(session)]
    if asked:
        where.append("userQuery()")
    if project is not None:
        where.append(f"project_id = {_long(project)}")
    elif asked:
        sources.append(SCHEMA)
    if table is not None:
        tests = [f"source_table contains {literal(table)}"]
        if SCHEMA in sources:
            tests.append(f"table_name contains {literal(table)}")
        where.append(f"({' or '.join(tests)})")
    params: dict[str, Any] = {
        "yql": f"select * from sources {', '.join(sources)} where {' and '.join(where)}",
        "hits": limit,
        "offset": offset,
        "ranking": "bm25" if asked else "newest",
        "presentation.summary": "lean",
        "timeout": "10s",
    }
    if asked:
        params["query"] = text
    root = await session.query(params)
    hits = tuple(_hit(child, text) for child in root.get("children", []) if "fields" in child)
    return SearchPage(int(root.get("fields", {}).get("totalCount", 0)), hits)


async def document(session: VespaSession, doc_id: str) -> Mapping[str, Any] | None:
    """Fields of a record, a file, or a table's own document (`schema:TABLE`); None when there is none."""
    name = doc_id.removeprefix(SCHEMA_PREFIX)
    if not name:
        return None
    if doc_id.startswith(SCHEMA_PREFIX):
        return await session.document(SCHEMA, document_ids.escape(name))
    return await session.document(RECORD, doc_id) or await session.document(FILE, doc_id)


async def links(session: VespaSession, doc_id: str) -> list[Related]:
    """Where a document leads: of a record `related`, of a file `records_of_file`; nowhere when it is neither."""
    if fields := await session.document(RECORD, doc_id):
        return await related(session, doc_id, fields)
    file = await session.document(FILE, doc_id)
    return await records_of_file(session, file) if file else []


async def related(
    session: VespaSession, doc_id: str, fields: Mapping[str, Any], *, limit: int = 50
) -> list[Related]:
    """Records that the record of `fields` refers to, then those that refer to it, at most `limit` of each."""
    outgoing = [
        (str(r.get("relation", "")), str(r.get("target_table", "")), str(r.get("target_id", "")))
        for r in fields.get("relationships", [])
    ][:limit]
    names = {document_ids.doc_id(table, key) for _, table, key in outgoing}
    present = await _titles(session, sorted(names))
    found = [
        Related("out", relation, name, table, key, name in present, present.get(name, ""))
        for relation, table, key in outgoing
        for name in (document_ids.doc_id(table, key),)
    ]
    table, key = str(fields.get("source_table", "")), doc_id.partition(":")[2]
    found += [
        Related("in", role, incoming["doc_id"], incoming.get("source_table", ""),
                str(incoming.get("source_id", "")), True, title_of(incoming))
        for role, incoming in await _referring(session, table, key, limit)
    ]  # fmt: skip
    return found


async def files_of(session: VespaSession, doc_id: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """The files of this record, without the text inside them: the fields of the summary `lean`."""
    root = await session.query(
        {
            "yql": f"select * from {FILE} where {_scope(session)} "
            f"and record_doc_ids contains {literal(doc_id)}",
            "hits": limit,
            "presentation.summary": "lean",
            "timeout": "10s",
        }
    )
    return [dict(child["fields"]) for child in root.get("children", []) if "fields" in child]


async def records_of_file(session: VespaSession, fields: Mapping[str, Any]) -> list[Related]:
    """The records that hold the file of `fields`, as records that refer to it."""
    names = [str(name) for name in fields.get("record_doc_ids", [])][:MOST_LISTED]
    present = await _titles(session, names)
    column = str(fields.get("source_column", ""))
    found = []
    for name in names:
        table, _, key = name.partition(":")
        found.append(Related("in", column, name, table, key, name in present, present.get(name, "")))
    return found


async def count(session: VespaSession, doc_type: str, where: str = "true") -> int:
    """How many documents of the namespace match."""
    root = await session.query(
        {"yql": f"select * from {doc_type} where {_scope(session)} and {where} limit 0", "timeout": "20s"}
    )
    return int(root.get("fields", {}).get("totalCount", 0))


async def counts_by_table(session: VespaSession, doc_type: str = RECORD) -> dict[str, int]:
    """How many documents each source table has in the index."""
    groups = await _groups(session, doc_type, "true", "source_table", "output(count())")
    return {str(value): int(fields["count()"]) for value, fields in groups}


async def bucket_sums(session: VespaSession, table: str) -> dict[int, BucketSum]:
    """Count and exclusive or of the row digests per key bucket of a table; empty buckets are absent."""
    where = f"source_table contains {literal(table)}"
    groups = await _groups(session, RECORD, where, "key_bucket", "output(count(), xor(row_digest))")
    return {
        int(value): BucketSum(int(fields["count()"]), int(fields["xor(row_digest)"]))
        for value, fields in groups
    }


async def largest_read_seq(session: VespaSession) -> int:
    """The largest `read_seq` in the namespace over records and files, 0 where it is empty."""
    largest = 0
    for doc_type in (RECORD, FILE):
        root = await session.query(
            {
                "yql": f"select * from {doc_type} where {_scope(session)} limit 0 "
                "| all(output(max(read_seq)))",
                "timeout": "20s",
            }
        )
        for child in root.get("children", []):
            largest = max(largest, int(child.get("fields", {}).get("max(read_seq)", 0) or 0))
    return largest


def title_of(fields: Mapping[str, Any]) -> str:
    """A short human name of a record, from the columns that usually hold one."""
    metadata = fields.get("metadata") or {}
    for name in ("title", "name", "subject", "display_name", "number", "filename", "description"):
        if metadata.get(name):
            return " ".join(str(metadata[name]).split())[:80]
    return ""


def teaser(marked: str) -> str:
    """A dynamic summary on one line, without its marks (…/reference/schemas/schemas.html#summary)."""
    return " ".join(_MARK.sub("", marked).replace("<sep />", " … ").split())


def snippet(content: str, text: str) -> str:
    """The part of `content` around the first word of `text` found in it, on one line."""
    flat = " ".join(content.split())
    words = [re.escape(word) for word in re.findall(r"\w+", text)]
    match = re.search(rf"\b(?:{'|'.join(words)})", flat, re.IGNORECASE) if words else None
    start = max(0, match.start() - SNIPPET_CHARACTERS // 3) if match else 0
    if start and match:
        start = flat.find(" ", start, match.start()) + 1 or start  # at a word, where there is a blank
    part = flat[start : start + SNIPPET_CHARACTERS]
    return ("…" if start else "") + part + ("…" if start + SNIPPET_CHARACTERS < len(flat) else "")


def _scope(session: VespaSession) -> str:
    return f"source contains {literal(session.namespace)}"


def _long(value: int) -> str:
    return f"{value}L" if abs(value) > 2**31 - 1 else str(value)


def _hit(child: Mapping[str, Any], text: str) -> Hit:
    fields = dict(child["fields"])
    shown = snippet(teaser(str(fields.get("snippet", ""))), text)
    if "table_name" in fields:
        table = str(fields["table_name"])
        doc_id, source_id = f"{SCHEMA_PREFIX}{table}", ""
    else:
        table, source_id = str(fields.get("source_table", "")), str(fields.get("source_id", ""))
        doc_id = str(fields.get("doc_id", ""))
    return Hit(doc_id, table, source_id, float(child.get("relevance", 0.0)), shown, fields)


async def _referring(
    session: VespaSession, table: str, key: str, limit: int
) -> list[tuple[str, dict[str, Any]]]:
    """Relation and fields of the newest records that refer to this one.

    Members of structs match without regard to case, so records that refer to another case are left out here.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for offset in range(0, LARGEST_OFFSET + 1, limit):
        root = await session.query(
            {
                "yql": f"select * from {RECORD} where {_scope(session)} and relationships contains "
                f"sameElement(target_table contains {literal(table)}, target_id contains {literal(key)})",
                "hits": limit,
                "offset": offset,
                "ranking": "newest",
                "presentation.summary": "links",
                "timeout": "10s",
            }
        )
        children = root.get("children", [])
        for incoming in (child.get("fields", {}) for child in children):
            for relation in incoming.get("relationships", []):
                if relation.get("target_table") == table and str(relation.get("target_id")) == key:
                    found.append((str(relation.get("relation", "")), incoming))
                    break
        if len(children) < limit or len(found) >= limit:
            break
    return [item for item in found if "doc_id" in item[1]][:limit]


async def _titles(session: VespaSession, doc_ids: list[str]) -> dict[str, str]:
    if not doc_ids:
        return {}
    listed = ", ".join(literal(doc_id) for doc_id in doc_ids)
    root = await session.query(
        {
            "yql": f"select * from {RECORD} where {_scope(session)} and doc_id in ({listed})",
            "hits": len(doc_ids),
            "presentation.summary": "links",
            "timeout": "10s",
        }
    )
    children = [child.get("fields", {}) for child in root.get("children", [])]
    return {str(fields["doc_id"]): title_of(fields) for fields in children if "doc_id" in fields}


async def _groups(
    session: VespaSession, doc_type: str, where: str, field: str, output: str
) -> list[tuple[Any, dict[str, Any]]]:
    root = await session.query(
        {
            "yql": f"select * from {doc_type} where {_scope(session)} and {where} limit 0 "
            f"| all(group({field}) max({MOST_GROUPS}) each({output}))",
            "timeout": "20s",
        }
    )
    return [
        (group.get("value"), dict(group.get("fields", {})))
        for top in root.get("children", [])
        for listing in top.get("children", [])
        for group in listing.get("children", [])
    ]
