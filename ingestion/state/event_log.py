"""Events of jobs, stored before anyone is told; `seq` counts from 1 within a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson

from ingestion.events import Event, from_dict, to_dict
from ingestion.state.connection import StateConnection, Transaction, no_such_job

# Take the next numbers of a job.
NUMBER: Final = "UPDATE jobs SET last_seq = last_seq + :count WHERE id = :job RETURNING ordinal, last_seq"
# Store an event.
APPEND: Final = "INSERT INTO events (job, seq, time, body) VALUES (?, ?, ?, ?)"
# Events of a job after one of them.
SINCE: Final = """SELECT seq, time, body FROM events
    WHERE job = (SELECT ordinal FROM jobs WHERE id = :job) AND seq > :seq ORDER BY seq LIMIT :limit"""
# The newest number of a job.
LAST: Final = "SELECT last_seq FROM jobs WHERE id = :job"

_IN_COLUMNS: Final = frozenset({"seq", "time", "job_id"})


class EventLog(StateConnection):
    """Replaying a job's events gives the screen that it had."""

    async def append_events(self, job_id: str, events: Sequence[Event]) -> list[Event]:
        """Store events outside a batch; returns them with `seq` and `time`. Tell others only afterwards."""
        return await self._write(lambda tx: append(tx, job_id, events))

    async def events_since(self, job_id: str, seq: int, limit: int = 1000) -> list[Event]:
        """Events with a number above `seq`, oldest first."""
        rows = await self._read(SINCE, {"job": job_id, "seq": seq, "limit": limit})
        return [
            from_dict({**orjson.loads(row["body"]), "seq": row["seq"], "time": row["time"], "job_id": job_id})
            for row in rows
        ]

    async def last_seq(self, job_id: str) -> int:
        """The number of the newest event; 0 when there is none."""
        row = await self._read_one(LAST, {"job": job_id})
        return int(row[0]) if row else 0


async def append(tx: Transaction, job_id: str, events: Sequence[Event]) -> list[Event]:
    """Number and store events inside a transaction; an event without a time gets the transaction's."""
    row = await tx.one(NUMBER, {"job": job_id, "count": len(events)})
    if row is None:
        raise no_such_job(job_id)
    first = row["last_seq"] - len(events) + 1
    stored = [
        replace(event, job_id=job_id, seq=first + offset, time=event.time or tx.now)
        for offset, event in enumerate(events)
    ]
    await tx.run_many(APPEND, [(row["ordinal"], event.seq, event.time, _body(event)) for event in stored])
    return stored


def _body(event: Event) -> bytes:
    return orjson.dumps({name: value for name, value in to_dict(event).items() if name not in _IN_COLUMNS})
