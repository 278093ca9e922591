"""Precision and recall of implied references, against foreign keys that were declared and then dropped.

    python tests/benchmarks/relationships.py FOLDER [--errors] [--habits] [--only NAME]

FOLDER holds databases as `NAME.sql.gz` (a dump with rows) or `NAME.json` (`schema.tables` without rows, and
`truth.relations`). Each is restored into an embedded PostgreSQL, its foreign keys are remembered and dropped,
in the variant `no keys` its primary keys and unique constraints too. Scored is what `SchemaDiscovery.discover`
asserts in `relationships`, as (source table, source column, target table); names and types alone are what it
asserts when it may read no row. In the means each database counts once, its variants averaged.

Truth is declared keys only, so precision is given three ways: `strict` counts whatever is not declared as
wrong; `precision` leaves out the same column name with the same target declared elsewhere in that database;
`looked at` counts as right what `undeclared_references.tsv` shows to be a reference that nobody declared.
`fitted` are precision and recall at the threshold of assertion that the other databases would choose. The
threshold is all that is fitted; the rules know no database, which `--habits` puts to the test: the same
databases with every table and column renamed to another habit.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from known_databases import HABITS, Triple, rename, restore, strip

from ingestion import relationships
from ingestion.db_connection import ConnectionConfig, DatabaseConnection
from ingestion.discovery import catalog, keys, relationship_context, relationship_evidence, steps
from ingestion.discovery.relationship_keys import Vocabulary
from ingestion.discovery.relationship_names import NameMatcher
from ingestion.postgres.sql import ident
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.schema_discovery import ImplicitRelationship, SchemaDiscovery

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
WITH_ROWS, NAMES_ONLY = 0.97, 0.95
"""Precision that a fitted threshold has to reach, with rows and on names and types alone."""


@dataclass(slots=True)
class Case:
    """One database in one variant: what the product asserts, and what it would at other thresholds."""

    name: str
    variant: str
    truth: set[Triple]
    asserted: set[Triple]
    known: set[Triple]
    """References that nobody declared, and that were found to be some."""
    tables: list[Any]
    matcher: NameMatcher
    evidence: relationship_evidence.Evidence = field(default_factory=relationship_evidence.Evidence)

    def score(self) -> Score:
        """What the product asserts, compared with the truth."""
        return self._score(self.asserted)

    def score_at(self, threshold: float) -> Score:
        found = relationships.infer(
            self.tables,
            matcher=self.matcher,
            evidence=self.evidence.pairs,
            extra=self.evidence.blind,
            tested=self.evidence.tested,
            assert_at=threshold,
        )
        return self._score(triples(found.relationships))

    def _score(self, predicted: set[Triple]) -> Score:
        elsewhere = {(column, target) for _, column, target in self.truth}
        declared = {triple[:2] for triple in self.truth}
        excused = {p for p in predicted - self.truth if p[1:] in elsewhere and p[:2] not in declared}
        wrong = predicted - self.truth - excused
        return Score(predicted & self.truth, wrong, self.truth - predicted, excused, wrong & self.known)


@dataclass(frozen=True, slots=True)
class Score:
    """`excused` is declared elsewhere; `undeclared` is the part of `wrong` that was found to be true."""

    right: set[Triple]
    wrong: set[Triple]
    missed: set[Triple]
    excused: set[Triple]
    undeclared: set[Triple]

    @property
    def strict(self) -> float:
        return self._share(len(self.right), len(self.wrong) + len(self.excused))

    @property
    def precision(self) -> float:
        return self._share(len(self.right), len(self.wrong))

    @property
    def looked_at(self) -> float:
        return self._share(len(self.right | self.undeclared), len(self.wrong - self.undeclared))

    @property
    def recall(self) -> float:
        return self._share(len(self.right), len(self.missed))

    @staticmethod
    def _share(right: int, other: int) -> float:
        return right / max(1, right + other)


def triples(relations: Sequence[ImplicitRelationship]) -> set[Triple]:
    return {(r.source_table, r.source_column, r.target_table) for r in relations}


def _undeclared() -> dict[str, set[Triple]]:
    found: dict[str, set[Triple]] = defaultdict(set)
    path = Path(__file__).with_name("undeclared_references.tsv")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for database, table, column, target, _ in csv.reader(lines, delimiter="\t"):
        found[database].add((table, column, target))
    return found


async def _cases(server: EmbeddedPostgres, source: Path, variant: str, habit: str = "") -> tuple[Case, Case]:
    """The database with its rows (if it has any), and the same on names and types alone."""
    name = source.name.partition(".")[0]
    database = f"{name}_{variant}_{habit}".replace(" ", "_")
    url = server.url(database)
    truth = await restore(server, source, database)
    known = _undeclared()[name]
    await strip(url, all_keys=variant == "no keys")
    if habit:
        renamed = await rename(url, truth | known, HABITS[habit])
        truth, known = {renamed[t] for t in truth}, {renamed[t] for t in known}
    config = ConnectionConfig.from_url(url)
    config.ssl = False
    db = DatabaseConnection(config)
    await db.connect()
    try:
        return (
            await _case(db, name, variant, truth, known, read_rows=True),
            await _case(db, name, variant, truth, known, read_rows=False),
        )
    finally:
        await db.close()
        admin = await asyncpg.connect(server.url("postgres"))
        await admin.execute(f"DROP DATABASE {ident(database)} WITH (FORCE)")
        await admin.close()


async def _case(
    db: DatabaseConnection,
    name: str,
    variant: str,
    truth: set[Triple],
    known: set[Triple],
    *,
    read_rows: bool,
) -> Case:
    asserted = triples((await SchemaDiscovery(db).discover(read_rows=read_rows)).relationships)
    found = await catalog.load(db)
    steps.mark_sensitive(found.tables)
    figures: dict[tuple[str, str], keys.KeyFigures] = {}
    if read_rows:
        figures = (await keys.count(db, found.tables, found.estimates, Vocabulary(found.tables))).figures
    for table in found.tables:
        keys.choose(table, figures)
    unique = {place: f.is_unique for place, f in figures.items() if f.rows}
    matcher = NameMatcher(found.tables, Vocabulary(found.tables, unique))
    case = Case(name, variant, truth, asserted, known, found.tables, matcher)
    if read_rows:
        case.evidence = await relationship_evidence.gather(db, found.tables, matcher, figures)
        log = logging.getLogger(__name__)
        await relationship_context.add_scopes(db, found.tables, matcher, case.evidence, log)
    return case


def _fit(cases: list[Case], precision: float) -> float:
    """The threshold that finds most on these databases at a mean precision of so much, else the most precise."""
    figures = {
        threshold: [
            _mean(cases, lambda case: case.score_at(threshold).precision),  # noqa: B023
            _mean(cases, lambda case: case.score_at(threshold).recall),  # noqa: B023
        ]
        for threshold in THRESHOLDS
    }
    good = [t for t, (reached, _) in figures.items() if reached >= precision]
    if good:
        return max(good, key=lambda t: (figures[t][1], t == relationships.ASSERT_AT, t))
    return max(figures, key=lambda t: (sum(figures[t]), t == relationships.ASSERT_AT))


def _mean(cases: Sequence[Case], figure: Callable[[Case], float]) -> float:
    """The mean over databases, each counted once however many variants it has."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        by_name[case.name].append(figure(case))
    return sum(sum(figures) / len(figures) for figures in by_name.values()) / len(by_name)


