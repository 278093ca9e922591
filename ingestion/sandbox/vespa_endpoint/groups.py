"""Groups of a query's matches, counted and summed in SQL, and the JSON that Vespa renders of them.

https://docs.vespa.ai/en/querying/grouping.html, …/reference/querying/default-result-format.html.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ingestion.sandbox.vespa_endpoint.group_expressions import Expression
from ingestion.sandbox.vespa_endpoint.group_sql import group_sql, identity
from ingestion.sandbox.vespa_endpoint.grouping import (
    DEFAULT_MAX_GROUPS,
    DEFAULT_MAX_HITS,
    GLOBAL_MAX_GROUPS,
    Aggregate,
    Grouping,
    HitList,
)
from ingestion.sandbox.vespa_endpoint.matching import Match
from ingestion.sandbox.vespa_endpoint.problems import QueryRefused, unsupported
from ingestion.sandbox.vespa_endpoint.ranking import score_of, sortable
from ingestion.vespa.schemas import Schema

ListHits = Callable[[list[Match], int, str | None], list[Any]]
"""The best hits of some matches, at most so many, with a document summary; rendered by the caller."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request says of groups in general."""

    max_groups: int = DEFAULT_MAX_GROUPS
    max_hits: int = DEFAULT_MAX_HITS


def grouped(
    conn: sqlite3.Connection,
    groupings: tuple[Grouping, ...],
    matches: list[Match],
    profile: str,
    limits: Limits,
    list_hits: ListHits,
) -> dict[str, Any]:
    """Fields and children of one `group:root:N`: what one grouping request found.

    Raises QueryRefused for fields that cannot be grouped by, and beyond `grouping.globalMaxGroups`.
    """
    _check_total(groupings, limits)
    return _Groups(conn, profile, limits, list_hits).content(groupings, matches)


class _Groups:
    def __init__(self, conn: sqlite3.Connection, profile: str, limits: Limits, list_hits: ListHits) -> None:
        self.conn, self.profile, self.limits, self.list_hits = conn, profile, limits, list_hits

    def content(self, groupings: tuple[Grouping, ...], matches: list[Match]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        lists: list[dict[str, Any]] = []
        for grouping in groupings:
            if grouping.by is None:
                fields |= _labelled(grouping.outputs, self.merged_totals(grouping.outputs, matches))
                lists += self.hit_lists(grouping.hits, matches)
                continue
            found = self.groups(grouping, grouping.by, matches)
            # Of a list of groups, the count is that of the groups.
            fields |= {item.label: len(found) for item in grouping.totals}
            limit = self.limits.max_groups if grouping.max_groups is None else grouping.max_groups
            shown = found[:limit] if grouping.each else []
            children = []
            for position, (kind, value, relevance, values) in enumerate(shown):
                # With an order, Vespa numbers the groups' relevance down from 1.
                rank = 1.0 - position / len(shown) if grouping.order else relevance
                name = identity(grouping.by, value, kind)
                group: dict[str, Any] = {"id": name.pop("id"), "relevance": rank, **name}
                group_fields = _labelled(grouping.outputs, values)
                within: list[dict[str, Any]] = []
                if grouping.children or grouping.hits:
                    inside = [part for match in matches if (part := self.narrowed(match, grouping, value))]
                    inner = self.content(grouping.children, inside)
                    group_fields |= inner.get("fields", {})
                    within = self.hit_lists(grouping.hits, inside) + inner.get("children", [])
                children.append(
                    group
                    | ({"fields": group_fields} if group_fields else {})
                    | ({"children": within} if within else {})
                )
            if children:
                head = {"id": f"grouplist:{grouping.label}", "relevance": 1.0, "label": grouping.label}
                lists.append({**head, "children": children})
        return ({"fields": fields} if fields else {}) | ({"children": lists} if lists else {})

    def hit_lists(self, wanted: tuple[HitList, ...], matches: list[Match]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"hitlist:{item.label}",
                "relevance": 1.0,
                "label": item.label,
                "children": self.list_hits(
                    matches,
                    self.limits.max_hits if item.max_hits is None else item.max_hits,
                    item.summary,
                ),
            }
            for item in wanted
        ]

    def groups(
        self, grouping: Grouping, by: Expression, matches: list[Match]
    ) -> list[tuple[str, Any, float, dict[str, Any]]]:
        """Kind, value, relevance and sums of every group, in the order asked for."""
        wanted = {
            item.expression: item for item in (*grouping.outputs, *(o.aggregate for o in grouping.order))
        }
        aggregates = tuple(wanted.values())
        parts: dict[Any, list[tuple[float, dict[str, Any]]]] = {}
        kind = ""
        for found in matches:
            rows = self.group_rows(found, by, aggregates)
            kind = rows[0] or kind
            for value, relevance, values in rows[1]:
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

    def group_rows(
        self, found: Match, by: Expression, aggregates: tuple[Aggregate, ...]
    ) -> tuple[str, list[tuple[Any, float, dict[str, Any]]]]:
        """Kind of the groups of one document type, and value, relevance and sums of each."""
        score, scored, parameters = self.score(found)
        source = group_sql(by, found.schema, score, undefined=True)
        if source is None:
            return "", []
        columns = ", ".join(["count(*)", *(_aggregate(found.schema, item, score) for item in aggregates)])
        sql = (
            f"SELECT {source.sql} AS grp, max({score}), {columns} FROM {found.schema.name} d {source.join} "
            f"{scored} WHERE {found.where} GROUP BY grp COLLATE BINARY"
        )
        return source.kind, [
            (
                row[0],
                row[1],
                {item.expression: value for item, value in zip(aggregates, row[3:], strict=True)},
            )
            for row in self.conn.execute(sql, [*parameters, *found.parameters])
        ]

    def score(self, found: Match) -> tuple[str, str, list[Any]]:
        """SQL of a document's relevance, and the join it needs; none where it is 0 in any case."""
        profile = found.schema.profile(self.profile)
        assert profile is not None  # the caller checked it
        if not found.texts and not profile.first_phase.startswith("attribute("):
            return "0.0", "", []
        return score_of(self.conn, found, profile, ())

    def narrowed(self, found: Match, grouping: Grouping, value: Any) -> Match | None:
        """What of a match lies in one group of it."""
        assert grouping.by is not None
        source = group_sql(grouping.by, found.schema, "0.0", undefined=True)
        if source is None:
            return None
        if source.elements and grouping.children:
            raise unsupported(
                f"groups inside the groups of '{grouping.by.label}', which has several values a document"
            )
        where = f"({found.where}) AND {source.exists}"
        return replace(found, where=where, parameters=[*found.parameters, value])

    def merged_totals(self, outputs: tuple[Aggregate, ...], matches: list[Match]) -> dict[str, Any]:
        return _merged(outputs, [self.totals(outputs, found) for found in matches])

    def totals(self, aggregates: tuple[Aggregate, ...], found: Match) -> dict[str, Any]:
        if not aggregates:
            return {}
        score, scored, parameters = self.score(found)
        columns = ", ".join(_aggregate(found.schema, item, score) for item in aggregates)
        row = self.conn.execute(
            f"SELECT {columns} FROM {found.schema.name} d {scored} WHERE {found.where}",
            [*parameters, *found.parameters],
        ).fetchone()
        return {item.expression: value for item, value in zip(aggregates, row, strict=True)}


