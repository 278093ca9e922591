"""What the bridge tells the screens. Each message only says that something changed: the bridge holds it."""

from __future__ import annotations

from textual.message import Message


class Coalesced(Message):
    """A message of which only the newest counts: bursts cost one handler call."""

    bubble = False

    def can_replace(self, message: Message) -> bool:
        return type(message) is type(self)


class RunTick(Coalesced):
    """The watched job's picture or log moved."""


class JobEnded(Message):
    """The watched job came to its end; once per job."""

    bubble = False

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__()
        self.job_id, self.status = job_id, status


class SchemaMoved(Coalesced):
    """The schema was loaded, is loading, or failed to load."""


class PlanMoved(Coalesced):
    """The plan's selection or options changed."""


class ConnectionMoved(Coalesced):
    """Source or Vespa were tested, or other addresses are in use."""


class VerifyMoved(Coalesced):
    """A verification progressed or ended."""
