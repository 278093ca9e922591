"""What PostgreSQL's catalog says about a database: a handful of bulk queries, never one per table.

Only system catalogs are read, see https://www.postgresql.org/docs/current/catalogs.html. The result is
`Catalog`: tables, views, columns, indexes, declared foreign keys; nothing here looks at a row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ingestion import errors
from ingestion.db_connection import DatabaseConnection
from ingestion.schema_discovery import Column, ImplicitRelationship, Index, Table

_KINDS = {"r": "table", "p": "partitioned", "f": "foreign", "v": "view", "m": "materialized_view"}
_CATEGORIES = {
    "N": "number", "S": "text", "B": "boolean", "D": "time", "T": "time", "A": "array", "R": "range",
    "E": "enum", "C": "composite",
}  # fmt: skip
_BASE_CATEGORIES = {
    "uuid": "uuid", "json": "json", "jsonb": "json", "bytea": "binary", "oid": "number", "xml": "text",
    "bit": "other", "varbit": "other",
}  # fmt: skip

_SCHEMAS = """
SELECT n.oid::int8 AS oid, n.nspname::text AS name
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_(catalog|toast|temp_|toast_temp_)' AND n.nspname <> 'information_schema'
ORDER BY n.nspname"""

_RELATIONS = """
SELECT c.oid::int8 AS oid, c.relnamespace::int8 AS namespace, c.relname::text AS relname, c.relkind::text AS kind,
  c.reltuples::float8 AS rows, c.relpages::int8 AS pages, c.relispartition AS is_partition,
  has_table_privilege(c.oid, 'SELECT') AS readable, has_any_column_privilege(c.oid, 'SELECT') AS partly,
  has_schema_privilege(c.relnamespace, 'USAGE') AS usable,
  row_security_active(c.oid) AS filtered,
  c.relkind = 'm' AND NOT c.relispopulated AS unpopulated,
  obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_class c
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
  AND c.relnamespace = ANY($1::int8[]::oid[])"""

_COLUMNS = """
WITH RECURSIVE wanted AS (SELECT unnest($1::int8[])::oid AS oid),
base AS (
  SELECT t.oid, t.oid AS base, t.typbasetype, t.typtypmod FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
  UNION ALL
  SELECT b.oid, t.oid, t.typbasetype, CASE WHEN b.typtypmod >= 0 THEN b.typtypmod ELSE t.typtypmod END
  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype
),
domains AS (SELECT oid, base, typtypmod FROM base WHERE typbasetype = 0)
SELECT a.attrelid::int8 AS relation, a.attnum::int4 AS number, a.attname::text AS name,
  format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null, t.typname::text AS base,
  t.typcategory::text AS category, coalesce(d.typtypmod, a.atttypmod) AS modifier,
  a.attidentity::text AS identity, a.attgenerated::text AS generated,
  pg_get_expr(f.adbin, f.adrelid) AS default_value,
  col_description(a.attrelid, a.attnum) AS comment
