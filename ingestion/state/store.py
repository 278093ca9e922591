"""The state of one source and one index: everything that outlives a process, in one SQLite file.

    async with await StateStore.open(path) as state:             # the writer's side
        async with state.writer(job_id, "full sync"):
            stored = await state.commit_batch(BatchCommit(...))  # durable when it returns
    async with await StateStore.open(path, read_only=True) as state: ...   # beside a writer

All methods raise `errors.StateError` when the file cannot be read or written. Writes are atomic; one that has
started ends even when its caller is cancelled (the cancellation is then raised). Reads see what is committed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from ingestion.state.checkpoints import Checkpoints
from ingestion.state.commands import JobCommands
from ingestion.state.commit import Commits
from ingestion.state.decisions import Decisions
from ingestion.state.event_log import EventLog
from ingestion.state.failures import Failures
from ingestion.state.files import Files
from ingestion.state.in_flight import InFlight
from ingestion.state.job_tables import JobTables
from ingestion.state.jobs import Jobs
from ingestion.state.ledger import Ledger
from ingestion.state.lock import WriterLock
from ingestion.state.partitions import Partitions
from ingestion.state.tables import Tables

FILE_NAME: Final = "state.db"
_NAME_LENGTH: Final = 60
"""Characters of the database's name that its folder keeps."""


class StateStore(
    WriterLock,
    Jobs,
    JobTables,
    JobCommands,
    EventLog,
    Partitions,
    Ledger,
    InFlight,
    Failures,
    Files,
    Tables,
    Checkpoints,
    Decisions,
    Commits,
):
    """One open state file; `StateStore.open(path, read_only=…)` gives one, `close` ends it.

    The methods live with their nouns in this package; this class only brings them together.
    """


def state_path(state_dir: Path, host: str, port: int, database: str, vespa_url: str, namespace: str) -> Path:
    """`{state_dir}/{database}-{8 hex}/state.db`, one per source, index and namespace.

    User, password and other credentials are no part of it, so that changing them keeps the state.
    """
    parts = (host.lower(), str(port), database, _without_credentials(vespa_url), namespace)
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", database)[:_NAME_LENGTH].lstrip(".-") or "database"
    return Path(state_dir) / f"{safe}-{digest}" / FILE_NAME


def _without_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0].rstrip("/").lower()
