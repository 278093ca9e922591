"""A parsed query run against the store: hits, their order, their number, and groups."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint import matching
from ingestion.sandbox.vespa_endpoint.grouping import Grouping
from ingestion.sandbox.vespa_endpoint.groups import Limits, grouped
from ingestion.sandbox.vespa_endpoint.matching import Match
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused
from ingestion.sandbox.vespa_endpoint.query_tree import Node, OrderBy
from ingestion.sandbox.vespa_endpoint.ranking import UNDEFINED, score_of, sortable
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.vespa.schemas import SCHEMAS, Schema

_PROGRESS_STEPS = 20_000


@dataclass(frozen=True, slots=True)
class Query:
    """All that decides an answer."""

    schemas: tuple[Schema, ...]
    where: Node
    order: tuple[OrderBy, ...]
    profile: str
    hits: int
    offset: int
    groupings: tuple[tuple[Grouping, ...], ...]
    group_limits: Limits
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One matching document."""

    schema: Schema
    id: str
    relevance: float
    fields: dict[str, Any]
    features: dict[str, float] | None = None
    summary: str | None = None
    """The document summary that a grouping asks for; None is the request's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query found; `groups` are ready for the result's JSON but for the hits in them."""

    total: int
    documents: int
    hits: list[Hit]
    groups: list[dict[str, Any]]


def run(store: Store, query: Query) -> Answer:
    """Run the query. Raises QueryRefused (400; 504 when `timeout_s` is over)."""
    conn = store.reader()
    deadline = time.monotonic() + query.timeout_s
    conn.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
    # One snapshot for count, hits and groups.
    conn.execute("BEGIN")
    try:
        return _run(conn, query)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise QueryRefused(
                f"Timed out: the query took longer than {query.timeout_s} s",
                code=12,
                summary="Timed out",
                status=504,
            ) from None
        raise
    finally:
        conn.set_progress_handler(None, 0)
        conn.execute("COMMIT")


def _run(conn: sqlite3.Connection, query: Query) -> Answer:
    matches = [matching.match(query.where, schema) for schema in query.schemas]
    total = sum(
        conn.execute(
            f"SELECT count(*) FROM {found.schema.name} d WHERE {found.where}", found.parameters
        ).fetchone()[0]
        for found in matches
    )
    documents = sum(
        conn.execute(f"SELECT count(*) FROM {schema.name}").fetchone()[0] for schema in query.schemas
    )
    hits: list[Hit] = []
    if query.hits > 0:
        hits = _hits(conn, query, matches)

    def best(inside: list[Match], most: int, summary: str | None) -> list[Hit]:
        found = _hits(conn, replace(query, order=(), offset=0, hits=most), inside) if most else []
        return [replace(hit, summary=summary) for hit in found]

    groups = [
        grouped(conn, request, matches, query.profile, query.group_limits, best)
        for request in query.groupings
    ]
    return Answer(total, documents, hits, groups)


# ---------------------------------------------------------------------- hits


def _hits(conn: sqlite3.Connection, query: Query, matches: list[Match]) -> list[Hit]:
    wanted = query.offset + query.hits
    rows: list[tuple[tuple[Any, ...], Match, str, float, str, float]] = []
    for position, found in enumerate(matches):
        profile = found.schema.profile(query.profile)
        assert profile is not None  # the caller checked it
        score, joined, parameters = score_of(conn, found, profile, query.order)
        keys = [_order_key(found.schema, key) for key in query.order] or ["relevance DESC"]
        columns = ", ".join(f"({key.rsplit(' ', 1)[0]})" for key in keys)
        sql = (
            f"SELECT d.id, {score} AS relevance, d.body, coalesce(s.score, 0), {columns} "
            f"FROM {found.schema.name} d {joined} WHERE {found.where} "
            f"ORDER BY {', '.join(keys)}, d.key LIMIT ?"
        )
        # SQLite cannot name a column alias in another column, so the sort keys repeat the expression.
        sql = sql.replace("(relevance)", f"({score})")
        for row in conn.execute(sql, [*parameters, *found.parameters, wanted]):
            rows.append(((*row[4:], position), found, row[0], row[1], row[2], row[3]))
    if len(matches) > 1:
        _merge(rows, query.order)
    return [
        _hit(found, id, relevance, orjson.loads(body), text_score, query.profile)
        for _, found, id, relevance, body, text_score in rows[query.offset : wanted]
    ]


def _merge(rows: list[Any], order: tuple[OrderBy, ...]) -> None:
    """Sort rows of several types by the same keys; sorting is stable, so from the last key to the first."""
    keys = order or (OrderBy("[rank]", True),)
    for position in range(len(keys) - 1, -1, -1):
        rows.sort(
            key=lambda row, at=position: _comparable(row[0][at], keys[at].raw),  # type: ignore[misc]
            reverse=keys[position].descending,
        )


def _comparable(value: Any, raw: bool) -> tuple[int, Any]:
    return (2, value) if raw and isinstance(value, str) else sortable(value)


def _order_key(schema: Schema, key: OrderBy) -> str:
    direction = "DESC" if key.descending else "ASC"
    if key.field in ("[rank]", "[relevance]"):
        return f"relevance {direction}"
    item = schema.field(key.field)
    if item is None:
        if not any(other.field(key.field) for other in SCHEMAS.values()):
            raise QueryRefused(f"Cannot sort by '{key.field}': no such attribute", code=4)
        return f"NULL {direction}"
    if not item.attribute or item.kind != "scalar":
        raise QueryRefused(f"Cannot sort by '{key.field}': it is no single-value attribute", code=4)
    # Vespa sorts strings in lower case, cased or not (https://docs.vespa.ai/en/reference/querying/yql.html#order-by).
    collate = f" COLLATE {'BINARY' if key.raw else 'NOCASE'}" if item.type == "string" else ""
    return f'd."{item.name}"{collate} {direction}'


def _hit(
    found: Match, id: str, relevance: float, fields: dict[str, Any], text_score: float, profile: str
) -> Hit:
    namespace, _, user = id.partition(":")
    features: dict[str, float] | None = None
    declared = found.schema.profile(profile)
    if declared is not None and declared.match_features:
        features = {}
        for feature in declared.match_features:
            name = feature[feature.index("(") + 1 : -1]
            if feature.startswith("bm25("):
                features[feature] = text_score
            else:
                features[feature] = float(fields.get(name, UNDEFINED[found.schema.by_name[name].type]))
    return Hit(found.schema, f"id:{namespace}:{found.schema.name}::{user}", relevance, fields, features)
