"""The command line's grammar, exit codes and output, without any service."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import NoReturn

import pytest

from app import cli, completion, output
from app.exit_codes import ExitCode, exit_code_for
from app.parser import build_parser
from ingestion import errors


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "app", *argv],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=30,
    )


def commands() -> list[tuple[str, ...]]:
    def refuse(message: str, hint: str) -> NoReturn:
        raise ValueError(message, hint)

    words = completion._words(build_parser(refuse))
    return [path for path in words if path]


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_help_has_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*path, "--help"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"procore-ingest {path[0]}" in shown


def test_help_loads_no_driver_and_no_textual() -> None:
    program = (
        "import sys\nfrom app.cli import run\nrun(['--help'])\n"
        "heavy = {'asyncpg', 'textual', 'rich', 'vespa', 'boto3', 'aiohttp', 'aiosqlite'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()


def test_the_core_loads_neither_textual_nor_rich() -> None:
    program = (
        "import importlib, pkgutil, sys\nimport ingestion\n"
        "for m in pkgutil.walk_packages(ingestion.__path__, 'ingestion.'):\n"
        "    if not m.name.endswith('__main__'): importlib.import_module(m.name)\n"
        "heavy = {'textual', 'rich', 'app'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("argv", "said", "hint"),
    [
        (["ingest"], "required", "--help"),
        (["ingest", "--ful"], "required", "--help"),
        (["discover", "--formt", "json"], "--formt", "--format"),
        (["frobnicate"], "frobnicate", "--help"),
        (["ingest", "--full", "--batch-size", "0"], "batch-size", "--help"),
        (["demo", "--scale", "-1"], "scale", "--help"),
    ],
)
def test_a_wrong_word_ends_64_and_says_which(
    argv: list[str], said: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(argv) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert hint in shown.err
    assert "Traceback" not in shown.err


def test_errors_in_json_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--json", "nothing"]) == ExitCode.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == 64
    assert set(error) == {"code", "message", "hint"}


def test_version_is_the_packages() -> None:
    from ingestion.version import __version__

    done = run("--version")
    assert done.stdout.decode().strip() == f"procore-ingest {__version__}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--completion", shell]) == ExitCode.DONE
    text = capsys.readouterr().out
    for path in commands():
        assert path[-1] in text
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_without_a_terminal_the_application_names_the_headless_command() -> None:
    done = run("--state-dir", os.environ["HOME"])
    assert done.returncode == ExitCode.USAGE
    assert b"demo --headless" in done.stderr


def test_a_closed_stdout_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "app", "--completion", "bash"],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(write)
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_pipe_takes_any_text(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    output.Output(stdout=stream, stderr=stream).data("naïve → 日本 … \u202e")
    assert raw.getvalue()
    raw.getvalue().decode(encoding)


def test_an_unwritable_state_folder_is_one_sentence_and_7(tmp_path_factory: pytest.TempPathFactory) -> None:
    blocked = tmp_path_factory.mktemp("blocked") / "file"
    blocked.write_text("")
    done = run("--state-dir", str(blocked / "state"), "jobs", "list")
    assert done.returncode == ExitCode.LOCAL
    assert str(blocked) in done.stderr.decode()
    assert b"--state-dir" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SourceUnavailable("x"), 1),
        (errors.ConnectionError("x"), 1),
        (errors.VespaUnavailable("x"), 2),
        (errors.VespaBlocked("x"), 2),
        (errors.IndexError("x"), 2),
        (errors.MassDeleteBrake("t", 5, 10), 3),
        (errors.TransformError("x"), 4),
        (errors.WriterLocked("x"), 6),
        (errors.StateError("x"), 7),
        (OSError("x"), 7),
        (errors.SettingsError("x"), 64),
        (errors.SchemaError("x"), 64),
        (RuntimeError("x"), 70),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_for(error) == code


def test_a_table_aligns_wide_and_combining_text() -> None:
    text = output.table(("a", "n"), [("日本", 1), ("e\u0301", 20), ("x\x1b[31m", 3)], numbers=frozenset({1}))
    lines = text.splitlines()
    assert "\x1b" not in text
    assert lines[0].endswith(" n")
    assert lines[1].endswith("  1")
