"""How the application ends: a closed terminal, a signal, an error of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, logging, sys
logging.getLogger().addHandler(logging.NullHandler())
from app import application
from tests.tui.fake_service import FakeService
async def main():
    if sys.argv[1] == "broken":
        def broken(self): raise ValueError("password-in-a-local")
        application.IngestApp.on_mount = broken
    return await application.run(FakeService())
sys.exit(asyncio.run(main()))
"""


def start(how: str, home: Path, *, controlled: bool = True) -> tuple[subprocess.Popen[bytes], int]:
    """The application on the double; the other end of its terminal."""
    return on_a_terminal([sys.executable, "-c", PROGRAM, how], home, controlled=controlled)


def on_a_terminal(
    argv: list[str], home: Path, *, controlled: bool = True
) -> tuple[subprocess.Popen[bytes], int]:
    """A command on a terminal of its own of 120 by 36 cells; the terminal's other end.

    Not `controlled` by it, the command is not told by SIGHUP when it goes.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    environment = {**os.environ, "HOME": str(home), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        argv,
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if controlled else None,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def read_until(terminal: int, wanted: bytes, timeout_s: float = 30.0) -> bytes:
    """What the terminal showed, up to and including `wanted`, or to its end."""
    shown = b""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and wanted not in shown:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
    return shown


@pytest.mark.parametrize("controlled", [True, False])
def test_a_closed_terminal_ends_the_application(tmp_path: Path, controlled: bool) -> None:
    process, terminal = start("well", tmp_path, controlled=controlled)
    assert b"Help" in read_until(terminal, b"Help")
    os.close(terminal)
    assert process.wait(20) == 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_application(tmp_path: Path, signum: signal.Signals) -> None:
    process, terminal = start("well", tmp_path)
    assert b"Help" in read_until(terminal, b"Help")
    process.send_signal(signum)
    read_until(terminal, b"never shown", 20)
    assert process.wait(20) == 5
    os.close(terminal)


def test_an_error_of_our_own_is_one_sentence_without_a_traceback(tmp_path: Path) -> None:
    process, terminal = start("broken", tmp_path)
    shown = read_until(terminal, b"has the details", 30)
    assert b"internal error: ValueError" in shown
    assert b"Traceback" not in shown
    assert b"password-in-a-local" not in shown
    read_until(terminal, b"never shown", 20)
    assert process.wait(20) == 70
    os.close(terminal)
