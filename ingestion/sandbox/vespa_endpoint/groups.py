"""Groups of a query's matches, counted and summed in SQL, and the JSON that Vespa renders of them.

https://docs.vespa.ai/en/querying/grouping.html, …/reference/querying/default-result-format.html.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from ingestion.sandbox.vespa_endpoint.grouping import GLOBAL_MAX_GROUPS, Aggregate, Grouping
from ingestion.sandbox.vespa_endpoint.matching import Match
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.ranking import UNDEFINED, score_of, sortable
from ingestion.sandbox.vespa_endpoint.tables import tables_of
from ingestion.vespa.schemas import SCHEMAS, Schema


def grouped(
    conn: sqlite3.Connection,
    groupings: tuple[Grouping, ...],
    matches: list[Match],
    profile: str,
    default_max_groups: int,
) -> dict[str, Any]:
    """Fields and children of one `group:root:N`: what one grouping request found.

    Raises QueryRefused for fields that cannot be grouped by, and beyond `grouping.globalMaxGroups`.
    """
    _check_total(groupings, default_max_groups)
    return _content(conn, groupings, matches, profile, default_max_groups)


def _content(
    conn: sqlite3.Connection,
    groupings: tuple[Grouping, ...],
    matches: list[Match],
    profile: str,
    default_max_groups: int,
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    lists: list[dict[str, Any]] = []
    for grouping in groupings:
        if not grouping.field:
            fields |= _labelled(grouping.outputs, _merged_totals(conn, grouping.outputs, matches))
            continue
        found = _groups(conn, grouping, matches, profile)
        if grouping.totals:
            values = _merged_totals(conn, grouping.totals, matches)
            # Of a list of groups, the count is that of the groups.
            values |= {item.expression: len(found) for item in grouping.totals if item.function == "count"}
            fields |= _labelled(grouping.totals, values)
        limit = default_max_groups if grouping.max_groups is None else grouping.max_groups
        shown = found[:limit] if grouping.each else []
        children = []
        for position, (kind, value, relevance, values) in enumerate(shown):
            group: dict[str, Any] = {
                "id": f"group:{kind}:{value}",
                # With an order, Vespa numbers the groups' relevance down from 1.
                "relevance": 1.0 - position / len(shown) if grouping.order else relevance,
                "value": str(value),
            }
            inner: dict[str, Any] = {}
            if grouping.children:
                inside = [part for match in matches if (part := _narrowed(match, grouping.field, value))]
                inner = _content(conn, grouping.children, inside, profile, default_max_groups)
            group_fields = _labelled(grouping.outputs, values) | inner.pop("fields", {})
            children.append(group | ({"fields": group_fields} if group_fields else {}) | inner)
        if children:
            head = {"id": f"grouplist:{grouping.label}", "relevance": 1.0, "label": grouping.label}
            lists.append({**head, "children": children})
    return ({"fields": fields} if fields else {}) | ({"children": lists} if lists else {})


def _groups(
    conn: sqlite3.Connection, grouping: Grouping, matches: list[Match], profile: str
) -> list[tuple[str, Any, float, dict[str, Any]]]:
    """Kind, value, relevance and sums of every group, in the order asked for."""
    wanted = {item.expression: item for item in (*grouping.outputs, *(o.aggregate for o in grouping.order))}
    aggregates = tuple(wanted.values())
    parts: dict[Any, list[tuple[float, dict[str, Any]]]] = {}
    kind = ""
    for found in matches:
        source = _group_source(found, grouping.field)
        if source is None:
            continue
        kind, expression, table = source
        for value, relevance, values in _group_rows(conn, profile, found, expression, table, aggregates):
            parts.setdefault(value, []).append((relevance, values))
    merged = [
        (kind, value, max(part[0] for part in found), _merged(aggregates, [part[1] for part in found]))
        for value, found in parts.items()
    ]
    merged.sort(key=lambda group: sortable(group[1]))
    if not grouping.order:
        merged.sort(key=lambda group: -group[2])
    for order in reversed(grouping.order):
        merged.sort(
            key=lambda group, name=order.aggregate.expression: sortable(group[3][name]),  # type: ignore[misc]
            reverse=order.descending,
        )
    return merged


def _narrowed(found: Match, field: str, value: Any) -> Match | None:
    """What of a match lies in one group of it."""
    source = _group_source(found, field)
    if source is None:
        return None
    _, expression, table = source
    if table:
        raise unsupported(f"groups inside the groups of '{field}', which has several values a document")
    where = f"({found.where}) AND {expression} = ?"
    return replace(found, where=where, parameters=[*found.parameters, value])


def _check_total(groupings: tuple[Grouping, ...], default: int) -> None:
    """Refuse what could return more groups than `grouping.globalMaxGroups`."""
    total = sum(_most(grouping, default) for grouping in groupings)
    if total > GLOBAL_MAX_GROUPS:
        raise QueryRefused(
            "The theoretical total number of groups and summaries in grouping query exceeds "
            f"'grouping.globalMaxGroups' ( {total} > {GLOBAL_MAX_GROUPS} )",
            code=4,
        )


def _most(grouping: Grouping, default: int) -> int:
    if not grouping.field or not grouping.each:
        return 0
    limit = default if grouping.max_groups is None else grouping.max_groups
    if limit < 0:
        raise QueryRefused(
            "Cannot return unbounded number of groups when 'grouping.globalMaxGroups' is enabled", code=4
        )
    return limit * (1 + sum(_most(child, default) for child in grouping.children))


def _labelled(outputs: tuple[Aggregate, ...], values: dict[str, Any]) -> dict[str, Any]:
    return {item.label: values[item.expression] for item in outputs}


def _merged_totals(
    conn: sqlite3.Connection, outputs: tuple[Aggregate, ...], matches: list[Match]
) -> dict[str, Any]:
    return _merged(outputs, [_totals(conn, outputs, found) for found in matches])


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
        undefined = UNDEFINED[item.type]
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
    profile_name: str,
    found: Match,
    expression: str,
    table: str,
    aggregates: tuple[Aggregate, ...],
) -> list[tuple[Any, float, dict[str, Any]]]:
    join = f"JOIN {table} e ON e.key = d.key" if table else ""
    parameters: list[Any] = []
    relevance = "0.0"
    if found.texts:
        profile = found.schema.profile(profile_name)
        assert profile is not None
        score, scored, parameters = score_of(conn, found, profile, ())
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
