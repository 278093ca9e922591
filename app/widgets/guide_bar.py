"""The guide's lines under the screens' names: the steps with their marks, what this one is, what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.strip import Strip

from app import formatting, guide
from app.bridge import guide_facts
from app.themes import tones
from app.widgets.bars import _Bar
from app.widgets.ink import Run, fit, strip_of, width_of

if TYPE_CHECKING:
    from app.screens.base import BaseScreen

_MARKS = {
    "done": ("ok", "good"), "next": ("running", "accent"), "open": ("waiting", "faint"),
    "busy": ("running", "info"), "skipped": ("skipped", "faint"), "problem": ("bad", "bad"),
}  # fmt: skip
_TONES = {"done": "muted", "next": "strong", "busy": "strong", "problem": "bad"}
NEXT = "app.guide_next"


class GuideBar(_Bar):
    """Two lines, or one where there is little room; steps and the hint answer the mouse."""

    DEFAULT_CSS = """
    GuideBar { height: 2; background: $background; }
    """

    def render_line(self, y: int) -> Strip:
        screen: BaseScreen = self.screen  # type: ignore[assignment]
        facts = guide_facts(screen.bridge)
        place = guide.standing(facts)
        if y == 0:
            self._spots = []
        width = self.size.width
        glyphs: formatting.Glyphs = getattr(self.app, "glyphs", formatting.UNICODE)
        hint = self._hint(guide.hint(place, facts, screen.scope), place.next is not None)
        if self.size.height == 1:
            runs = self._joined(
                self._steps(place, screen.scope, width - width_of(hint) - 1, glyphs), hint, width
            )
        elif y == 0:
            runs = self._steps(place, screen.scope, width, glyphs)
        else:
            step = guide.step_of_screen(screen.scope, place)
            text = guide.says(step, facts)
            if place.next is None and screen.scope in {"run", "verify"}:
                text = "All done. `sync --daemon` keeps the index in step."
            runs = self._joined([("  " + text, "muted")], hint, width)
        return strip_of(fit(runs, width, ellipsis=glyphs.ellipsis), tones(self.app), self.rich_style)

    @staticmethod
    def _hint(text: str, is_step: bool) -> list[Run]:
        if not text:
            return []
        return [("  >", "key"), (f" {text} ", "muted")] if is_step else [(f"{text} ", "muted")]

    def _joined(self, left: list[Run], hint: list[Run], width: int) -> list[Run]:
        room = width - width_of(hint)
        if hint and hint[0][1] == "key":
            self._spots.append((room, width, NEXT))
        return [*fit(left, room, ellipsis=getattr(self.app, "glyphs", formatting.UNICODE).ellipsis), *hint]

    def _steps(self, place: guide.Standing, scope: str, width: int, glyphs: formatting.Glyphs) -> list[Run]:
        here = guide.step_of_screen(scope, place).name
        between: Run = (f" {glyphs.arrow} ", "faint")
        whole = sum(len(name) + 2 for name in guide.NAMES) + 2
        if whole + 3 * (len(guide.NAMES) - 1) > width:
            between = ("  " if whole + 2 * (len(guide.NAMES) - 1) <= width else " ", "")
        # Beside a hint on 80 columns: what lies behind can do without its name, what is ahead cannot.
        nameless = set()
        spare = width - whole - len(guide.NAMES) + 1
        for step, mark in zip(guide.STEPS, place.marks, strict=True):
            if spare < 0 and step.name != here and mark in {"done", "skipped"}:
                nameless.add(step.name)
                spare += len(step.name) + 1
        runs: list[Run] = [("  " if whole <= width else " ", "")]
        at = cell_len(runs[0][0])
        for number, (step, mark) in enumerate(zip(guide.STEPS, place.marks, strict=True)):
            if number:
                runs.append(between)
                at += cell_len(between[0])
            glyph, tone = _MARKS[mark]
            word = "accent" if step.name == here else _TONES.get(mark, "faint")
            pieces: list[Run] = [(f"{getattr(glyphs, glyph)} ", tone), (step.name, word)]
            if step.name in nameless:
                pieces = [(getattr(glyphs, glyph), tone)]
            self._spots.append((at, at + width_of(pieces), f"app.go_{_screen_of(step)}"))
            at += width_of(pieces)
            runs += pieces
        return runs


def _screen_of(step: guide.Step) -> str:
    return "run" if step.scope == "verify" else step.scope