def _print(cases: list[Case], title: str, least: float, show_errors: bool) -> None:
    print(f"\n{title}")
    print(f"{'database':<10} {'variant':<9} {'truth':>5} {'right':>5} {'wrong':>5} {'missed':>6} {'strict':>7}"
          f" {'precision':>9} {'looked at':>9} {'recall':>6}   fitted on the others")  # fmt: skip
    fitted = {}
    for case in cases:
        others = [c for c in cases if c.name != case.name]
        at = _fit(others, least) if others else relationships.ASSERT_AT
        fitted[id(case)] = own = case.score_at(at)
        s = case.score()
        print(f"{case.name:<10} {case.variant:<9} {len(case.truth):>5} {len(s.right):>5} {len(s.wrong):>5}"
              f" {len(s.missed):>6} {s.strict:>7.3f} {s.precision:>9.3f} {s.looked_at:>9.3f} {s.recall:>6.3f}"
              f"   at {at:.2f}: {own.precision:.3f} / {own.recall:.3f}")  # fmt: skip
        if show_errors:
            _print_errors(s)
    print(f"{'mean of ' + str(len({c.name for c in cases})):<43} {_mean(cases, lambda c: c.score().strict):>7.3f}"
          f" {_mean(cases, lambda c: c.score().precision):>9.3f}"
          f" {_mean(cases, lambda c: c.score().looked_at):>9.3f} {_mean(cases, lambda c: c.score().recall):>6.3f}"
          f"            {_mean(cases, lambda c: fitted[id(c)].precision):.3f}"
          f" / {_mean(cases, lambda c: fitted[id(c)].recall):.3f}")  # fmt: skip


def _print_errors(score: Score) -> None:
    for label, found in (
        ("wrong", score.wrong - score.undeclared),
        ("true, not declared", score.undeclared),
        ("declared elsewhere", score.excused),
        ("missed", score.missed),
    ):
        for source, column, target in sorted(found):
            print(f"    {label}: {source}.{column} -> {target}")


async def _all(
    server: EmbeddedPostgres, sources: list[Path], habit: str = ""
) -> tuple[list[Case], list[Case]]:
    """All databases with rows, and all on names and types alone."""
    with_rows, names_only = [], []
    for source in sources:
        for variant in ("keys kept", "no keys") if source.suffix == ".gz" else ("no keys",):
            whole, names = await _cases(server, source, variant, habit)
            if any(table.row_count for table in whole.tables):
                with_rows.append(whole)
            names_only.append(names)
    return with_rows, names_only


async def main() -> None:
    parser = argparse.ArgumentParser(description="Precision and recall of implied references.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--errors", action="store_true", help="list every wrong, excused and missed relation")
    parser.add_argument("--habits", action="store_true", help="the same databases under other naming habits")
    parser.add_argument("--only", action="append", default=[], help="these databases only")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    sources = sorted([*args.folder.glob("*.sql.gz"), *args.folder.glob("*.json")])
    sources = [s for s in sources if not args.only or s.name.partition(".")[0] in args.only]
    with tempfile.TemporaryDirectory(prefix="relationships-", dir="/var/tmp") as home:
        server = EmbeddedPostgres.start(Path(home) / "data")
        try:
            with_rows, names_only = await _all(server, sources)
            if with_rows:
                _print(with_rows, "With rows: names, types and values", WITH_ROWS, args.errors)
            _print(names_only, "Names and types alone", NAMES_ONLY, args.errors)
            for habit in HABITS if args.habits else ():
                with_rows, names_only = await _all(server, sources, habit)
                for label, cases in (("rows", with_rows), ("names", names_only)):
                    print(f"{habit:<22} {label:<6} precision {_mean(cases, lambda c: c.score().precision):.3f}"
                          f" looked at {_mean(cases, lambda c: c.score().looked_at):.3f}"
                          f" recall {_mean(cases, lambda c: c.score().recall):.3f}", flush=True)  # fmt: skip
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
