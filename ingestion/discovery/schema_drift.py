"""What changed between two discoveries: tables and columns added, dropped, renamed, retyped, keys moved.

A renamed table keeps its OID, which is how a rename is told from a drop and an addition.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ingestion.schema_discovery import SchemaMap, Table


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One column of a table that is in both maps; `before` or `after` is empty where it did not exist."""

    table: str
    column: str
    kind: str
    """`added`, `dropped`, `retyped`, `nullability`, `sensitivity`."""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.kind == "added":
            return f"{self.table}.{self.column} was added ({self.after})"
        if self.kind == "dropped":
            return f"{self.table}.{self.column} was dropped"
        what = {"retyped": "type", "nullability": "nullability", "sensitivity": "sensitivity"}[self.kind]
        return f"{self.table}.{self.column}: {what} {self.before} became {self.after}"


@dataclass(frozen=True, slots=True)
class Drift:
    """Differences, in the order of names. `renamed` maps old names to new ones; `rekeyed` are tables whose
    rows are told apart by other columns than before; `readability` are tables gained or lost to reading."""

    added_tables: list[str] = field(default_factory=list)
    dropped_tables: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    columns: list[ColumnChange] = field(default_factory=list)
    rekeyed: list[str] = field(default_factory=list)
    readability: list[str] = field(default_factory=list)
    added_relations: list[str] = field(default_factory=list)
    dropped_relations: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.lines()

    def lines(self) -> list[str]:
        """Each difference as a sentence."""
        return [
            *(f"table {old} is now called {new}" for old, new in self.renamed.items()),
            *(f"table {name} is new" for name in self.added_tables),
            *(f"table {name} was dropped" for name in self.dropped_tables),
            *(str(change) for change in self.columns),
            *(f"table {name}: its rows are told apart by other columns than before" for name in self.rekeyed),
            *(f"table {name}" for name in self.readability),
            *(f"reference {name} is new" for name in self.added_relations),
            *(f"reference {name} is gone" for name in self.dropped_relations),
        ]

    def tables(self) -> set[str]:
        """Present names of all tables that a sync has to look at again."""
        return {*self.added_tables, *self.renamed.values(), *(c.table for c in self.columns), *self.rekeyed}


def compare(before: SchemaMap, after: SchemaMap) -> Drift:
    """The drift from one discovery to a later one of the same database."""
    old = {t.name: t for t in before.tables}
    new = {t.name: t for t in after.tables}
    by_oid = {t.oid: t.name for t in after.tables if t.oid and t.name not in old}
    renamed = {name: by_oid[t.oid] for name, t in sorted(old.items()) if name not in new and t.oid in by_oid}
    pairs = [(old[name], new[name]) for name in sorted(old.keys() & new.keys())]
    pairs += [(old[a], new[b]) for a, b in renamed.items()]
    drift = Drift(
        added_tables=sorted(new.keys() - old.keys() - set(renamed.values())),
        dropped_tables=sorted(old.keys() - new.keys() - renamed.keys()),
        renamed=renamed,
    )
    for one, other in pairs:
        drift.columns.extend(_column_changes(one, other))
        if (one.key_columns, one.key_basis == "row_hash") != (
            other.key_columns,
            other.key_basis == "row_hash",
        ):
            drift.rekeyed.append(other.name)
        if one.readable != other.readable:
            drift.readability.append(f"{other.name} can {'now' if other.readable else 'no longer'} be read")
    _relations(before, after, renamed, drift)
    return drift


def _column_changes(before: Table, after: Table) -> list[ColumnChange]:
    old = {c.name: c for c in before.columns}
    changes = []
    for column in after.columns:
        known = old.pop(column.name, None)
        if known is None:
            changes.append(ColumnChange(after.name, column.name, "added", after=column.data_type))
            continue
        for kind, was, now in (
            ("retyped", known.data_type, column.data_type),
            ("nullability", _null(known.is_nullable), _null(column.is_nullable)),
            ("sensitivity", known.sensitivity, column.sensitivity),
        ):
            if was != now:
                changes.append(ColumnChange(after.name, column.name, kind, was, now))
    changes += [ColumnChange(after.name, name, "dropped", before=c.data_type) for name, c in old.items()]
    return changes


def _null(nullable: bool) -> str:
    return "NULL" if nullable else "NOT NULL"


def _relations(before: SchemaMap, after: SchemaMap, renamed: dict[str, str], drift: Drift) -> None:
    def named(m: SchemaMap, names: dict[str, str]) -> set[str]:
        return {
            f"{names.get(r.source_table, r.source_table)}.{r.source_column} → "
            f"{names.get(r.target_table, r.target_table)}"
            for r in m.relationships
        }

    old, new = named(before, renamed), named(after, {})
    drift.added_relations.extend(sorted(new - old))
    drift.dropped_relations.extend(sorted(old - new))
