"""A source row beside the document it becomes, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from app import formatting
from app.bridge import advice, explain
from app.modals.ask import Prompt
from app.modals.dialog import Dialog
from app.widgets.field_list import FieldList, fields_of_document, fields_of_row
from app.widgets.row_list import Notice

if TYPE_CHECKING:
    from app.application import IngestApp
    from ingestion.reports import Preview


class PreviewDialog(Dialog[None]):
    """See the module; `k` asks for another row by its key."""

    footing = "tab changes sides, o another row by key, esc closes"

    DEFAULT_CSS = """
    PreviewDialog > .frame { width: 96%; max-width: 180; height: 92%; padding: 0 1; }
    PreviewDialog .side { width: 1fr; border: round $line; border-title-color: $muted; }
    PreviewDialog .side:focus-within { border: round $line-focus; border-title-color: $primary; }
    PreviewDialog FieldList { height: 1fr; }
    .-ascii PreviewDialog .side { border: ascii $line; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "other", show=False)]

    def __init__(self, table: str, key: str | None = None) -> None:
        super().__init__()
        self._table, self._key = table, key
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
        row.set_notice(Notice("Reading the row", "", "info"))
        document.set_notice(Notice(""))
        bridge = cast("IngestApp", self.app).bridge
        try:
            preview: Preview = await bridge.service.preview(self._table, self._key)
        except Exception as error:
            row.set_notice(Notice(formatting.redacted(explain(error)), advice(error), "bad"))
            return
        row.set_fields(fields_of_row(preview.row), notice=Notice("This table is empty"))
        document.set_fields(
            fields_of_document(preview.document), notice=Notice("No document", "The row has no key.")
        )
        warnings = f"   {formatting.plural(len(preview.warnings), 'warning')}" if preview.warnings else ""
        frame = self.query_one(".frame")
        frame.border_title = Content(
            formatting.one_line(f"{self._table} {preview.key or ''}: row and document{warnings}")
        )

    @work(group="other", exit_on_error=False)
    async def action_other(self) -> None:
        key = await self.app.push_screen_wait(Prompt("Another row", f"The key of a row of {self._table}."))
        if key:
            self._key = key
            self._fetch()
