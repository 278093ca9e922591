"""Jobs as they look from outside, in whatever process they run: one picture each, from their stored events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.run_view import RunView
    from ingestion.state.store import StateStore

EVENTS_AT_ONCE = 5000
"""Stored events that are read in one go: a job looked at for the first time may have a million."""


class JobViews:
    """The pictures of the jobs of one state file, kept so that each look reads only what is new."""

    def __init__(self) -> None:
        self._seen: dict[str, RunView] = {}

    async def view(self, state: StateStore, job_id: str, now: float) -> RunView | None:
        """The job at `now` (seconds since 1970); None for an unknown id.

        A job whose process was killed has no last event; its picture is settled by its status in the state.
        """
        from ingestion import progress  # the first screen does not wait for it
        from ingestion.run_view import FINISHED

        job = await state.find_job(job_id)
        if job is None:
            return None
        view = self._seen.get(job_id) or progress.RunView(job_id=job_id, kind=job.kind)
        while events := await state.events_since(job_id, view.last_seq, EVENTS_AT_ONCE):
            view = progress.reduce_all(view, events, now)
        self._seen[job_id] = view
        if job.status in FINISHED and not view.finished:
            return progress.settle(view, job.status, job.finished_at or now, job.message)
        return progress.at(view, now)
