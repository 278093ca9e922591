"""Checkpoints: how far each table is synced, how fresh it is, and clearing one so that all is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from app import formatting
from app.actions import Action, Need
from app.bridge import advice, explain
from app.messages import JobEnded
from app.screens.base import BaseScreen
from app.widgets.fuzzy import ranked
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingestion.checkpoint import Checkpoint

SORTS = ("name", "freshness", "failures")


class CheckpointsScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "checkpoints"

    def __init__(self) -> None:
        super().__init__()
        self._all: Sequence[Checkpoint] = ()
        self._sort = "name"
        self._notice = Notice("Reading the checkpoints", "", "info")

    def compose_body(self) -> ComposeResult:
        with Vertical(classes="panel", id="list-panel"):
            yield FilterLine(id="filter")
            yield RowList["Checkpoint"](
                (
                    ListColumn("state", "State", 13),
                    ListColumn("name", "Table", flex=8, minimum=22, maximum=40),
                    ListColumn("mark", "Complete up to", 20),
                    ListColumn("fresh", "Fresh", 9, right=True),
                    ListColumn("processed", "Rows", 10, right=True, drop=2),
                    ListColumn("failed", "Failed", 7, right=True),
                    ListColumn("last", "Last key", flex=1, minimum=18, maximum=30, drop=4),
                    ListColumn("moved", "Moved", 9, right=True, drop=3),
                    ListColumn("message", "Note", flex=1, minimum=8, drop=5),
                ),
                self._cells,
                lambda checkpoint: checkpoint.table_name,
                id="checkpoints",
            )

    def on_mount(self) -> None:
        kept = self.ingest_app.ui_state.text("checkpoints.sort", self._sort)
        self._sort = kept if kept in SORTS else self._sort
        self.set_focus(self._list)
        self.do_reload()

    @property
    def _list(self) -> RowList[Checkpoint]:
        return self.query_one("#checkpoints", RowList)

    def facts(self) -> set[Need]:
        met = super().facts()
        if self._list.current is not None:
            met.add(Need.ROW)
        return met

    def shown(self) -> None:
        self.do_reload()

    def open_on(self, *, table: str | None = None, job_id: str | None = None) -> None:
        self.query_one("#filter", FilterLine).value = table or ""

    def bridge_moved(self, message: object) -> None:
        if isinstance(message, JobEnded):
            self.do_reload()

    def _show(self) -> None:
        query = self.query_one("#filter", FilterLine).value
        items = ranked(query, self._sorted(), lambda c: c.table_name)
        notice = Notice("No checkpoint matches", "Press escape in the filter to clear it.") if query else (
            self._notice
        )  # fmt: skip
        self._list.set_items(items, notice=notice)
        self._list.sort_key = {"name": "name", "freshness": "fresh", "failures": "failed"}[self._sort]
        self._list.sort_down = self._sort != "name"
        failed = sum(bool(c.records_failed) for c in self._all)
        self.title_panel(
            "#list-panel",
            f"Checkpoints {len(self._all)}",
            f"{formatting.plural(failed, 'table')} with failures" if failed else f"by {self._sort}",
        )

    def _sorted(self) -> list[Checkpoint]:
        if self._sort == "freshness":
            return sorted(self._all, key=lambda c: (c.last_sync_timestamp, c.table_name))
        if self._sort == "failures":
            return sorted(self._all, key=lambda c: (-c.records_failed, c.table_name))
        return sorted(self._all, key=lambda c: c.table_name)

    def _cells(self, item: Checkpoint, column: str, width: int) -> Ink:
        glyphs, now = self.glyphs, self.now()
        mark = formatting.state_mark(item.sync_status, glyphs)
        # A first read that has not ended leaves the watermark at the beginning of time.
        complete = item.last_sync_timestamp.timestamp() > 0
        if column == "state":
            return [(f"{mark.glyph} ", mark.tone), (mark.word, mark.tone if mark.tone != "good" else "muted")]
        if column == "name":
            return formatting.one_line(item.table_name, unicode=glyphs.unicode)
        if column == "mark":
            if not complete:
                return ("first read not ended", "warn")
            return (formatting.moment(item.last_sync_timestamp), "muted")
        if column == "fresh":
            if not complete:
                return (glyphs.dash, "faint")
            return (formatting.ago(item.last_sync_timestamp, now, glyphs=glyphs), "info")
        if column == "processed":
            return (formatting.count(item.records_processed), "muted")
        if column == "failed":
            failed = item.records_failed
            return (formatting.count(failed), "bad") if failed else (glyphs.dot, "faint")
        if column == "last":
            return (formatting.one_line(item.last_record_id or "", unicode=glyphs.unicode), "faint")
        if column == "moved":
            return (formatting.ago(item.updated_at, now, glyphs=glyphs), "faint")
        return (formatting.one_line(item.error_message or "", unicode=glyphs.unicode), "warn")

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(FilterLine.Left)
    def _filter_left(self) -> None:
        self.set_focus(self._list)

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.perform("checkpoints.open")

    # -- actions -----------------------------------------------------------------------------------------------

    def question_of(self, action: Action) -> tuple[str, str, str]:
        if action.id == "checkpoints.clear_all":
            return f"{len(self._all)} checkpoints: {action.question}", "Clear all checkpoints", "clear all"
        item = self._list.current
        name = item.table_name if item is not None else ""
        return f"{name}: {action.question}", f"Clear {name}", name

    def do_filter(self) -> None:
        self.set_focus(self.query_one("#filter"))

    def do_open(self) -> None:
        if (item := self._list.current) is not None:
            self.ingest_app.open_table(item.table_name)

    def do_sort(self) -> None:
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self.ingest_app.ui_state.set("checkpoints.sort", self._sort)
        self._show()

    def do_history(self) -> None:
        from app.modals.table_history import TableHistory

        if (item := self._list.current) is not None:
            self.app.push_screen(TableHistory(item.table_name))

    def do_reload(self) -> None:
        if not self.bridge.service.where().configured:
            self._notice = Notice("Not connected yet", "Press 1 to connect.")
            self._show()
            return
        self.load("checkpoints", self.bridge.service.checkpoints, self._arrived, self._failed)

    def _arrived(self, found: Sequence[Checkpoint]) -> None:
        self._all = found
        self._notice = Notice("No checkpoints yet", "They appear with the first job: press 3 to plan one.")
        self._show()

    def _failed(self, error: Exception) -> None:
        self._notice = Notice(formatting.redacted(explain(error)), f"{advice(error)} r tries again.", "bad")
        self._all = ()
        self._show()

    def do_clear(self) -> None:
        if (item := self._list.current) is not None:
            self._clear(item.table_name)

    def do_clear_all(self) -> None:
        self._clear(None)

    def _clear(self, table: str | None) -> None:
        def done(_: None) -> None:
            self.tell(f"Cleared {table or 'every checkpoint'}. The next sync reads all of it.")
            self.do_reload()

        self.load("clear", lambda: self.bridge.service.clear_checkpoint(table), done)
