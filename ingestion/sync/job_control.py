"""What an operator asks of a running job, obeyed at the borders of batches and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ingestion.state.types import JobCommand


class Stopped(Exception):
    """The job was told to stop; what is committed stands."""


class Skipped(Exception):
    """The table in hand was told to be skipped; what is committed stands."""


class Paused(Exception):
    """The reader must let go of its snapshot and wait; raised only where reading can go on later."""


class JobControl:
    """Requests to one job; safe to use from the event loop that runs it."""

    def __init__(self) -> None:
        self._stopped = False
        self._skipped: set[str] = set()
        self._running = asyncio.Event()
        self._running.set()

    def stop(self) -> None:
        """End the job after the batch in hand; also ends a pause."""
        self._stopped = True
        self._running.set()

    def pause(self) -> None:
        """Hold before the next batch."""
        if not self._stopped:
            self._running.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._running.set()

    def skip(self, table: str) -> None:
        """Leave a table where it is."""
        self._skipped.add(table)

    def obey(self, commands: Iterable[JobCommand]) -> None:
        """Take commands as the state stores them, oldest first."""
        for command in commands:
            match command.command:
                case "stop":
                    self.stop()
                case "pause":
                    self.pause()
                case "resume":
                    self.resume()
                case "skip":
                    self.skip(command.argument)

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    @property
    def is_paused(self) -> bool:
        return not self._running.is_set()

    async def until_resumed(self) -> None:
        """Wait while the job is paused."""
        await self._running.wait()

    def check(self, table: str) -> None:
        """Raises Stopped, Skipped or Paused where the job may not go on with this table now."""
        if self._stopped:
            raise Stopped
        if table in self._skipped:
            raise Skipped
        if self.is_paused:
            raise Paused
