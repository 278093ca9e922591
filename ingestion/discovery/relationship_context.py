"""What the other columns say about a reference: the type beside it, the scope that both rows share.

A column `record_id` beside `record_type` refers to as many tables as there are types; each is tried with the
rows of that type alone. And a row that belongs to project 7 refers to rows of project 7: where serial numbers
prove nothing, agreement of such a scope does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.discovery.relationship_evidence import Evidence, which_exist
from ingestion.discovery.relationship_names import NameMatcher
from ingestion.discovery.relationship_parsing import compatible
from ingestion.postgres.sql import ident, rows_of
from ingestion.relationships import role_of
from ingestion.schema_discovery import Column, ImplicitRelationship, Table

_MOST_TYPES = 30
_MOST_VALUES = 200
_SAMPLE_ROWS = 20_000
_LEAST_SHARE = 0.9
_MOST_SCOPES = 60
_SCOPE_ROWS = 500
_SCOPE_CHANCE = 0.6
"""Above this share of rows in one scope, agreement proves nothing."""

_QUERY_LIMIT_S = 3.0
_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class _Typed:
    """A column whose target depends on the type beside it."""

    table: Table
    column: Column
    type_column: Column


async def typed_references(
    db: DatabaseConnection,
    tables: Sequence[Table],
    matcher: NameMatcher,
    settled: Iterable[tuple[str, str]],
    log: logging.Logger,
) -> list[ImplicitRelationship]:
    """References that hold for rows of one type only, each proven by the rows of that type."""
    done = set(settled)
    asked = [
        _Typed(table, column, kind)
        for table in tables
        if table.readable and table.row_count
        for column in table.columns
        if (table.name, column.name) not in done
        and (kind := matcher.polymorphic_type(table, column)) is not None
        and kind.sensitivity != "secret"
    ]
    by_name = {t.name: t for t in tables if t.readable}
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(typed: _Typed) -> list[ImplicitRelationship]:
        async with gate:
            try:
                return await _of_column(db, typed, by_name, matcher)
            except limited.TableProblem as problem:
                log.info("no types from %s: %s", typed.table.name, problem)
                return []

    found = await asyncio.gather(*map(one, asked))
    return [relation for relations in found for relation in relations]


async def _of_column(
    db: DatabaseConnection, typed: _Typed, tables: Mapping[str, Table], matcher: NameMatcher
) -> list[ImplicitRelationship]:
    column, kind = ident(typed.column.name), ident(typed.type_column.name)
    rows = await limited.fetch(
        db,
        f"SELECT t, count(*) AS n, (array_agg(DISTINCT v))[1:{_MOST_VALUES}] AS vs FROM"
        f" (SELECT {kind}::text AS t, {column}::text AS v FROM {rows_of(typed.table)}"
        f" WHERE {kind} IS NOT NULL AND {column} IS NOT NULL LIMIT {_SAMPLE_ROWS}) s"
        f" GROUP BY t ORDER BY n DESC, t LIMIT {_MOST_TYPES}",
        timeout_s=_QUERY_LIMIT_S,
    )
    relations = []
    for row in rows:
        for target in matcher.tables_named(row["t"], typed.table):
            keys = matcher.keys(target)
            if target not in tables or not keys or not compatible(typed.column, keys[0].column, True):
                continue
            there = await which_exist(db, tables[target], keys[0].column, row["vs"])
            share = len(there) / len(row["vs"])
            if share >= _LEAST_SHARE:
                relations.append(_relation(typed, row["t"], target, keys[0].column.name, row["vs"], share))
                break
    return relations


def _relation(
    typed: _Typed, value: str, target: str, key: str, values: Sequence[str], share: float
) -> ImplicitRelationship:
    return ImplicitRelationship(
        typed.table.name,
        typed.column.name,
        target,
        key,
        confidence=0.97 if len(values) >= 5 else 0.9,
        evidence=[
            f"type: where {typed.type_column.name} is {value!r}, which names {target}",
            f"values: {round(share * len(values)):,} of {len(values):,} sampled ones of that type exist there",
        ],
        orphan_share=round(1 - share, 4),
        relation=role_of(typed.column.name),
        type_column=typed.type_column.name,
        type_value=value,
    )


async def add_scopes(
    db: DatabaseConnection,
    tables: Sequence[Table],
    matcher: NameMatcher,
    evidence: Evidence,
    log: logging.Logger,
) -> None:
    """Complete the evidence of pairs that chance could explain with how often both rows share a scope."""
    by_name = {t.name: t for t in tables if t.readable}
    asked = []
    for pair, found in evidence.pairs.items():
        if matcher.elements(pair[0], pair[1]) is not None:
            continue
        if found.chance < 0.5 or found.share < _LEAST_SHARE or found.sampled < 3 or pair[0] == pair[2]:
            continue
        scope = _shared_scope(by_name[pair[0]], by_name[pair[2]], pair[1], matcher, evidence)
        if scope:
            asked.append((pair, scope))
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(pair: tuple[str, str, str, str], scope: str) -> None:
        async with gate:
            try:
                checked, agreed = await _agreement(
                    db, by_name[pair[0]], pair[1], by_name[pair[2]], pair[3], scope
                )
            except limited.TableProblem as problem:
                log.info("no scope of %s: %s", pair, problem)
                return
        evidence.pairs[pair] = replace(
            evidence.pairs[pair], scope=scope, scope_checked=checked, scope_agreed=agreed
        )

    await asyncio.gather(*(one(pair, scope) for pair, scope in asked[:_MOST_SCOPES]))


def _shared_scope(source: Table, target: Table, column: str, matcher: NameMatcher, evidence: Evidence) -> str:
    """A reference that both tables have and whose rows spread over many values; empty for none."""
    for other in source.columns:
        if other.name == column or not target.has_column(other.name):
            continue
        twin = target.column(other.name)
        if not matcher.is_reference_like(source, other) or not matcher.is_reference_like(target, twin):
            continue
        sample = evidence.samples.get((target.name, twin.name))
        if sample is None or not sum(sample.rows) or not compatible(other, twin, True):
            continue
        total = sum(sample.rows)
        if sum((n / total) ** 2 for n in sample.rows) <= _SCOPE_CHANCE:
            return other.name
    return ""


async def _agreement(
    db: DatabaseConnection, source: Table, column: str, target: Table, key: str, scope: str
) -> tuple[int, int]:
    x, c, k = ident(scope), ident(column), ident(key)
    (row,) = await limited.fetch(
        db,
        f"SELECT count(*) AS checked, count(*) FILTER (WHERE s.x = t.{x}) AS agreed"
        f" FROM (SELECT {c} AS c, {x} AS x FROM {rows_of(source)}"
        f" WHERE {c} IS NOT NULL AND {x} IS NOT NULL LIMIT {_SCOPE_ROWS}) s"
        f" JOIN {rows_of(target)} t ON t.{k} = s.c WHERE t.{x} IS NOT NULL",
        timeout_s=_QUERY_LIMIT_S,
    )
    return row["checked"], row["agreed"]
