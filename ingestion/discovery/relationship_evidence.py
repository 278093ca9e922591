"""What the values say about possible references: bounded samples, one hashed pass over each target's keys.

A source table is sampled once for all its columns, a target is asked once for the samples of all columns
that may point to it. Nothing is written, every query has its own time limit, and a table that fails gives
no evidence instead of an error.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ingestion.db_connection import DatabaseConnection
from ingestion.discovery import limited
from ingestion.discovery.keys import KeyFigures
from ingestion.discovery.relationship_elements import look, may_hold_ids, most_common
from ingestion.discovery.relationship_keys import Key
from ingestion.discovery.relationship_names import NameMatch, NameMatcher
from ingestion.discovery.relationship_parsing import compatible, type_family
from ingestion.discovery.relationship_weight import Pair, PairEvidence
from ingestion.postgres.sql import ident, rows_of
from ingestion.schema_discovery import Column, Table
from ingestion.sync.pipeline import together

K = TypeVar("K")
V = TypeVar("V")

MOST_VALUES = 1000
"""Distinct values taken of a column."""

_MOST_IN_ALL = 1_000_000
"""Values held at once; in a database of very many columns each gives fewer."""

_FEW_VALUES = 60
"""Enough to rule a table out where no name speaks for it."""

_SAMPLE_ROWS = 20_000
_QUERY_LIMIT_S = 3.0
_PARALLEL = 4
_MOST_BLIND_TARGETS = 150
"""Tables without any hint in the name that a column is tried against."""

_LEAST_BLIND_VALUES = 5
_LEAST_FILLING = 40
_BLIND_SCORE = 0.05
_FILLING_SCORE = 0.62
_CASTS = {"int": "int8", "numeric": "numeric", "uuid": "uuid", "text": "text"}


@dataclass(slots=True)
class Sample:
    """Distinct values of a column as text (up to MOST_VALUES, an even choice), and whether any repeats."""

    values: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """How many sampled rows hold each of `values`."""
    filled: int = 0
    distinct: int = 0

    @property
    def unique(self) -> bool | None:
        return None if self.filled < 50 else self.distinct == self.filled


@dataclass(slots=True)
class Evidence:
    """Evidence by pair, and the targets that values alone suggest, by (table, column)."""

    pairs: dict[Pair, PairEvidence] = field(default_factory=dict)
    blind: dict[tuple[str, str], list[NameMatch]] = field(default_factory=dict)
    samples: dict[tuple[str, str], Sample] = field(default_factory=dict)
    tested: set[tuple[str, str]] = field(default_factory=set)
    """Columns whose values were held against every table."""


@dataclass(slots=True)
class _Plan:
    """Which columns are sampled, and which targets they are held against."""

    columns: dict[str, list[Column]] = field(default_factory=lambda: defaultdict(list))
    named: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """(target table, key) → (source table, column)s."""
    open: list[tuple[str, str]] = field(default_factory=list)
    """Columns that look like references without a convincing name."""


async def gather(
    db: DatabaseConnection,
    tables: Sequence[Table],
    matcher: NameMatcher,
    figures: Mapping[tuple[str, str], KeyFigures],
    declared: Iterable[tuple[str, str]] = (),
    on_table: Callable[[str, int, int], None] | None = None,
    log: logging.Logger | None = None,
) -> Evidence:
    """Evidence for every column that may be a reference; tables without rows give none."""
    by_name = {t.name: t for t in tables if t.readable}
    evidence = Evidence()
    log = log or logging.getLogger(__name__)
    await _look_inside(db, by_name, matcher, evidence, log)
    plan = _plan(by_name, matcher, set(declared))
    sampled = [name for name in plan.columns if by_name[name].row_count]
    reader = _Reader(db, log, on_table, len(sampled) + len(plan.named))
    columns = sum(len(plan.columns[name]) for name in sampled)
    most = max(100, min(MOST_VALUES, _MOST_IN_ALL // max(1, columns)))
    found = await reader.each(sampled, lambda name: _sample(db, by_name[name], plan.columns[name], most))
    for samples in found.values():
        evidence.samples.update(samples)
    await reader.each(
        list(plan.named),
        lambda target: _ask(db, by_name, target, plan.named[target], matcher, figures, evidence),
    )
    await _ask_blindly(db, reader, by_name, plan, matcher, figures, evidence)
    return evidence


async def _look_inside(
    db: DatabaseConnection,
    tables: Mapping[str, Table],
    matcher: NameMatcher,
    evidence: Evidence,
    log: logging.Logger,
) -> None:
    """Let columns whose arrays or JSON hold ids take part, each with the ids as its sample."""
    reader = _Reader(db, log, None, 0)
    asked = [name for name, t in tables.items() if t.row_count and any(map(may_hold_ids, t.columns))]
    for name, found in (await reader.each(asked, lambda name: look(db, tables[name]))).items():
        for column, elements in found.items():
            matcher.add_elements(name, column, elements)
            chosen = most_common(elements.counts, MOST_VALUES)
            total = len(elements.counts)
            evidence.samples[name, column] = Sample(
                [v for v, _ in chosen], [n for _, n in chosen], total, total
            )


class _Reader:
    """Runs the queries about single tables, a few at a time, and reports progress."""

    def __init__(
        self,
        db: DatabaseConnection,
        log: logging.Logger,
        on_table: Callable[[str, int, int], None] | None,
        total: int,
    ) -> None:
        self._db, self._log, self._on_table = db, log, on_table
        self._gate = asyncio.Semaphore(_PARALLEL)
        self._done, self._total = 0, total

    async def each(self, items: Sequence[K], work: Callable[[K], Awaitable[V]]) -> dict[K, V]:
        """Results by item; an item whose table is at fault is left out."""
        results: dict[K, V] = {}

        async def one(item: K) -> None:
            async with self._gate:
                try:
                    results[item] = await work(item)
                except limited.TableProblem as problem:
                    self._log.info("no evidence from %s: %s", item, problem)
            self._done += 1
            if self._on_table:
                self._on_table("references", min(self._done, self._total), self._total)

        await together(one(item) for item in items)
        return results


def _plan(tables: Mapping[str, Table], matcher: NameMatcher, declared: set[tuple[str, str]]) -> _Plan:
    plan = _Plan()
    for table in tables.values():
        for column in table.columns:
            if (table.name, column.name) in declared:
                continue
            matches = [m for m in matcher.candidates(table, column) if m.table in tables]
            for match in matches:
                plan.named[match.table, match.key].append((table.name, column.name))
            best = max((m.score for m in matches), default=0.0)
            open_end = best < 0.9 and _may_be_blind(table, column, matcher)
            if open_end:
                plan.open.append((table.name, column.name))
            inside = matcher.elements(table.name, column.name) is not None
            if (matches or open_end) and not inside:
                plan.columns[table.name].append(column)
    return plan


def _may_be_blind(table: Table, column: Column, matcher: NameMatcher) -> bool:
    if matcher.is_own_key(table, column):
        return False
    return matcher.is_reference_like(table, column) or type_family(matcher.held(table, column)) == "uuid"


async def _sample(
    db: DatabaseConnection, table: Table, columns: Sequence[Column], most: int
) -> dict[tuple[str, str], Sample]:
    """Distinct values of the columns, chosen evenly by their hash from a bounded number of rows."""
    picked = ", ".join(f"{ident(c.name)}::text AS c{i}" for i, c in enumerate(columns))
    part = ""
    if table.kind in ("table", "partitioned") and table.row_count > 2 * _SAMPLE_ROWS:
        part = (
            f" TABLESAMPLE SYSTEM ({min(100.0, 150.0 * _SAMPLE_ROWS / table.row_count):.4f}) REPEATABLE (1)"
        )
    outputs = ", ".join(
        f"ARRAY(SELECT v FROM d{i}) AS v{i}, ARRAY(SELECT n FROM d{i})::int8[] AS r{i},"
        f" (SELECT count(c{i}) FROM s) AS n{i}, (SELECT count(DISTINCT c{i}) FROM s) AS u{i}"
        for i in range(len(columns))
    )
    distinct = ", ".join(
        f"d{i} AS MATERIALIZED (SELECT c{i} AS v, count(*) AS n FROM s WHERE c{i} IS NOT NULL GROUP BY c{i}"
        f" ORDER BY md5(c{i}) LIMIT {most})"
        for i in range(len(columns))
    )
    query = (
        f"WITH s AS MATERIALIZED (SELECT {picked} FROM {rows_of(table)}{part} LIMIT {_SAMPLE_ROWS}), {distinct}"
        f" SELECT {outputs}"
    )
    (row,) = await limited.fetch(db, query, timeout_s=_QUERY_LIMIT_S)
    return {
        (table.name, c.name): Sample(list(row[f"v{i}"]), list(row[f"r{i}"]), row[f"n{i}"], row[f"u{i}"])
        for i, c in enumerate(columns)
    }


async def _ask(
    db: DatabaseConnection,
    tables: Mapping[str, Table],
    target: tuple[str, str],
    sources: Sequence[tuple[str, str]],
    matcher: NameMatcher,
    figures: Mapping[tuple[str, str], KeyFigures],
    evidence: Evidence,
    most: int = MOST_VALUES,
) -> None:
    """Which of the sampled values of `sources` are keys of `target`; filed under each pair."""
    table, key = tables[target[0]], target[1]
    samples = {
        s: evidence.samples[s] for s in sources if s in evidence.samples and evidence.samples[s].values
    }
    for source in sources:
        if source in evidence.samples and source not in samples:
            evidence.pairs[(*source, *target)] = PairEvidence(0, 0, 1.0, table.row_count)
    if not samples:
        return
    wanted = sorted({v for sample in samples.values() for v in sample.values[:most]})
    there = await which_exist(db, table, table.column(key), wanted) if table.row_count else set()
    known = figures.get(target)
    composite = any(k.column.name == key and k.composite for k in matcher.keys(target[0]))
    unique = composite or (known.is_unique if known else _declared_unique(matcher.keys(target[0]), key))
    for source, sample in samples.items():
        values = sample.values[:most]
        evidence.pairs[(*source, *target)] = PairEvidence(
            sampled=len(values),
            found=sum(v in there for v in values),
            chance=_chance(values, there, known, type_family(table.column(key))),
            target_rows=table.row_count,
            target_unique=unique,
            reach=_reach(values, known),
            source_unique=None if matcher.elements(*source) else sample.unique,
            rows=sum(sample.rows[:most]),
            rows_found=sum(n for v, n in zip(values, sample.rows, strict=False) if v in there),
        )


async def which_exist(db: DatabaseConnection, table: Table, key: Column, values: Sequence[str]) -> set[str]:
    """Those of `values` (as text) that the key column of `table` holds, in one pass over it."""
    cast = _CASTS.get(type_family(key), "text")
    column = ident(key.name) if cast != "text" else f"{ident(key.name)}::text"
    if cast in ("int8", "numeric"):
        values = [v for v in values if v.lstrip("-").isdigit() and len(v) < 19]
    rows = await limited.fetch(
        db,
        f"SELECT v::text AS v FROM unnest($1::text[]::{cast}[]) v"
        f" WHERE v IN (SELECT {column} FROM {rows_of(table)})",
        list(values),
        timeout_s=_QUERY_LIMIT_S,
    )
    return {row["v"] for row in rows}


def _declared_unique(keys: Sequence[Key], column: str) -> bool:
    return any(k.column.name == column and (k.declared or k.likely >= 0.9) for k in keys)


async def _ask_blindly(
    db: DatabaseConnection,
    reader: _Reader,
    tables: Mapping[str, Table],
    plan: _Plan,
    matcher: NameMatcher,
    figures: Mapping[tuple[str, str], KeyFigures],
    evidence: Evidence,
) -> None:
    """Hold columns whose name leads nowhere against every table of a fitting key type."""
    pending = [c for c in plan.open if len(evidence.samples.get(c, Sample()).values) >= _LEAST_BLIND_VALUES]
    pending = [c for c in pending if not _is_settled(c, evidence)]
    if not pending:
        return
    targets: list[tuple[Table, Key]] = []
    for table in sorted(tables.values(), key=lambda t: -t.row_count):
        keys = matcher.keys(table.name)
        if table.row_count and keys and keys[0].likely >= 0.5 and len(targets) < _MOST_BLIND_TARGETS:
            targets.append((table, keys[0]))
    asked: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for table, key in targets:
        fits = [
            source
            for source in pending
            if compatible(
                matcher.held(tables[source[0]], tables[source[0]].column(source[1])), key.column, True
            )
            and (*source, table.name, key.column.name) not in evidence.pairs
            and source != (table.name, key.column.name)
        ]
        if fits:
            asked[table.name, key.column.name] = fits
    await reader.each(
        list(asked),
        lambda target: _ask(db, tables, target, asked[target], matcher, figures, evidence, _FEW_VALUES),
    )
    evidence.tested.update(pending)
    for source in pending:
        tried = {
            target: evidence.pairs.get((*source, *target)) for target in asked if source in asked[target]
        }
        fitting = _fitting_by_values(tried)
        for target in tried:
            if target in fitting:
                evidence.blind.setdefault(source, []).append(NameMatch(*target, *fitting[target]))
            else:
                evidence.pairs.pop((*source, *target), None)


def _fitting_by_values(
    tried: Mapping[tuple[str, str], PairEvidence | None],
) -> dict[tuple[str, str], tuple[float, str]]:
    """(score, why) of the targets that values alone suggest for one column."""
    known = {target: found for target, found in tried.items() if found is not None}
    rare = {t: f for t, f in known.items() if f.share >= 0.8 and f.chance <= 0.3}
    if rare:
        return dict.fromkeys(rare, (_BLIND_SCORE, "its values are keys there, though no name says so"))
    # Serial numbers are found in every longer table: only the one table that they fill to its end may be meant.
    possible = [t for t, f in known.items() if f.share >= 0.98 and (f.reach or 0.0) >= 0.6]
    if len(possible) != 1:
        return {}
    found = known[possible[0]]
    full = found.found == found.sampled >= _LEAST_FILLING and (found.reach or 0.0) >= 0.97
    if not full or found.target_rows < _LEAST_FILLING or not found.target_unique:
        return {}
    return {
        possible[0]: (
            _FILLING_SCORE,
            "its values reach from the first to the last key there, and nowhere else",
        )
    }


def _is_settled(source: tuple[str, str], evidence: Evidence) -> bool:
    """Whether a table that the name suggests also holds nearly all values, beyond chance."""
    return any(
        found.share >= 0.9 and found.chance < 0.3
        for pair, found in evidence.pairs.items()
        if pair[:2] == source and found.sampled
    )


def _chance(values: Sequence[str], there: set[str], figures: KeyFigures | None, family: str) -> float:
    """Share of the values that would be found if they were unrelated values of the same kind and range.

    For numbers: how densely the keys fill the neighbourhood of the values. For texts: their length.
    """
    if family == "uuid":
        return 1e-6
    if family == "text":
        found = [v for v in values if v in there] or list(values)
        length = sum(len(v) for v in found) / len(found)
        digits = all(v.isdigit() for v in found)
        steps = (
            ((2, 0.6), (3, 0.4), (4, 0.2), (6, 0.05))
            if digits
            else ((1, 0.6), (2, 0.3), (3, 0.12), (4, 0.04))
        )
        return next((chance for limit, chance in steps if length <= limit), 0.005)
    numbers = _numbers(values)
    if not figures or len(figures.quantiles) < 2 or not numbers:
        return 0.5
    return sum(_density(n, figures) for n in numbers) / len(numbers)


def _density(number: int, figures: KeyFigures) -> float:
    """Keys per whole number around `number`, between 0 and 1."""
    steps = figures.quantiles
    if not steps[0] <= number <= steps[-1]:
        return 0.0
    place = min(max(bisect.bisect_right(steps, number), 1), len(steps) - 1)
    low, high = place - 1, place
    # Wide enough to hold a few keys: a single step of a small table holds less than one.
    while (low > 0 or high < len(steps) - 1) and (high - low) * figures.distinct < 3 * (len(steps) - 1):
        low, high = max(0, low - 1), min(len(steps) - 1, high + 1)
    keys_there = (high - low) / (len(steps) - 1) * figures.distinct + 1
    return min(1.0, keys_there / (steps[high] - steps[low] + 1))


def _reach(values: Sequence[str], figures: KeyFigures | None) -> float | None:
    """How far up among the target's keys the values go: 1 at the largest key."""
    numbers = _numbers(values)
    if not figures or len(figures.quantiles) < 2 or not numbers:
        return None
    steps, largest = figures.quantiles, numbers[-1 - len(numbers) // 50]
    place = bisect.bisect_right(steps, largest)
    if place >= len(steps):
        return 1.0
    if place == 0:
        return 0.0
    low, high = steps[place - 1], steps[place]
    within = (largest - low) / (high - low) if high > low else 0.0
    return (place - 1 + within) / (len(steps) - 1)


def _numbers(values: Sequence[str]) -> list[int]:
    return sorted(int(v) for v in values if v.lstrip("-").isdigit())
