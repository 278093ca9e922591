"""The embedded server: starts at once, keeps its data, survives crashes, and opens nobody's folders."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from ingestion import errors
from ingestion.sandbox import postgres_store
from ingestion.sandbox.embedded_postgres import EmbeddedPostgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's data is moved")


def _modes(path: Path) -> dict[str, str]:
    return {str(p): f"{stat.S_IMODE(p.stat().st_mode):o} {p.stat().st_uid}" for p in (path, *path.parents)}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    yield folder / "data"
    server = EmbeddedPostgres.find(folder / "data")
    if server is not None:
        server.stop(remove=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_data_persists_over_stop_restart_and_kill(data_dir: Path) -> None:
    server = EmbeddedPostgres.start(data_dir)
    assert server.psql("SHOW listen_addresses") == ""
    server.create_database("kept")
    server.psql("CREATE TABLE t AS SELECT 7 AS n", "kept")
    server.stop()
    assert not server.is_running()
    server.stop()  # idempotent

    server = EmbeddedPostgres.start(data_dir)
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    revived = EmbeddedPostgres.start(data_dir)
    assert revived.psql("SELECT n FROM t", "kept") == "7"
    revived.stop(remove=True)
    assert not data_dir.exists()


async def test_tcp_listens_on_loopback_without_tls_and_asks_for_the_password(data_dir: Path) -> None:
    server = EmbeddedPostgres.start(data_dir, tcp_port=0, password="it's s3cret")
    connection = await asyncpg.connect(server.tcp_url(password="it's s3cret"), ssl=False)
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.tcp_url(password="wrong"), ssl=False)
    with pytest.raises(ConnectionError):
        await asyncpg.connect(server.tcp_url(password="it's s3cret"), ssl="require")
    over_socket = await asyncpg.connect(server.url("postgres"))  # no password there
    assert await over_socket.fetchval("SHOW timezone") == "UTC"
    await over_socket.close()


def test_starts_at_the_same_time_share_one_server_and_a_foreign_pid_is_not_believed(data_dir: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        servers = list(pool.map(EmbeddedPostgres.start, [data_dir] * 3))
    assert len({server.pid for server in servers}) == 1

    server = servers[0]
    server.stop()
    note = server.store.cluster / "postmaster.pid"
    note.write_text(f"{os.getpid()}\n{server.store.cluster}\n0\n5432\n{server.socket_dir}\n\n0 0\nready   \n")
    assert EmbeddedPostgres.find(data_dir) is None
    assert EmbeddedPostgres.start(data_dir).psql("SELECT 1") == "1"


def test_a_folder_left_before_it_was_handed_over_is_handed_over(data_dir: Path) -> None:
    server = EmbeddedPostgres.start(data_dir)
    server.stop()
    os.chown(server.socket_dir, os.geteuid(), os.getegid())
    assert EmbeddedPostgres.start(data_dir).psql("SELECT 1") == "1"


def test_a_long_data_folder_gets_a_short_private_socket_folder(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = data_dir / ("n" * 100) / "data"
    short = Path(tempfile.mkdtemp(prefix="sock-"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    if os.geteuid() == 0:
        monkeypatch.setattr(postgres_store, "VAR_TMP", _long_folder(data_dir))
        short.chmod(0o755)
    try:
        server = EmbeddedPostgres.start(long)
        assert server.socket_dir.is_relative_to(short)
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert len(str(server.socket_dir / ".s.PGSQL.65535")) <= postgres_store.SOCKET_PATH_LIMIT
        assert server.psql("SELECT 1") == "1"
        server.stop(remove=True)
    finally:
        shutil.rmtree(short)


def _long_folder(data_dir: Path) -> Path:
    folder = data_dir.parent / ("v" * 90)
    folder.mkdir(parents=True)
    data_dir.parent.chmod(0o755)
    return folder


@as_root
def test_roots_data_lies_below_var_tmp_opens_no_folder_and_is_swept_when_its_own_is_gone(
    data_dir: Path,
) -> None:
    data_dir.parent.chmod(0o700)
    folders = [data_dir.parent, Path("/var/tmp"), Path(sys.prefix), Path(postgres_store.__file__).parent]
    before = [_modes(folder) for folder in folders]
    server = EmbeddedPostgres.start(data_dir)
    assert [_modes(folder) for folder in folders] == before
    root = server.store.root
    assert root.parent == Path("/var/tmp/procore-ingest-0")
    assert stat.S_IMODE(server.store.cluster.stat().st_mode) == 0o700
    assert os.stat(f"/proc/{server.pid}").st_uid != 0
    server.stop()
    shutil.rmtree(data_dir)
    other = data_dir.parent / "other"
    try:
        postgres_store.open_store(other)
        assert not root.exists()
    finally:
        postgres_store.remove(postgres_store.open_store(other))


@as_root
def test_programs_below_a_private_home_are_copied_for_the_servers_user(tmp_path: Path) -> None:
    source = postgres_store.binaries(postgres_store.run_as()).parent
    libraries = source.parent.parent / f"{source.parent.name}.libs"
    hidden = tmp_path / "home" / source.parent.name / source.name
    shutil.copytree(source / "bin", hidden / "bin")
    if libraries.is_dir():
        shutil.copytree(libraries, tmp_path / "home" / libraries.name)
    (tmp_path / "home").chmod(0o700)
    copied = postgres_store._copied(hidden)
    try:
        assert not postgres_store._open_to_all(hidden)
        assert postgres_store._open_to_all(copied)
        assert postgres_store._copied(hidden) == copied
        shutil.rmtree(tmp_path / "home")
        for program in ("initdb", "postgres"):
            ran = subprocess.run([copied / "bin" / program, "--version"], capture_output=True, text=True)
            assert "PostgreSQL" in ran.stdout, ran.stderr
    finally:
        shutil.rmtree(copied.parent.parent)


def test_a_folder_that_another_user_prepared_is_refused(tmp_path: Path) -> None:
    account = postgres_store.run_as()
    trap = tmp_path / f"procore-ingest-{os.geteuid()}"
    trap.mkdir(mode=0o777)
    trap.chmod(0o777)
    with pytest.raises(errors.SettingsError, match="not a private folder"):
        postgres_store.private_folder(tmp_path, account)


def test_a_missing_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_store, "_PACKAGE", "no_such_package")
    with pytest.raises(errors.SettingsError) as caught:
        postgres_store.binaries(postgres_store.run_as())
    assert 'pip install "procore-ingest[sandbox]"' in caught.value.hint


def test_a_setting_that_postgresql_refuses_is_said_with_its_reason(data_dir: Path) -> None:
    with pytest.raises(errors.SourceUnavailable, match="did not start"):
        EmbeddedPostgres.start(data_dir, settings={"shared_buffers": "a lot"})


def test_importing_starts_nothing_and_loads_no_driver() -> None:
    code = "import sys, ingestion.sandbox.embedded_postgres; print('asyncpg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
