"""A parsed query run against the store: hits, their order, their number, and groups."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import orjson

from ingestion.sandbox.vespa_endpoint import matching
from ingestion.sandbox.vespa_endpoint.grouping import (
    DEFAULT_MAX_GROUPS,
    GLOBAL_MAX_GROUPS,
    Aggregate,
    Grouping,
)
from ingestion.sandbox.vespa_endpoint.matching import Match
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.query_tree import Node, OrderBy
from ingestion.sandbox.vespa_endpoint.store import Store
from ingestion.sandbox.vespa_endpoint.tables import tables_of
from ingestion.vespa.schemas import SCHEMAS, RankProfile, Schema

_PROGRESS_STEPS = 20_000
# What Vespa's attributes hold where a document has no value; grouping shows it.
_UNDEFINED: dict[str, Any] = {"int": -(2**31), "long": -(2**63), "string": "", "bool": 0}


@dataclass(frozen=True, slots=True)
class Query:
    """All that decides an answer."""

    schemas: tuple[Schema, ...]
    where: Node
    order: tuple[OrderBy, ...]
    profile: str
    hits: int
    offset: int
    groupings: tuple[Grouping, ...]
    default_max_groups: int = DEFAULT_MAX_GROUPS
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One matching document."""

    schema: Schema
    id: str
    relevance: float
    fields: dict[str, Any]
    features: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query found; `groups` are ready for the result's JSON."""

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
    groups = [_group(conn, query, grouping, matches) for grouping in query.groupings]
    return Answer(total, documents, hits, groups)


# ---------------------------------------------------------------------- hits


def _hits(conn: sqlite3.Connection, query: Query, matches: list[Match]) -> list[Hit]:
    wanted = query.offset + query.hits
    rows: list[tuple[tuple[Any, ...], Match, str, float, str, float]] = []
    for position, found in enumerate(matches):
        profile = found.schema.profile(query.profile)
        assert profile is not None  # the caller checked it
        score, joined, parameters = _score(conn, found, profile, query.order)
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
    descending = [key.descending for key in order] or [True]
    for position in range(len(descending) - 1, -1, -1):
        rows.sort(
            key=lambda row, at=position: _sortable(row[0][at]),  # type: ignore[misc]
            reverse=descending[position],
        )


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, int | float) else (2, str(value).lower())


def _score(
    conn: sqlite3.Connection, found: Match, profile: RankProfile, order: tuple[OrderBy, ...]
) -> tuple[str, str, list[Any]]:
    """The relevance expression, the join it needs, and that join's parameters."""
    sub_select = matching.scores(conn, found)
    join, parameters = ("LEFT JOIN (SELECT NULL AS key, 0.0 AS score) s ON 0", list[Any]())
    if sub_select is not None:
        join, parameters = f"LEFT JOIN {sub_select[0]} s ON s.key = d.key", sub_select[1]
    if order and not any(key.field in ("[rank]", "[relevance]") for key in order):
        return "0.0", join, parameters  # sorted by attributes, nothing is ranked
    expression = profile.first_phase
    if expression.startswith("bm25("):
        return "coalesce(s.score, 0.0)", join, parameters
    if expression.startswith("attribute("):
        column = expression.removeprefix("attribute(").removesuffix(")")
        missing = float(_UNDEFINED[found.schema.by_name[column].type])
        return f'coalesce(CAST(d."{column}" AS REAL), {missing})', join, parameters
    return "0.0", join, parameters


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
    collate = " COLLATE NOCASE" if item.type == "string" else ""
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
                features[feature] = float(fields.get(name, _UNDEFINED[found.schema.by_name[name].type]))
    return Hit(found.schema, f"id:{namespace}:{found.schema.name}::{user}", relevance, fields, features)


# --------------------------------------------------------------------- groups


def _group(
    conn: sqlite3.Connection, query: Query, grouping: Grouping, matches: list[Match]
) -> dict[str, Any]:
    """The children of one `group:root:N`, without its id."""
    if not grouping.field:
        values = _merged(grouping.outputs, [_totals(conn, grouping.outputs, found) for found in matches])
        return {"fields": {item.label: values[item.expression] for item in grouping.outputs}}
    limit = _group_limit(grouping, query.default_max_groups)
    wanted = {item.expression: item for item in (*grouping.outputs, *(o.aggregate for o in grouping.order))}
    aggregates = tuple(wanted.values())
    groups: dict[Any, list[tuple[float, dict[str, Any]]]] = {}
    kind = ""
    for found in matches:
        source = _group_source(found, grouping.field)
        if source is None:
            continue
        kind, expression, table = source
        for value, relevance, values in _group_rows(conn, query, found, expression, table, aggregates):
            groups.setdefault(value, []).append((relevance, values))
    merged = [
        (value, max(part[0] for part in parts), _merged(aggregates, [part[1] for part in parts]))
        for value, parts in groups.items()
    ]
    merged.sort(key=lambda group: _sortable(group[0]))
    if grouping.order:
        for order in reversed(grouping.order):
            merged.sort(
                key=lambda group, name=order.aggregate.expression: _sortable(group[2][name]),  # type: ignore[misc]
                reverse=order.descending,
            )
    else:
        merged.sort(key=lambda group: -group[1])
    shown = merged if limit < 0 else merged[:limit]
    children = [
        {
            "id": f"group:{kind}:{value}",
            # With an order, Vespa numbers the groups' relevance down from 1.
            "relevance": 1.0 - position / len(shown) if grouping.order else relevance,
            "value": str(value),
            "fields": {item.label: values[item.expression] for item in grouping.outputs},
        }
        for position, (value, relevance, values) in enumerate(shown)
    ]
    head = {"id": f"grouplist:{grouping.label}", "relevance": 1.0, "label": grouping.label}
    return {"children": [{**head, "children": children}]} if children else {}


