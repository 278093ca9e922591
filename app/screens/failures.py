"""Failures: clusters by cause, the failures of one, and of one failure row, document and error side by side.

Lists are pages by key from the state, so a hundred thousand failures cost no more than the first two hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Input

from app import formatting
from app.actions import Action, Need
from app.bridge import advice, explain
from app.clipboard import copy
from app.messages import JobEnded
from app.screens import failure_actions
from app.screens import failure_parts as parts
from app.screens.base import BaseScreen
from app.widgets.field_list import FieldList, fields_of_document, fields_of_row
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines
from app.widgets.row_list import ListColumn, Notice, RowList
from ingestion.state.types import Failure, FailureCluster, FailureFilter, FailurePage

if TYPE_CHECKING:
    from ingestion.reports import Preview

PAGE = 200
REST_S = 0.12
"""Row and document are fetched once the cursor rests this long."""
CANARIES = 3
KINDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("failures", ("record", "file"), "records and files"),
    ("records", ("record",), "records"),
    ("files", ("file",), "files"),
    ("warnings", ("warning",), "warnings"),
)
STATUSES = ("open", "resolved", "dismissed")


class FailuresScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "failures"

    def __init__(self) -> None:
        super().__init__()
        self._kind, self._status = 0, 0
        self._job_id: str | None = None
        self._clusters: Sequence[FailureCluster] = ()
        self._items: list[Failure] = []
        self._total = 0
        self._next: int | None = None
        self._notice = Notice("Reading the failures", "", "info")
        self._detail_of: int | None = None
        self._rest: Timer | None = None
        self._busy = ""

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="upper"):
            with Vertical(classes="panel", id="clusters-panel"):
                yield FilterLine("/ table, or table:key", id="filter")
                yield RowList[FailureCluster](
                    (
                        ListColumn("count", "Count", 6, right=True),
                        ListColumn("cause", "Cause", flex=4, minimum=27),
                        ListColumn("stage", "Stage", 9, drop=3),
                        ListColumn("tables", "Tables", flex=2, minimum=12, drop=2),
                    ),
                    self._cluster_cells,
                    lambda c: f"{c.kind}/{c.stage}/{c.cause}",
                    id="clusters",
                )
            with Vertical(classes="panel", id="items-panel"):
                yield RowList[Failure](
                    (
                        ListColumn("table", "Table", flex=1, minimum=10, maximum=28),
                        ListColumn("key", "Key or file", flex=1, minimum=17, maximum=36),
                        ListColumn("message", "Message", flex=3, minimum=16, drop=3),
                        ListColumn("attempts", "Tries", 5, right=True, drop=4),
                        ListColumn("last", "Last", 4, right=True, drop=2),
                    ),
                    self._item_cells,
                    lambda failure: str(failure.id),
                    markable=True,
                    id="items",
                )
        with Vertical(classes="panel", id="error-panel"):
            yield InkLines(self._error_lines, id="error")
        with Horizontal(id="lower"):
            with Vertical(classes="panel", id="row-panel"):
                yield FieldList(id="row")
            with Vertical(classes="panel", id="document-panel"):
                yield FieldList(id="document")

    def on_mount(self) -> None:
        state = self.ingest_app.ui_state
        self._kind = min(len(KINDS) - 1, max(0, state.number("failures.kind")))
        self._status = min(len(STATUSES) - 1, max(0, state.number("failures.status")))
        self.title_panel("#error-panel", "Error")
        self.title_panel("#row-panel", "Source row")
        self.title_panel("#document-panel", "Document")
        self.set_focus(self._cluster_list)
        self.do_reload()

    @property
    def _cluster_list(self) -> RowList[FailureCluster]:
        return self.query_one("#clusters", RowList)

    @property
    def _item_list(self) -> RowList[Failure]:
        return self.query_one("#items", RowList)

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._items and STATUSES[self._status] == "open":
            met.add(Need.FAILURES)
        if self._clusters:
            met.add(Need.ROW)
        return met

    def shown(self) -> None:
        self.do_reload()

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, JobEnded):
            self.do_reload()

    def theme_moved(self) -> None:
        self.query_one("#error", InkLines).update()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        self._job_id = job_id
        self.query_one("#filter", FilterLine).value = table or ""
        self.do_reload()

    # -- what is asked for -------------------------------------------------------------------------------------

    def _filter(self) -> FailureFilter:
        """What kind, status, filter line and job ask for, over all clusters."""
        text = self.query_one("#filter", FilterLine).value.strip()
        base = FailureFilter(
            kinds=KINDS[self._kind][1], statuses=(STATUSES[self._status],), job_id=self._job_id
        )
        return parts.narrowed(base, text, self.bridge.draft.names)

    def _cluster_filter(self) -> FailureFilter:
        """The same, within the cluster under the cursor."""
        cluster = self._cluster_list.current
        if cluster is None:
            return self._filter()
        return replace(
            self._filter(),
            kinds=(cluster.kind,),
            causes=(parts.literal_glob(cluster.cause),),
            stages=(cluster.stage,),
        )

    def do_reload(self) -> None:
        if not self.bridge.service.where().configured:
            self._notice = Notice("Not connected yet", "Press 1 to connect.")
            self._show_clusters(())
            return
        wanted = self._filter()
        self.load(
            "clusters",
            lambda: self.bridge.service.failure_clusters(wanted),
            self._clusters_arrived,
            self._clusters_failed,
        )

    def _clusters_arrived(self, clusters: Sequence[FailureCluster]) -> None:
        what = KINDS[self._kind][2]
        status = STATUSES[self._status]
        narrowed = self.query_one("#filter", FilterLine).value or self._job_id
        detail = (
            "Press escape to drop the filter." if narrowed
            else "No job has read anything yet: press 3 to plan one." if self.bridge.job_id is None
            else "Everything that was read is in the index." if status == "open" and self._kind == 0
            else "m changes the kind, o the status."
        )  # fmt: skip
        self._notice = Notice(f"{self.glyphs.ok} No {status} {what}", detail)
        self._show_clusters(sorted(clusters, key=lambda c: -c.count))

    def _clusters_failed(self, error: Exception) -> None:
        self._notice = Notice(formatting.redacted(explain(error)), f"{advice(error)} r tries again.", "bad")
        self._show_clusters(())

    def _show_clusters(self, clusters: Sequence[FailureCluster]) -> None:
        self._clusters = clusters
        self._cluster_list.set_items(clusters, notice=self._notice)
        self._title_clusters()
        self._load_items()
        self.refresh_bars()

    def _load_items(self) -> None:
        if not self._clusters:
            self._items, self._next, self._total = [], None, 0
            self._item_list.set_items((), notice=Notice(""))
            self.title_panel("#items-panel", "")
            self._show_detail()
            return
        wanted = self._cluster_filter()
        self.load("items", lambda: self.bridge.service.failures(wanted, None, PAGE), self._items_arrived)

    def _items_arrived(self, page: FailurePage) -> None:
        self._items, self._next, self._total = list(page.items), page.next, page.total
        self._item_list.set_items(self._items, notice=Notice("None of this kind"))
        known = {str(failure.id) for failure in self._items}
        self._item_list.marks &= known
        self._title_items()
        self._show_detail()

    def _more_arrived(self, page: FailurePage) -> None:
        self._items = [*self._items, *page.items]
        self._next = page.next
        self._item_list.set_items(self._items)
        self._title_items()

    def _title_items(self) -> None:
        cluster = self._cluster_list.current
        marked = len(self._item_list.marks)
        title = parts.title(cluster.cause) if cluster is not None else ""
        some = f"{len(self._items):,} of {self._total:,}" if self._next else formatting.count(self._total)
        self.title_panel("#items-panel", title, f"{marked} marked of {some}" if marked else some)

    # -- lists -------------------------------------------------------------------------------------------------

    def _cluster_cells(self, cluster: FailureCluster, column: str, width: int) -> Ink:
        return parts.cluster_cells(cluster, column, self.glyphs)

    def _item_cells(self, failure: Failure, column: str, width: int) -> Ink:
        return parts.failure_cells(failure, column, self.glyphs, self.now())

    @on(RowList.Highlighted, "#clusters")
    def _cluster_moved(self) -> None:
        self._item_list.clear_marks()
        self._load_items()

    @on(RowList.Highlighted, "#items")
    def _item_moved(self) -> None:
        self._show_detail()

    @on(RowList.Marked, "#items")
    def _marked(self) -> None:
        self._title_items()

    @on(RowList.NearEnd, "#items")
    def _near_end(self) -> None:
        if self._next is None:
            return
        wanted, after = self._cluster_filter(), self._next
        self._next = None
        self.load("more", lambda: self.bridge.service.failures(wanted, after, PAGE), self._more_arrived)

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.perform("failures.open")

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self.do_reload()

    @on(FilterLine.Left)
    def _filter_left(self) -> None:
        self.set_focus(self._cluster_list)

    # -- one failure -------------------------------------------------------------------------------------------

    def _error_lines(self, width: int) -> list[Ink]:
        failure = self._item_list.current
        if failure is None:
            return []
        rows = self.query_one("#error", InkLines).size.height
        return parts.error_lines(failure, width, self.glyphs, rows)

    def _show_detail(self) -> None:
        failure = self._item_list.current
        self.query_one("#error", InkLines).update()
        if failure is None:
            self._detail_of = None
            self.query_one("#row", FieldList).set_notice(Notice(""))
            self.query_one("#document", FieldList).set_notice(Notice(""))
            self.title_panel("#error-panel", "Error")
            return
        if failure.id == self._detail_of:
            return
        self._detail_of = failure.id
        self.title_panel(
            "#error-panel", f"{failure.table}  {failure.key or '(no key)'}", parts.times(failure)
        )
        copies = failure.cause == "duplicate_key"
        self.title_panel("#row-panel", "Source row, one of the copies" if copies else "Source row")
        self.query_one("#document", FieldList).set_notice(Notice(""))
        if not failure.key:
            self.query_one("#row", FieldList).set_notice(parts.without_key(failure))
            return
        self.query_one("#row", FieldList).set_notice(Notice("Reading the row", "", "info"))
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_S, self._fetch_detail)

    def _fetch_detail(self) -> None:
        failure = self._item_list.current
        if failure is None:
            return

        def failed(error: Exception) -> None:
            text = formatting.redacted(explain(error))
            self.query_one("#row", FieldList).set_notice(Notice(text, advice(error), "bad"))

        self.load(
            "detail",
            lambda: self.bridge.service.failure_preview(failure.id),
            lambda preview: self._detail_arrived(failure, preview),
            failed,
        )

    def _detail_arrived(self, failure: Failure, preview: Preview) -> None:
        flagged = parts.columns_at_fault(failure, preview.row)
        self.query_one("#row", FieldList).set_fields(
            fields_of_row(preview.row, flagged=flagged),
            notice=Notice("The row is gone", "It was deleted in the source since."),
        )
        self.query_one("#document", FieldList).set_fields(
            fields_of_document(preview.document, flagged=flagged),
            notice=Notice("No document", "The row cannot become one."),
        )

    # -- actions -----------------------------------------------------------------------------------------------

    def question_of(self, action: Action) -> tuple[str, str, str]:
        if action.id == "failures.retry_cluster" and (cluster := self._cluster_list.current) is not None:
            what = formatting.plural(cluster.count, "failure")
            text = f"Retry {what} with the cause: {parts.title(cluster.cause)}?"
            return text, "Retry", ""
        if action.id == "failures.retry_all":
            total = sum(c.count for c in self._clusters)
            return (
                f"Retry all {formatting.count(total)} open failures that the filter shows?",
                "Retry all",
                "",
            )
        return super().question_of(action)

    def do_filter(self) -> None:
        self.set_focus(self.query_one("#filter"))

    def do_open(self) -> None:
        if self.focused is self._cluster_list:
            self.set_focus(self._item_list)
        elif self.focused is self._item_list:
            self.set_focus(self.query_one("#row"))
        elif self.focused is self.query_one("#row"):
            self.set_focus(self.query_one("#document"))

    def do_back(self) -> None:
        if self.focused in {self.query_one("#row"), self.query_one("#document")}:
            self.set_focus(self._item_list)
        elif self.focused is self._item_list and self._item_list.marks:
            self._item_list.clear_marks()
        elif self.focused is self._item_list:
            self.set_focus(self._cluster_list)
        elif self._job_id is not None or self.query_one("#filter", FilterLine).value:
            self._job_id = None
            self.query_one("#filter", FilterLine).value = ""
            self.do_reload()

    def do_mark(self) -> None:
        self._item_list.toggle_mark()

    def do_kind(self) -> None:
        self._kind = (self._kind + 1) % len(KINDS)
        self.ingest_app.ui_state.set("failures.kind", self._kind)
        self._item_list.clear_marks()
        self.do_reload()

    def do_status(self) -> None:
        self._status = (self._status + 1) % len(STATUSES)
        self.ingest_app.ui_state.set("failures.status", self._status)
        self._item_list.clear_marks()
        self.do_reload()

    def _chosen_ids(self) -> tuple[int, ...]:
        return tuple(failure.id for failure in self._item_list.marked_items())

    def do_retry(self) -> None:
        ids = self._chosen_ids()
        if ids:
            self._retry(FailureFilter(kinds=None, ids=ids))

    def do_retry_cluster(self) -> None:
        self._retry(self._cluster_filter())

    def do_retry_all(self) -> None:
        self._retry(self._filter())

    def do_canary(self) -> None:
        self._retry(self._cluster_filter(), canary=CANARIES)

    def _retry(self, wanted: FailureFilter, canary: int | None = None) -> None:
        if self._busy:
            self.tell("A retry is under way: wait for its end.", severity="warning")
            return
        self._busy = "trying three first" if canary else "retrying"
        self._title_clusters()
        self._run_retry(wanted, canary)

    @work(group="retry", exit_on_error=False)
    async def _run_retry(self, wanted: FailureFilter, canary: int | None) -> None:
        try:
            report = await self.bridge.service.retry(wanted, canary=canary)
        except Exception as error:
            self.tell_error(error, "The retry did not run")
            return
        finally:
            self._busy = ""
            self._title_clusters()
        self._item_list.clear_marks()
        self._detail_of = None
        self.do_reload()
        if canary is None or report.failed or not report.resolved:
            failure_actions.tell_retry(self, report)
        elif await failure_actions.wants_the_rest(self, wanted, report):
            self._retry(wanted)

    def _title_clusters(self) -> None:
        if not self.is_mounted:
            return
        total = formatting.count(sum(c.count for c in self._clusters))
        job = f"job {formatting.middle(self._job_id, 18)}" if self._job_id else ""
        title = f"{total} {STATUSES[self._status]} {KINDS[self._kind][0]}"
        self.title_panel("#clusters-panel", title, self._busy or job)

    @work(group="dismiss", exit_on_error=False)
    async def do_dismiss(self) -> None:
        ids = self._chosen_ids()
        if ids and await failure_actions.dismiss(self, ids):
            self._item_list.clear_marks()
            self._detail_of = None
            self.do_reload()

    @work(group="export", exit_on_error=False)
    async def do_export(self) -> None:
        await failure_actions.export(self, self._filter())

    @work(group="view", exclusive=True, exit_on_error=False)
    async def do_view(self) -> None:
        if (failure := self._item_list.current) is not None:
            await failure_actions.view_files(self, failure)

    def do_copy(self) -> None:
        if (failure := self._item_list.current) is not None:
            self.tell(copy(self.app, f"{failure.table}:{failure.key}  {failure.cause}: {failure.message}"))
