"""What the state file holds, as plain frozen data.

Times called `…_at` are epoch seconds (UTC), as in `ingestion.events`. A `bounds`, `position`, `plan`, `report`
or `detail` is a JSON-safe mapping. Tables are named as in `Table.name`. Nothing here may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from ingestion.events import Counts, Event, FileCounts

Json = Mapping[str, Any]

STATUSES: Final = frozenset(
    {"pending", "running", "paused", "completed", "partial", "failed", "cancelled", "interrupted"}
)
"""Of jobs and checkpoints."""
SUCCESSES: Final = frozenset({"completed", "partial"})
"""Statuses after which every row read is indexed or is a stored failure: the watermark has moved."""
ACTIVE: Final = frozenset({"pending", "running", "paused"})
"""Statuses that need a living process."""
TABLE_STATUSES: Final = STATUSES | {"skipped"}
JOB_KINDS: Final = frozenset({"full", "incremental", "verify", "retry"})
COMMANDS: Final = frozenset({"pause", "resume", "stop", "skip"})
FAILURE_KINDS: Final = frozenset({"record", "file", "warning"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, also across resumes. `ordinal` grows with every job: the epoch that ledger entries carry."""

    id: str
    kind: str
    plan: Json = field(default_factory=dict)
    status: str = "pending"
    ordinal: int = 0
    pid: int | None = None
    host: str = ""
    process_start: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    message: str = ""
    report: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTable:
    """One table of one job: what is settled so far. `expected` rows are a guess unless `exact`."""

    job_id: str
    table: str
    ordinal: int = 0
    status: str = "pending"
    method: str = ""
    expected: int = 0
    exact: bool = True
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    started_at: float | None = None
    finished_at: float | None = None
    message: str = ""
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCommand:
    """What an operator asked of a running job: `pause`, `resume`, `stop` or `skip` with a table."""

    id: int
    job_id: str
    command: str
    argument: str = ""
    requested_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A unit of work: one range of one table. `ordinal` is unique per job and table.

    `kind` is the reader's word (`ctid`, `keyset`, `sweep`, `nulls`, …); `position` is where to go on.
    """

    table: str
    ordinal: int
    kind: str
    bounds: Json = field(default_factory=dict)
    position: Json | None = None
    status: str = "pending"  # pending | running | done


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """How far a batch brought its partition; `position` None leaves it as it is."""

    ordinal: int
    position: Json | None = None
    done: bool = False


class LedgerEntry(NamedTuple):
    """What the index holds for one key; a tuple, because millions are made.

    `epoch` is the ordinal of the job that last saw the row.
    """

    key: str
    digest: int  # signed 64 bit
    read_seq: int
    bucket: int
    epoch: int


@dataclass(frozen=True, slots=True)
class BucketSum:
    """Number of keys in a bucket and the exclusive or of their digests (signed 64 bit)."""

    count: int = 0
    xor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A record, a file or (kind `warning`) a cell that needs attention.

    Unresolved failures are one per (kind, table, key, cause, locator): when it happens again `attempts` grows.
    `locator` tells failures of one key apart: the column of a warned cell, the file id of a file, the ordinal
    or ctid of a copy. A row without a key has key "" and needs a locator of its own, else rows are merged.
    `detail` holds what a retry needs. `id` 0 and times 0.0 are filled in when it is stored.
    """

    table: str
    key: str
    stage: str  # read | transform | index | file | delete
    cause: str
    message: str
    kind: str = "record"  # record | file | warning
    locator: str = ""
    id: int = 0
    job_id: str = ""
    attempts: int = 1
    first_at: float = 0.0
    last_at: float = 0.0
    status: str = "open"  # open | resolved | dismissed
    note: str = ""
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureFilter:
    """Which failures; None means any. `tables` and `causes` are shell globs, case-sensitive."""

    kinds: tuple[str, ...] | None = ("record", "file")
    tables: tuple[str, ...] | None = None
    causes: tuple[str, ...] | None = None
    stages: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = ("open",)
    job_id: str | None = None
    keys: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None
    until: int | None = None
    """The largest number that counts: what is stored later is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePage:
    """`total` counts all that the filter matches; `next` is the id to pass as `after`, None at the end."""

    total: int
    items: tuple[Failure, ...]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCluster:
    """Failures that are one problem. `tables` are sorted; `sample` is the newest of them."""

    kind: str
    cause: str
    stage: str
    count: int
    first_at: float
    last_at: float
    tables: tuple[str, ...]
    sample: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One distinct file. `url` is redacted. `status`: pending, downloaded, failed or skipped."""

    file_id: str
    status: str
    s3_key: str = ""
    url: str = ""
    filename: str = ""
    content_type: str = ""
    file_type: str = ""
    size_bytes: int | None = None
    checksum: str = ""
    etag: str = ""
    path: str = ""
    cause: str = ""
    message: str = ""
    attempts: int = 0
    read_seq: int = 0
    updated_at: float = 0.0
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileLink:
    """A record's cell that refers to a file."""

    file_id: str
    table: str
    key: str
    column: str


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who writes; `job_id` None when it is no job, such as a dismissal of many failures."""

    pid: int
    host: str
    job_id: str | None
    purpose: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an operator settled, such as kind `relationship`, subject `photos.user_id>users.id`."""

    kind: str
    subject: str
    verdict: str  # accepted | rejected
    note: str = ""
    decided_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIdentity:
    """Which database server, on which timeline, was read up to which transaction id."""

    system_identifier: str
    timeline: int | None = None
    xid: int | None = None
    database: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """What outlives jobs, per table: the chosen key and how far the table has been followed.

    `horizon` is the snapshot's oldest running transaction before the last complete read (xid8 as a number).
    `epoch` is the ordinal of the last job that saw every row. Clearing the checkpoint clears `horizon` and
    `epoch`; the key choice stays.
    """

    table: str
    oid: int | None = None
    relfilenode: int | None = None
    key_columns: tuple[str, ...] | None = None
    key_basis: str = ""
    horizon: int | None = None
    epoch: int | None = None
    transform_version: int | None = None
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointUpdate:
    """Checkpoint fields that a commit moves; processed and failed rows are those of the job so far.

    None leaves a field as it was; `last_sync_timestamp` must be aware.
    """

    status: str
    last_sync_timestamp: datetime | None = None
    last_record_id: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCommit:
    """Everything that one settled batch changes, stored in one transaction or not at all."""

    job_id: str
    table: str
    counts: Counts = field(default_factory=Counts)
    files: FileCounts = field(default_factory=FileCounts)
    ledger: Sequence[LedgerEntry] = ()
    """Keys now in the index; their open record failures, and warnings not in `failures`, are resolved."""
    seen: Sequence[str] = ()
    """Keys found unchanged: their ledger epoch becomes this job's; open record failures are resolved."""
    removed: Sequence[str] = ()
    """Keys no longer in the index: ledger, file links, open failures and warnings of them end."""
    flights: Sequence[int] = ()
    """Notes of `begin_feed` that this batch ends."""
    in_doubt: Sequence[str] = ()
    """Keys of those that stay in doubt: Vespa never said what became of them."""
    in_doubt_gone: Sequence[str] = ()
    """Keys of those whose rows are gone: what the dead sent may still reach Vespa, so one more look is due."""
    resolved: Sequence[str] = ()
    """Other keys whose open record and warning failures are over, such as rows that are gone."""
    failures: Sequence[Failure] = ()
    """Records, files and warnings; their `job_id` is taken from here. Failed keys count as seen in the ledger."""
    row_hashes: Mapping[str, int] = field(default_factory=dict)
    """Copies read of each row hash in this batch, added to the job's counts (tables without a key)."""
    partition: PartitionProgress | None = None
    checkpoint: CheckpointUpdate | None = None
    table_state: TableState | None = None
    table_status: str | None = None
    """Moves the job's table; a terminal one also stamps its end."""
    file_rows: Sequence[FileRow] = ()
    """A file `downloaded` or `skipped` resolves its open file failures (whose locator is the file id)."""
    files_touched: Sequence[str] = ()
    """Files whose documents are behind from now on: other records refer to them than before."""
    files_told: Mapping[str, int] = field(default_factory=dict)
    """Files whose documents have been written, with the `touches` that they had before."""
    file_links: Sequence[FileLink] = ()
    relinked: Sequence[str] = ()
    """Keys whose older file links end; those in `file_links` take their place."""
    events: Sequence[Event] = ()
