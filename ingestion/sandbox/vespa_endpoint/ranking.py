"""What a rank profile makes of a match, as SQL, and how values of any kind sort."""

from __future__ import annotations

import sqlite3
from typing import Any

from ingestion.sandbox.vespa_endpoint import matching
from ingestion.sandbox.vespa_endpoint.matching import Match
from ingestion.sandbox.vespa_endpoint.query_tree import OrderBy
from ingestion.vespa.schemas import RankProfile

UNDEFINED: dict[str, Any] = {"int": -(2**31), "long": -(2**63), "string": "", "bool": 0}
"""What Vespa's attributes hold where a document has no value; grouping shows it."""


def sortable(value: Any) -> tuple[int, Any]:
    """A key that puts no value first, then numbers, then text without regard to case."""
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, int | float) else (2, str(value).lower())


def score_of(
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
        missing = float(UNDEFINED[found.schema.by_name[column].type])
        return f'coalesce(CAST(d."{column}" AS REAL), {missing})', join, parameters
    return "0.0", join, parameters
