"""A line of words that can be pressed: what a panel's keys do, for the mouse too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from textual.strip import Strip

from app import formatting
from app.themes import tones
from app.widgets.bars import _Bar
from app.widgets.ink import Run, fit, strip_of

Piece = tuple[str, str, str]
"""Text, tone, and the action that a press performs (empty: none)."""


class PressLine(_Bar):
    """One line at the foot of a panel."""

    DEFAULT_CSS = """
    PressLine { background: $surface; }
    """

    def __init__(self, make: Callable[[], Sequence[Piece]]) -> None:
        super().__init__()
        self._make = make

    def render_line(self, y: int) -> Strip:
        runs: list[Run] = []
        self._spots, at = [], 0
        for text, tone, action_id in self._make():
            runs.append((text, tone))
            if action_id:
                self._spots.append((at, at + cell_len(text), action_id))
            at += cell_len(text)
        ellipsis = getattr(self.app, "glyphs", formatting.UNICODE).ellipsis
        return strip_of(fit(runs, self.size.width, ellipsis=ellipsis), tones(self.app), self.rich_style)
