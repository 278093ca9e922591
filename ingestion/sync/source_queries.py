"""The SQL by which a table's rows are read: pure text, identifiers quoted, nothing executed here.

Every row query gives text columns only: first what tells the row version (`PREFIX`), then the key columns as
PostgreSQL prints them where asked for, then each of the table's columns as `sql.text_column` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.postgres import sql
from ingestion.schema_discovery import Column, Table
from ingestion.sync.partitions import Partition, row_version

PREFIX = 3
"""Columns before a row's own: relation (oid), ctid and xmin; all NULL where the relation has none."""

PARSEABLE = frozenset(
    {"int2", "int4", "int8", "oid", "numeric", "uuid", "text", "varchar", "bpchar", "bool", "date", "timestamp",
     "timestamptz"}
)  # fmt: skip
"""Types whose canonical text PostgreSQL reads back as the same value, so that indexes on them can serve."""

_EQUAL_AS_TEXT = frozenset({"int2", "int4", "int8", "oid", "uuid", "text", "varchar", "date", "bool"})
"""Types where equal values have equal text, so that grouping needs no cast (numeric 1.0 and 1.00 differ)."""

HORIZON = """
SELECT pg_snapshot_xmin(s)::text AS xid, pg_snapshot_xmax(s)::text AS next_xid,
       to_char(least(now(), CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() END)
               AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS read_at
FROM pg_current_snapshot() AS s
"""
"""The snapshot's oldest running transaction; a standby's clock is the time up to which it has replayed."""

STORAGES = """
SELECT c.oid::text AS oid, n.nspname::text AS schema, c.relname::text AS relname,
       coalesce(pg_relation_filenode(c.oid), 0)::bigint AS filenode, c.relkind::text AS relkind,
       CASE WHEN c.relkind IN ('r', 'm')
            THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint ELSE 0 END AS blocks,
       coalesce(a.amname, '')::text AS method, has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_am AS a ON a.oid = c.relam
WHERE c.oid = to_regclass($1)
   OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE isleaf)
ORDER BY c.oid = to_regclass($1) DESC, c.oid
"""
"""The relation itself first, then the leaves of a partitioned one."""

KEY_COLLATIONS = """
SELECT count(*) FILTER (WHERE coll.collname NOT IN ('C', 'POSIX', 'ucs_basic')
       AND to_jsonb(coll) ->> 'collprovider' <> 'b'
       AND NOT (coll.collprovider = 'd' AND CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
                WHEN 'b' THEN true WHEN 'c' THEN d.datcollate IN ('C', 'POSIX') ELSE false END))::int AS others
FROM pg_attribute AS a
JOIN pg_collation AS coll ON coll.oid = a.attcollation
JOIN pg_database AS d ON d.datname = current_database()
WHERE a.attrelid = to_regclass($1) AND a.attname::text = ANY($2::text[])
"""
"""How many key columns do not sort by their bytes: pages over those would hang on a library's version."""


@dataclass(frozen=True, slots=True)
class Query:
    """`physical` says that the whole table is gone through, so that rows can be had in the order of their ctids."""

    text: str
    args: tuple[object, ...] = ()
    physical: bool = False


