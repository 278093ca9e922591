"""What the latest jobs did to one table: its state and counts, job by job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import ComposeResult
from textual.content import Content

from app import formatting
from app.bridge import advice, explain
from app.modals.dialog import Dialog
from app.widgets.ink import Ink
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.reports import TableReport
    from ingestion.state.types import Job

LATEST_JOBS = 30


@dataclass(frozen=True, slots=True)
class Past:
    """One job's doings."""

    job: Job
    table: TableReport


class TableHistory(Dialog[None]):
    """See the module; Enter opens the job on the Run screen."""

    footing = "enter opens the job, esc closes"

    DEFAULT_CSS = """
    TableHistory > .frame { width: 96; max-width: 96%; height: 70%; padding: 0 1; }
    TableHistory RowList { height: 1fr; }
    """

    def __init__(self, table: str) -> None:
        super().__init__()
        self._table = table
        self.heading = f"{table}: what the latest jobs did"

    def compose_inside(self) -> ComposeResult:
        yield RowList[Past](
            (
                ListColumn("state", "State", 13),
                ListColumn("kind", "Kind", 11, drop=3),
                ListColumn("when", "Started", 17),
                ListColumn("read", "Read", 9, right=True),
                ListColumn("indexed", "Indexed", 9, right=True, drop=1),
                ListColumn("failed", "Failed", 7, right=True),
                ListColumn("skipped", "Skipped", 9, right=True, drop=2),
            ),
            self._cells,
            lambda past: past.job.id,
            id="history",
        )

    def on_mount(self) -> None:
        self.query_one(RowList).focus()
        self._fetch()

    @work(group="history", exclusive=True, exit_on_error=False)
    async def _fetch(self) -> None:
        rows = self.query_one("#history", RowList)
        rows.set_items((), notice=Notice("Looking through the jobs", "", "info"))
        service = cast("IngestApp", self.app).bridge.service
        found: list[Past] = []
        try:
            for job in await service.jobs(limit=LATEST_JOBS):
                report = await service.job_report(job.id)
                for table in report.tables if report is not None else ():
                    if table.table == self._table:
                        found.append(Past(job, table))
                        rows.set_items(tuple(found))
        except Exception as error:
            rows.set_items((), notice=Notice(formatting.redacted(explain(error)), advice(error), "bad"))
            return
        rows.set_items(tuple(found), notice=Notice("No job has touched this table yet"))
        self.query_one(".frame").border_subtitle = Content(
            f"{formatting.plural(len(found), 'job')}, {self.footing}"
        )

    def _cells(self, past: Past, column: str, width: int) -> Ink:
        glyphs = cast("IngestApp", self.app).glyphs
        if column == "state":
            mark = formatting.state_mark(past.table.status, glyphs)
            return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if mark.tone != "good" else "muted")]
        if column == "kind":
            return (past.job.kind, "muted")
        if column == "when":
            return (formatting.moment(past.job.started_at or past.job.created_at, seconds=False), "muted")
        number = getattr(past.table.counts, column)
        if column in {"failed", "skipped"} and not number:
            return (glyphs.dot, "faint")
        return (formatting.count(number), "bad" if column == "failed" else "muted")

    @on(RowList.Opened)
    def _opened(self) -> None:
        self._open_job()

    def key_enter(self) -> None:
        self._open_job()

    def _open_job(self) -> None:
        past = self.query_one("#history", RowList).current
        if past is not None:
            app = cast("IngestApp", self.app)
            self.dismiss(None)
            app.call_after_refresh(app.open_job, past.job.id)
