"""One run of chaos: what its seed decides, and how it is carried out.

A full sync, mostly an incremental one, each killed, cut off and resumed while a writer changes the source; then
the writer stops, one more incremental sync, and the judgement.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import oracle
from tests.chaos.kills import FILE_POINTS, MENDING, POINTS
from tests.chaos.proxies import Faults, befall_postgres, befall_vespa
from tests.chaos.services import Services
from tests.chaos.stage import Stage
from tests.chaos.tables import SHAPES
from tests.chaos.writer import Writer

MOST_ATTEMPTS = 7
"""After so many the world calms down: what still does not end then never would."""
_STEPS = tuple(point for point in POINTS if point not in FILE_POINTS)
_CLOCKS = (0.0, 0.0, 0.0, -3600.0, 86400.0, -40_000_000.0)
"""Seconds by which an ingesting process's clock may be wrong; the next one's is another, so it goes backwards."""
_EXPECTED = (None, "SourceUnavailable", "VespaUnavailable", "VespaBlocked")
"""Errors that a job may end with where connections break; it is resumed then."""


@dataclass(slots=True)
class Outcome:
    """What a run did and what was found."""

    seed: int
    verdict: oracle.Verdict = field(default_factory=oracle.Verdict)
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    resumes: int = 0
    changes: int = 0
    late: int = 0
    seconds: float = 0.0
    story: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Aim:
    """How one process is to end: killed at the nth coming to a point, after some seconds, or not at all."""

    points: tuple[tuple[str, int], ...] = ()
    after_s: float = 0.0
    with_signal: int = signal.SIGKILL

    @classmethod
    def draw(cls, rng: random.Random, steps: Sequence[str], point: str = "") -> Aim:
        if not point and rng.random() < 0.4:
            asked = rng.choice(
                (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
            )
            return cls(after_s=rng.uniform(0.02, 0.6), with_signal=asked)
        point = point or rng.choice(steps)
        return cls(((point, rng.randint(1, POINTS[point][4])),))

    def __str__(self) -> str:
        if self.points:
            return f"to be killed at {self.points[0][0]!r} number {self.points[0][1]}"
        if self.after_s:
            return f"to get {signal.Signals(self.with_signal).name} after {self.after_s:.2f} s"
        return "left alone"


UNHARMED = Aim()


class Run:
    """One seed's run; `carry_out` once. `point` is where its first process is killed, else the seed decides."""

    def __init__(self, services: Services, seed: int, point: str = "") -> None:
        self.services, self.seed, self.point = services, seed, point
        self.rng = rng = random.Random(f"chaos {seed}")
        self.outcome = Outcome(seed)
        tables = rng.choice(SHAPES)
        self.quiet = rng.random() < 0.25
        self.kills = [rng.choice((0, 1, 1, 1, 2, 3)), rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 1))]
        self.fault_rate = rng.choice((0, 25, 60, 150))
        self.middle = rng.random() < 0.65
        self.stage = Stage(
            services, seed, tables, batch_size=rng.choice((7, 13, 25, 60)), workers=rng.choice((1, 1, 2))
        )
        # Worker processes are started anew for every job, which takes its time.
        self.processes = int(random.Random(f"processes {seed}").random() < 0.15)
        self._left: set[str] = set()
        self._steps = _STEPS if "papers" not in tables else (*_STEPS, *FILE_POINTS * 4)

    async def carry_out(self) -> Outcome:
        began = time.monotonic()
        outcome = self.outcome
        await self.stage.set_up()
        writer = Writer(self.stage.url, self.stage.tables, random.Random(f"writer {self.seed}"))
        try:
            await writer.start()
            await self._act(writer)
            found = await self.stage.judge()
            for name in ("lost", "doubled", "miscounted"):
                getattr(outcome.verdict, name).extend(getattr(found, name))
            if self.rng.random() < 0.15:
                await self._verified()
        except Exception as error:
            outcome.verdict.miscounted.append(f"the run broke: {type(error).__name__}: {error}")
        finally:
            self.services.calm()
            with suppress(Exception):
                await writer.stop()
            outcome.changes, outcome.late = writer.changes, writer.late
            await self.stage.clear(keep=not outcome.verdict.well)
            outcome.seconds = time.monotonic() - began
        return outcome

    async def _act(self, writer: Writer) -> None:
        plan = self.stage.plan
        self._say(
            f"tables {', '.join(self.stage.tables)}; batches of {plan.batch_size}; {plan.workers} workers; "
            f"{'a worker process; ' if self.processes else ''}{'a quiet source; ' if self.quiet else ''}"
            f"faults 1:{self.fault_rate}"
        )
        if self.quiet:
            expected = await oracle.expectations(self.stage.url, self.stage.tables)
            job = await self._job("full", self.kills[0])
            if not self._left:
                oracle.counted_exactly(self.stage.state_path, job, expected, self.outcome.verdict)
            writer.go()
        else:
            if self.rng.random() < 0.5:
                await writer.begin_late()
            writer.go()
            await self._job("full", self.kills[0])
        if self.middle:
            await asyncio.sleep(0.05 * self.rng.random())
            await self._job("incremental", self.kills[1])
        await self._mend()
        await writer.stop()
        await self._job("incremental", self.kills[2])

    async def _job(self, kind: str, kills: int) -> str:
        """Run a job until it has reached its end, whatever happens to it; its id."""
        rng, job = self.rng, ""
        before = self.stage.newest_job()
        self.outcome.jobs += 1
        for attempt in range(MOST_ATTEMPTS + 2):
            calm = attempt >= MOST_ATTEMPTS
            aim = UNHARMED
            if attempt < kills and not calm:
                aim = Aim.draw(rng, self._steps, self.point if attempt == 0 else "")
            if calm or not self.fault_rate:
                self.services.calm()
            else:
                self._upset()
            ended = await self.stage.job(
                kind,
                resume=job,
                kills=aim.points,
                after_s=aim.after_s,
                with_signal=aim.with_signal,
                clock_s=rng.choice(_CLOCKS),
                processes=self.processes,
            )
            self._note(kind, job, aim, ended)
            newest = self.stage.newest_job()
            if newest is None or newest == before or newest[0] in self._left:
                continue
            if newest[2] in ("completed", "partial"):
                return newest[0]
            if newest[2] == "running" and "job_id" in (ended["answer"] or {}):
                raise RuntimeError(f"job {newest[0]} is still called running")
            # A killed job is resumed, or left for what it is and another one begun.
            job = newest[0] if rng.random() < 0.8 else ""
            if not job:
                self._left.add(newest[0])
                kind = rng.choice(("full", "incremental"))
        raise RuntimeError(f"the job never ended: {self.outcome.story[-1]}")

    def _note(self, kind: str, job: str, aim: Aim, ended: dict[str, Any]) -> None:
        """Count and tell how a process ended; raises where it may not end so."""
        self.outcome.resumes += bool(job)
        answer = ended["answer"] or {}
        killed = ended["signal"] == signal.SIGKILL
        if killed:
            self.outcome.kills[aim.points[0][0] if aim.points else "random moment"] += 1
        self._say(f"{kind} {'resumed ' if job else ''}{aim}: {'killed' if killed else answer or ended}")
        if not killed and ended["exit"] != 0:
            raise RuntimeError(f"the process ended with {ended['exit']}, see {self.stage.folder}/log")
        self.outcome.kills["stopped by signal"] += "cancelled" in (answer.get("status"), *answer)
        if answer.get("error") not in _EXPECTED:
            raise RuntimeError(f"{answer['error']}: {answer['message']}")

    async def _mend(self) -> None:
        """In some runs retry all failures, or repair, while the source goes on changing; mostly killed."""
        rng = random.Random(f"mend {self.seed}")
        draw = rng.random()
        if draw > 0.4:
            return
        self.services.calm()
        kills = [(rng.choice(MENDING), rng.randint(1, 4))] if rng.random() < 0.7 else []
        what = "retry" if draw < 0.2 else "repair"
        ended = await (self.stage.retry(kills) if what == "retry" else self.stage.verify("repair", kills))
        self._say(f"{what} {kills}: {ended['answer'] or ended}")
        if ended["signal"] == signal.SIGKILL:
            self.outcome.kills[f"{what}: {kills[0][0]}"] += 1
        elif (ended["answer"] or {}).get("error") not in _EXPECTED or ended["exit"]:
            raise RuntimeError(f"{what} ended with {ended}")

    async def _verified(self) -> None:
        self.services.calm()
        answer = (await self.stage.verify(self.rng.choice(("quick", "deep"))))["answer"] or {}
        if answer.get("differences") != []:
            self.outcome.verdict.miscounted.append(f"verify says: {answer}")

    def _upset(self) -> None:
        self.services.calm()
        done = self.outcome.faults
        vespa = Faults(random.Random(self.rng.random()), self.fault_rate, self.rng.randint(0, 8), done)
        # Connections are few, so one in some is hit.
        postgres = Faults(
            random.Random(self.rng.random()), self.fault_rate // 8, self.rng.randint(0, 3), done
        )
        befall_vespa(self.services.vespa_proxy, vespa)
        befall_postgres(self.services.postgres_proxy, postgres)

    def _say(self, text: str) -> None:
        self.outcome.story.append(text)