@dataclass(frozen=True, slots=True)
class TableQueries:
    """Queries over one table with its chosen key; `heap` says that rows have `ctid` and `xmin`."""

    table: Table
    heap: bool

    @property
    def key(self) -> list[Column]:
        return [self.table.column(name) for name in self.table.key_columns]

    @property
    def key_parses(self) -> bool:
        """Whether rows can be found again by the canonical text of their keys through an index."""
        return bool(self.key) and all(sql.base_type(column) in PARSEABLE for column in self.key)

    def everything(self) -> Query:
        return Query(f"SELECT {self._row()} FROM {self._from()}", physical=True)

    def blocks(
        self, partition: Partition, version_num: int, *, after: str = "", since: int | None = None
    ) -> Query:
        """The rows of a block range, behind `after` (a ctid) where a reading goes on.

        With `since` only row versions at or after that horizon.
        """
        return Query(
            f"SELECT {self._row()} FROM {_relation(partition)} WHERE "
            f"{self._range(partition, version_num, after)}{_since(since)}"
        )

    def block_tuples(
        self, partition: Partition, version_num: int, *, after: str = "", since: int | None = None
    ) -> Query:
        """Like `blocks`, but only what tells the row versions."""
        return Query(
            f"SELECT {_prefix(self.heap)} FROM {_relation(partition)} WHERE "
            f"{self._range(partition, version_num, after)}{_since(since)}"
        )

    def page(self, after: Sequence[str] | None, limit: int) -> Query:
        """The next rows in key order behind `after`, all rows of the last key included."""
        names = [f"t.{sql.ident(column.name)}" for column in self.key]
        raw = ", ".join(f"{name}::text" for name in names)
        where, args = [f"{name} IS NOT NULL" for name in names], tuple(after or ())
        if after is not None:
            values = [f"${i + 1}::text::{_type(column)}" for i, column in enumerate(self.key)]
            where.append(f"({', '.join(names)}) > ({', '.join(values)})")
        return Query(
            f"SELECT {_prefix(self.heap)}, {raw}, {sql.text_columns(self.table.columns, 't')} "
            f"FROM {self._from()} WHERE {' AND '.join(where)} ORDER BY {', '.join(names)} "
            f"FETCH FIRST {int(limit)} ROWS WITH TIES",
            args,
        )

    def null_keys(self) -> Query:
        return Query(f"SELECT {self._row()} FROM {self._from()} WHERE {self._any_null()}")

    def changed(self, since: int) -> Query:
        """Row versions at or after a horizon, wherever they are now."""
        return Query(f"SELECT {self._row()} FROM {self._from()} WHERE true{_since(since)}", physical=True)

    def since(self, column: str, moment: str) -> Query:
        """Rows whose time column is at or after `moment` (text in the column's own terms), or NULL."""
        return Query(f"SELECT {self._row()} FROM {self._from()} WHERE {self._at_or_after(column)}", (moment,))

    def typed(self, column: str | None = None, moment: str = "") -> Query:
        """All columns as they are, of all rows or of those that `since` gives."""
        names = sql.idents(column.name for column in self.table.columns)
        text = f"SELECT {names} FROM {self._from()}"
        if column is None:
            return Query(text)
        return Query(f"{text} WHERE {self._at_or_after(column)}", (moment,))

    def _at_or_after(self, column: str) -> str:
        kind = sql.base_type(self.table.column(column))
        cast = f"::pg_catalog.{sql.ident(kind)}" if kind in ("timestamp", "timestamptz", "date") else ""
        name = f"t.{sql.ident(column)}"
        return f"({name} >= $1::text{cast} OR {name} IS NULL)"

    def duplicate_keys(self) -> Query:
        """The key columns' text of each key that several rows hold, and how many do."""
        texts = sql.text_columns(self.key, "t")
        groups = ", ".join(self._group(column) for column in self.key)
        return Query(
            f"SELECT {_firsts(texts, self.key)}, count(*)::text FROM {self._from()} WHERE NOT ({self._any_null()}) "
            f"GROUP BY {groups} HAVING count(*) > 1"
        )

    def duplicates(self) -> Query:
        """All rows of keys that several rows hold, in key order."""
        groups = ", ".join(self._group(column) for column in self.key)
        return Query(
            f"SELECT {self._row()} FROM {self._from()} WHERE ({groups}) IN (SELECT {groups} FROM {self._from()} "
            f"WHERE NOT ({self._any_null()}) GROUP BY {groups} HAVING count(*) > 1) ORDER BY {groups}"
        )

    def keys(self) -> Query:
        """The key columns' text of every row."""
        return Query(f"SELECT {sql.text_columns(self.key, 't')} FROM {self._from()}")

    def with_keys(self, keys: Sequence[Sequence[str]]) -> Query:
        """All rows that hold one of these keys, given as the key columns' canonical text."""
        columns = self.key
        arrays = tuple([key[i] for key in keys] for i in range(len(columns)))
        if len(columns) == 1 and self.key_parses:
            condition = f"t.{sql.ident(columns[0].name)} = ANY($1::text[]::{_type(columns[0])}[])"
        else:
            names = [f"k{i}" for i in range(len(columns))]
            given = ", ".join(f"${i + 1}::text[]" for i in range(len(columns)))
            if self.key_parses:
                cast = ", ".join(f"{n}::{_type(c)}" for n, c in zip(names, columns, strict=True))
                left = ", ".join(f"t.{sql.ident(column.name)}" for column in columns)
            else:
                cast, left = ", ".join(names), sql.text_columns(columns, "t")
            condition = f"({left}) IN (SELECT {cast} FROM unnest({given}) AS u({', '.join(names)}))"
        return Query(f"SELECT {self._row()} FROM {self._from()} WHERE {condition}", arrays)

    def at(self, relation: str, count: int) -> str:
        """Rows of one relation at given ctids: `$1` is an array of their text."""
        where = "t.ctid = ANY($1::text[]::tid[])" if count != 1 else "t.ctid = ($1::text[])[1]::tid"
        return f"SELECT {self._row()} FROM ONLY {relation} AS t WHERE {where}"

    def cell_at(self, relation: str, column: Column) -> str:
        """One cell of the row at the ctid `$1`."""
        return f"SELECT {sql.text_column(column, 't')} FROM ONLY {relation} AS t WHERE t.ctid = $1::text::tid"

    def tuples_of(self, query: Query) -> Query:
        """The same rows as another row query of this table, but only what tells their versions."""
        head = f"SELECT {self._row()} FROM"
        assert query.text.startswith(head)
        return Query(f"SELECT {_prefix(self.heap)} FROM{query.text[len(head) :]}", query.args)

    def _row(self) -> str:
        cells = sql.text_columns(self.table.columns, "t")
        return f"{_prefix(self.heap)}, {cells}" if cells else _prefix(self.heap)

    def _from(self) -> str:
        return f"{sql.rows_of(self.table)} AS t"

    def _any_null(self) -> str:
        return " OR ".join(f"t.{sql.ident(column.name)} IS NULL" for column in self.key)

    def _group(self, column: Column) -> str:
        if sql.base_type(column) in _EQUAL_AS_TEXT:
            return f"t.{sql.ident(column.name)}"
        return sql.text_column(column, "t")

    def _range(self, partition: Partition, version_num: int, after: str) -> str:
        first, end = partition.first_block, partition.end_block
        low = f"t.ctid > {sql.literal(after)}::tid" if after else f"t.ctid >= '({first},0)'::tid"
        if version_num >= 140000:
            return f"{low} AND t.ctid < '({end},0)'::tid"
        # Before version 14 only single tuple ids spare the planner a scan of the whole table.
        return (
            f"t.ctid = ANY(ARRAY(SELECT format('(%s,%s)', b, i)::tid FROM generate_series({first}, {end - 1}) "
            f"AS b, generate_series(1, current_setting('block_size')::int / 28) AS i)) AND {low}"
        )


def _prefix(heap: bool) -> str:
    return "t.tableoid::text, t.ctid::text, t.xmin::text" if heap else "NULL::text, NULL::text, NULL::text"


def _relation(partition: Partition) -> str:
    return f"ONLY {sql.ident(partition.schema)}.{sql.ident(partition.relname)} AS t"


def _since(horizon: int | None) -> str:
    # age() counts in the circle of 32-bit ids and gives the largest integer for permanent ones.
    return "" if horizon is None else f" AND age(t.xmin) <= age('{row_version(horizon)}'::xid)"


def _type(column: Column) -> str:
    return f"pg_catalog.{sql.ident(sql.base_type(column))}"


def _firsts(texts: str, columns: Sequence[Column]) -> str:
    return ", ".join(f"min({sql.text_column(column, 't')})" for column in columns)
