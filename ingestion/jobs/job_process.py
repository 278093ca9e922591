"""The process of one job: reads what to do from standard input, answers with the job's id, and runs to the end.

Its only argument-free interface is one JSON line in and one JSON line out: `{"job_id": …}`, or
`{"kind", "message", "hint"}` of the error that kept it from starting. SIGTERM and SIGINT stop the job at its
next checkpoint; everything else goes through commands in the state.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import Any

import uvloop

from ingestion import errors, priority


def main() -> int:
    """Run one job; the exit status only says whether it could start."""
    if os.fork():
        # Whoever started us waits for this half alone, so the job never becomes its zombie.
        os._exit(0)
    priority.give_way()
    try:
        message = json.loads(sys.stdin.buffer.readline())
    except ValueError:
        return 1  # whoever started us is gone
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    try:
        uvloop.run(_run(message))
    except asyncio.CancelledError:
        _answer({"kind": "IngestionError", "message": "the job was stopped before it began", "hint": ""})
        return 1
    except errors.IngestionError as error:
        _answer({"kind": type(error).__name__, "message": str(error), "hint": error.hint})
        logging.getLogger("procore_ingest").error("the job ended: %s", error)
        return 1
    except Exception as error:
        _answer({"kind": "IngestionError", "message": f"internal error: {type(error).__name__}", "hint": ""})
        logging.getLogger("procore_ingest").exception("internal error")
        return 1
    return 0


async def _run(message: dict[str, Any]) -> None:
    from ingestion import logs
    from ingestion.connections import Connections
    from ingestion.jobs import job_runner, launching
    from ingestion.redaction import Redactor
    from ingestion.settings import Settings

    settings = Settings.from_dict(message["settings"])
    logger = logging.getLogger("procore_ingest")
    redactor = Redactor(logs.secrets(settings))
    for handler in logging.getLogger().handlers:
        handler.addFilter(redactor)
        handler.setFormatter(logs.formatter(settings.log_format))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    connections = Connections(settings, logger)
    try:
        redactor.add(connections.config.password)
        await job_runner.run(
            connections,
            launching.request_from_dict(message["request"]),
            stop=stop,
            on_start=lambda job_id: _answer({"job_id": job_id}),
        )
    finally:
        await connections.close()


def _answer(answer: dict[str, str]) -> None:
    """Answer once: afterwards standard output leads nowhere, so that a reader that is gone does no harm."""
    line = json.dumps(answer) + "\n"
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(main())
