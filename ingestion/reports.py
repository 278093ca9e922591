"""What the service answers: plain frozen facts that every front end renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ingestion.events import Counts, FileCounts
from ingestion.plan import Plan


class JobKind(Enum):
    FULL = "full"
    INCREMENTAL = "incremental"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What to run: a kind with its plan, or an earlier job to go on with."""

    kind: JobKind = JobKind.FULL
    plan: Plan = field(default_factory=Plan)
    resume: str | None = None
    allow_mass_delete: bool = False


@dataclass(frozen=True, slots=True)
class TableReport:
    table: str
    status: str
    counts: Counts
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job ended; `counts` are the sums of `tables`."""

    job_id: str
    kind: str
    status: str
    seconds: float
    tables: tuple[TableReport, ...]
    files: FileCounts
    message: str = ""
    state_path: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """As `sync.metrics.of` gives them, of the job's last run; empty where it left none."""

    @property
    def counts(self) -> Counts:
        return sum((table.counts for table in self.tables), Counts())


@dataclass(frozen=True, slots=True)
class Where:
    """The addresses in use, redacted. `configured` is False while no source is named."""

    database: str
    vespa: str
    namespace: str
    state_dir: str
    configured: bool
    sandbox: bool


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """The source as it presents itself; nothing secret."""

    database: str
    host: str
    port: int
    user: str
    server_version: str
    encoding: str
    in_recovery: bool
    encrypted: bool
    read_only: bool
    can_write: bool
    """Whether the role itself could write; our sessions are read-only either way."""
    superuser: bool = False
    tables: int = 0
    """Tables outside PostgreSQL's own schemas, partitions counted with their root."""
    unreadable: int = 0
    """Those of `tables` that the role may not read."""
    timeout_s: float = 0.0
    """Longest time that one of our statements may take; 0 without a limit."""


@dataclass(frozen=True, slots=True)
class VespaInfo:
    url: str
    namespace: str
    up: bool
    missing: tuple[str, ...]
    records: int
    files: int
    package_version: int = 0
    """Of the deployed application package, as far as this version of the product knows; 0 for none of ours."""
    needed_version: int = 0
    vespa_version: str = ""
    """Vespa's own, empty where it does not say."""


@dataclass(frozen=True, slots=True)
class TableEstimate:
    table: str
    rows: int
    exact: bool
    size_bytes: int
    file_columns: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan would do; `dangling` are relations from taken tables to tables left out."""

    tables: tuple[TableEstimate, ...]
    rows: int
    size_bytes: int
    seconds: float
    dangling: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A source row beside the document it becomes; nothing is written."""

    table: str
    key: str | None
    row: Mapping[str, str | None]
    document: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampledPair:
    """A value of a reference's column: how many sampled rows hold it, and the target's row if there is one."""

    value: str
    rows: int
    found: bool
    label: str = ""


@dataclass(frozen=True, slots=True)
class RelationSample:
    """What a look at a reference found: counts over all sampled values, `pairs` some of them, found ones first.

    `label` is the target's column that the pairs' labels come from; `problem` says why nothing was sampled.
    """

    pairs: tuple[SampledPair, ...] = ()
    values: int = 0
    found: int = 0
    rows: int = 0
    rows_found: int = 0
    label: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """One table of a verification; the id lists are capped at 1,000 with `truncated`."""

    table: str
    source: int = 0
    indexed: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    missing_ids: tuple[str, ...] = ()
    extra_ids: tuple[str, ...] = ()
    different_ids: tuple[str, ...] = ()
    truncated: bool = False
    message: str = ""

    @property
    def equal(self) -> bool:
        return not (self.missing or self.extra or self.different or self.message)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    deep: bool
    tables: tuple[TableDifference, ...]
    repaired: int = 0

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)


@dataclass(frozen=True, slots=True)
class Untried:
    """A table that a retry could not read: how many of its failures stand as they stood, and why."""

    table: str
    failures: int
    message: str


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What a retry did: `resolved` are indexed (or gone from the source), `failed` failed again.

    Failures of tables in `untried` are in none of the counts.
    """

    tried: int
    resolved: int
    failed: int
    stopped_after_canary: bool = False
    untried: tuple[Untried, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: `state` is `ok`, `warning` or `problem`."""

    name: str
    state: str
    message: str
    hint: str = ""
