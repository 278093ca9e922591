"""A command's seconds, processor seconds and memory, all of its descendants together."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from ingestion import memory

_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """`cpu_s` of the command and of every descendant that it waited for; `peak_bytes` is the largest sum of
    their resident sizes, memory that they share counted for each; `others_s` of processes named beside it."""

    output: bytes
    wall_s: float
    cpu_s: float
    peak_bytes: int
    others_s: float


def run(argv: Sequence[str], others: Sequence[int] = (), stdin: bytes | None = None) -> Measured:
    """Run to the end; a failure ends the benchmark. `others`: pids of servers whose time is told apart."""
    before = sum(map(_tree_cpu, others))
    started = time.perf_counter()
    child = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        env={**os.environ, **memory.GIVE_BACK},  # as a job's process is started
    )
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        process = psutil.Process(child.pid)
        while not done.wait(_SAMPLE_S):
            total = 0
            try:
                for one in (process, *process.children(recursive=True)):
                    total += one.memory_info().rss
            except psutil.Error:
                continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        if child.stdin is not None:
            child.stdin.write(stdin or b"")
            child.stdin.close()
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        done.set()
        watcher.join()
    if child.returncode:
        raise SystemExit(
            f"{argv[0]} ended with {child.returncode}: {output[-2000:].decode(errors='replace')}"
        )
    wall = time.perf_counter() - started
    return Measured(output, wall, usage.ru_utime + usage.ru_stime, peak, sum(map(_tree_cpu, others)) - before)


def _tree_cpu(pid: int) -> float:
    """Processor seconds of a server and its processes, ended ones that it waited for included."""
    total = 0.0
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        if one is process:
            total += times.children_user + times.children_system
    return total
