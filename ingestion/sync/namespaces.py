"""Which source a document namespace of the index belongs to, and refusing another one's.

Two sources that fed one namespace would overwrite each other's documents. The first source to feed leaves a
marker, a `procore_schema` document of its own; a source that finds another's marker is refused.
"""

from __future__ import annotations

import time

from ingestion import errors
from ingestion.postgres.server_info import ServerInfo
from ingestion.vespa.client import SCHEMA, VespaSession
from ingestion.vespa.feeding import Feeder, Verdict
from ingestion.vespa.operations import Operation

MARKER = "~source"


def source_identity(info: ServerInfo, where: str) -> str:
    """What tells this source from others: database and server, or its address where the role may not ask."""
    return f"{info.database} on {info.system_identifier or where}"


async def claim(session: VespaSession, feeder: Feeder, identity: str, read_seq: int, *, adopt: bool) -> None:
    """Mark the namespace as this source's.

    Raises errors.SettingsError when another source's marker stands there, unless `adopt`.
    """
    marker = await session.document(SCHEMA, MARKER)
    owner = str(marker.get("description", "")) if marker else ""
    if owner == identity:
        return
    if owner and not adopt:
        raise errors.SettingsError(
            f"the namespace {session.namespace!r} of the index belongs to another source ({owner})",
            hint="Give this source its own with --namespace NAME, or take this one over with --adopt-namespace.",
        )
    stored = int(marker.get("read_seq", 0)) if marker else 0
    fields = {
        "table_name": MARKER,
        "description": identity,
        "row_count": 0,
        "ingested_at": int(time.time() * 1000),
    }
    (outcome,) = await feeder.feed([Operation("put", SCHEMA, MARKER, max(read_seq, stored + 1), fields)])
    if outcome.verdict is Verdict.REFUSED:
        raise errors.IndexError(
            f"Vespa refused the namespace's marker: {outcome.message}",
            hint="Run `procore-ingest vespa deploy`, then try again.",
        )