FROM pg_catalog.pg_attribute a
JOIN wanted w ON w.oid = a.attrelid
LEFT JOIN domains d ON d.oid = a.atttypid
JOIN pg_catalog.pg_type t ON t.oid = coalesce(d.base, a.atttypid)
LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum AND a.atthasdef
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum"""

_UNREADABLE_COLUMNS = """
SELECT a.attrelid::int8 AS relation, a.attname::text AS name
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY($1::int8[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT has_column_privilege(a.attrelid, a.attnum, 'SELECT')"""

_INDEXES = """
SELECT i.indrelid::int8 AS relation, c.relname::text AS name,
  i.indisprimary AS is_primary, i.indisunique AS is_unique, i.indpred IS NOT NULL AS is_partial,
  i.indexprs IS NOT NULL AS is_expression, m.amname::text AS method,
  (SELECT array_agg(k.attnum::int4 ORDER BY k.place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
   WHERE k.place <= i.indnkeyatts) AS numbers
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY($1::int8[]::oid[]) AND i.indisvalid AND i.indislive
ORDER BY i.indrelid, i.indisprimary DESC, c.relname"""

_FOREIGN_KEYS = """
SELECT k.conname::text AS name, k.conrelid::int8 AS source, k.confrelid::int8 AS target,
  k.conkey::int4[] AS source_numbers, k.confkey::int4[] AS target_numbers, k.convalidated AS validated
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY($1::int8[]::oid[])
ORDER BY k.conrelid, k.conname"""

_PARENTS = """
SELECT i.inhrelid::int8 AS child, i.inhparent::int8 AS parent
FROM pg_catalog.pg_inherits i ORDER BY i.inhrelid, i.inhseqno"""

_SIZES = """
SELECT o AS oid, pg_catalog.pg_table_size(o::oid)::int8 AS size_bytes FROM unnest($1::int8[]) o"""


@dataclass(slots=True)
class Catalog:
    """Everything the catalog gave. `estimates` are rows by table name, None where never analysed."""

    tables: list[Table] = field(default_factory=list)
    views: list[Table] = field(default_factory=list)
    foreign_keys: list[ImplicitRelationship] = field(default_factory=list)
    estimates: dict[str, int | None] = field(default_factory=dict)
    schemas: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Columns:
    by_number: dict[int, Column] = field(default_factory=dict)


async def load(db: DatabaseConnection, schemas: Sequence[str] | None = None) -> Catalog:
    """Read the catalog of all schemas, or of the named ones; raises SchemaError for one that is not there."""
    async with db.transaction():
        namespaces = await _namespaces(db, schemas)
        relations = await db.execute(_RELATIONS, list(namespaces))
        parents = await db.execute(_PARENTS)
        oids = [row["oid"] for row in relations]
        columns = _columns_by_relation(await db.execute(_COLUMNS, oids))
        partly = [row["oid"] for row in relations if row["partly"] and not row["readable"]]
        hidden = await db.execute(_UNREADABLE_COLUMNS, partly) if partly else []
        indexes = await db.execute(_INDEXES, oids)
        foreign_keys = await db.execute(_FOREIGN_KEYS, oids)
    sizes = await _sizes(db, [row["oid"] for row in relations if row["kind"] in "rm"])
    catalog = Catalog(schemas=list(namespaces.values()))
    _build_tables(catalog, relations, namespaces, columns, sizes, _parents_of(parents))
    _hide(catalog, hidden)
    by_oid = {table.oid: table for table in (*catalog.tables, *catalog.views)}
    _add_indexes(by_oid, indexes, columns)
    ancestors = _parents_of(parents)
    for row in relations:
        if (
            row["is_partition"]
            and row["oid"] not in by_oid
            and (root := by_oid.get(_root(row["oid"], ancestors)))
        ):
            by_oid[row["oid"]] = root
    _add_foreign_keys(catalog, by_oid, foreign_keys, columns)
    return catalog


async def _namespaces(db: DatabaseConnection, schemas: Sequence[str] | None) -> dict[int, str]:
    rows = await db.execute(_SCHEMAS)
    names = {row["name"] for row in rows}
    for wanted in schemas or ():
        if wanted not in names:
            raise errors.SchemaError(
                f"there is no schema {wanted!r} in this database",
                hint=f"It has {', '.join(sorted(names)) or 'none'}.",
            )
    return {row["oid"]: row["name"] for row in rows if not schemas or row["name"] in schemas}


def _columns_by_relation(rows: Sequence[dict[str, Any]]) -> dict[int, _Columns]:
    found: dict[int, _Columns] = defaultdict(_Columns)
    for row in rows:
        relation = found[row["relation"]]
        relation.by_number[row["number"]] = _column(row, len(relation.by_number) + 1)
    return found


def _column(row: dict[str, Any], position: int) -> Column:
    base = row["base"]
    category = _BASE_CATEGORIES.get(base) or _CATEGORIES.get(row["category"], "other")
    # A length applies to varchar(n) and char(n) only; the modifier counts four bytes of header with it.
    length = row["modifier"] - 4 if base in ("varchar", "bpchar") and row["modifier"] > 4 else None
    return Column(
        name=row["name"],
        data_type=row["type"],
        is_nullable=not row["not_null"],
        default_value=row["default_value"],
        max_length=length,
        position=position,
        type_category=category,
        base_type=base,
        comment=row["comment"],
        is_generated=bool(row["generated"]),
        identity={"a": "always", "d": "by default"}.get(row["identity"], ""),
    )


async def _sizes(db: DatabaseConnection, oids: list[int]) -> dict[int, int]:
    """Bytes by OID. Measuring takes a lock, so it gives up at once where somebody alters a table."""
    with suppress(errors.IngestionError):
        async with db.transaction():
            await db.execute(
                "SELECT set_config('lock_timeout', '300', true), set_config('statement_timeout', '5000', true)"
            )
            return {row["oid"]: row["size_bytes"] or 0 for row in await db.execute(_SIZES, oids)}
    return {}


def _parents_of(rows: Sequence[dict[str, Any]]) -> dict[int, list[int]]:
    parents: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        parents[row["child"]].append(row["parent"])
    return parents


def table_name(schema: str, relname: str, public: set[str]) -> str:
    """`Table.name`: bare in public, else `schema.relname`; quoted where a public table is called just so."""
    if schema == "public":
        return relname
    name = f"{schema}.{relname}"
    return f'"{schema}"."{relname}"' if name in public else name


def _build_tables(
    catalog: Catalog,
    relations: Sequence[dict[str, Any]],
    namespaces: dict[int, str],
    columns: dict[int, _Columns],
    sizes: dict[int, int],
    parents: dict[int, list[int]],
) -> None:
    public = {r["relname"] for r in relations if namespaces[r["namespace"]] == "public"}
    rows_by_oid = {row["oid"]: row for row in relations}
    names = {r["oid"]: table_name(namespaces[r["namespace"]], r["relname"], public) for r in relations}
    leaves: dict[int, list[int]] = defaultdict(list)
    for row in relations:
        if row["is_partition"] and row["kind"] != "p":
            leaves[_root(row["oid"], parents)].append(row["oid"])
    for row in relations:
        oid = row["oid"]
        # A partition whose root lies in a schema that was not asked for stands for itself.
        if row["is_partition"] and _root(oid, parents) in rows_by_oid:
            continue
        own = leaves.get(oid, [])
        table = Table(
            name=names[oid],
            row_count=0,
            columns=list(columns[oid].by_number.values()) if oid in columns else [],
            schema=namespaces[row["namespace"]],
            relname=row["relname"],
            kind=_KINDS[row["kind"]],
            readable=bool(row["usable"] and (row["readable"] or row["partly"])),
            row_count_exact=False,
            oid=oid,
            size_bytes=sum(sizes.get(o, rows_by_oid[o]["pages"] * 8192) for o in own or [oid]),
            comment=row["comment"],
            partitions=sorted(names[o] for o in own),
            inherits=[names[p] for p in parents.get(oid, []) if p in names and not row["is_partition"]],
        )
        _note_access(table, row)
        (catalog.views if row["kind"] in "vm" else catalog.tables).append(table)
        catalog.estimates[table.name] = _estimate(row, [rows_by_oid[o] for o in own])
    catalog.tables.sort(key=lambda t: t.name)
    catalog.views.sort(key=lambda t: t.name)


def _note_access(table: Table, row: dict[str, Any]) -> None:
    if not row["usable"]:
        table.problem = f"no right to use its schema: GRANT USAGE ON SCHEMA {table.schema} TO this role"
    elif not table.readable:
        table.problem = f"no right to read it: GRANT SELECT ON {table.schema}.{table.relname} TO this role"
    elif row["unpopulated"]:
        table.readable, table.problem = False, "a materialised view that was never refreshed"
    if row["filtered"]:
        table.warnings.append("row-level security is active: this role may see only some of the rows")


def _estimate(row: dict[str, Any], leaves: list[dict[str, Any]]) -> int | None:
    """Rows as the planner last knew them; None for what was never analysed (-1 in the catalog)."""
    figures = [part["rows"] for part in leaves] if leaves else [row["rows"]]
    # Before PostgreSQL 14 a table that was never analysed has 0, not -1; a look at its pages tells.
    parts = leaves or [row]
    if any(f < 0 or (f == 0 and part["pages"]) for f, part in zip(figures, parts, strict=True)):
        return None
    return int(sum(figures))


def _root(oid: int, parents: dict[int, list[int]]) -> int:
    while parents.get(oid):
        oid = parents[oid][0]
    return oid


def _hide(catalog: Catalog, hidden: Sequence[dict[str, Any]]) -> None:
    """Columns that the role may not read are left out, so that the others can be read."""
    by_relation: dict[int, set[str]] = defaultdict(set)
    for row in hidden:
        by_relation[row["relation"]].add(row["name"])
    for table in (*catalog.tables, *catalog.views):
        names = by_relation.get(table.oid)
        if names:
            table.columns = [c for c in table.columns if c.name not in names]
            table.warnings.append(f"no right to read {', '.join(sorted(names))}; the other columns are taken")


def _add_indexes(
    tables: dict[int, Table], rows: Sequence[dict[str, Any]], columns: dict[int, _Columns]
) -> None:
    for row in rows:
        table = tables.get(row["relation"])
        if table is None:
            continue
        known = columns[row["relation"]].by_number
        names = [] if row["is_expression"] else [known[n].name for n in row["numbers"] or () if n in known]
        table.indexes.append(
            Index(row["name"], names, row["is_primary"], row["is_unique"], row["is_partial"], row["method"])
        )


def _add_foreign_keys(
    catalog: Catalog, tables: dict[int, Table], rows: Sequence[dict[str, Any]], columns: dict[int, _Columns]
) -> None:
    found: dict[tuple[str, str, str, str], ImplicitRelationship] = {}
    partitions: dict[tuple[str, str, str, str], set[int]] = defaultdict(set)
    for row in rows:
        source, target = tables.get(row["source"]), tables.get(row["target"])
        if source is None or target is None:
            continue
        unique = {tuple(i.columns) for i in source.indexes if i.is_unique and not i.is_partial}
        names = [columns[row["source"]].by_number[n].name for n in row["source_numbers"]]
        for number, name in zip(row["target_numbers"], names, strict=True):
            more = f", one of {len(names)} columns" if len(names) > 1 else ""
            unchecked = "" if row["validated"] else ", never validated"
            key = source.name, name, target.name, columns[row["target"]].by_number[number].name
            if row["source"] != source.oid:
                partitions[key].add(row["source"])
            if key in found:
                continue
            found[key] = ImplicitRelationship(
                *key,
                evidence=[f"declared: foreign key {row['name']}{more}{unchecked}"],
                basis="declared",
                cardinality="one_to_one" if tuple(names) in unique else "many_to_one",
            )
    for key, declaring in partitions.items():
        # Declared on the partitions alone, as before PostgreSQL 11 and by tools that copy tables one by one.
        count = len(tables[next(iter(declaring))].partitions)
        found[key].evidence.append(f"on {len(declaring)} of its {count} partitions")
    catalog.foreign_keys += found.values()
