"""What SQLite and the file system refuse, as one sentence with the next step."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ingestion import errors

_ELSEWHERE: Final = "or choose another folder with --state-dir."

_SQLITE: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", f"Free some space, {_ELSEWHERE}"),
    sqlite3.SQLITE_READONLY: ("it cannot be written", f"Make the file and its folder writable, {_ELSEWHERE}"),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        f"Check that the folder exists and is yours, {_ELSEWHERE}",
    ),
    sqlite3.SQLITE_PERM: ("it may not be opened", f"Check its permissions, {_ELSEWHERE}"),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", f"Check the disk and its free space, {_ELSEWHERE}"),
    sqlite3.SQLITE_BUSY: (
        "another process keeps it locked",
        "See `procore-ingest jobs list`, then try again.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged",
        "Put back a copy, or move it away: the next full ingest rebuilds it.",
    ),
    sqlite3.SQLITE_NOTADB: ("it is not a state file", f"Move it away, {_ELSEWHERE}"),
}
_SYSTEM: Final = {
    errno.ENOSPC: _SQLITE[sqlite3.SQLITE_FULL],
    errno.EDQUOT: ("your disk quota is used up", f"Free some space, {_ELSEWHERE}"),
    errno.EROFS: ("the file system is read-only", "Choose another folder with --state-dir."),
    errno.EACCES: ("you may not read or write there", f"Check the folder's permissions, {_ELSEWHERE}"),
    errno.EPERM: ("you may not read or write there", f"Check the folder's permissions, {_ELSEWHERE}"),
    errno.ENOTDIR: ("a part of its path is a file", "Choose another folder with --state-dir."),
    errno.EEXIST: ("a part of its path is a file", "Choose another folder with --state-dir."),
    errno.EISDIR: ("it is a folder", "Choose another folder with --state-dir."),
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StateError, with the original as its cause, for what SQLite or the system refuses inside."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        what, hint = _SQLITE.get((code or 0) & 0xFF, (str(error), f"Try again, {_ELSEWHERE}"))
        raise errors.StateError(f"State file {path}: {what}.", hint=hint) from error
    except OSError as error:
        what, hint = _SYSTEM.get(
            error.errno or 0, (error.strerror or str(error), f"Check the folder, {_ELSEWHERE}")
        )
        raise errors.StateError(f"State file {path}: {what}.", hint=hint) from error
