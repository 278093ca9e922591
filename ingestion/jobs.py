"""Jobs in processes of their own: starting one, and what its process reads when it begins.

A job's settings hold secrets, so they go to the new process over its standard input, never as arguments. The
process leads a session of its own: the end of the terminal that started it does not reach it.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingestion import errors
from ingestion.plan import Plan
from ingestion.reports import JobKind, JobRequest
from ingestion.settings import Settings

START_TIMEOUT_S = 60.0


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

    Raises the error that the process reports when it cannot start: another writer, an unusable state.
    """
    message = {"settings": settings.to_dict(), "request": request_to_dict(request)}
    line = await asyncio.to_thread(_launch, json.dumps(message).encode() + b"\n", log_path)
    answer = json.loads(line) if line.strip() else {}
    if "job_id" in answer:
        return str(answer["job_id"])
    raise errors.from_parts(
        str(answer.get("kind", "StateError")),
        str(answer.get("message") or "the job's process ended before it began"),
        str(answer.get("hint") or f"Its log is {log_path}."),
    )


def _launch(message: bytes, log_path: Path) -> bytes:
    """Hand the message to a new process and return the line it answers with, empty if it ended without."""
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        log_path.open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "ingestion.job_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd=_import_folder(),
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(message)
            process.stdin.flush()
        # The process forks once and its first half ends: nobody has to wait for the job's own process.
        ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
        if not ready:
            os.killpg(process.pid, signal.SIGTERM)
            raise errors.StateError(
                f"the job's process did not start within {START_TIMEOUT_S:.0f} s",
                hint=f"Its log is {log_path}.",
            )
        return process.stdout.readline()


def _import_folder() -> str:
    """Where `ingestion` can be imported from, also when it runs from a checkout."""
    return str(Path(__file__).resolve().parent.parent)
