"""A process that forks ingesting processes: each is warm when it begins, so that a run of chaos costs a second.

Reads one JSON request a line; answers `{"pid"}` when the fork is made and `{"signal", "exit", "answer"}` when it
has ended. `python -m tests.chaos.ingester` from the repository's root.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import pkgutil
import random
import resource
import signal
import sys
import time
import traceback
from typing import Any

import aiosqlite  # noqa: F401  (warm)
import asyncpg  # noqa: F401
import vespa.application  # noqa: F401

import ingestion
from ingestion import errors, sync_manager
from ingestion.connections import Connections
from ingestion.files import stage
from ingestion.jobs import job_runner, launching
from ingestion.settings import Settings
from ingestion.state.connection import StateConnection
from ingestion.state.types import FailureFilter
from ingestion.sync import sync_io
from ingestion.verification import retrying, verifying
from ingestion.vespa import feeding
from tests.chaos import kills


async def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run one job, or verify; what a front end would learn of it."""
    connections = Connections(Settings.from_dict(request["settings"]), logging.getLogger("procore_ingest"))
    try:
        if request.get("retry"):
            tried = await retrying.retry(connections, FailureFilter())
            return {"retried": tried.tried, "resolved": tried.resolved}
        if how := request.get("verify"):
            repair = how == "repair"
            found = await verifying.verify(
                connections, deep=how == "deep", repair=repair, allow_mass_delete=repair
            )
            return {"differences": [t.table for t in found.tables if not t.equal], "text": str(found)}
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        report = await job_runner.run(connections, launching.request_from_dict(request["job"]), stop=stop)
        return {
            "job_id": report.job_id,
            "status": report.status,
            "messages": [f"{t.table}: {t.message}" for t in report.tables if t.message],
        }
    except asyncio.CancelledError:
        return {"cancelled": "before there was a job"}
    except errors.IngestionError as error:
        traceback.print_exc()
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    finally:
        await connections.close()


def load_everything() -> None:
    """Import the whole product now: forks shall not find half of a change made to it meanwhile."""
    for module in pkgutil.walk_packages(ingestion.__path__, "ingestion."):
        if (
            not module.name.startswith("ingestion.sandbox")
            and module.name != "ingestion.files.extraction_child"
        ):
            importlib.import_module(module.name)


def set_clock(seconds: float) -> None:
    """Let this process's clock be wrong by so many seconds, as after a correction or on another host."""
    real = time.time

    def wrong() -> float:
        return real() + seconds

    time.time = wrong
    functions: list[Any] = [sync_manager.SyncManager.__init__, vars(StateConnection)["open"].__func__]
    for function in functions:
        function.__kwdefaults__["clock"] = wrong


def child(request: dict[str, Any], answer_to: int) -> None:
    """The forked process: never returns."""
    code = 1
    try:
        log = os.open(request["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(log, 2)
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO,
            format="%(asctime)s %(process)d %(levelname)s %(message)s",
            force=True,
        )
        random.seed(request["seed"])
        # Patience for a machine that is busy, not for one that is far away.
        feeding.FIRST_WAIT_S, feeding.LONGEST_WAIT_S, feeding.BLOCKED_WAIT_S = 0.005, 0.1, 0.05
        vars(sync_io)["_SEQUENCE_BLOCK"] = 4
        defaults = sync_manager.SyncManager.__init__.__kwdefaults__
        assert defaults is not None
        defaults["blocks_per_partition"] = 3
        defaults["processes"] = request.get("processes", 0)
        # What is in a file is another test's question.
        vars(stage)["Extractor"] = lambda **_: None
        if request.get("clock_s"):
            set_clock(request["clock_s"])
        if request.get("largest_file"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], request["largest_file"]))
        for point, nth in request.get("kills", ()):
            kills.arm(point, nth)
        answer = asyncio.run(work(request))
        os.write(answer_to, json.dumps(answer).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    load_everything()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        mine, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(mine)
            child(request, theirs)
        os.close(theirs)
        _say({"pid": pid})
        with os.fdopen(mine, "rb") as reader:
            answer = reader.read()
        _, status, used = os.wait4(pid, 0)
        _say(
            {
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                "exit": os.waitstatus_to_exitcode(status),
                "answer": json.loads(answer) if answer else None,
                "cpu_s": used.ru_utime + used.ru_stime,
            }
        )


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
