"""A program on a terminal of its own: keys go in, what it draws comes out with the moment it came."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import psutil


class Terminal:
    """A context manager; at its end the program is told to go (SIGTERM) and waited for."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        size: tuple[int, int] = (80, 24),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        names = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environ or {})}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            list(argv), stdin=theirs, stdout=theirs, stderr=theirs, env=names, start_new_session=True
        )
        os.close(theirs)
        self._ours = ours
        self.shown = b""
        """What was drawn since the last key."""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        try:
            part = os.read(self._ours, 1 << 16)
        except OSError:  # its end is closed
            return False
        self.shown += part
        return bool(part)

    def until(self, *wanted: bytes, timeout_s: float = 60.0) -> float:
        """The moment at which one of these was drawn; ends the benchmark where that does not come."""
        deadline = time.perf_counter() + timeout_s
        while not any(words in self.shown for words in wanted):
            if time.perf_counter() > deadline or (not self._read(0.05) and self.process.poll() is not None):
                raise SystemExit(f"{wanted!r} was not drawn; the last of what was: {self.shown[-800:]!r}")
        return time.perf_counter()

    def idle(self, seconds: float) -> None:
        """Read what is drawn for a while."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self._read(0.02)

    def press(self, keys: bytes) -> float:
        """Send keys; the moment of it. What was drawn before is forgotten."""
        while self._read(0):
            pass
        self.shown = b""
        now = time.perf_counter()
        os.write(self._ours, keys)
        return now

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the program so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system
