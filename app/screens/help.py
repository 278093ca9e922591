"""Help: what the screens are for, in the order of the work, then every action with its keys."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from app import actions
from app.modals.context_help import HELP_COLUMNS, LISTS, HelpRow, help_cells, rows_for
from app.screens.base import BaseScreen
from app.widgets.ink import Ink
from app.widgets.lines import FilterLine, InkLines
from app.widgets.row_list import Notice, RowList

STEPS = (
    ("1 connect", "read-only, always"), ("2 explore", "what is there"), ("3 choose", "and see the cost"),
    ("4 run", "leave any time"), ("v verify", "source = index"), ("7 mend", "retry what failed"),
    ("8 search", "ask the index"),
)  # fmt: skip


class HelpScreen(BaseScreen):
    """See the module."""

    scope: ClassVar[str] = "help"

    def compose_body(self) -> ComposeResult:
        guide = InkLines(self._guide, id="guide")
        guide.styles.height = 3
        yield guide
        with Vertical(classes="panel", id="keys-panel"):
            yield FilterLine("/ to find an action, a key or a word", id="filter")
            yield RowList[HelpRow](HELP_COLUMNS, help_cells, lambda row: row.id, id="keys")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#keys"))
        self._show()

    def theme_moved(self) -> None:
        self.query_one("#guide", InkLines).update()

    def _guide(self, width: int) -> list[Ink]:
        runs: list[tuple[str, str]] = []
        second: list[tuple[str, str]] = []
        for number, (step, why) in enumerate(STEPS):
            cell = max(len(step), len(why)) + 3
            if sum(len(text) for text, _ in runs) + cell > width - 2:
                break
            lead = f"{self.glyphs.arrow} " if number else "  "
            runs += [(lead, "faint"), (step.ljust(cell - 2), "accent")]
            second += [("  ", ""), (why.ljust(cell - 2), "muted")]
        return [runs, second]

    def _show(self) -> None:
        query = self.query_one("#filter", FilterLine).value.strip().casefold()
        facts = frozenset(self.facts()) | frozenset(actions.Need)
        rows = [HelpRow("", "Lists", "lists", heading=True), *(HelpRow(*line) for line in LISTS)]
        rows += rows_for(["app", *actions.SCREEN_NAMES, "verify"], facts)
        if query:
            rows = [
                row
                for row in rows
                if not row.heading and query in f"{row.key} {row.label} {row.text}".casefold()
            ]
        self.query_one("#keys", RowList).set_items(rows, notice=Notice("No action matches"))
        shown = sum(not row.heading for row in rows)
        self.title_panel("#keys-panel", f"Actions {shown}" if query else "Actions")

    @on(Input.Changed)
    def _changed(self) -> None:
        self._show()

    @on(FilterLine.Left)
    def _left(self) -> None:
        self.set_focus(self.query_one("#keys"))

    def do_filter(self) -> None:
        self.set_focus(self.query_one("#filter"))
