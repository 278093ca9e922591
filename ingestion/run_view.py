"""What a run looks like at one moment: the job, its tables, its log. Built by `ingestion.progress`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ingestion.events import Counts, FileCounts
from ingestion.pace import Pace

FINISHED: Final = frozenset({"completed", "partial", "failed", "cancelled", "interrupted", "skipped"})
REACHED_END: Final = frozenset({"completed", "partial", "skipped"})
_RANK: Final = {
    "failed": 0, "running": 1, "paused": 1, "interrupted": 2, "cancelled": 2, "partial": 3,
    "pending": 4, "completed": 5, "skipped": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """One table of the run. `total` is a guess unless `exact`; `share` is 0 to 1, None when nothing is known."""

    table: str
    order: int = 0
    state: str = "pending"
    method: str = ""
    total: int = 0
    exact: bool = True
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    started_at: float | None = None
    finished_at: float | None = None
    rate_per_s: float = 0.0
    eta_s: float | None = None
    message: str = ""
    pace: Pace = field(default_factory=Pace)

    @property
    def share(self) -> float | None:
        if self.state in REACHED_END:
            return 1.0
        return min(1.0, self.counts.read / self.total) if self.total > 0 else None

    @property
    def remaining(self) -> int:
        """Rows still expected; 0 once the table has finished."""
        return 0 if self.state in FINISHED else max(0, self.total - self.counts.read)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffView:
    """A service that asked us to wait: `vespa` or `source`."""

    service: str
    reason: str
    wait_s: float
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadView:
    """Requests under way at Vespa of at most `limit`, and its latest answer times."""

    requests: int
    limit: int
    latency_p50_s: float
    latency_p95_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalView:
    """Files that are being fetched: so many at once, so fast, and the one of them with most to come."""

    under_way: int
    bytes_per_s: float
    filename: str = ""
    received_bytes: int = 0
    expected_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """`level`: info, warning or error; `time` is epoch seconds."""

    seq: int
    time: float
    level: str
    message: str
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A job as of `as_of`. `counts` and `files` are the sums over its tables; `remaining` rows are expected yet."""

    job_id: str = ""
    kind: str = ""
    status: str = "pending"
    started_at: float | None = None
    finished_at: float | None = None
    as_of: float = 0.0
    resumed: bool = False
    message: str = ""
    tables: Mapping[str, TableView] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    expected: int = 0
    remaining: int = 0
    guesses: int = 0
    """Unfinished tables whose total is a guess."""
    rate_per_s: float = 0.0
    eta_s: float | None = None
    backoffs: Mapping[str, BackoffView] = field(default_factory=dict)
    load: LoadView | None = None
    """None before the first measurement and while nothing runs."""
    arriving: ArrivalView | None = None
    """None while no file is on its way."""
    log: tuple[LogLine, ...] = ()
    last_seq: int = 0
    last_at: float = 0.0
    rest_s: float = 0.0
    """Seconds not worked: pauses, and the time between a killed run and its resume."""
    paused_at: float | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def exact(self) -> bool:
        """Whether every expected total was counted."""
        return self.guesses == 0

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def share(self) -> float | None:
        """0 to 1; None when nothing is known."""
        if self.status in REACHED_END:
            return 1.0
        return min(1.0, 1 - self.remaining / self.expected) if self.expected > 0 else None

    @property
    def worked_s(self) -> float:
        """Seconds of work, pauses left out."""
        if self.started_at is None:
            return 0.0
        end = self.as_of if self.finished_at is None else self.finished_at
        return max(0.0, self.clock(end) - self.started_at)

    def clock(self, moment: float) -> float:
        """The work clock: stands still while the job is paused."""
        return (moment if self.paused_at is None else min(moment, self.paused_at)) - self.rest_s

    def sorted_tables(self) -> list[TableView]:
        """Failed, running, stopped, partial, waiting, completed, skipped; among equals the job's order."""
        return sorted(self.tables.values(), key=lambda t: (_RANK.get(t.state, 4), t.order, t.table))
