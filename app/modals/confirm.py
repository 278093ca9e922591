"""Questions before something that cannot be undone. Doing nothing is always the default."""

from __future__ import annotations

from textual import events, on
from textual.app import ComposeResult
from textual.widgets import Button, Input

from app.modals.dialog import Dialog


class Confirm(Dialog[bool]):
    """Yes or no; the cursor stands on no, and the key that asked does nothing here."""

    nothing = False
    footing = "tab moves, enter chooses, y confirms, esc leaves"

    def __init__(self, question: str, label: str, *, asked_by: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.heading = "Are you sure?"
        self._question, self._label, self._asked_by = question, label, asked_by

    def compose_inside(self) -> ComposeResult:
        yield self.says(self._question)
        yield self.buttons(
            Button("No, leave it", id="no", compact=True),
            Button(self._label, id="yes", classes="danger", compact=True),
        )

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def on_key(self, event: events.Key) -> None:
        if event.key in self._asked_by:
            event.stop()
            event.prevent_default()
        elif event.key == "y":
            self.dismiss(True)
        elif event.key == "n":
            self.dismiss(False)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class TypedConfirm(Dialog[bool]):
    """A word must be typed; nothing else confirms, so it cannot be hit twice by accident."""

    nothing = False
    footing = "esc leaves everything as it is"

    def __init__(self, question: str, label: str, word: str) -> None:
        super().__init__()
        self.heading = label
        self._question, self._label, self._word = question, label, word

    def compose_inside(self) -> ComposeResult:
        yield self.says(self._question)
        yield self.says(f"Type  {self._word}  and press enter.", "accent")
        yield Input(id="word")
        yield self.buttons(
            Button("Leave it", id="no", compact=True),
            Button(self._label, id="yes", classes="danger", compact=True),
        )

    def on_mount(self) -> None:
        self.query_one("#yes", Button).disabled = True
        self.query_one("#word").focus()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self._word

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            self.query_one("#word").add_class("-invalid")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
