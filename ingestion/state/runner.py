"""Which process runs a job or holds the lock, and whether it still lives.

A process id alone proves nothing: it is given out again. Id and start time together name one process.
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STAT_START: Final = 19
"""Index of `starttime` in /proc/PID/stat, counted after the command's closing parenthesis (proc(5))."""


@dataclass(frozen=True, slots=True)
class Runner:
    """`start` is opaque text that differs between processes with the same id; empty where unknown."""

    pid: int
    host: str
    start: str = ""


def this_process() -> Runner:
    pid = os.getpid()
    return Runner(pid, socket.gethostname(), process_start(pid))


def is_gone(runner: Runner) -> bool:
    """True only when it surely no longer runs: of another host nothing is known."""
    if runner.host != socket.gethostname():
        return False
    if not _exists(runner.pid):
        return True
    now = process_start(runner.pid)
    return bool(runner.start and now and runner.start != now)


def process_start(pid: int) -> str:
    """When the process began, as opaque text; empty when it is gone or the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        # A killed child that nobody has waited for still has an entry; it runs no more.
        return "gone" if fields[0] in "ZX" else f"{_BOOT_ID.read_text()[:8]}:{fields[_STAT_START]}"
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    except (OSError, IndexError):
        return ""


def _start_by_ps(pid: int) -> str:
    try:
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # someone else's
    return True
