"""Small one-line parts: the filter line over a list, the strip of tabs over a pane, a line of facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from app.formatting import UNICODE
from app.themes import tones
from app.widgets.ink import Ink, Run, fit, strip_of


class FilterLine(Input):
    """A filter over a list: Enter or down goes to the list, Escape clears first and then goes to it."""

    DEFAULT_CSS = """
    FilterLine { height: 1; border: none; padding: 0 1; background: $background; }
    FilterLine:focus { border: none; background: $boost; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear_or_leave", show=False),
        Binding("down", "leave", show=False),
        Binding("ctrl+p", "app.command_palette", show=False),
    ]

    class Left(Message):
        """The user is done typing and wants the list."""

        def __init__(self, line: FilterLine) -> None:
            super().__init__()
            self.line = line

        @property
        def control(self) -> FilterLine:
            return self.line

    def __init__(self, placeholder: str = "/ to filter", *, id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, compact=True, id=id)

    async def action_submit(self) -> None:
        await super().action_submit()
        self.post_message(self.Left(self))

    def action_clear_or_leave(self) -> None:
        if self.value:
            self.value = ""
        self.post_message(self.Left(self))

    def action_leave(self) -> None:
        self.post_message(self.Left(self))


class TabStrip(Widget, can_focus=False):
    """Names of panes in one line; the chosen one stands out by brackets too, not only by colour."""

    DEFAULT_CSS = """
    TabStrip { height: 1; width: 1fr; background: $surface; }
    """

    class Chosen(Message):
        def __init__(self, strip: TabStrip, key: str) -> None:
            super().__init__()
            self.strip, self.key = strip, key

        @property
        def control(self) -> TabStrip:
            return self.strip

    def __init__(self, tabs: Sequence[tuple[str, str]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = list(tabs)
        self.chosen = self._tabs[0][0]
        self._notes: dict[str, str] = {}
        self._spots: list[tuple[int, int, str]] = []

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self._tabs]

    def note(self, key: str, text: str) -> None:
        """A short figure behind a tab's name."""
        self._notes[key] = text
        self.refresh()

    def choose(self, key: str) -> None:
        if key != self.chosen:
            self.chosen = key
            self.refresh()
            self.post_message(self.Chosen(self, key))

    def step(self, by: int) -> None:
        keys = self.keys
        self.choose(keys[(keys.index(self.chosen) + by) % len(keys)])

    def on_click(self, event: events.Click) -> None:
        for start, end, key in self._spots:
            if start <= event.x < end:
                self.choose(key)

    def render_line(self, y: int) -> Strip:
        runs = self._runs(tight=False)
        if sum(cell_len(text) for text, _ in runs) > self.size.width:
            runs = self._runs(tight=True)
        ellipsis = getattr(self.app, "glyphs", UNICODE).ellipsis
        return strip_of(fit(runs, self.size.width, ellipsis=ellipsis), tones(self.app), self.rich_style)

    def _runs(self, *, tight: bool) -> list[Run]:
        """The tabs; when tight, without blanks around names and without the figures of those behind."""
        runs: list[Run] = []
        self._spots, at = [], 0
        for key, label in self._tabs:
            note = self._notes.get(key, "")
            here = key == self.chosen
            piece = f"[{label}]" if here else label if tight else f" {label} "
            tail = "" if tight else f" {note} " if note and here else f"{note} " if note else ""
            runs += [(piece, "accent" if here else "muted"), (tail, "muted" if here else "faint"), (" ", "")]
            cells = cell_len(piece) + cell_len(tail)
            self._spots.append((at, at + cells, key))
            at += cells + 1
        return runs[:-1]


class InkLines(Widget, can_focus=False):
    """A few lines of toned text, made by a function of the width at every paint."""

    DEFAULT_CSS = """
    InkLines { width: 1fr; height: 1; background: $surface; }
    """

    def __init__(
        self, make: Callable[[int], Sequence[Ink]], *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._make = make
        self._made: tuple[Size, list[Ink]] | None = None

    def update(self) -> None:
        """Make the lines anew."""
        self._made = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._made is None or self._made[0] != self.size:
            self._made = (self.size, list(self._make(width)))
        lines = self._made[1]
        ellipsis = getattr(self.app, "glyphs", UNICODE).ellipsis
        line: Ink = lines[y] if y < len(lines) else ""
        return strip_of(fit(line, width, ellipsis=ellipsis), tones(self.app), self.rich_style)
