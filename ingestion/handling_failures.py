"""What an operator does with stored failures: look one up, and set some aside with a note."""

from __future__ import annotations

from ingestion import errors
from ingestion.state.store import StateStore
from ingestion.state.types import Failure, FailureFilter


async def find(state: StateStore, failure_id: int) -> Failure:
    """The failure of this id, whatever its kind and status; raises errors.SettingsError when there is none."""
    filter = FailureFilter(kinds=None, statuses=None, ids=(failure_id,))
    page = await state.failure_page(filter, limit=1)
    if not page.items:
        hint = "`procore-ingest failures list` shows those there are."
        raise errors.SettingsError(f"there is no failure {failure_id}", hint=hint)
    return page.items[0]


async def dismiss(state: StateStore, filter: FailureFilter, note: str) -> int:
    """Set aside what the filter matches; how many."""
    return await state.dismiss_failures([failure.id async for failure in state.failures(filter)], note)
