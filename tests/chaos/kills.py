"""Where an ingesting process kills itself: every step of a checkpoint has a name, and so has every step of a batch.

The product knows nothing of this: a forked test process wraps its functions before the job begins.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from ingestion.files.ingester import FileIngester
from ingestion.state import commit
from ingestion.state.store import StateStore
from ingestion.state.types import BatchCommit
from ingestion.sync import reconciliation, settlement
from ingestion.vespa.feeding import Feeder

Step = Callable[..., Awaitable[Any]]
Arms = Callable[[tuple[Any, ...], dict[str, Any]], bool]

KILLS = 9

# name → (owner, attribute, before or after, which calls count)
_ANY: Arms = lambda args, kwargs: True  # noqa: E731


def _batch(args: tuple[Any, ...]) -> BatchCommit:
    found = next(a for a in args if isinstance(a, BatchCommit))
    assert isinstance(found, BatchCommit)
    return found


def _ends_partition(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    progress = _batch(args).partition
    return progress is not None and progress.done


def _ends_table(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return _batch(args).table_state is not None


def _has_files(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    batch = _batch(args)
    return bool(batch.file_rows or batch.file_links)


def _removes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(operation.kind == "remove" for operation in args[1])


def _removed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return bool(_batch(args).removed)


POINTS: dict[str, tuple[Any, str, str, Arms, int]] = {
    "job created": (StateStore, "create_job", "after", _ANY, 1),
    "job started": (StateStore, "start_job", "after", _ANY, 1),
    "lock taken": (StateStore, "acquire_writer", "after", _ANY, 2),
    "plan cleared": (StateStore, "clear_partitions", "after", _ANY, 3),
    "plan stored": (StateStore, "save_partitions", "after", _ANY, 3),
    "plan replaced": (StateStore, "move_partition", "after", _ANY, 4),
    "table begun anew": (StateStore, "restart_job_table", "after", _ANY, 1),
    "numbers reserved": (StateStore, "reserve_read_seq", "after", _ANY, 3),
    "batch read": (settlement, "prepare", "after", _ANY, 12),
    "before feed": (Feeder, "feed", "before", _ANY, 14),
    "half fed": (Feeder, "_settled", "after", _ANY, 150),
    "fed": (Feeder, "feed", "after", _ANY, 14),
    "before removal": (Feeder, "feed", "before", _removes, 2),
    "removed": (Feeder, "feed", "after", _removes, 2),
    "before commit": (StateStore, "commit_batch", "before", _ANY, 16),
    "inside commit": (commit, "_commit", "after", _ANY, 16),
    "committed": (StateStore, "commit_batch", "after", _ANY, 16),
    "before removal's commit": (StateStore, "commit_batch", "before", _removed, 2),
    "before partition's end": (StateStore, "commit_batch", "before", _ends_partition, 8),
    "partition ended": (StateStore, "commit_batch", "after", _ends_partition, 8),
    "before NULL keys": (reconciliation, "settle_null_keys", "before", _ANY, 2),
    "NULL keys settled": (reconciliation, "settle_null_keys", "after", _ANY, 2),
    "before duplicates": (reconciliation, "settle_duplicates", "before", _ANY, 2),
    "duplicates settled": (reconciliation, "settle_duplicates", "after", _ANY, 2),
    "before moved rows": (reconciliation, "settle_singles", "before", _ANY, 3),
    "moved rows settled": (reconciliation, "settle_singles", "after", _ANY, 3),
    "before table's end": (StateStore, "commit_batch", "before", _ends_table, 3),
    "table ended": (StateStore, "commit_batch", "after", _ends_table, 3),
    "before job's end": (StateStore, "finish_job", "before", _ANY, 1),
    "job ended": (StateStore, "finish_job", "after", _ANY, 1),
    "files taken": (StateStore, "commit_batch", "after", _has_files, 4),
    "before files' commit": (StateStore, "commit_batch", "before", _has_files, 6),
    "files drained": (FileIngester, "drain", "after", _ANY, 1),
}
"""Name → where it is, whether before or after it, which calls count, and how many of them a run may let pass."""

MENDING = ("before feed", "fed", "removed", "before commit", "committed", "job started", "before job's end")
"""Points that retries and repairs come to."""
FILE_POINTS = ("files taken", "before files' commit", "files drained")


def arm(point: str, nth: int) -> None:
    """Make this process kill itself the `nth` time it comes to `point`."""
    owner, name, side, counts, _ = POINTS[point]
    original: Step = getattr(owner, name)
    left = nth

    def passed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal left
        if counts(args, kwargs):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def plain(*args: Any, **kwargs: Any) -> Any:
        answer = original(*args, **kwargs)
        passed(args, kwargs)
        return answer

    async def step(*args: Any, **kwargs: Any) -> Any:
        if side == "before":
            passed(args, kwargs)
            return await original(*args, **kwargs)
        answer = await original(*args, **kwargs)
        passed(args, kwargs)
        return answer

    setattr(owner, name, step if inspect.iscoroutinefunction(original) else plain)
