"""Operations of one call that share connections: which wait, which are under way, and what became of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from ingestion.vespa.operations import Operation, Request

if TYPE_CHECKING:
    from ingestion.vespa.feeding import Outcome


class Group:
    """The operations of one call to `feed` that share connections, and how far they are."""

    __slots__ = ("finished", "operations", "outcomes", "ready", "tasks", "under_way", "unprocessed",
                 "waiting")  # fmt: skip

    def __init__(
        self, operations: Sequence[Operation], waiting: deque[int],
        finished: asyncio.Future[None],
    ) -> None:  # fmt: skip
        self.operations, self.waiting, self.finished = operations, waiting, finished
        self.outcomes: list[Outcome | None] = [None] * len(operations)
        self.ready: dict[int, Request] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.under_way = self.unprocessed = 0

    def alone(self, work: Coroutine[Any, Any, None]) -> None:
        """Let operations go their own way; an error of theirs is the group's."""
        task = asyncio.create_task(work, name="feed alone")
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.finished.done():
            self.finished.set_exception(error)
        self.check()

    def check(self) -> None:
        """Whether that was the last."""
        if not (self.under_way or self.waiting or self.tasks or self.finished.done()):
            self.finished.set_result(None)
