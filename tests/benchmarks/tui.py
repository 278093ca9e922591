"""The terminal application as its user meets it: on a terminal, with real keys. Prints one JSON line a figure.

    python -m tests.benchmarks.tui                 # every figure
    python -m tests.benchmarks.tui start keys      # some
    python -m tests.benchmarks.tui start -- --database-url URL --vespa-url URL --state-dir DIR

`start`     first paint < 0.6 s, usable < 1.2 s: medians of ten warm starts
`keys`      a key answered in < 50 ms (95th percentile), < 150 ms (99th) while a job runs at full speed beside it
`board`     fifty tables that all move ten times a second: < 15 % of a core
`tables`    2,000 tables on Schema, Plan and Run scroll without a stall over 100 ms
`failures`  so do 100,000 failures of a real state file
`replay`    memory after each tenth of an hour's events

`keys` brings up a sandbox of its own, or joins a job that runs at the addresses behind `--`. Processor seconds say
what the application needs; seconds by the clock depend on what else the machine does, so run nothing beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.terminal import Terminal

STARTS = 10
KEYS = 300
APPLICATION = (sys.executable, "-m", "app")


def start(arguments: Sequence[str]) -> dict[str, Any]:
    """From the start of the process to the first paint, and to the answer of a key pressed right then."""
    painted, usable, cpu = [], [], []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(STARTS + 1):
            environ = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/config"}
            with Terminal([*APPLICATION, *arguments], environ=environ) as terminal:
                painted.append(terminal.until(b"Help") - terminal.began)
                terminal.press(b"?")
                usable.append(terminal.until(b"keys") - terminal.began)
                cpu.append(terminal.cpu_s)
    return {
        "first_paint_s": round(statistics.median(painted[1:]), 3),
        "usable_s": round(statistics.median(usable[1:]), 3),
        "cpu_s": round(statistics.median(cpu[1:]), 3),
        "starts": STARTS,
    }


def keys(arguments: Sequence[str]) -> dict[str, Any]:
    """Keys whose answer can be told from what the job draws meanwhile: the log's level, the order, the filter."""
    with tempfile.TemporaryDirectory() as home:
        if arguments:
            return _answers([*APPLICATION, *arguments, "--screen", "run"], {"HOME": home}, lambda: True)
        return asyncio.run(_keys(Path(home)))


async def _keys(home: Path) -> dict[str, Any]:
    from ingestion import settings
    from ingestion.plan import Plan
    from ingestion.reports import JobKind, JobRequest
    from ingestion.sandbox import sandbox
    from ingestion.service import IngestService

    info = await sandbox.up(home / "sandbox", scale=4)
    environ = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    service = IngestService(
        settings.Settings(
            database_url=info.database_url, vespa_url=info.vespa_url, state_dir=str(home / "state")
        )
    )
    await service.discover()
    job = await service.start_job(JobRequest(kind=JobKind.FULL, plan=Plan()))
    flags = ["--database-url", info.database_url, "--vespa-url", info.vespa_url, "--state-dir",
             str(home / "state")]  # fmt: skip
    try:
        return await asyncio.to_thread(
            _answers, [*APPLICATION, *flags, "--screen", "run"], environ, lambda: True
        )
    finally:
        await service.stop(job)
        await service.aclose()
        await asyncio.to_thread(sandbox.down, home / "sandbox")


def _answers(argv: Sequence[str], environ: Mapping[str, str], go_on: Callable[[], bool]) -> dict[str, Any]:
    """How long answers take, a key after another, while the job goes on."""
    waits: list[float] = []
    with Terminal(argv, environ=environ, size=(140, 40)) as terminal:
        terminal.until(b"running", timeout_s=120)
        terminal.idle(2)
        answers = {
            b"l": (b"warnings and errors", b"m errors", b"everything"),
            b"o": (b"by name", b"by failures", b"by rate", b"by what matters"),
        }
        turns = dict.fromkeys(answers, 0)
        while len(waits) < KEYS and go_on():
            for key, wanted in answers.items():
                sent = terminal.press(key)
                waits.append(terminal.until(wanted[turns[key] % len(wanted)], timeout_s=10) - sent)
                turns[key] += 1
                terminal.idle(0.07)
    waits.sort()
    return {
        "keys": len(waits),
        "p50_ms": round(waits[len(waits) // 2] * 1000, 1),
        "p95_ms": round(waits[int(len(waits) * 0.95)] * 1000, 1),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 1),
        "worst_ms": round(waits[-1] * 1000, 1),
    }


def _program(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        argv = [sys.executable, "-m", "tests.benchmarks.tui_programs", name, str(path)]
        with Terminal(argv, size=(140, 40), environ={"HOME": folder}) as terminal:
            deadline = time.monotonic() + 300
            while terminal.process.poll() is None and time.monotonic() < deadline:
                terminal.idle(0.2)
        if not path.exists():
            raise SystemExit(f"{name} said nothing: {terminal.shown[-800:]!r}")
        report: dict[str, Any] = json.loads(path.read_text())
    if "error" in report:
        raise SystemExit(f"{name}: {report['error']}")
    return report


def board(arguments: Sequence[str]) -> dict[str, Any]:
    report = _program("board")
    share = report["cpu_s"] / report["seconds"]
    return {"share_of_a_core": round(share, 3), "looks_per_s": round(report["looks"] / report["seconds"], 1)}


def tables(arguments: Sequence[str]) -> dict[str, Any]:
    return _stalls(_program("tables"))


def failures(arguments: Sequence[str]) -> dict[str, Any]:
    return _stalls(_program("failures"))


def _stalls(report: dict[str, Any]) -> dict[str, Any]:
    wall, cpu = report.pop("stall_wall_s"), report.pop("stall_cpu_s")
    return {**report, "longest_stall_ms": round(wall * 1000, 1), "of_it_cpu_ms": round(cpu * 1000, 1)}


def replay(arguments: Sequence[str]) -> dict[str, Any]:
    return _program("replay")


FIGURES = {f.__name__: f for f in (start, keys, board, tables, failures, replay)}


def main() -> None:
    argv = sys.argv[1:]
    own, _, rest = (argv[: argv.index("--")], "--", argv[argv.index("--") + 1 :]) if "--" in argv else (
        argv, "", [])  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []])
    for name in parser.parse_args(own).figures or FIGURES:
        print(json.dumps({"figure": name, **FIGURES[name](rest)}), flush=True)


if __name__ == "__main__":
    main()
