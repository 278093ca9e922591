"""The endpoint as a process of its own: started ready, stopped cleanly, or left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ingestion import errors

PORT_FILE = "port"
LOG_FILE = "endpoint.log"
_POLL_S = 0.005


@dataclass(slots=True)
class EndpointProcess:
    """A running endpoint; it outlives its starter unless `stop` is called."""

    url: str
    pid: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it: asked first, killed after `timeout_s`. Harmless when it is gone already."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                break
            if self._gone_within(timeout_s):
                break
        if self._process is not None:
            self._process.wait(timeout_s)

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL), and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._gone_within(5.0)

    def running(self) -> bool:
        """Whether the process still lives."""
        if self._process is not None:
            return self._process.poll() is None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # a child of ours that ended would otherwise seem to live
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def start(
    data_dir: Path, port: int = 0, *, host: str = "127.0.0.1", timeout_s: float = 20.0
) -> EndpointProcess:
    """Start an endpoint on `data_dir` and return once it answers.

    It runs in a session of its own, so neither the caller's end nor its Ctrl-C ends it. Raises
    VespaUnavailable with the process's own words when it does not come up.
    """
    data_dir = data_dir.resolve()  # the process runs in another folder
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    port_file = data_dir / PORT_FILE
    port_file.unlink(missing_ok=True)
    log = data_dir / LOG_FILE
    command = [sys.executable, "-m", "ingestion.sandbox.vespa_endpoint", "--host", host, "--port", str(port)]
    command += ["--data", str(data_dir), "--port-file", str(port_file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[3],
        )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists():
            shown = f"[{host}]" if ":" in host else host
            return EndpointProcess(f"http://{shown}:{port_file.read_text()}", process.pid, process)
        time.sleep(_POLL_S)
    failed = process.poll()
    process.kill()
    process.wait()
    said = log.read_text(errors="replace").strip().splitlines()
    reason = said[-1] if said else ("it ended" if failed is not None else f"not ready within {timeout_s:g} s")
    raise errors.VespaUnavailable(
        f"the local Vespa endpoint did not start: {reason}", hint=f"Its whole output is in {log}."
    )
