"""Between running jobs and screens: the one place that knows both.

The bridge owns what outlives a screen: the schema, the plan being edited, the watched job, a running
verification. Its tasks belong to the application, so no screen's end can cancel them; a job itself runs in a
process of its own. Screens read the bridge's attributes and are told by messages that something moved.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.guide import GuideFacts
from app.log_lines import LogLine, join, line_of
from app.messages import (
    ConnectionMoved,
    JobEnded,
    PlanMoved,
    RunTick,
    SchemaMoved,
    VerifyMoved,
)
from app.plan_draft import PlanDraft
from app.port import ServicePort
from ingestion import errors
from ingestion.plan import Plan

if TYPE_CHECKING:
    from textual.message import Message

    from ingestion.reports import JobRequest, SourceInfo, VerifyReport, VespaInfo
    from ingestion.run_view import RunView
    from ingestion.schema_discovery import SchemaMap
    from ingestion.state.types import Job

__all__ = ["ACTIVE", "Bridge", "Loaded", "ServicePort", "advice", "explain", "guide_facts"]

POLL_S = 0.2
"""Between two looks at a running job."""
IDLE_POLL_S = 2.0
"""Between two looks for a job that somebody else started."""
LOG_LINES = 5_000
EVENTS_PER_POLL = 500
PAST_EVENTS = 5_000
ACTIVE = frozenset({"pending", "running", "paused", "starting", "stopping"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """Something fetched: not yet, under way, here, or failed with a reason and a next step."""

    value: T | None = None
    loading: bool = False
    step: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    hint: str = ""
    seconds: float = 0.0
    """How long it took."""


def explain(error: BaseException) -> str:
    """An error in one line, without a traceback."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def advice(error: BaseException) -> str:
    """The next step that belongs to an error."""
    hint = getattr(error, "hint", "")
    if hint:
        return str(hint)
    if isinstance(error, errors.IngestionError):
        return ""
    return "This is unexpected. The log of this session has the details; please report it."


def guide_facts(bridge: Bridge) -> GuideFacts:
    """What the guide judges by, as things stand."""
    schema, vespa, view = bridge.schema, bridge.vespa.value, bridge.view
    usable = vespa is not None and vespa.up and not vespa.missing
    report = bridge.verification.value
    if view is not None and view.job_id == bridge.passed_job:
        view = report = None
    return GuideFacts(
        configured=bridge.service.where().configured,
        connected=bridge.source.value is not None and usable,
        connect_problem=bool(bridge.source.error or bridge.vespa.error) or (vespa is not None and not usable),
        tables=len(schema.value.tables) if schema.value is not None else None,
        relations=len(schema.value.relationships) if schema.value is not None else 0,
        discovering=schema.loading,
        schema_problem=bool(schema.error),
        included=len(bridge.draft.included),
        job=view.status if view is not None else "",
        job_active=bridge.job_active,
        verified=None if report is None else report.equal,
        verifying=bridge.verification.loading,
        taken=frozenset(bridge.steps_taken),
    )