def _check_total(groupings: tuple[Grouping, ...], limits: Limits) -> None:
    """Refuse what could return more groups and hits than `grouping.globalMaxGroups`."""
    total = sum(_most(grouping, limits) for grouping in groupings)
    if total > GLOBAL_MAX_GROUPS:
        raise QueryRefused(
            "The theoretical total number of groups and summaries in grouping query exceeds "
            f"'grouping.globalMaxGroups' ( {total} > {GLOBAL_MAX_GROUPS} )",
            code=4,
        )


def _most(grouping: Grouping, limits: Limits) -> int:
    hits = sum(_bounded(item.max_hits, limits.max_hits) for item in grouping.hits)
    if grouping.by is None:
        return hits
    if not grouping.each:
        return 0
    groups = _bounded(grouping.max_groups, limits.max_groups)
    return groups * (1 + hits + sum(_most(child, limits) for child in grouping.children))


def _bounded(asked: int | None, default: int) -> int:
    limit = default if asked is None else asked
    if limit < 0:
        raise QueryRefused(
            "Cannot return unbounded number of groups when 'grouping.globalMaxGroups' is enabled", code=4
        )
    return limit


def _labelled(outputs: tuple[Aggregate, ...], values: dict[str, Any]) -> dict[str, Any]:
    return {item.label: values[item.expression] for item in outputs}


def _aggregate(schema: Schema, item: Aggregate, score: str) -> str:
    if item.argument is None:
        return "count(*)"
    source = group_sql(item.argument, schema, score, undefined=False)
    if source is None:
        return "NULL"
    if source.elements or source.kind not in ("long", "double"):
        raise unsupported(f"{item.expression}: it takes numbers of which a document has one")
    if item.function == "xor" and source.kind != "long":
        raise unsupported(f"{item.expression}: it takes whole numbers")
    if item.function == "avg":
        # Vespa divides whole numbers as such (AverageAggregationResult), towards zero.
        return f"vespa_sum({source.sql}) / count({source.sql})"
    function = {"sum": "vespa_sum", "xor": "vespa_xor", "stddev": "vespa_stddev"}.get(
        item.function, item.function
    )
    return f"{function}({source.sql})"


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
        elif item.function in ("avg", "stddev"):
            if len(found) > 1:
                raise unsupported(f"{item.function}() over several document types; name one in 'from'")
            out[item.expression] = found[0] if found else 0
        else:
            out[item.expression] = (min if item.function == "min" else max)(found, default=0)
    return out
