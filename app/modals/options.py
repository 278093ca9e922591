"""A plan's numbers: batch size, tables and files at a time, and files or not."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Input, Static

from app.modals.dialog import Dialog
from ingestion.plan import Plan

NUMBERS = (
    ("batch_size", "Rows in a batch", "A batch also closes at 1 MiB of text."),
    ("workers", "Tables at a time", "More is faster until one side slows down."),
    ("file_workers", "Files at a time", "Only where files are fetched."),
)


class Options(Dialog[Plan | None]):
    """Answers the changed plan, or None."""

    heading = "Options"
    footing = "enter accepts, empty means the default, esc leaves"

    DEFAULT_CSS = """
    Options .row { height: 2; }
    Options .row Static { width: 1fr; height: 2; }
    Options .row Input { width: 14; height: 1; border: none; padding: 0 1; background: $background; }
    Options .row Input:focus { border: none; background: $boost; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "accept", show=False)]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def compose_inside(self) -> ComposeResult:
        for name, label, note in NUMBERS:
            with Horizontal(classes="row"):
                yield Static(f"{label}\n  {note}", markup=False)
                value = getattr(self._plan, name)
                yield Input(str(value or ""), placeholder="default", type="integer", id=name, compact=True)
        yield self.buttons(
            Button("Leave", id="leave", compact=True), Button("Accept", id="accept", compact=True)
        )

    def on_mount(self) -> None:
        self.query_one("#batch_size").focus()

    @on(Input.Submitted)
    def action_accept(self) -> None:
        changed: dict[str, int | None] = {}
        for name, _, _ in NUMBERS:
            text = self.query_one(f"#{name}", Input).value.strip()
            number = int(text) if text.isdigit() else 0
            if text and number <= 0:
                self.notify("A number above 0, or nothing for the default.", severity="warning", markup=False)
                self.query_one(f"#{name}").focus()
                return
            changed[name] = number or None
        self.dismiss(replace(self._plan, **changed))  # type: ignore[arg-type]

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "accept":
            self.action_accept()
        else:
            self.dismiss(None)