def _group_limit(grouping: Grouping, default: int) -> int:
    limit = default if grouping.max_groups is None else grouping.max_groups
    if limit < 0:
        raise QueryRefused(
            "Cannot return unbounded number of groups when 'grouping.globalMaxGroups' is enabled", code=4
        )
    if limit > GLOBAL_MAX_GROUPS:
        raise QueryRefused(
            "The theoretical total number of groups and summaries in grouping query exceeds "
            f"'grouping.globalMaxGroups' ( {limit} > {GLOBAL_MAX_GROUPS} )",
            code=4,
        )
    return limit


def _group_source(found: Match, name: str) -> tuple[str, str, str] | None:
    """Kind of the group's value, its SQL expression, and the side table to join; None: not in this type."""
    schema = found.schema
    base, _, member = name.partition(".")
    item = schema.field(base)
    if item is None:
        if not any(other.field(base) for other in SCHEMAS.values()):
            raise QueryRefused(f"Grouping by '{name}': no such attribute", code=4)
        return None
    if item.kind == "scalar" and item.attribute and not member:
        undefined = _UNDEFINED[item.type]
        kind = "string" if item.type == "string" else "long"
        default = "''" if undefined == "" else str(undefined)
        collate = " COLLATE BINARY" if kind == "string" else ""
        return kind, f'coalesce(d."{item.name}", {default}){collate}', ""
    for table in tables_of(schema.name).elements:
        if table.field == base and (member or "item") in table.members:
            return "string", f'e."{member or "item"}" COLLATE BINARY', table.name
    raise unsupported(f"grouping by '{name}'; it takes attributes and searchable struct members")


def _group_rows(
    conn: sqlite3.Connection,
    query: Query,
    found: Match,
    expression: str,
    table: str,
    aggregates: tuple[Aggregate, ...],
) -> list[tuple[Any, float, dict[str, Any]]]:
    join = f"JOIN {table} e ON e.key = d.key" if table else ""
    parameters: list[Any] = []
    relevance = "0.0"
    if found.texts:
        profile = found.schema.profile(query.profile)
        assert profile is not None
        score, scored, parameters = _score(conn, found, profile, ())
        join, relevance = f"{join} {scored}", f"max({score})"
    columns = ", ".join(["count(*)", *(_aggregate(found.schema, item) for item in aggregates)])
    sql = (
        f"SELECT {expression} AS grp, {relevance}, {columns} FROM {found.schema.name} d {join} "
        f"WHERE {found.where} GROUP BY grp COLLATE BINARY"
    )
    return [
        (row[0], row[1], {item.expression: value for item, value in zip(aggregates, row[3:], strict=True)})
        for row in conn.execute(sql, [*parameters, *found.parameters])
    ]


def _totals(conn: sqlite3.Connection, aggregates: tuple[Aggregate, ...], found: Match) -> dict[str, Any]:
    columns = ", ".join(_aggregate(found.schema, item) for item in aggregates)
    row = conn.execute(
        f"SELECT {columns} FROM {found.schema.name} d WHERE {found.where}", found.parameters
    ).fetchone()
    return {item.expression: value for item, value in zip(aggregates, row, strict=True)}


def _aggregate(schema: Schema, item: Aggregate) -> str:
    if item.function == "count":
        return "count(*)"
    field = schema.field(item.field)
    if field is None:
        if not any(other.field(item.field) for other in SCHEMAS.values()):
            raise QueryRefused(f"{item.expression}: no such attribute", code=4)
        return "NULL"
    if field.kind != "scalar" or not field.attribute or field.type == "string":
        raise unsupported(f"{item.expression}: it takes single-value number attributes")
    if item.function == "avg":
        # Vespa divides whole numbers as such (AverageAggregationResult), towards zero.
        return f'vespa_sum(d."{field.name}") / count(d."{field.name}")'
    function = {"sum": "vespa_sum", "xor": "vespa_xor"}.get(item.function, item.function)
    return f'{function}(d."{field.name}")'


def _merged(aggregates: tuple[Aggregate, ...], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One group's values from several document types."""
    out: dict[str, Any] = {}
    for item in aggregates:
        found = [part[item.expression] for part in parts if part[item.expression] is not None]
        if item.function in ("count", "sum"):
            out[item.expression] = sum(found)
        elif item.function == "xor":
            value = 0
            for part in found:
                value ^= part
            out[item.expression] = value
        elif item.function == "avg":
            if len(found) > 1:
                raise unsupported("avg() over several document types; name one in 'from'")
            out[item.expression] = found[0] if found else 0
        else:
            out[item.expression] = (min if item.function == "min" else max)(found, default=0)
    return out
