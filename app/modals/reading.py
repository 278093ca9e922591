"""A long text, to read and to copy."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from app.clipboard import copy
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList


class Reading(Dialog[None]):
    """See the module."""

    footing = "y copies, esc closes"

    DEFAULT_CSS = """
    Reading > .frame { width: 90%; height: 70%; }
    Reading FieldList { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", show=False),
        Binding("enter,q", "leave", show=False),
    ]

    def __init__(self, heading: str, text: str) -> None:
        super().__init__()
        self.heading, self._text = heading, text

    def compose_inside(self) -> ComposeResult:
        yield FieldList(name_width=1)

    def on_mount(self) -> None:
        listing = self.query_one(FieldList)
        listing.set_fields([Field("", line or " ") for line in self._text.split("\n")])
        listing.focus()

    def action_copy(self) -> None:
        self.notify(copy(self.app, self._text), markup=False)
