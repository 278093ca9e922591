"""Many runs of chaos: `python -m tests.chaos --runs 200 --seed 1` prints how many rows were lost or doubled."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.kills import POINTS
from tests.chaos.scenario import Outcome, Run
from tests.chaos.services import running


async def main(runs: int, first: int, verbose: bool, points: bool, folder: Path) -> int:
    began = time.monotonic()
    failed: list[Outcome] = []
    kills: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    names = list(POINTS)
    async with running(folder) as services:
        for number in range(runs):
            seed = first + number
            outcome = await Run(services, seed, names[number % len(names)] if points else "").carry_out()
            kills += outcome.kills
            faults += outcome.faults
            sums += Counter(
                lost=len(outcome.verdict.lost), doubled=len(outcome.verdict.doubled),
                miscounted=len(outcome.verdict.miscounted), jobs=outcome.jobs, resumes=outcome.resumes,
                changes=outcome.changes, late=outcome.late,
            )  # fmt: skip
            if not outcome.verdict.well:
                failed.append(outcome)
            if verbose or not outcome.verdict.well:
                print(
                    f"seed {seed}: {'well' if outcome.verdict.well else 'NOT WELL'} in {outcome.seconds:.2f} s"
                )
                for line in (*outcome.story, *outcome.verdict.lines()):
                    print(f"    {line}")
                sys.stdout.flush()
            elif number % 20 == 19:
                print(
                    f"  {number + 1} runs, {len(failed)} not well, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    seconds = time.monotonic() - began
    print(
        f"lost {sums['lost']} · doubled {sums['doubled']} · miscounted {sums['miscounted']} · runs {runs} · "
        f"kills {kills.total()} · faults {faults.total()} · jobs {sums['jobs']} · resumes {sums['resumes']} · "
        f"changes {sums['changes']} · late commits {sums['late']} · {seconds:.0f} s ({seconds / runs:.2f} s a run)"
    )
    print("kills: " + ", ".join(f"{name} {count}" for name, count in kills.most_common()))
    print("faults: " + ", ".join(f"{name} {count}" for name, count in faults.most_common()))
    if failed:
        print("failing seeds: " + " ".join(str(outcome.seed) for outcome in failed))
    return 1 if failed else 0


def run(runs: int, first: int, verbose: bool, points: bool, folder: Path) -> int:
    """The exit status; told to end, the services are stopped first."""

    async def until_told() -> int:
        work = asyncio.ensure_future(main(runs, first, verbose, points, folder))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        try:
            return await work
        except asyncio.CancelledError:
            return 1

    return asyncio.run(until_told())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--points", action="store_true", help="aim the first kill of each run at the next named point"
    )
    parser.add_argument("--verbose", action="store_true", help="tell the story of every run")
    parser.add_argument("--keep", type=Path, help="folder for logs and states of runs that are not well")
    given = parser.parse_args()
    # In memory where that is to be had: what is proven is the order of things, not the disk.
    memory = Path("/dev/shm")
    place = given.keep or (memory if os.access(memory, os.W_OK) else None)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="chaos", dir=place))
    try:
        status = run(given.runs, given.seed, given.verbose, given.points, made)
    finally:
        if not given.keep:
            shutil.rmtree(made, ignore_errors=True)
    sys.exit(status)
