"""Who answers at the source's and at Vespa's address, and what they let us do."""

from __future__ import annotations

from ingestion.connections import Connections
from ingestion.reports import SourceInfo, VespaInfo
from ingestion.vespa import queries
from ingestion.vespa.client import FILE, RECORD
from ingestion.vespa.schemas import PACKAGE_VERSION, SCHEMAS

_CAN_WRITE = """
SELECT rolsuper OR EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE')
      AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
) AS can_write, rolsuper AS superuser
FROM pg_roles WHERE rolname = current_user
"""

_TABLES = """
SELECT count(*) AS tables, count(*) FILTER (WHERE NOT (
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))) AS unreadable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


async def source_info(connections: Connections) -> SourceInfo:
    """Connect to the source and describe it; raises errors.SourceUnavailable."""
    db = await connections.source()
    info = await db.server_info()
    rows = await db.execute(_CAN_WRITE)
    (seen,) = await db.execute(_TABLES)
    config = connections.config
    return SourceInfo(
        database=info.database,
        host=config.host,
        port=config.port,
        user=info.user,
        server_version=info.version,
        encoding=info.encoding,
        in_recovery=info.in_recovery,
        encrypted=bool(info.encrypted),
        read_only=True,
        can_write=bool(rows and rows[0]["can_write"]),
        superuser=bool(rows and rows[0]["superuser"]),
        tables=seen["tables"],
        unreadable=seen["unreadable"],
        timeout_s=config.statement_timeout_s or 0.0,
    )


async def vespa_info(connections: Connections) -> VespaInfo:
    """Ask Vespa how it is, what its application lacks, and how many documents are ours."""
    index = await connections.index()
    up = await index.is_up()
    missing = tuple(await index.missing_fields(needed_fields())) if up else ()
    have = {RECORD, FILE} - set(missing) if up else set()
    counts = {name: await queries.count(index, name) for name in sorted(have)}
    return VespaInfo(
        url=index.url,
        namespace=index.namespace,
        up=up,
        missing=missing,
        records=counts.get(RECORD, 0),
        files=counts.get(FILE, 0),
        package_version=await index.package_version() if up else 0,
        needed_version=PACKAGE_VERSION,
        vespa_version=await index.version() if up else "",
    )


def needed_fields() -> dict[str, list[str]]:
    """Document type → fields that we feed."""
    return {name: [field.name for field in schema.fields] for name, schema in SCHEMAS.items()}
