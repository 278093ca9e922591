"""Facts about a running job: frozen, JSON-safe, in the past tense.

A fact is durable in the state before anyone is told. `to_json` gives the wire form that scripts read
(`--progress jsonl`): `{"event": "batch_committed", "seq": 12, "time": "…Z", "job_id": "…", "table": "…", …}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows of one table (or a whole job): read = indexed + failed + skipped; warned counts among indexed.

    `inserted` of the indexed were not in the index before the job, `updated` were there with another content; the
    others were fed again as they were.
    """

    read: int = 0
    indexed: int = 0
    failed: int = 0
    skipped: int = 0
    warned: int = 0
    deleted: int = 0
    size_bytes: int = 0
    inserted: int = 0
    updated: int = 0

    def __add__(self, other: Counts) -> Counts:
        # Spelled out: it is done once for every row.
        return Counts(
            read=self.read + other.read,
            indexed=self.indexed + other.indexed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            warned=self.warned + other.warned,
            deleted=self.deleted + other.deleted,
            size_bytes=self.size_bytes + other.size_bytes,
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
        )

    @property
    def adds_up(self) -> bool:
        return self.read == self.indexed + self.failed + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """Files of a job: found = downloaded + failed + skipped once the job has ended."""

    found: int = 0
    downloaded: int = 0
    failed: int = 0
    skipped: int = 0
    size_bytes: int = 0

    def __add__(self, other: FileCounts) -> FileCounts:
        return FileCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTotal:
    """What a job expects of a table when it starts."""

    table: str
    rows: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`seq` grows within a job, from 1; `time` is epoch seconds (UTC)."""

    job_id: str
    seq: int = 0
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    kind: str
    tables: tuple[TableTotal, ...] = ()
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStarted(Event):
    table: str
    rows: int = 0
    exact: bool = True
    method: str = ""
    done: Counts = field(default_factory=Counts)
    """Rows already settled by an earlier run of this job, when it was resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCommitted(Event):
    """The rows of one batch are settled and stored; `counts` are this batch's own, not totals."""

    table: str
    counts: Counts
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFailed(Event):
    table: str
    key: str
    stage: str
    cause: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesCommitted(Event):
    """Several files of a table were settled; `files` are this batch's own."""

    table: str
    files: FileCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFinished(Event):
    table: str
    key: str
    filename: str
    status: str
    cause: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesArrived(Event):
    """Bytes of files that arrived in the last `seconds`, and what is on its way just now.

    `filename` is the one of `under_way` files with most to come: `received` bytes of `expected`, None if unknown.
    """

    size_bytes: int
    seconds: float
    under_way: int
    filename: str = ""
    received_bytes: int = 0
    expected_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFinished(Event):
    """`status`: `completed`, `partial`, `failed`, `cancelled`, `skipped`; `counts` are the table's totals."""

    table: str
    status: str
    counts: Counts = field(default_factory=Counts)
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff(Event):
    """A service asked us to wait; `service` is `vespa` or `source`; `wait_s` 0 means it is over."""

    service: str
    reason: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMeasured(Event):
    """How hard the job works: `requests` under way at Vespa of at most `limit`, and its answer times just now."""

    requests: int
    limit: int
    latency_p50_s: float
    latency_p95_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaused(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResumed(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Event):
    """A line for the log: `level` is `info`, `warning` or `error`; `table` may be empty."""

    level: str
    message: str
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished(Event):
    status: str
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    seconds: float = 0.0
    message: str = ""


Publish = Callable[[Event], None]

_TYPES: dict[str, type[Event]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower(): cls
    for cls in (
        JobStarted, TableStarted, BatchCommitted, RecordFailed, FilesCommitted, FileFinished, BytesArrived,
        TableFinished, Backoff, LoadMeasured, JobPaused, JobResumed, Noted, JobFinished,
    )
}  # fmt: skip
_NAMES = {cls: name for name, cls in _TYPES.items()}


def event_name(event: Event) -> str:
    """The class name in snake case, as it stands in the `event` member."""
    return _NAMES[type(event)]


def to_dict(event: Event) -> dict[str, Any]:
    """Plain JSON-safe members; `time` stays epoch seconds."""
    return {"event": event_name(event), **asdict(event)}


def from_dict(data: Mapping[str, Any]) -> Event:
    """The event that `to_dict` described; unknown members are ignored, so that older readers keep working."""
    cls = _TYPES[data["event"]]
    known = {f.name for f in fields(cls)}
    members = {k: v for k, v in data.items() if k in known}
    if isinstance(members.get("counts"), Mapping):
        members["counts"] = Counts(**members["counts"])
    if isinstance(members.get("done"), Mapping):
        members["done"] = Counts(**members["done"])
    if isinstance(members.get("files"), Mapping):
        members["files"] = FileCounts(**members["files"])
    if "tables" in members:
        members["tables"] = tuple(TableTotal(**t) for t in members["tables"])
    return cls(**members)
