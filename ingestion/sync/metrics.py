"""How a job goes in figures: rows a second, and what Vespa asked of us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ingestion.vespa.feeding import FeedStats

if TYPE_CHECKING:
    from ingestion.sync.sync_io import SyncIO


def of_feeding(io: SyncIO) -> FeedStats:
    """What the job's own feeder and those of its worker processes did so far."""
    return together([io.feeder.stats, *(io.workers.stats if io.workers else ())])


def together(stats: Sequence[FeedStats]) -> FeedStats:
    """What several feeders did as one; of their latencies the longest."""
    members: dict[str, Any] = {}
    for name in FeedStats.__slots__:
        values = [getattr(one, name) for one in stats]
        members[name] = max(values) if name.startswith("latency") else sum(values)
    return FeedStats(**members)


def of(stats: FeedStats, rows: int, seconds: float) -> Mapping[str, Any]:
    """JSON-safe figures of one run of a job; latencies are those of the latest thousand operations.

    `backoffs` counts how often Vespa began to ask for patience, `backoff_s` adds up the waits of all operations.
    """
    return {
        "rows_per_s": round(rows / seconds, 1) if seconds > 0 else 0.0,
        "operations": stats.operations,
        "retries": stats.retries,
        "backoffs": stats.backoffs,
        "backoff_s": round(stats.backoff_s, 2),
        "latency_p50_ms": round(stats.latency_p50_s * 1000, 1),
        "latency_p95_ms": round(stats.latency_p95_s * 1000, 1),
        "latency_p99_ms": round(stats.latency_p99_s * 1000, 1),
    }
