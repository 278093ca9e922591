"""Run: one live line per table, the totals, the log; pause, stop at a checkpoint, resume, skip, detach.

The job runs in a process of its own; this screen only shows the bridge's picture of it. Rates and times left
come from the core. What is new five times a second is painted on the visible lines only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from app import formatting, reporting
from app.actions import Action, Need
from app.log_lines import LogLine
from app.messages import JobEnded, RunTick
from app.screens import run_parts as parts
from app.screens.base import BaseScreen
from app.widgets.fuzzy import ranked
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from ingestion.run_view import RunView, TableView

LEVELS = (("all", "everything"), ("warning", "warnings and errors"), ("error", "errors"))


class RunScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "run"

    def __init__(self) -> None:
        super().__init__()
        self._sort = "matters"
        self._problems = False
        self._level = 0
        self._log_seen = -1
        self._wanted: str | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="panel", id="totals-panel"):
            yield InkLines(self._total_lines, id="totals")
        with Vertical(classes="panel", id="board-panel"):
            yield FilterLine(id="filter")
            yield RowList["TableView"](
                parts.BOARD_COLUMNS,
                lambda table, column, width: parts.board_cells(table, column, width, self.glyphs),
                lambda table: table.table,
                live=True,
                id="board",
            )
        with Vertical(classes="panel", id="log-panel"):
            yield FilterLine("a table or a word", id="log-filter")
            yield RowList[LogLine](
                (
                    ListColumn("time", "Time", 8),
                    ListColumn("level", "", 1),
                    ListColumn("table", "Table", flex=1, minimum=10, maximum=28, drop=2),
                    ListColumn("text", "What happened", flex=4, minimum=20),
                ),
                self._log_cells,
                lambda line: line.key,
                header=False,
                follow=True,
                id="lines",
            )

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#log-filter").display = False
        state = self.ingest_app.ui_state
        self._problems = state.switch("run.problems")
        self._level = min(len(LEVELS) - 1, max(0, state.number("run.log")))
        self._sort = self.ingest_app.ui_state.text("run.sort", "matters")
        if self._sort not in parts.SORTS:
            self._sort = "matters"
        self.set_focus(self._board)
        self._show()

    @property
    def _board(self) -> RowList[TableView]:
        return self.query_one("#board", RowList)

    @property
    def _lines(self) -> RowList[LogLine]:
        return self.query_one("#lines", RowList)

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._board.current is not None:
            met.add(Need.ROW)
        return met

    def label_of(self, action: Action) -> str:
        view = self.bridge.view
        if action.id == "run.pause" and view is not None and view.status == "paused":
            return "Go on"
        if action.id == "run.problems" and self._problems:
            return "All tables"
        return action.label

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, RunTick | JobEnded):
            self._show()

    def shown(self) -> None:
        self._show()

    def theme_moved(self) -> None:
        self.query_one("#totals", InkLines).update()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        if job_id is not None:
            self.bridge.watch(job_id)
        if table is not None and not self._board.go_to(table):
            self._wanted = table

    # -- showing -----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        bridge, view = self.bridge, self.bridge.view
        self.query_one("#totals", InkLines).update()
        if view is None:
            self.title_panel("#totals-panel", "Job")
            self.title_panel("#board-panel", "Tables")
            self.title_panel("#log-panel", "Log")
            if bridge.poll_error:
                notice = Notice(
                    formatting.redacted(bridge.poll_error), "Tried again every two seconds.", "bad"
                )
            elif bridge.job_id is not None:
                notice = Notice("Opening the job", bridge.job_id, "info")
            else:
                notice = Notice("No job yet", "Choose tables on the Plan screen (3) and start with s.")
            self._board.set_items((), notice=notice)
            self._lines.set_items(())
            return
        self.title_panel("#totals-panel", f"Job {view.job_id}", parts.times(view, self.now()))
        self._show_board(view)
        if bridge.log_version != self._log_seen:
            self._log_seen = bridge.log_version
            self._show_log()

    def _show_board(self, view: RunView) -> None:
        query = self.query_one("#filter", FilterLine).value
        tables = parts.sorted_tables(view, self._sort)
        if self._problems:
            tables = [t for t in tables if parts.is_problem(t)]
        if query:
            names = set(ranked(query, [t.table for t in tables], str))
            tables = [t for t in tables if t.table in names]
        if self._problems:
            notice = Notice("No table has failures or warnings", "Press e to see all tables.")
        elif query:
            notice = Notice("No table matches", "Press / and escape to clear the filter.")
        else:
            notice = Notice("Waiting for the job's first word", "", "info")
        self._board.sort_key = {"failures": "failed", "rate": "rate", "name": "name"}.get(self._sort, "")
        self._board.sort_down = self._sort != "name"
        self._board.set_columns(parts.board_columns(view))
        self._board.set_items(tables, notice=notice)
        if self._wanted is not None and self._board.go_to(self._wanted):
            self._wanted = None
        ended = sum(t.state in {"completed", "partial", "failed", "skipped"} for t in view.tables.values())
        title = f"Tables {ended} of {len(view.tables)} done"
        order = "what matters" if self._sort == "matters" else self._sort
        only = "only problems, " if self._problems else ""
        self.title_panel("#board-panel", title, f"{only}by {order}")

    def _show_log(self) -> None:
        level = LEVELS[self._level][0]
        lines = [
            line for line in self.bridge.log if level == "all" or line.level == "error" or line.level == level
        ]
        words = self.query_one("#log-filter", FilterLine).value.casefold().split()
        if words:
            lines = [line for line in lines if parts.says(line, words)]
        only = f"with {' '.join(words)}, " if words else ""
        self.title_panel(
            "#log-panel", f"Log {len(lines):,}" if words else "Log", only + LEVELS[self._level][1]
        )
        self._lines.set_items(
            lines, notice=Notice("Nothing of this kind yet" if self._level or words else "")
        )

    def _total_lines(self, width: int) -> list[Ink]:
        bridge = self.bridge
        if bridge.view is None:
            opening = bridge.job_id is not None and not bridge.poll_error
            return [
                ("Its first events are on the way.", "info") if opening else ("Nothing is running.", "muted")
            ]
        return parts.total_lines(bridge.view, width, self.glyphs, bridge.poll_error)

    def _log_cells(self, line: LogLine, column: str, width: int) -> Ink:
        glyphs = self.glyphs
        if column == "time":
            return (formatting.clock(line.time), "faint")
        if column == "level":
            return {"error": (glyphs.bad, "bad"), "warning": (glyphs.warn, "warn")}.get(
                line.level, (glyphs.dot, "faint")
            )
        if column == "table":
            return (formatting.one_line(line.table, unicode=glyphs.unicode), "muted")
        tone = "" if line.level == "error" else "warn" if line.level == "warning" else "muted"
        return (formatting.one_line(line.shown, unicode=glyphs.unicode), tone)

    # -- events ------------------------------------------------------------------------------------------------

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(Input.Changed, "#log-filter")
    def _log_filter_changed(self) -> None:
        self._show_log()

    @on(FilterLine.Left, "#log-filter")
    def _log_filter_left(self) -> None:
        line = self.query_one("#log-filter", FilterLine)
        line.display = bool(line.value)
        self.set_focus(self._lines)

    @on(FilterLine.Left, "#filter")
    def _filter_left(self) -> None:
        line = self.query_one("#filter", FilterLine)
        line.display = bool(line.value)
        self.set_focus(self._board)

    @on(RowList.Opened, "#board")
    def _opened(self) -> None:
        self.perform("run.failures")

    @on(RowList.Opened, "#lines")
    def _line_opened(self) -> None:
        from app.modals.reading import Reading

        if (line := self._lines.current) is not None:
            self.app.push_screen(Reading(f"{formatting.clock(line.time)}  {line.table}", line.shown))

    @on(RowList.Highlighted, "#board")
    def _moved(self) -> None:
        self.refresh_bars()

    # -- actions -------------------------------------------------------------------------------------------------

    def question_of(self, action: Action) -> tuple[str, str, str]:
        if action.id == "run.skip" and (table := self._board.current) is not None:
            return f"Leave {table.table} out of the running job?", "Skip it", ""
        return super().question_of(action)

    @work(group="command", exit_on_error=False)
    async def _command(self, work: Coroutine[Any, Any, None], said: str) -> None:
        try:
            await work
        except Exception as error:
            self.tell_error(error)
        else:
            self.tell(said)

    def do_pause(self) -> None:
        view, service = self.bridge.view, self.bridge.service
        if view is None:
            return
        if view.status == "paused":
            self._command(service.resume(view.job_id), "The job goes on.")
        else:
            self._command(service.pause(view.job_id), "The job pauses after the batches in hand.")

    def do_stop(self) -> None:
        if (view := self.bridge.view) is not None:
            self._command(self.bridge.service.stop(view.job_id), "The job stops at its next checkpoint.")

    def do_resume(self) -> None:
        if (view := self.bridge.view) is not None:
            self._resume(view.job_id, view.kind)

    @work(group="command", exit_on_error=False)
    async def _resume(self, job_id: str, kind: str) -> None:
        try:
            await resume_job(self, job_id)
        except Exception as error:
            self.tell_error(error, "The job did not resume")

    def do_skip(self) -> None:
        view, table = self.bridge.view, self._board.current
        if view is not None and table is not None:
            self._command(
                self.bridge.service.skip(view.job_id, table.table), f"{table.table} is left out from now on."
            )

    def do_sort(self) -> None:
        at = parts.SORTS.index(self._sort)
        self._sort = parts.SORTS[(at + 1) % len(parts.SORTS)]
        self.ingest_app.ui_state.set("run.sort", self._sort)
        self._show()

    def do_problems(self) -> None:
        self._problems = not self._problems
        self.ingest_app.ui_state.set("run.problems", self._problems)
        self._show()

    def do_filter(self) -> None:
        line = self.query_one("#filter", FilterLine)
        line.display = True
        self.set_focus(line)

    def do_log_level(self) -> None:
        self._level = (self._level + 1) % len(LEVELS)
        self.ingest_app.ui_state.set("run.log", self._level)
        self._show_log()

    def do_log_filter(self) -> None:
        line = self.query_one("#log-filter", FilterLine)
        line.display = True
        self.set_focus(line)

    def do_failures(self) -> None:
        view, table = self.bridge.view, self._board.current
        if view is not None and table is not None:
            self.ingest_app.open_failures(table=table.table, job_id=view.job_id)

    def do_verify(self) -> None:
        self.ingest_app.open_verify()

    @work(group="report", exit_on_error=False)
    async def do_report(self) -> None:
        if (view := self.bridge.view) is not None:
            await save_report(self, view.job_id)

    def do_detach(self) -> None:
        self.app.exit(0, message="The job goes on. Come back with `procore-ingest --screen run`.")


async def resume_job(screen: BaseScreen, job_id: str) -> None:
    """Go on with a stopped job, in a process of its own, and show it."""
    from ingestion.plan import Plan
    from ingestion.reports import JobKind, JobRequest

    jobs = await screen.bridge.service.jobs(limit=1000)
    job = next((job for job in jobs if job.id == job_id), None)
    plan = Plan.from_dict(dict(job.plan)) if job is not None and job.plan else Plan()
    kind = JobKind(job.kind) if job is not None and job.kind in {k.value for k in JobKind} else JobKind.FULL
    await screen.bridge.start_job(JobRequest(kind=kind, plan=plan, resume=job_id))
    screen.ingest_app.go("run")


async def save_report(screen: BaseScreen, job_id: str) -> None:
    """Save a job's report as Markdown or JSON."""
    from app.modals.save import save_text

    async def text(form: str) -> str:
        report = await screen.bridge.service.job_report(job_id)
        if report is None:
            raise LookupError(f"there is no job {job_id}")
        return reporting.job_markdown(report) if form == "markdown" else reporting.job_json(report)

    await save_text(
        screen,
        "Save the report",
        f"job-{job_id}",
        (("markdown", "Markdown", "For people."), ("json", "JSON", "For scripts.")),
        text,
    )
