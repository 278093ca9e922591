"""The tables of the state file and how an older file becomes a current one.

`PRAGMA user_version` counts the migrations that a file has seen. A file that needs some is copied first to
`state.db.vN-backup` beside it. `PRAGMA application_id` tells our files from other SQLite databases.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ingestion import errors
from ingestion.state.faults import translated
from ingestion.state.runner import Runner, is_gone

APPLICATION_ID: Final = 0x50434947  # "PCIG"
BUSY_TIMEOUT_S: Final = 15.0
"""How long a connection waits for another one's transaction; ours take milliseconds."""

V1: Final = (
    # Single values: read_seq, source identity, schema map, transform version …
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # Source tables by a small number, and what is known of them beyond any one job.
    """CREATE TABLE tables (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, has_state INTEGER NOT NULL DEFAULT 0,
        oid INTEGER, relfilenode INTEGER, key_columns TEXT, key_basis TEXT NOT NULL DEFAULT '',
        horizon INTEGER, epoch INTEGER, transform_version INTEGER, detail TEXT NOT NULL DEFAULT '{}')""",
    # At most one row: who may write to the index.
    """CREATE TABLE writer_lock (
        one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL, pid INTEGER NOT NULL, host TEXT NOT NULL,
        process_start TEXT NOT NULL, job_id TEXT, purpose TEXT NOT NULL, since REAL NOT NULL)""",
    """CREATE TABLE jobs (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        plan TEXT NOT NULL, status TEXT NOT NULL, pid INTEGER, host TEXT NOT NULL, process_start TEXT NOT NULL,
        created_at REAL NOT NULL, started_at REAL, finished_at REAL, message TEXT NOT NULL DEFAULT '',
        report TEXT, last_seq INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE job_tables (
        job INTEGER NOT NULL, table_id INTEGER NOT NULL, ordinal INTEGER NOT NULL DEFAULT 0,
        status TEXT NOT NULL DEFAULT 'pending', method TEXT NOT NULL DEFAULT '',
        expected INTEGER NOT NULL DEFAULT 0, exact INTEGER NOT NULL DEFAULT 1,
        read INTEGER NOT NULL DEFAULT 0, indexed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0, warned INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,
        size_bytes INTEGER NOT NULL DEFAULT 0, files_found INTEGER NOT NULL DEFAULT 0,
        files_downloaded INTEGER NOT NULL DEFAULT 0, files_failed INTEGER NOT NULL DEFAULT 0,
        files_skipped INTEGER NOT NULL DEFAULT 0, files_size_bytes INTEGER NOT NULL DEFAULT 0,
        started_at REAL, finished_at REAL, message TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '{}',
        PRIMARY KEY (job, table_id)) WITHOUT ROWID""",
    """CREATE TABLE job_commands (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, command TEXT NOT NULL,
        argument TEXT NOT NULL, requested_at REAL NOT NULL, taken_at REAL)""",
    "CREATE INDEX job_commands_waiting ON job_commands (job, id) WHERE taken_at IS NULL",
    """CREATE TABLE partitions (
        job INTEGER NOT NULL, table_id INTEGER NOT NULL, ordinal INTEGER NOT NULL, kind TEXT NOT NULL,
        bounds TEXT NOT NULL, position TEXT, status TEXT NOT NULL,
        PRIMARY KEY (job, table_id, ordinal)) WITHOUT ROWID""",
    # Keys that one job found more than once in a table.
    """CREATE TABLE duplicates (
        job INTEGER NOT NULL, table_id INTEGER NOT NULL, key TEXT NOT NULL,
        PRIMARY KEY (job, table_id, key)) WITHOUT ROWID""",
    # How many copies of a row one job has read, in tables without a key.
    """CREATE TABLE row_hashes (
        job INTEGER NOT NULL, table_id INTEGER NOT NULL, hash TEXT NOT NULL, copies INTEGER NOT NULL,
        PRIMARY KEY (job, table_id, hash)) WITHOUT ROWID""",
    # What the index holds. No second index: it would double the file, and every other question about the
    # ledger is a scan of one table, which reads about a million entries a second.
    """CREATE TABLE ledger (
        table_id INTEGER NOT NULL, key TEXT NOT NULL, digest INTEGER NOT NULL, read_seq INTEGER NOT NULL,
        bucket INTEGER NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (table_id, key)) WITHOUT ROWID""",
    """CREATE TABLE failures (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, table_id INTEGER NOT NULL,
        kind TEXT NOT NULL, key TEXT NOT NULL, locator TEXT NOT NULL, stage TEXT NOT NULL, cause TEXT NOT NULL,
        message TEXT NOT NULL, attempts INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL,
        status TEXT NOT NULL, note TEXT NOT NULL, detail TEXT NOT NULL)""",
    # A failure that is not over stands once, however often it happens.
    """CREATE UNIQUE INDEX failures_standing ON failures (table_id, kind, key, cause, locator)
        WHERE status <> 'resolved'""",
    # Counts and clusters are answered from this index alone.
    """CREATE INDEX failures_clusters ON failures (
        status, kind, cause, stage, table_id, first_at, last_at, job)""",
    # A file that arrives ends its failures, whatever record they were met at.
    "CREATE INDEX failures_files ON failures (locator) WHERE kind = 'file' AND status = 'open'",
    """CREATE TABLE events (
        job INTEGER NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (job, seq)) WITHOUT ROWID""",
    """CREATE TABLE checkpoints (
        table_id INTEGER PRIMARY KEY, last_sync_timestamp TEXT NOT NULL, last_success_timestamp TEXT,
        last_record_id TEXT, records_processed INTEGER NOT NULL, records_failed INTEGER NOT NULL,
        sync_status TEXT NOT NULL, error_message TEXT, updated_at TEXT NOT NULL)""",
    """CREATE TABLE files (
        file_id TEXT PRIMARY KEY, status TEXT NOT NULL, s3_key TEXT NOT NULL, url TEXT NOT NULL,
        filename TEXT NOT NULL, content_type TEXT NOT NULL, file_type TEXT NOT NULL, size_bytes INTEGER,
        checksum TEXT NOT NULL, etag TEXT NOT NULL, path TEXT NOT NULL, cause TEXT NOT NULL,
        message TEXT NOT NULL, attempts INTEGER NOT NULL, read_seq INTEGER NOT NULL, updated_at REAL NOT NULL,
        detail TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX files_by_status ON files (status, file_id)",
    """CREATE TABLE file_links (
        table_id INTEGER NOT NULL, key TEXT NOT NULL, "column" TEXT NOT NULL, file_id TEXT NOT NULL,
        PRIMARY KEY (table_id, key, "column", file_id)) WITHOUT ROWID""",
    "CREATE INDEX file_links_of_file ON file_links (file_id)",
    """CREATE TABLE decisions (
        kind TEXT NOT NULL, subject TEXT NOT NULL, verdict TEXT NOT NULL, note TEXT NOT NULL,
        decided_at REAL NOT NULL, PRIMARY KEY (kind, subject)) WITHOUT ROWID""",
)

V2: Final = (
    # Keys whose documents are being written or removed: one row a batch, gone with its commit.
    "CREATE TABLE in_flight (id INTEGER PRIMARY KEY AUTOINCREMENT, table_id INTEGER NOT NULL, keys TEXT NOT NULL)",
)

V3: Final = (
    # Files whose documents do not say yet who refers to them now, and how often that has changed since they did.
    "CREATE TABLE file_touches (file_id TEXT PRIMARY KEY, touches INTEGER NOT NULL) WITHOUT ROWID",
    # Whether the keys have been found gone once already, so that a last look is enough.
    "ALTER TABLE in_flight ADD COLUMN gone INTEGER NOT NULL DEFAULT 0",
)

V4: Final = (
    # Equal content under different names is kept and looked into once.
    "CREATE INDEX files_by_checksum ON files (checksum) WHERE checksum <> ''",
)

V5: Final = (
    # Of the rows indexed those that the index did not hold before the job, and those it held otherwise.
    "ALTER TABLE job_tables ADD COLUMN inserted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE job_tables ADD COLUMN updated INTEGER NOT NULL DEFAULT 0",
)

Migrations = Sequence[Sequence[str]]
MIGRATIONS: Final[Migrations] = (V1, V2, V3, V4, V5)
"""Migration N brings a file of version N - 1 to version N. Only ever appended to."""


def prepare(path: Path, *, migrations: Migrations = MIGRATIONS) -> None:
    """Make sure that a current state file stands at `path`, private to its owner.

    Raises StateError when the folder or file cannot be written, is something else, or is newer than this version;
    WriterLocked when a job of an older version is still writing to a file that needs migrating.
    """
    with translated(path):
        _private_file(path)
        with _alone(path.parent), contextlib.closing(_connect(path)) as connection:
            if _version(path, connection, len(migrations)) < len(migrations):
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(path, connection, migrations)


def needs_migration(path: Path, *, migrations: Migrations = MIGRATIONS) -> bool:
    """Whether an existing file is older than this version; raises StateError as `prepare` does."""
    with translated(path), contextlib.closing(_connect(path, read_only_mode(path))) as connection:
        return _version(path, connection, len(migrations)) < len(migrations)


def backup_path(path: Path, version: int) -> Path:
    """Where the copy of a file of that version is put before it is migrated."""
    return path.with_name(f"{path.name}.v{version}-backup")


def _migrate(path: Path, connection: sqlite3.Connection, migrations: Migrations) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(path, connection, len(migrations))
        if version:
            _refuse_if_written_to(connection)
            _back_up(path, version)
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(path: Path, connection: sqlite3.Connection, newest: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application == 0 and version == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise _not_ours(path)
    elif application != APPLICATION_ID:
        raise _not_ours(path)
    if version > newest:
        raise errors.StateError(
            f"{path} was written by a newer procore-ingest (state version {version}, this one knows {newest}).",
            hint="Upgrade procore-ingest, or choose another folder with --state-dir.",
        )
    return version


def _not_ours(path: Path) -> errors.StateError:
    return errors.StateError(
        f"{path} is a database, but not a state file of procore-ingest.",
        hint="Move it away, or choose another folder with --state-dir.",
    )


def _refuse_if_written_to(connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT pid, host, process_start FROM writer_lock").fetchone()
    if row and not is_gone(Runner(*row)):
        raise errors.WriterLocked(
            f"The state file needs migrating, but process {row[0]} on {row[1]}, of an older version, writes to it.",
            hint="Let that job end, then try again.",
        )


def _back_up(path: Path, version: int) -> None:
    """Copy what is committed; the caller holds the write lock, so nothing is missing from the copy."""
    target = backup_path(path, version)
    unfinished = target.with_name(target.name + ".tmp")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with contextlib.closing(_connect(path)) as source, contextlib.closing(_connect(unfinished)) as copy:
        source.backup(copy)
    os.replace(unfinished, target)


def _private_file(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    # SQLite gives its -wal and -shm files the mode of the database, so this one decides for all. A file that is
    # there is never opened but by SQLite: closing any descriptor of it would drop the locks of this process's
    # other connections, and the next process to leave would take their write-ahead log away from under them.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(0o600)


def read_only_mode(path: Path) -> str:
    """In a folder that we cannot write, SQLite opens a WAL database only when told that nobody changes it."""
    beside = path.with_name(path.name + "-wal")
    return "mode=ro" if os.access(path.parent, os.W_OK) or beside.exists() else "mode=ro&immutable=1"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from creating or migrating the file meanwhile; switching to WAL does not wait."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: SQLite's own must do
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _connect(path: Path, mode: str = "mode=rw") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )
