"""The frame that all dialogs share: a panel in the middle, Escape leaves without doing anything."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from app import formatting
from app.themes import tones
from app.widgets.field_list import FieldList

R = TypeVar("R")


class Dialog(ModalScreen[R]):
    """`nothing` is what Escape answers."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > .frame {
        width: 72; max-width: 94%; height: auto; max-height: 90%;
        background: $surface; border: round $line-focus; padding: 1 2;
        border-title-color: $primary; border-title-style: bold; border-subtitle-color: $muted;
    }
    Dialog .says { height: auto; margin-bottom: 1; }
    Dialog .buttons { height: 1; align-horizontal: right; margin-top: 1; }
    Dialog Input { border: tall $line; background: $background; height: 3; }
    Dialog Input:focus { border: tall $line-focus; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    heading: str = ""
    footing: str = "esc closes"
    nothing: Any = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="frame") as frame:
            frame.border_title = Content(formatting.one_line(self.heading))
            frame.border_subtitle = Content(self.footing)
            yield from self.compose_inside()

    def compose_inside(self) -> ComposeResult:
        yield from ()

    def says(self, text: str, tone: str = "") -> Static:
        """A paragraph of plain text."""
        glyphs = getattr(self.app, "glyphs", formatting.UNICODE)
        return Static(
            Text(formatting.safe(text, glyphs=glyphs), style=tones(self.app).get(tone)),
            classes="says",
            markup=False,
        )

    def buttons(self, *children: Any) -> Horizontal:
        return Horizontal(*children, classes="buttons")

    def fit_height(self, listing: FieldList) -> None:
        """Make a list of fields as high as what it says, as far as the terminal has room for it."""
        listing.styles.height = max(6, min(listing.line_count, self.app.size.height - 5))

    def action_leave(self) -> None:
        self.dismiss(self.nothing)