class Bridge:
    """See the module. `post` hands a message to the application, which passes it to the shown screen."""

    def __init__(
        self,
        service: ServicePort,
        post: Callable[[Message], Any],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service, self.clock = service, clock
        self._post = post
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.schema: Loaded[SchemaMap] = Loaded()
        self.source: Loaded[SourceInfo] = Loaded()
        self.vespa: Loaded[VespaInfo] = Loaded()
        self.sandbox: Loaded[bool] = Loaded()
        where = service.where()
        self.connection = "sandbox" if where.sandbox else "given" if where.configured else ""
        """Which entry of the Connect screen is in use: `given`, `typed`, `sandbox`, `saved:NAME`; or none."""
        self.draft = PlanDraft(Plan())
        self.kept_plan: Callable[[], Plan | None] = lambda: None
        """The plan that was last made for this source, for a start that knows none yet."""
        self.job_id: str | None = None
        self.view: RunView | None = None
        self.log: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.log_version = 0
        self.poll_error = ""
        self.verification: Loaded[VerifyReport] = Loaded()
        self.steps_taken: set[str] = set()
        """Steps of the guide that the user went through on this source."""
        self.passed_job = ""
        """An ended job that the guide looks past, because the plan was changed since."""
        self._seq = 0
        self._ended: set[str] = set()

    # -- tasks ---------------------------------------------------------------------------------------------

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run as an application's task; one of the same name that still runs is cancelled first."""
        old = self._tasks.pop(name, None)

        async def after_old() -> None:
            if old is not None and not old.done():
                old.cancel()
                await asyncio.gather(old, return_exceptions=True)
            await work

        self._tasks[name] = asyncio.create_task(after_old(), name=f"bridge-{name}")

    def is_running(self, name: str) -> bool:
        running = self._tasks.get(name)
        return running is not None and not running.done()

    async def aclose(self) -> None:
        """Cancel the bridge's own tasks; jobs in their own processes go on."""
        tasks = [t for t in self._tasks.values() if not t.done()]
        for running in tasks:
            running.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- connection ------------------------------------------------------------------------------------------

    def test_connections(self) -> None:
        """Ask the source and Vespa who they are, both at once."""
        self.test_source()
        self.test_vespa()

    def test_source(self) -> None:
        self.spawn("source", self._test_source())

    def test_vespa(self) -> None:
        self.spawn("vespa", self._test_vespa())

    def use_source(self, connection: str) -> None:
        """Other addresses are in use: drop what was known, ask the new ones, read the schema."""
        self.forget_source()
        self.connection = connection
        self.sandbox = Loaded()
        self.test_connections()
        self._watch_anew()
        self.load_schema()

    async def _test_source(self) -> None:
        self.source = Loaded(loading=True, value=None)
        self._post(ConnectionMoved())
        began = self.clock()
        try:
            found = await self.service.source_info()
            self.source = Loaded(found, seconds=self.clock() - began)
        except Exception as error:
            self.source = Loaded(error=explain(error), hint=advice(error))
        self._post(ConnectionMoved())

    async def _test_vespa(self) -> None:
        self.vespa = Loaded(loading=True)
        self._post(ConnectionMoved())
        began = self.clock()
        try:
            found = await self.service.vespa_info()
            self.vespa = Loaded(found, seconds=self.clock() - began)
        except Exception as error:
            self.vespa = Loaded(error=explain(error), hint=advice(error))
        self._post(ConnectionMoved())

    def bring_up_sandbox(self) -> None:
        self.spawn("sandbox", self._bring_up_sandbox())

    async def _bring_up_sandbox(self) -> None:
        def step(name: str, done: int, total: int) -> None:
            self.sandbox = Loaded(loading=True, step=name, done=done, total=total)
            self._post(ConnectionMoved())

        step("starting", 0, 0)
        try:
            await self.service.start_sandbox(step)
        except Exception as error:
            self.sandbox = Loaded(error=explain(error), hint=advice(error))
            self._post(ConnectionMoved())
            return
        self.sandbox = Loaded(True)
        self.forget_source()
        self.connection = "sandbox"
        self._watch_anew()
        self.test_connections()
        self.load_schema(discover=True)

    def forget_source(self) -> None:
        """Other addresses are in use: drop what was known of the old ones."""
        self.schema, self.draft = Loaded(), PlanDraft(Plan())
        self.source, self.vespa = Loaded(), Loaded()
        self.verification = Loaded()
        self.steps_taken.clear()
        self.job_id, self.view = None, None
        self.log.clear()
        self.log_version += 1
        for message in (ConnectionMoved(), SchemaMoved(), PlanMoved(), RunTick()):
            self._post(message)

    # -- schema and plan ---------------------------------------------------------------------------------------

    def load_schema(self, *, discover: bool = False) -> None:
        """Load what was discovered last, or discover now; a load under way goes on."""
        if not self.is_running("schema"):
            self.spawn("schema", self._load_schema(discover))

    async def _load_schema(self, discover: bool) -> None:
        known = self.schema.value

        def step(name: str, done: int, total: int) -> None:
            self.schema = Loaded(known, loading=True, step=name, done=done, total=total)
            self._post(SchemaMoved())

        step("asking the database", 0, 0)
        try:
            found = None if discover else await self.service.schema()
            if found is None:
                found = await self.service.discover(on_progress=step)
        except Exception as error:
            self.schema = Loaded(known, error=explain(error), hint=advice(error))
        else:
            self.schema = Loaded(found)
            if not self.draft.names and (kept := self.kept_plan()) is not None:
                self.draft = PlanDraft(kept)
            self.draft = self.draft.with_names([table.name for table in found.tables])
            self.draft = replace(self.draft, plan=replace(self.draft.plan, database=found.database_name))
            self._post(PlanMoved())
        self._post(SchemaMoved())

    def edit_plan(self, draft: PlanDraft) -> None:
        """The plan screen's only way to change the plan."""
        self.draft = draft
        self.steps_taken.add("discover")  # who chooses has seen what there is
        if self.view is not None and not self.job_active:
            # Whoever chooses anew has the way before them again: the job that ended belongs to the old choice.
            self.passed_job = self.view.job_id
            self.steps_taken -= {"choose", "preview", "report"}
        self._post(PlanMoved())

    # -- the watched job -----------------------------------------------------------------------------------------

    @property
    def job_active(self) -> bool:
        return self.view is not None and self.view.status in ACTIVE

    def watch(self, job_id: str) -> None:
        """Show this job from now on."""
        if job_id != self.job_id:
            self.job_id, self.view, self._seq = job_id, None, 0
            self.log.clear()
            self.log_version += 1
        self.spawn("watch", self._watch())
        self._post(RunTick())

    def look_for_jobs(self) -> None:
        """Keep an eye on the state: a running job is found, whoever started it."""
        if not self.is_running("watch"):
            self.spawn("watch", self._watch())

    def _watch_anew(self) -> None:
        """Another source is in use: its last job is looked for as at a start."""
        self.spawn("watch", self._watch())

    async def start_job(self, request: JobRequest) -> str:
        """Start a job in its own process and watch it."""
        job_id = await self.service.start_job(request)
        self._ended.discard(job_id)
        if request.resume == self.job_id:
            self.view = None
        self.watch(job_id)
        return job_id

    async def _watch(self) -> None:
        first = True
        while True:
            try:
                if self.job_id is None or not (self.job_active or first):
                    await self._find_job(first)
                if self.job_id is not None and (self.job_active or self.view is None or first):
                    await self._look(self.job_id)
                self.poll_error = ""
            except (
                Exception
            ) as error:  # a state that is busy or a source that went away: said, then tried again
                if self.poll_error != explain(error):
                    self.poll_error = explain(error)
                    self._post(RunTick())
            first = False
            await asyncio.sleep(POLL_S if self.job_active else IDLE_POLL_S)

    async def _find_job(self, first: bool) -> None:
        jobs = await self.service.jobs(limit=5)
        running = next((job for job in jobs if job.status in ACTIVE), None)
        chosen = running or (jobs[0] if first and jobs and self.job_id is None else None)
        if chosen is not None and chosen.id != self.job_id:
            if chosen is not running:
                self._ended.add(chosen.id)
            self.job_id, self.view, self._seq = chosen.id, None, 0
            self.log.clear()
            self.log_version += 1

    async def _look(self, job_id: str) -> None:
        was_active = self.job_active
        view = await self.service.run_view(job_id)
        if view is not None and self.view is None:
            # A job that is met late may have a long past: the board has it all, the log its last part.
            self._seq = max(self._seq, view.last_seq - PAST_EVENTS)
        await self._read_events(job_id)
        if job_id != self.job_id:
            return
        changed = view != self.view
        self.view = view
        if changed:
            self._post(RunTick())
        if view is not None and view.status not in ACTIVE and job_id not in self._ended:
            self._ended.add(job_id)
            if was_active:
                self._post(JobEnded(job_id, view.status))

    async def _read_events(self, job_id: str) -> None:
        while True:
            found: Sequence[Any] = await self.service.events_since(job_id, self._seq, EVENTS_PER_POLL)
            if job_id != self.job_id:
                return
            for event in found:
                self._seq = max(self._seq, event.seq)
                if (line := line_of(event)) is not None:
                    join(self.log, line)
                    self.log_version += 1
            if len(found) < EVENTS_PER_POLL:
                return
            await asyncio.sleep(0)

    async def active_job(self) -> Job | None:
        """The job that runs now, wherever it was started."""
        return next((job for job in await self.service.jobs(limit=20) if job.status in ACTIVE), None)

    # -- verification ----------------------------------------------------------------------------------------------

    def verify(
        self, tables: Sequence[str] | None = None, *, deep: bool = False, repair: bool = False
    ) -> None:
        """Compare source and index; the result stays until the next one."""
        if not self.is_running("verify"):
            self.spawn("verify", self._verify(tables, deep, repair))

    async def _verify(self, tables: Sequence[str] | None, deep: bool, repair: bool) -> None:
        known = self.verification.value

        def step(name: str, done: int, total: int) -> None:
            self.verification = Loaded(known, loading=True, step=name, done=done, total=total)
            self._post(VerifyMoved())

        step("starting", 0, 0)
        try:
            report = await self.service.verify(tables, deep=deep, repair=repair, on_progress=step)
        except Exception as error:
            self.verification = Loaded(known, error=explain(error), hint=advice(error))
        else:
            self.verification = Loaded(report)
        self._post(VerifyMoved())
