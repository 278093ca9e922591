"""What decides over a table's values besides its rows, and changes without leaving a row version.

An enum's label is renamed in the catalogue alone, a composite type gains a member there, and a column that is
dropped and added again under its name brings a default to every row at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from ingestion.db_connection import DatabaseConnection
from ingestion.postgres import sql
from ingestion.schema_discovery import Table

_FACTS = """
WITH RECURSIVE columns AS (
  SELECT a.attnum, a.attname::text AS name, a.atttypid, a.attgenerated <> '' AS generated,
         pg_get_expr(d.adbin, d.adrelid) AS expression
  FROM pg_catalog.pg_attribute AS a
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname::text = ANY($2::text[])
),
types (oid) AS (
  SELECT atttypid FROM columns
  UNION
  SELECT part.oid
  FROM types, LATERAL (
    SELECT unnest(ARRAY[t.typbasetype, t.typelem]) FROM pg_catalog.pg_type AS t WHERE t.oid = types.oid
    UNION ALL
    SELECT r.rngsubtype FROM pg_catalog.pg_range AS r
    WHERE r.rngtypid = types.oid OR to_jsonb(r) ->> 'rngmultitypid' = types.oid::text
    UNION ALL
    SELECT a.atttypid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid
    WHERE t.oid = types.oid AND a.attnum > 0 AND NOT a.attisdropped
  ) AS part (oid)
  WHERE part.oid <> 0
)
SELECT 'column' AS kind, attnum::text AS owner, name AS fact, CASE WHEN generated THEN expression END AS more
FROM columns
UNION ALL
SELECT 'label', e.oid::text, e.enumlabel::text, NULL
FROM types JOIN pg_catalog.pg_enum AS e ON e.enumtypid = types.oid
UNION ALL
SELECT 'member', t.oid::text, a.attnum::text, a.atttypid::text
FROM types JOIN pg_catalog.pg_type AS t ON t.oid = types.oid AND t.typtype = 'c'
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'currency', '', current_setting('lc_monetary'), NULL FROM types WHERE types.oid = 'pg_catalog.money'::regtype
UNION ALL
SELECT 'name', '', t.typname::text, NULL FROM types JOIN pg_catalog.pg_type AS t ON t.oid = types.oid
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b'
  AND (t.typname ~ '^reg' OR t.typname = 'aclitem')
ORDER BY 1, 2, 3, 4
"""
"""Columns in use by number, and of all types inside their types: labels, members, and what prints otherwise."""


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """`mark` changes when equal rows may print other values; `unversioned` says why no row version is enough."""

    mark: str
    unversioned: str = ""


async def load(db: DatabaseConnection, table: Table) -> CatalogFacts:
    """The facts of now; a table that is gone has none."""
    rows = await db.execute(_FACTS, sql.table_ref(table), [column.name for column in table.columns])
    facts = [[row["kind"], row["owner"], row["fact"], row["more"]] for row in rows]
    named = any(row["kind"] == "name" for row in rows)
    unversioned = "it holds names of database objects, which change without a row version" if named else ""
    return CatalogFacts(hashlib.sha256(orjson.dumps(facts)).hexdigest()[:16], unversioned)
