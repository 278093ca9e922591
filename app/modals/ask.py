"""Dialogs that ask for a choice or a line of text. All answer None when left with Escape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from app import formatting
from app.modals.dialog import Dialog
from app.themes import tones


@dataclass(frozen=True, slots=True)
class Choice:
    """One possibility: `key` is the answer; `detail` says what it means."""

    key: str
    label: str
    detail: str = ""


class Choose(Dialog[str | None]):
    """One of several. The first one is where the cursor stands, so it must be harmless."""

    footing = "enter chooses, esc leaves"

    DEFAULT_CSS = """
    Choose OptionList { height: auto; max-height: 24; }
    Choose OptionList > .option-list--option { padding: 0 1; }
    """

    def __init__(
        self, heading: str, choices: Sequence[Choice], says: str = "", *, asked_by: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.heading = heading
        self._choices, self._says, self._asked_by = choices, says, asked_by

    def compose_inside(self) -> ComposeResult:
        if self._says:
            yield self.says(self._says)
        ink = tones(self.app)
        options = []
        for choice in self._choices:
            text = Text(no_wrap=False)
            text.append(formatting.safe(choice.label), ink.strong)
            if choice.detail:
                text.append("\n" + formatting.safe(choice.detail), ink.muted)
            options.append(Option(text, id=choice.key))
        yield OptionList(*options)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def on_key(self, event: events.Key) -> None:
        if event.key in self._asked_by and event.key != "enter":
            event.stop()


class Prompt(Dialog[str | None]):
    """A line of text; `check` gives the complaint about an input, empty when it is fine.

    `hint` is called at every change and says what the text would do.
    """

    footing = "enter accepts, esc leaves"

    def __init__(
        self,
        heading: str,
        says: str = "",
        *,
        value: str = "",
        placeholder: str = "",
        check: Callable[[str], str] | None = None,
        hint: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        self.heading = heading
        self._says, self._value, self._placeholder = says, value, placeholder
        self._check, self._hint = check, hint

    def compose_inside(self) -> ComposeResult:
        if self._says:
            yield self.says(self._says)
        yield Input(self._value, placeholder=self._placeholder, id="text")
        yield Static("", id="hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._say_hint(self._value)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._say_hint(event.value)

    def _say_hint(self, value: str) -> None:
        complaint = self._check(value) if self._check and value else ""
        text = complaint or (self._hint(value) if self._hint else "")
        style = tones(self.app).get("bad" if complaint else "muted")
        self.query_one("#hint", Static).update(Text(formatting.safe(text), style=style))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        value = event.value.strip()
        complaint = self._check(value) if self._check else ""
        if complaint:
            style = tones(self.app).get("bad")
            self.query_one("#hint", Static).update(Text(formatting.safe(complaint), style=style))
            return
        self.dismiss(value)
