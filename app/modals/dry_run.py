"""A dry run: what a plan would do, tried on the first rows of every table, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from app import formatting
from app.bridge import explain
from app.modals.dialog import Dialog
from app.widgets.ink import Ink
from app.widgets.row_list import ListColumn, Notice, RowList

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.plan import Plan
    from ingestion.reports import Preview, TableEstimate

SAMPLE_ROWS = 50

_COLUMNS = (
    ListColumn("state", "", 1),
    ListColumn("name", "Table", flex=2, minimum=18, maximum=40),
    ListColumn("rows", "Rows", 8, right=True),
    ListColumn("sampled", "Tried", 6, right=True),
    ListColumn("documents", "Documents", 9, right=True),
    ListColumn("warned", "Warned", 6, right=True),
    ListColumn("refused", "Refused", 7, right=True),
    ListColumn("note", "Why", flex=3, minimum=12, drop=2),
)


_ORDER = {"bad": 0, "warn": 1, "faint": 2, "good": 2}


@dataclass(frozen=True, slots=True)
class Tried:
    """One table: what became of its first rows; `sampled` None while it was not tried yet."""

    estimate: TableEstimate
    sampled: int | None = None
    documents: int = 0
    warned: int = 0
    refused: int = 0
    note: str = ""

    @property
    def tone(self) -> str:
        if self.sampled is None:
            return "faint"
        return (
            "bad" if self.refused or (self.note and not self.documents) else "warn" if self.warned else "good"
        )


def tried(estimate: TableEstimate, found: Sequence[Preview]) -> Tried:
    """What previews say about a table."""
    refused = [one for one in found if not one.document]
    warned = [one for one in found if one.document and one.warnings]
    first = next((one.warnings[0] for one in (*refused, *warned) if one.warnings), "")
    made = len(found) - len(refused)
    first = first.removeprefix(f"{estimate.table}: ")  # its name stands at the line's begin
    return Tried(estimate, len(found), made, len(warned), len(refused), first)


class DryRun(Dialog[None]):
    """Tries table after table while it is open; Enter previews the rows of one."""

    footing = "enter previews a table's rows, esc closes; nothing is written"

    DEFAULT_CSS = """
    DryRun > .frame { width: 96%; max-width: 130; height: 92%; padding: 0 1; }
    DryRun #said { height: 1; margin-bottom: 1; }
    DryRun RowList { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,v", "preview", show=False)]

    heading = "Dry run"

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._tables: list[Tried] = []

    def compose_inside(self) -> ComposeResult:
        yield Static("", id="said", markup=False)
        yield RowList[Tried](_COLUMNS, self._cells, lambda one: one.estimate.table, live=True, id="tables")

    def on_mount(self) -> None:
        listing = self.query_one(RowList)
        listing.set_items((), notice=Notice("Estimating", "", "info"))
        listing.focus()
        self._try_all()

    @work(group="dry", exit_on_error=False)
    async def _try_all(self) -> None:
        service = cast("IngestApp", self.app).bridge.service
        listing = self.query_one(RowList)
        try:
            estimate = await service.estimate(self._plan)
        except Exception as error:
            listing.set_items((), notice=Notice(explain(error), getattr(error, "hint", ""), "bad"))
            return
        self._tables = [Tried(table) for table in estimate.tables]
        self._show()
        for number, one in enumerate(self._tables):
            name = one.estimate.table
            try:
                found = await service.previews(name, plan=self._plan, limit=SAMPLE_ROWS)
                self._tables[number] = tried(one.estimate, found)
            except Exception as error:
                note = formatting.redacted(explain(error))
                self._tables[number] = Tried(one.estimate, 0, refused=0, note=note)
            if not self.is_mounted:
                return
            self._show()

    def _show(self) -> None:
        listing: RowList[Tried] = self.query_one(RowList)
        # What needs a look comes first, as soon as it is known.
        listing.set_items(sorted(self._tables, key=lambda one: _ORDER[one.tone]))
        done = [one for one in self._tables if one.sampled is not None]
        rows = sum(one.sampled or 0 for one in done)
        refused, warned = sum(one.refused for one in done), sum(one.warned for one in done)
        unread = sum(bool(one.note) and not one.sampled for one in done)
        text = f"{len(done):,} of {formatting.plural(len(self._tables), 'table')}, {rows:,} rows: "
        text += f"{rows - refused:,} documents, {warned:,} warned, {refused:,} refused"
        text += f", {unread:,} unreadable" if unread else ""
        self.query_one("#said", Static).update(Content(text))
        ended = len(done) == len(self._tables)
        self.query_one(".frame").border_title = Content("Dry run" + ("" if ended else ": trying"))

    def _cells(self, one: Tried, column: str, width: int) -> Ink:
        glyphs = cast("IngestApp", self.app).glyphs
        if column == "state":
            marks = {"faint": glyphs.waiting, "good": glyphs.ok, "warn": glyphs.warn, "bad": glyphs.bad}
            return (marks[one.tone], one.tone)
        if column == "name":
            return formatting.middle(
                formatting.one_line(one.estimate.table, unicode=glyphs.unicode), width, glyphs
            )
        if column == "rows":
            return (formatting.count(one.estimate.rows, exact=one.estimate.exact, glyphs=glyphs), "muted")
        if column == "note":
            return (formatting.one_line(one.note, unicode=glyphs.unicode), one.tone)
        if one.sampled is None:
            return (glyphs.dash, "faint")
        number = getattr(one, column)
        tone = {"warned": "warn", "refused": "bad"}.get(column, "") if number else "faint"
        return (f"{number:,}", tone)

    @on(RowList.Opened)
    def action_preview(self) -> None:
        from app.modals.preview import PreviewDialog

        one = self.query_one(RowList).current
        if one is not None:
            self.app.push_screen(PreviewDialog(one.estimate.table, self._plan))
