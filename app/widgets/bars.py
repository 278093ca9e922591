"""The line at the top (screens, the running job) and the line at the bottom (keys). Both answer the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from app import actions, formatting
from app.themes import tones
from app.widgets.ink import Run, crop, fit, strip_of, width_of

if TYPE_CHECKING:
    from app.screens.base import BaseScreen

_SHORT = {"connect": "Conn", "checkpoints": "Chkpt", "failures": "Fail"}


class _Bar(Widget, can_focus=False):
    """One line whose runs remember what they stand for."""

    DEFAULT_CSS = """
    _Bar { height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._spots: list[tuple[int, int, str]] = []

    class Pressed(Message):
        """A part of a bar was clicked; `action_id` is what it stands for."""

        def __init__(self, action_id: str) -> None:
            super().__init__()
            self.action_id = action_id

    def on_click(self, event: events.Click) -> None:
        for start, end, action_id in self._spots:
            if start <= event.x < end:
                event.stop()
                self.post_message(self.Pressed(action_id))
                return

    def runs(self, width: int) -> list[Run]:
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        return strip_of(fit(self.runs(width), width, ellipsis=" "), tones(self.app), self.rich_style)


class TopBar(_Bar):
    """Brand, screens by number, the job's badge. Labels shrink before anything is lost."""

    def __init__(self, active: str) -> None:
        super().__init__()
        self.active = active

    def runs(self, width: int) -> list[Run]:
        glyphs = getattr(self.app, "glyphs", formatting.UNICODE)
        badge = self._badge(glyphs)
        room = width - width_of(badge) - 1
        for brand, long in ((True, True), (False, True), (False, False)):
            runs = self._tabs(brand, long)
            if width_of(runs) <= room:
                break
        pad = max(0, width - width_of(runs) - width_of(badge) - 1)
        return [*runs, (" " * pad, ""), *badge, (" ", "")]

    def _tabs(self, brand: bool, long: bool) -> list[Run]:
        runs: list[Run] = [(" procore-ingest ", "brand"), (" ", "")] if brand else []
        self._spots = []
        at = width_of(runs)
        for number, (name, label, _) in enumerate(actions.SCREENS, start=1):
            text = label if long else _SHORT.get(name, label)
            if name == self.active:
                pieces: list[Run] = [(f" {number} {text} ", "tab")]
            else:
                pieces = [(f" {number}" if long else f"{number}", "key"), (f" {text} ", "muted")]
            self._spots.append((at, at + width_of(pieces), f"app.go_{name}"))
            at += width_of(pieces)
            runs += pieces
        return runs

    def _badge(self, glyphs: formatting.Glyphs) -> list[Run]:
        bridge = getattr(self.app, "bridge", None)
        view = bridge.view if bridge is not None else None
        if view is None or bridge is None:
            return []
        mark = formatting.state_mark(view.status, glyphs)
        if not bridge.job_active:
            return [(f"{mark.glyph} {mark.word}", mark.tone)] if self.size.width >= 100 else [
                (mark.glyph, mark.tone)]  # fmt: skip
        share = formatting.percent(view.share, glyphs=glyphs)
        if self.size.width >= 110:
            left = formatting.eta(view.eta_s, glyphs=glyphs)
            tail = f" {glyphs.dot} {left} left" if view.eta_s is not None else ""
            return [(f"{mark.glyph} {mark.word} {share}", mark.tone), (tail, "muted")]
        return [(f"{mark.glyph} {share}", mark.tone)]


class KeyBar(_Bar):
    """The screen's keys, the most wanted first; help is pinned to the right end and never lost."""

    def runs(self, width: int) -> list[Run]:
        screen: BaseScreen = self.screen  # type: ignore[assignment]
        if isinstance(screen.focused, Input):
            self._spots = []
            return [(" enter", "key"), (" accepts  ", "muted"), (" esc", "key"), (" leaves the field  ", "muted"),
                    (" ^p", "key"), (" palette", "muted")]  # fmt: skip
        pinned = [("?", "key"), (" Help ", "muted")]
        room = width - width_of(pinned) - 1
        wanted = [a for a in (*actions.of_scope(screen.scope), *actions.of_scope("app")) if a.rank]
        wanted = [a for a in wanted if a.id != "app.context_help"]
        wanted.sort(key=lambda a: a.rank)
        facts = screen.facts()
        able = {action.id for action in wanted if action.disabled_reason(facts) is None}
        # What can be done now comes first when there is not room for all; the order shown stays by rank.
        chosen: list[actions.Action] = []
        used = 0
        for action in sorted(wanted, key=lambda a: (a.id not in able, a.rank)):
            cells = cell_len(actions.keys_text(action)) + cell_len(crop(screen.label_of(action), 14, ".")) + 4
            if used + cells <= room:
                chosen.append(action)
                used += cells
        self._spots = []
        runs: list[Run] = []
        at = 0
        for action in sorted(chosen, key=lambda a: a.rank):
            key, label = actions.keys_text(action), crop(screen.label_of(action), 14, ".")
            tones_of = ("key", "muted") if action.id in able else ("faint", "faint")
            runs += [(f" {key}", tones_of[0]), (f" {label} ", tones_of[1]), (" ", "")]
            cells = cell_len(key) + cell_len(label) + 4
            self._spots.append((at, at + cells - 1, action.id))
            at += cells
        pad = max(0, width - width_of(runs) - width_of(pinned))
        self._spots.append((width - width_of(pinned), width, "app.context_help"))
        return [*runs, (" " * pad, ""), *pinned]
