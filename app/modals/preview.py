"""A source row beside the exact document it becomes, before anything is written: any row of any table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from app import formatting
from app.bridge import advice, explain
from app.clipboard import copy
from app.modals.ask import Prompt
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList, fields_of_document, fields_of_row
from app.widgets.row_list import Notice

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.plan import Plan
    from ingestion.reports import Preview

ROWS = 100
"""Rows read at once; the others are found by a column's value."""


class PreviewDialog(Dialog[None]):
    """See the module."""

    footing = "n p step, o another row, tab other side, y copies, esc closes"

    DEFAULT_CSS = """
    PreviewDialog > .frame { width: 96%; max-width: 180; height: 92%; padding: 0 1; }
    PreviewDialog .side { width: 1fr; border: round $line; border-title-color: $muted; }
    PreviewDialog .side:focus-within { border: round $line-focus; border-title-color: $primary; }
    PreviewDialog FieldList { height: 1fr; }
    .-ascii PreviewDialog .side { border: ascii $line; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", show=False),
        Binding("p,left", "step(-1)", show=False),
        Binding("o,slash", "other", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, table: str, plan: Plan | None = None) -> None:
        super().__init__()
        self._table, self._plan = table, plan
        self._found: Sequence[Preview] = ()
        self._at = 0
        self._wanted = ("", "")
        self.heading = f"{table}: row and document"

    def compose_inside(self) -> ComposeResult:
        with Horizontal():
            for name, title in (("row", "Source row"), ("document", "Document")):
                with Vertical(classes="side") as side:
                    side.border_title = Content(title)
                    yield FieldList(id=name)

    def on_mount(self) -> None:
        self.query_one("#row").focus()
        self._fetch()

    @work(group="preview", exclusive=True, exit_on_error=False)
    async def _fetch(self) -> None:
        row, document = self.query_one("#row", FieldList), self.query_one("#document", FieldList)
        row.set_notice(Notice("Reading rows", "", "info"))
        document.set_notice(Notice(""))
        bridge = cast("IngestApp", self.app).bridge
        column, value = self._wanted
        try:
            self._found = await bridge.service.previews(
                self._table, plan=self._plan, column=column, value=value, limit=ROWS
            )
        except Exception as error:
            row.set_notice(Notice(formatting.redacted(explain(error)), advice(error), "bad"))
            return
        self._at = 0
        if self._found:
            self._show()
        elif column:
            row.set_notice(
                Notice(f"No row has {column} = {formatting.one_line(value)}", "o asks for another.")
            )
        else:
            row.set_notice(Notice("This table is empty", "It becomes no document."))

    def _show(self) -> None:
        preview = self._found[self._at]
        bridge = cast("IngestApp", self.app).bridge
        glyphs = cast("IngestApp", self.app).glyphs
        schema = bridge.schema.value
        types: dict[str, str] = {}
        if schema is not None and schema.has_table(self._table):
            types = {column.name: column.data_type for column in schema.table(self._table).columns}
        flagged = [text.partition(":")[0] for text in preview.warnings]
        self.query_one("#row", FieldList).set_fields(fields_of_row(preview.row, types=types, flagged=flagged))
        fields = [Field(glyphs.warn, text, tone="warn") for text in preview.warnings]
        fields += fields_of_document(preview.document)
        notice = Notice("No document", " ".join(preview.warnings) or "The row has no key.", "bad")
        self.query_one("#document", FieldList).set_fields(fields if preview.document else (), notice=notice)
        key = preview.key or "no key"
        place = f"{self._at + 1:,} of {len(self._found):,}" + ("+" if len(self._found) == ROWS else "")
        title = f"{self._table}: row {place}, {formatting.middle(key, 28, glyphs)}"
        self.query_one(".frame").border_title = Content(formatting.one_line(title, unicode=glyphs.unicode))

    def action_step(self, by: int) -> None:
        if self._found:
            self._at = (self._at + by) % len(self._found)
            self._show()

    def action_copy(self) -> None:
        side = self.query_one("#document" if self.query_one("#document").has_focus else "#row", FieldList)
        if side.current is not None and side.current.value:
            self.notify(copy(self.app, side.current.value), markup=False)

    @work(group="other", exit_on_error=False)
    async def action_other(self) -> None:
        columns, key = self._columns()

        def read(text: str) -> tuple[str, str]:
            name, equals, value = text.partition("=")
            if equals and name.strip() in columns:
                return name.strip(), value.strip()
            return (key, text.strip()) if key else ("", "")

        def check(text: str) -> str:
            return "" if read(text)[0] else "Write column=value."

        says = f"A value of {key}, or column=value." if key else "The table has no key: write column=value."
        hint = f"Columns: {', '.join(columns[:8])}" + (", …" if len(columns) > 8 else "")
        answer = await self.app.push_screen_wait(
            Prompt("Another row", says, check=check, hint=lambda _: hint)
        )
        if answer:
            self._wanted = read(answer)
            self._fetch()

    def _columns(self) -> tuple[list[str], str]:
        """Names of the table's columns, and the one that is its key by itself."""
        schema = cast("IngestApp", self.app).bridge.schema.value
        if schema is None or not schema.has_table(self._table):
            return [], ""
        table = schema.table(self._table)
        return [c.name for c in table.columns], table.key_columns[0] if len(table.key_columns) == 1 else ""
