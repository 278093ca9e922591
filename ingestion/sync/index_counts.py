"""The end of a job: whether the index holds as many documents of each table as it has acknowledged.

One grouping query for all tables. What this cannot see, such as a document that was altered in place, is the
work of `verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingestion import errors
from ingestion.events import Noted
from ingestion.state.types import SUCCESSES
from ingestion.sync.job_run import TableResult
from ingestion.sync.sync_io import SyncIO
from ingestion.vespa import queries
from ingestion.vespa.client import VespaSession


async def checked(io: SyncIO, index: VespaSession, results: Sequence[TableResult]) -> list[TableResult]:
    """The results, `partial` where index and state disagree, with a message; told and stored.

    An index that cannot be asked just now is said in the log: the job itself is done.
    """
    try:
        held = await queries.counts_by_table(index)
    except (errors.VespaUnavailable, errors.IndexError) as error:
        io.log.warning("the index's documents were not counted: %s", error, extra={"job": io.job.id})
        return list(results)
    acknowledged = await io.state.ledger_counts()
    found = []
    for result in results:
        name = result.table
        there, known = held.get(name, 0), acknowledged.get(name, 0)
        # What a killed process sent may be on its way still; the next sync looks at its keys again.
        if result.status in SUCCESSES and there != known and not (await io.state.left_in_flight(name)).ids:
            said = (
                f"the index holds {there:,} documents, {known:,} were acknowledged; "
                f"`verify --repair --tables {name}` mends it"
            )
            await io.tell(Noted(job_id=io.job.id, level="warning", message=said, table=name))
            message = f"{result.message} {said}".strip()
            await io.state.set_job_table(io.job.id, name, "partial", message=message)
            result = replace(result, status="partial", message=message)
        found.append(result)
    return found
