"""The sandbox: up returns when all is ready, survives its starter, repairs what crashed, goes down whole."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ingestion import errors
from ingestion.sandbox import sandbox
from ingestion.sandbox.vespa_endpoint import process as vespa_process

SCALE = 0.02


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
    yield folder / "home"
    sandbox.down(folder / "home", remove=True)
    shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _up_in_another_process(home: Path, seed: int) -> sandbox.SandboxInfo:
    code = (
        "import asyncio, json, sys; from dataclasses import asdict; from pathlib import Path\n"
        "from ingestion.sandbox import sandbox\n"
        f"info = asyncio.run(sandbox.up(Path(sys.argv[1]), scale={SCALE}, seed={seed}))\n"
        "print(json.dumps(asdict(info)))"
    )
    command = [sys.executable, "-c", code, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sandbox.SandboxInfo(**json.loads(done.stdout))


async def test_up_leaves_no_half_outlives_its_starter_repairs_and_goes_down_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sandbox.status(home) is None

    def refuse(*_: object, **__: object) -> None:
        raise errors.VespaUnavailable("the port is taken")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(vespa_process, "start", refuse)
        with pytest.raises(errors.VespaUnavailable):
            await sandbox.up(home, scale=SCALE, seed=3, on_progress=said.append)
    assert {"starting PostgreSQL", "starting the local Vespa endpoint"} <= set(said)
    assert sandbox.status(home) is None  # what was started is stopped again

    info = await asyncio.to_thread(_up_in_another_process, home, 3)
    assert stat.S_IMODE((home / "sandbox.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert len(info.copy_sha256) == 49
    assert Path(info.manifest).stat().st_size > 0
    assert _answers(f"{info.vespa_url}/state/v1/health")

    reader = await asyncpg.connect(info.database_url)
    assert await reader.fetchval("SELECT count(*) FROM photos") > 100
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("DELETE FROM photos")
    await reader.close()

    assert await sandbox.up(home) == info  # idempotent; the kept sample stays without being named
    os.kill(info.pids["files"], signal.SIGKILL)
    os.kill(info.pids["postgres"], signal.SIGKILL)
    repaired = await sandbox.up(home)
    assert repaired.pids["vespa"] == info.pids["vespa"]
    assert repaired.pids["files"] != info.pids["files"]
    assert repaired.copy_sha256 == info.copy_sha256
    assert await asyncio.to_thread(sandbox.status, home) == repaired

    Path(info.state_dir).mkdir(exist_ok=True)
    other = await sandbox.up(home, seed=4)
    assert other.copy_sha256 != info.copy_sha256
    assert not Path(info.state_dir).exists()  # it was made from the other sample

    assert await asyncio.to_thread(sandbox.down, home)
    assert sandbox.status(home) is None
    assert not _answers(f"{other.vespa_url}/state/v1/health")
    assert not sandbox.down(home)


def test_a_missing_extra_names_the_pip_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_NEEDED", ("no_such_package",))
    with pytest.raises(errors.SettingsError) as caught:
        asyncio.run(sandbox.up(home))
    assert 'pip install "procore-ingest[sandbox]"' in caught.value.hint
    assert not home.exists()


def test_a_record_that_names_another_process_is_not_believed(home: Path) -> None:
    home.mkdir()
    part = {"pid": os.getpid(), "url": "http://127.0.0.1:1"}
    (home / "sandbox.json").write_text(json.dumps({"parts": {"vespa": part, "files": part}}))
    assert sandbox.status(home) is None
    assert not sandbox.down(home)


async def test_an_index_that_does_not_open_is_made_anew(tmp_path: Path) -> None:
    """A later version of the local endpoint, or a damaged disk, must not keep the sandbox from starting."""
    home = tmp_path / "sandbox"
    told: list[str] = []
    try:
        await sandbox.up(home, scale=0.01)
        sandbox.down(home)
        for file in (home / "vespa").glob("documents.sqlite*"):
            file.unlink()
        (home / "vespa" / "documents.sqlite").write_bytes(b"this is no database" * 1000)
        info = await sandbox.up(home, on_progress=told.append)
        assert any("empty one" in text for text in told)
        assert set(info.pids) == {"postgres", "vespa", "files"}
    finally:
        sandbox.down(home, remove=True)
