"""Plan: what to take, what it costs, and what leaving a table out means."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Input

from app import formatting
from app.actions import Action, Need
from app.bridge import Loaded, advice, explain
from app.messages import PlanMoved, RunTick, SchemaMoved
from app.modals.ask import Choice, Choose, Prompt
from app.plan_draft import PlanDraft
from app.screens import plan_parts as parts
from app.screens.base import BaseScreen
from app.screens.schema_parts import progress_text
from app.widgets.field_list import FieldList
from app.widgets.fuzzy import ranked
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines
from app.widgets.row_list import Notice, RowList
from ingestion import plan as plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingestion.reports import Estimate
    from ingestion.schema_discovery import SchemaMap, Table

ESTIMATE_AFTER_S = 0.15
"""Changes this close together are estimated once."""


class PlanScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "plan"

    def __init__(self) -> None:
        super().__init__()
        self._estimate: Loaded[Estimate] = Loaded()
        self._timer: Timer | None = None
        self._files: Loaded[Mapping[str, float]] = Loaded()
        self._files_of: SchemaMap | None = None
        self._wanted: str | None = None

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            with Vertical(classes="panel", id="choice"):
                yield FilterLine(id="filter")
                tables = RowList["Table"](
                    parts.COLUMNS, self._cells, lambda table: table.name, markable=True, id="tables"
                )
                tables.press_columns = frozenset({"take"})
                yield tables
            with Vertical(id="side"):
                with Vertical(classes="panel", id="summary-panel"):
                    yield InkLines(self._summary_lines, id="summary")
                with Vertical(classes="panel", id="effects-panel"):
                    yield FieldList(name_width=1, id="effects")
                with Vertical(classes="panel", id="rules-panel"):
                    yield InkLines(self._rule_lines, id="rules")

    def on_mount(self) -> None:
        self.set_focus(self._list)
        self._show()

    @property
    def _list(self) -> RowList[Table]:
        return self.query_one("#tables", RowList)

    @property
    def _draft(self) -> PlanDraft:
        return self.bridge.draft

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._list.current is not None:
            met |= {Need.TABLE, Need.ROW}
        return met

    def label_of(self, action: Action) -> str:
        if action.id == "plan.files":
            return "No files" if self._draft.plan.download_files else "Files"
        return action.label

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, PlanMoved | SchemaMoved):
            self._show()
        elif isinstance(message, RunTick):
            self.query_one("#summary", InkLines).update()

    def shown(self) -> None:
        self._show()

    def theme_moved(self) -> None:
        self._update_side()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        self._wanted = table
        self._go_to_wanted()

    def _go_to_wanted(self) -> None:
        if self._wanted is not None and self.bridge.schema.value is not None:
            name, self._wanted = self._wanted, None
            if not self._list.go_to(name):
                self.tell(f"There is no table {name}.", severity="warning")

    # -- showing ---------------------------------------------------------------------------------------------

    def _show(self) -> None:
        loaded = self.bridge.schema
        if loaded.value is None:
            if loaded.error:
                notice = Notice(loaded.error, f"{loaded.hint} Press 1 for the connection.".strip(), "bad")
            elif loaded.loading:
                step = progress_text(loaded.step, loaded.done, loaded.total)
                notice = Notice("Reading the schema", step, "info")
            else:
                notice = Notice("No tables to choose from yet", "Press 1 to connect.")
            self._list.set_items((), notice=notice)
        else:
            query = self.query_one("#filter", FilterLine).value
            found = ranked(query, loaded.value.tables, lambda table: table.name)
            self._list.set_items(
                found, notice=Notice("No table matches", "Press escape to clear the filter.")
            )
            self._go_to_wanted()
            self._estimate_soon()
        taken, names = self._draft.included, self._draft.names
        self.title_panel("#choice", f"Tables {len(taken)} of {len(names)} taken" if names else "Tables")
        self.title_panel("#summary-panel", "This plan", "" if self.bridge.job_active else "s starts")
        self.title_panel("#effects-panel", "Consequences")
        self.title_panel("#rules-panel", "Patterns", "+ include  - exclude")
        self._update_side()

    def _update_side(self) -> None:
        self.query_one("#summary", InkLines).update()
        self.query_one("#rules", InkLines).update()
        self._show_effects()

    def _cells(self, table: Table, column: str, width: int) -> Ink:
        taken = table.name in self._draft.included
        return parts.cells(table, column, width, taken, self._files.value or {}, self.glyphs)

    def _summary_lines(self, width: int) -> list[Ink]:
        loaded = self._estimate
        numbers = len(self._draft.included), len(self._draft.names)
        known_rate = self.bridge.view is not None
        files = {} if self._files.error else self._files.value
        lines = parts.summary(self._draft.plan, loaded.value, files, numbers, known_rate, self.glyphs)
        if loaded.error:
            lines[1:4] = [(loaded.error, "bad"), (loaded.hint, "muted")]
        if self.bridge.job_active:
            running = (f"{self.glyphs.running} a job is running: ", "info")
            lines.insert(5, [running, ("4", "key"), (" watches it", "muted")])
        return lines

    def _show_effects(self) -> None:
        listing = self.query_one("#effects", FieldList)
        schema, estimate, table = self.bridge.schema.value, self._estimate.value, self._list.current
        if schema is None or not self._draft.names:
            listing.set_notice(Notice(""))
            return
        if not self._draft.included:
            listing.set_notice(Notice("Nothing is taken", "Press a to take all tables, or space on one."))
            return
        dangling = estimate.dangling if estimate is not None else ()
        fields = parts.what_if(schema, self._draft.included, table, self.glyphs) if table is not None else []
        fields += parts.effects(schema, self._draft.included, dangling, self.glyphs)
        listing.set_fields(fields, keep=True)

    def _rule_lines(self, width: int) -> list[Ink]:
        return parts.rules(self._draft.plan, width)

    # -- the estimate ------------------------------------------------------------------------------------------

    def _estimate_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(ESTIMATE_AFTER_S, self._fetch_estimate)

    def _fetch_estimate(self) -> None:
        plan = self._draft.plan
        self.load("estimate", lambda: self.bridge.service.estimate(plan), self._estimated, self._no_estimate)

    def _fetch_files(self) -> None:
        """How many files rows refer to: read once for a schema, after the first figures are there."""
        schema = self.bridge.schema.value
        if schema is self._files_of or schema is None:
            return
        self._files_of, self._files = schema, Loaded(loading=True)
        self.load("files", self.bridge.service.files_per_row, self._files_found, self._no_files)

    def _files_found(self, found: Mapping[str, float]) -> None:
        self._files = Loaded(found)
        self._list.refresh()
        self._update_side()

    def _no_files(self, error: Exception) -> None:
        self._files = Loaded({}, error=explain(error))
        self._update_side()

    def _estimated(self, estimate: Estimate) -> None:
        self._estimate = Loaded(estimate)
        self._update_side()
        self._fetch_files()

    def _no_estimate(self, error: Exception) -> None:
        self._estimate = Loaded(error=explain(error), hint=advice(error))
        self._update_side()

    # -- the list ----------------------------------------------------------------------------------------------

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()
        self._list.cursor = 0

    @on(FilterLine.Left)
    def _filter_left(self) -> None:
        self.set_focus(self._list)

    @on(RowList.Highlighted, "#tables")
    def _moved(self) -> None:
        self._show_effects()

    @on(RowList.CellPressed)
    def _pressed(self) -> None:
        if (table := self._list.current) is not None:
            self.bridge.edit_plan(self._draft.toggle([table.name]))

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.perform("plan.preview")

    # -- actions -------------------------------------------------------------------------------------------------

    def do_filter(self) -> None:
        self.set_focus(self.query_one("#filter"))

    def do_toggle(self) -> None:
        chosen = [table.name for table in self._list.marked_items()]
        several = bool(self._list.marks)
        self.bridge.edit_plan(self._draft.toggle(chosen))
        self._list.clear_marks()
        if not several:
            self._list.action_move(1)

    def do_take_all(self) -> None:
        self.bridge.edit_plan(self._draft.take_all())

    def do_take_none(self) -> None:
        self.bridge.edit_plan(self._draft.take_none())

    def do_invert(self) -> None:
        self.bridge.edit_plan(self._draft.invert())

    def do_files(self) -> None:
        self.bridge.edit_plan(self._draft.options(download_files=not self._draft.plan.download_files))

    def do_include_glob(self) -> None:
        self._ask_pattern("Include tables", self._draft.include_pattern)

    def do_exclude_glob(self) -> None:
        self._ask_pattern("Exclude tables", self._draft.exclude_pattern)

    @work(group="ask", exit_on_error=False)
    async def _ask_pattern(self, heading: str, change: object) -> None:
        names = self._draft.names

        def matches(pattern: str) -> list[str]:
            try:
                return plans.select(names, [pattern])
            except Exception:
                return []

        def hint(pattern: str) -> str:
            found = matches(pattern) if pattern else []
            if not pattern:
                return "A name, or a pattern: * any letters, ? one letter."
            return f"{formatting.plural(len(found), 'table')}: {', '.join(found[:6])}" + (
                self.glyphs.ellipsis if len(found) > 6 else ""
            )

        def check(pattern: str) -> str:
            return "" if pattern and matches(pattern) else "No table matches."

        pattern = await self.app.push_screen_wait(
            Prompt(heading, placeholder="budget_*", check=check, hint=hint)
        )
        if pattern:
            self.bridge.edit_plan(change(pattern))  # type: ignore[operator]

    def do_options(self) -> None:
        from app.modals.options import Options

        self.app.push_screen(Options(self._draft.plan), self._options_chosen)

    def _options_chosen(self, plan: plans.Plan | None) -> None:
        if plan is not None:
            self.bridge.edit_plan(replace(self._draft, plan=plan))

    @work(group="save", exit_on_error=False)
    async def do_save(self) -> None:
        from app.modals.save import save_text

        plan = self._draft.plan

        async def text(form: str) -> str:
            return plan.to_toml()

        path = await save_text(self, "Save the plan", "plan", (("toml", "Plan", ""),), text)
        if path is not None:
            self.tell(
                f"procore-ingest ingest --full --plan {shlex.quote(str(path))}", title="Runs it verbatim"
            )

    @work(group="load", exit_on_error=False)
    async def do_load(self) -> None:
        def check(text: str) -> str:
            return "" if Path(text).expanduser().is_file() else "There is no such file."

        name = await self.app.push_screen_wait(
            Prompt("Load a plan", "Which file?", value=str(Path.cwd() / "plan.toml"), check=check)
        )
        if name is None:
            return
        try:
            plan = plans.read(Path(name).expanduser())
            plans.select(self._draft.names, plan.include, plan.exclude)
        except Exception as error:
            self.tell_error(error, "The plan cannot be used")
            return
        self.bridge.edit_plan(replace(self._draft, plan=plan))
        self.tell(f"Loaded {name}")

    def do_preview(self) -> None:
        from app.modals.preview import PreviewDialog

        if (table := self._list.current) is not None:
            self.app.push_screen(PreviewDialog(table.name, self._draft.plan))

    def do_dry_run(self) -> None:
        from app.modals.dry_run import DryRun

        self.app.push_screen(DryRun(self._draft.plan))

    @work(group="start", exit_on_error=False)
    async def do_start(self) -> None:
        from ingestion.reports import JobKind, JobRequest

        plan = self._draft.plan
        estimate = self._estimate.value
        rows = formatting.plural(estimate.rows, "row") if estimate else "the rows"
        tables = formatting.plural(len(self._draft.included), "table")
        kind = await self.app.push_screen_wait(
            Choose(
                "Start a job",
                [
                    Choice("later", "Not now", "Nothing is started."),
                    Choice("full", "Full", f"Read {rows} of {tables}, index every one."),
                    Choice(
                        "incremental", "Incremental", f"Only what changed in {tables} since the checkpoints."
                    ),
                    Choice("dry", "Dry run", "Try the first rows of every table; nothing is written."),
                ],
                "The job runs in a process of its own: you may leave while it works.",
                asked_by=("s",),
            )
        )
        if kind == "dry":
            self.perform("plan.dry_run")
        if kind not in {"full", "incremental"}:
            return
        self.notify("Starting the job in a process of its own.", markup=False, timeout=4)
        try:
            await self.bridge.start_job(JobRequest(kind=JobKind(kind), plan=plan))
        except Exception as error:
            self.tell_error(error, "The job did not start")
            return
        self.ingest_app.go("run")
