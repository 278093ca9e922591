"""Jobs in processes of their own: starting one, and what its process reads when it begins.

A job's settings hold secrets, so they go to the new process over its standard input, never as arguments. The
process leads a session of its own: the end of the terminal that started it does not reach it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingestion import errors, memory
from ingestion.plan import Plan
from ingestion.reports import JobKind, JobRequest
from ingestion.settings import Settings

START_TIMEOUT_S = 900.0
LOG_BYTES = 5 * 2**20
"""Beyond this the log of the jobs' processes begins anew."""


def request_to_dict(request: JobRequest) -> dict[str, Any]:
    return {**asdict(request), "kind": request.kind.value}


def request_from_dict(members: dict[str, Any]) -> JobRequest:
    return JobRequest(
        kind=JobKind(members["kind"]),
        plan=Plan.from_dict(members["plan"]),
        resume=members.get("resume"),
        allow_mass_delete=bool(members.get("allow_mass_delete")),
    )


async def start(settings: Settings, request: JobRequest, log_path: Path) -> str:
    """Start the job's process; its id once it holds the writer lock and the job is stored.

    Discovery comes before that and may take minutes; cancelled meanwhile, the process ends as well. Raises the
    error that the process reports when it cannot start: another writer, an unusable state.
    """
    message = {"settings": settings.to_dict(), "request": request_to_dict(request)}
    process = await _launch(log_path)
    try:
        line = await asyncio.wait_for(_converse(process, message), START_TIMEOUT_S)
    except TimeoutError:
        _end(process, signal.SIGKILL)
        raise errors.StateError(
            f"the job's process did not start within {START_TIMEOUT_S:.0f} s",
            hint=f"Its log is {log_path}.",
        ) from None
    except asyncio.CancelledError:
        _end(process, signal.SIGTERM)
        raise
    answer = json.loads(line) if line.strip() else {}
    if "job_id" in answer:
        return str(answer["job_id"])
    raise errors.from_parts(
        str(answer.get("kind", "StateError")),
        str(answer.get("message") or "the job's process ended before it began"),
        str(answer.get("hint") or f"Its log is {log_path}."),
    )


async def _launch(log_path: Path) -> asyncio.subprocess.Process:
    """The new process, in the caller's folder: paths of settings and certificates may be relative to it."""
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(log).st_size > LOG_BYTES:
            os.truncate(log, 0)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            # Nothing of the folder that it starts in is imported.
            "-P",
            "-m",
            "ingestion.jobs.job_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **memory.GIVE_BACK, "PYTHONPATH": os.pathsep.join(_import_folders())},
        )
    finally:
        os.close(log)


async def _converse(process: asyncio.subprocess.Process, message: dict[str, Any]) -> bytes:
    """Hand over the message; the line that the process answers with, empty if it ended without."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()
        process.stdin.close()
    # The process forks once and its first half ends: nobody has to wait for the job's own process.
    line = await process.stdout.readline()
    # Its output leads nowhere once it has answered; so the pipe is done with before the loop may close.
    await process.stdout.read()
    await process.wait()
    return line


def _end(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    """End both halves: the second is of the first one's group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signum)


def _import_folders() -> list[str]:
    """Where `ingestion` can be imported from, also when it runs from a checkout; then what the caller had."""
    kept = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return [str(Path(__file__).resolve().parents[2]), *kept]
