"""Jobs: every run so far, and of one its tables with their counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical

from app import formatting
from app.actions import Need
from app.bridge import ACTIVE, advice, explain
from app.clipboard import copy
from app.messages import JobEnded, RunTick
from app.screens.base import BaseScreen
from app.screens.run import resume_job, save_report
from app.widgets.ink import Ink
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingestion.reports import JobReport, TableReport
    from ingestion.state.types import Job

REPORT_AFTER_S = 0.12
"""The report of the job under the cursor is read once the cursor rests."""


class JobsScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "jobs"

    def __init__(self) -> None:
        super().__init__()
        self._notice = Notice("Reading the jobs", "", "info")
        self._report_of: str | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="panel", id="jobs-panel"):
            yield RowList["Job"](
                (
                    ListColumn("state", "State", 13),
                    ListColumn("kind", "Kind", 11),
                    ListColumn("id", "Job", flex=1, minimum=21, maximum=40),
                    ListColumn("started", "Started", 17),
                    ListColumn("took", "Took", 8, right=True, drop=1),
                    ListColumn("read", "Read", 10, right=True, drop=3),
                    ListColumn("failed", "Failed", 7, right=True, drop=2),
                    ListColumn("message", "Note", flex=3, minimum=10, drop=4),
                ),
                self._job_cells,
                lambda job: job.id,
                id="jobs",
            )
        with Vertical(classes="panel", id="job-panel"):
            yield RowList["TableReport"](
                (
                    ListColumn("state", "State", 13),
                    ListColumn("name", "Table", flex=2, minimum=16, maximum=40),
                    ListColumn("read", "Read", 9, right=True),
                    ListColumn("indexed", "Indexed", 9, right=True),
                    ListColumn("failed", "Failed", 7, right=True),
                    ListColumn("skipped", "Skipped", 8, right=True, drop=2),
                    ListColumn("warned", "Warned", 7, right=True, drop=3),
                    ListColumn("message", "Note", flex=2, minimum=8, drop=4),
                ),
                self._table_cells,
                lambda table: table.table,
                id="tables",
            )

    def on_mount(self) -> None:
        self.set_focus(self._list)
        self.do_reload()

    @property
    def _list(self) -> RowList[Job]:
        return self.query_one("#jobs", RowList)

    @property
    def _tables(self) -> RowList[TableReport]:
        return self.query_one("#tables", RowList)

    def facts(self) -> set[Need]:
        met = super().facts() - {Need.RESUMABLE}
        job = self._list.current
        if job is not None:
            met.add(Need.ROW)
            if job.status in {"cancelled", "interrupted", "failed"}:
                met.add(Need.RESUMABLE)
        return met

    def shown(self) -> None:
        self.do_reload()

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, JobEnded):
            self.do_reload()
        elif isinstance(message, RunTick) and self.bridge.job_active:
            job = self._list.current
            if job is not None and job.id == self.bridge.job_id:
                self._fetch_report()

    def _job_cells(self, job: Job, column: str, width: int) -> Ink:
        glyphs = self.glyphs
        mark = formatting.state_mark(job.status, glyphs)
        if column == "state":
            return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if mark.tone != "good" else "muted")]
        if column == "kind":
            return (job.kind, "")
        if column == "id":
            return (formatting.middle(job.id, width, glyphs), "muted")
        if column == "started":
            return (formatting.moment(job.started_at or job.created_at, seconds=False), "muted")
        if column == "took":
            if job.started_at is None:
                return (glyphs.dash, "faint")
            end = job.finished_at or (self.now() if job.status in ACTIVE else None)
            seconds = None if end is None else end - job.started_at
            return (formatting.duration(seconds, glyphs=glyphs), "")
        if column in {"read", "failed"}:
            number = _total(job, column)
            if number is None:
                return (glyphs.dash, "faint")
            return (formatting.count(number), "bad" if column == "failed" and number else "muted")
        return (formatting.one_line(job.message, unicode=glyphs.unicode), "muted")

    def _table_cells(self, table: TableReport, column: str, width: int) -> Ink:
        glyphs = self.glyphs
        if column == "state":
            mark = formatting.state_mark(table.status, glyphs)
            return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if mark.tone != "good" else "muted")]
        if column == "name":
            return formatting.one_line(table.table, unicode=glyphs.unicode)
        if column == "message":
            return (formatting.one_line(table.message, unicode=glyphs.unicode), "warn")
        number = getattr(table.counts, column)
        if column in {"failed", "warned", "skipped"} and not number:
            return (glyphs.dot, "faint")
        tone = {"failed": "bad", "warned": "warn", "indexed": "good"}.get(column, "muted")
        return (formatting.count(number), tone)

    @on(RowList.Highlighted, "#jobs")
    def _moved(self) -> None:
        self.set_timer(REPORT_AFTER_S, self._fetch_report)
        self.refresh_bars()

    @on(RowList.Opened, "#jobs")
    def _opened(self) -> None:
        self.perform("jobs.open")

    @on(RowList.Opened, "#tables")
    def _table_opened(self) -> None:
        job, table = self._list.current, self._tables.current
        if job is not None and table is not None:
            self.ingest_app.open_failures(table=table.table, job_id=job.id)

    def _fetch_report(self) -> None:
        job = self._list.current
        if job is None:
            self._tables.set_items((), notice=Notice(""))
            return
        self.load(
            "report",
            lambda: self.bridge.service.job_report(job.id),
            self._report_arrived,
            lambda error: self._tables.set_items((), notice=Notice(explain(error), advice(error), "bad")),
        )

    def _report_arrived(self, report: JobReport | None) -> None:
        if report is None:
            self._tables.set_items((), notice=Notice("This job has not counted anything yet"))
            return
        counts = report.counts
        self.title_panel(
            "#job-panel",
            f"{report.kind} {report.job_id}",
            f"{formatting.count(counts.read)} read, {formatting.count(counts.indexed)} indexed, "
            f"{formatting.count(counts.failed)} failed, {formatting.count(counts.skipped)} skipped",
        )
        order = {"failed": 0, "partial": 1}
        tables = sorted(report.tables, key=lambda t: (order.get(t.status, 2), -t.counts.failed, t.table))
        self._tables.set_items(tables, notice=Notice("No table was touched", report.message))

    # -- actions -----------------------------------------------------------------------------------------------

    def do_reload(self) -> None:
        if not self.bridge.service.where().configured:
            self._list.set_items((), notice=Notice("Not connected yet", "Press 1 to connect."))
            return
        self.load("jobs", self.bridge.service.jobs, self._arrived, self._failed)

    def _arrived(self, jobs: Sequence[Job]) -> None:
        self.title_panel("#jobs-panel", f"Jobs {len(jobs)}", "newest first")
        self._list.set_items(jobs, notice=Notice("No job yet", "Press 3 to plan one and start it."))
        self._fetch_report()

    def _failed(self, error: Exception) -> None:
        notice = Notice(formatting.redacted(explain(error)), f"{advice(error)} r tries again.", "bad")
        self._list.set_items((), notice=notice)

    def do_open(self) -> None:
        if self.focused is self._tables:
            self._table_opened()
        elif (job := self._list.current) is not None:
            self.ingest_app.open_job(job.id)

    @work(group="command", exit_on_error=False)
    async def do_resume(self) -> None:
        if (job := self._list.current) is not None:
            try:
                await resume_job(self, job.id)
            except Exception as error:
                self.tell_error(error, "The job did not resume")

    def do_failures(self) -> None:
        if (job := self._list.current) is not None:
            self.ingest_app.open_failures(job_id=job.id)

    def do_verify(self) -> None:
        self.ingest_app.open_verify()

    @work(group="save", exit_on_error=False)
    async def do_report(self) -> None:
        if (job := self._list.current) is not None:
            await save_report(self, job.id)

    def do_copy(self) -> None:
        if (job := self._list.current) is not None:
            self.tell(copy(self.app, job.id))


def _total(job: Job, name: str) -> int | None:
    """A sum over the tables of the job's stored report; None while there is none."""
    report = job.report or {}
    totals = report.get("totals")
    if isinstance(totals, Mapping):
        return int(totals.get(name, 0))
    tables = report.get("tables")
    return sum(int(t.get(name, 0)) for t in tables) if tables else None
