"""Which server answers, and where it stands: what the state keeps to notice another one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion import errors

if TYPE_CHECKING:
    from ingestion.db_connection import DatabaseConnection


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What tells one server, and one moment of it, from another; None where we may not ask.

    `snapshot_xmin` and `snapshot_xmax` are 64-bit transaction ids (with epoch) of a fresh snapshot.
    """

    version_num: int
    version: str
    database: str
    user: str
    encoding: str
    in_recovery: bool
    snapshot_xmin: int
    snapshot_xmax: int
    system_identifier: int | None = None
    timeline: int | None = None
    encrypted: bool | None = None
    now_s: float = 0.0
    """The server's clock, epoch seconds."""
    database_oid: int = 0
    """A copy of a database on the same server has the same tables under the same numbers, but another one here."""

    @property
    def source(self) -> str:
        """Which server answers, on which timeline, with which database; for `another_source`."""
        return f"{self.system_identifier or ''}/{self.timeline or ''}/{self.database_oid or ''}"


def another_source(before: str, now: str) -> bool:
    """Whether two `ServerInfo.source` are certainly not of one history; parts that either lacks decide nothing."""
    parts = zip(before.split("/"), now.split("/"), strict=False)
    return any(a != b for a, b in parts if a.strip("0") and b.strip("0"))


async def read(db: DatabaseConnection) -> ServerInfo:
    """Ask the server; consumes no transaction id, works on a standby and without special rights."""
    (row,) = await db.execute(
        "SELECT current_setting('server_version_num')::int AS version_num,"
        " current_setting('server_version') AS version, current_database()::text AS database,"
        " current_user::text AS user, current_setting('server_encoding') AS encoding,"
        " pg_is_in_recovery() AS in_recovery,"
        " pg_snapshot_xmin(pg_current_snapshot())::text AS snapshot_xmin,"
        " pg_snapshot_xmax(pg_current_snapshot())::text AS snapshot_xmax,"
        " extract(epoch FROM clock_timestamp())::float8 AS now_s,"
        " (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database_oid,"
        " (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted,"
        " has_function_privilege('pg_control_system()', 'execute') AS may_identify,"
        " has_function_privilege('pg_control_checkpoint()', 'execute') AS may_timeline"
    )
    identifier = timeline = None
    if row.pop("may_identify"):
        (found,) = await db.execute("SELECT system_identifier FROM pg_control_system()")
        identifier = found["system_identifier"]
    if row.pop("may_timeline"):
        (found,) = await db.execute("SELECT timeline_id FROM pg_control_checkpoint()")
        timeline = found["timeline_id"]
    if not row["in_recovery"]:
        # A server that was promoted a moment ago has not told its control file yet.
        with suppress(errors.IngestionError):
            (found,) = await db.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS name")
            timeline = int(found["name"][:8], 16)
    row["snapshot_xmin"], row["snapshot_xmax"] = int(row["snapshot_xmin"]), int(row["snapshot_xmax"])
    return ServerInfo(**row, system_identifier=identifier, timeline=timeline)
