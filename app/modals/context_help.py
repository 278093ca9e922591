"""Help for the screen in front: its keys first, then those that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from app import actions
from app.actions import Action, Need
from app.modals.dialog import Dialog
from app.widgets.ink import Ink, wrap
from app.widgets.lines import InkLines
from app.widgets.row_list import ListColumn, RowList

HELP_COLUMNS = (
    ListColumn("key", "Key", width=12),
    ListColumn("label", "Action", width=17),
    ListColumn("help", "What it does", flex=1, minimum=20),
)

LISTS = (
    ("up down  j k", "Move", "In every list; page up, page down, g and G too."),
    ("shift+arrows", "Mark range", "In lists whose items can be marked; shift+click does the same."),
    ("tab", "Next pane", "Move between the panes of a screen; shift+tab goes back."),
)


class HelpRow:
    """A line of help: an action, a heading, or a fixed line."""

    def __init__(self, key: str, label: str, text: str, *, heading: bool = False, able: bool = True) -> None:
        self.key, self.label, self.text = key, label, text
        self.heading, self.able = heading, able

    @property
    def id(self) -> str:
        return f"{self.key}{self.label}{self.text}"


def help_row(action: Action, facts: frozenset[Need]) -> HelpRow:
    reason = action.disabled_reason(facts)
    text = action.help if reason is None else f"Not now: {reason} {action.help}"
    label = f"Go to {action.label}" if action.id.startswith("app.go_") else action.label
    return HelpRow(actions.keys_text(action, all_keys=True), label, text, able=reason is None)


def help_cells(row: HelpRow, column: str, width: int) -> Ink:
    if row.heading:
        return (row.label, "accent") if column == "key" else ""
    if column == "key":
        return (row.key, "key" if row.able else "faint")
    if column == "label":
        return (row.label, "strong" if row.able else "muted")
    return (row.text, "muted")


def rows_for(scopes: Sequence[str], facts: frozenset[Need]) -> list[HelpRow]:
    """Help lines of these scopes, each under its heading."""
    names = {name: label for name, label, _ in actions.SCREENS} | {"app": "Everywhere", "verify": "Verify"}
    rows: list[HelpRow] = []
    for scope in scopes:
        rows.append(HelpRow("", names.get(scope, scope), scope, heading=True))
        rows += [help_row(action, facts) for action in actions.of_scope(scope)]
    return rows


class ContextHelp(Dialog[None]):
    """See the module."""

    footing = "esc closes, 9 shows all help"

    DEFAULT_CSS = """
    ContextHelp > .frame { width: 100; height: 90%; }
    ContextHelp RowList { height: 1fr; }
    ContextHelp #in-full { height: 2; margin-top: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,q", "leave", show=False),
        Binding("9", "all", show=False),
    ]

    def __init__(self, scope: str, facts: frozenset[Need]) -> None:
        super().__init__()
        self._scope, self._facts = scope, facts
        label = {name: label for name, label, _ in actions.SCREENS}.get(scope, scope.capitalize())
        self.heading = f"{label}: keys"

    def compose_inside(self) -> ComposeResult:
        yield RowList[HelpRow](HELP_COLUMNS, help_cells, lambda row: row.id, id="keys")
        yield InkLines(self._in_full, id="in-full")

    def on_mount(self) -> None:
        rows = rows_for([self._scope] if self._scope else [], self._facts)
        rows.append(HelpRow("", "Lists", "lists", heading=True))
        rows += [HelpRow(*line) for line in LISTS]
        rows += rows_for(["app"], self._facts)
        listing = self.query_one(RowList)
        listing.set_items(rows)
        listing.cursor = 1 if self._scope else 0  # the first line is a heading
        listing.focus()

    @on(RowList.Highlighted, "#keys")
    def _moved(self) -> None:
        self.query_one("#in-full", InkLines).update()

    def _in_full(self, width: int) -> list[Ink]:
        """What the row under the cursor says, whole: the column is too narrow for it on a small terminal."""
        row: HelpRow | None = self.query_one("#keys", RowList).current
        if row is None or row.heading:
            return []
        return [(line, "muted") for line in wrap(row.text, width)]

    def action_all(self) -> None:
        self.dismiss(None)
        self.app.action_perform("app.go_help")  # type: ignore[attr-defined]
