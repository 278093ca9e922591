"""A list of rows in columns that paints only what is visible: thousands of rows cost no more than thirty.

The owner gives items and a function that makes the cells; the list keeps the cursor on the same item when
items change, marks items for bulk actions, and asks for more when the cursor nears the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from app.formatting import UNICODE, Glyphs
from app.themes import EMPTY, tones
from app.widgets.ink import Ink, Run, fit, strip_of, wrap

T = TypeVar("T")

NARROW = 84
"""Below this width columns stand closer together."""
NARROW_GAP, WIDE_GAP = 1, 2
LEAST = 8
"""Cells that a column of text keeps, however narrow its list."""
NEAR_END_ROWS = 40
"""The owner is asked for more when the cursor or the view comes this near to the last row."""


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column: `width` fixed, or 0 to share what is left by `flex`; larger `drop` goes first when narrow."""

    key: str
    title: str
    width: int = 0
    flex: int = 1
    minimum: int = 6
    maximum: int = 0
    right: bool = False
    drop: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """What stands in an empty list: what is so, and the next step. `tone`: muted, info, bad."""

    title: str
    detail: str = ""
    tone: str = "muted"


def lay_out(columns: Sequence[ListColumn], width: int, gap: int = 2) -> list[tuple[ListColumn, int]]:
    """The columns that fit into `width` cells, each with its own width."""
    kept = list(columns)

    def need() -> int:
        return sum(c.width or c.minimum for c in kept) + gap * max(0, len(kept) - 1)

    while need() > width and any(c.drop for c in kept):
        kept.remove(max(kept, key=lambda c: c.drop))
    spare = width - need()
    flexible = [c for c in kept if not c.width]
    sizes = {c.key: c.width or c.minimum for c in kept}
    for (
        column
    ) in flexible:  # what is still too wide for a narrow panel shrinks rather than runs over its edge
        if spare < 0:
            less = min(-spare, max(0, sizes[column.key] - LEAST))
            sizes[column.key] -= less
            spare += less
    while spare > 0 and flexible:
        weight = sum(c.flex for c in flexible)
        given = 0
        for column in list(flexible):
            share = max(1, spare * column.flex // weight)
            room = column.maximum - sizes[column.key] if column.maximum else share
            share = min(share, room, spare - given)
            if share <= 0:
                flexible.remove(column)
                continue
            sizes[column.key] += share
            given += share
        spare -= given
        if not given:
            break
    return [(c, sizes[c.key]) for c in kept]


class RowList(ScrollView, Generic[T], can_focus=True):
    """See the module. Messages: `Highlighted`, `Opened`, `Marked`, `NearEnd`, `CellPressed`."""

    DEFAULT_CSS = """
    RowList {
        background: $surface;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "edge(-1)", show=False),
        Binding("end,G", "edge(1)", show=False),
        Binding("shift+up,K", "extend(-1)", show=False),
        Binding("shift+down,J", "extend(1)", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    class Event(Message):
        """Base: `rows` is the list that speaks."""

        def __init__(self, rows: RowList[Any]) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> RowList[Any]:
            return self.rows

    class Highlighted(Event):
        """The cursor is on another item (or the items under it changed)."""

    class Opened(Event):
        """Clicked on the row that was already under the cursor, or double clicked."""

    class Marked(Event):
        """The set of marked items changed."""

    class NearEnd(Event):
        """The end of what is loaded comes into sight."""

    class CellPressed(Event):
        """The mouse pressed a cell of the column named `column`."""

        def __init__(self, rows: RowList[Any], column: str) -> None:
            super().__init__(rows)
            self.column = column

    def __init__(
        self,
        columns: Sequence[ListColumn],
        cells: Callable[[T, str, int], Ink],
        key: Callable[[T], str],
        *,
        markable: bool = False,
        header: bool = True,
        follow: bool = False,
        live: bool = False,
        dim: Callable[[T], bool] | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = tuple(columns)
        self._cells, self._key, self._dim = cells, key, dim
        self._markable, self._header, self._follow, self._live = markable, header, follow, live
        self.items: Sequence[T] = ()
        self.marks: set[str] = set()
        self._base, self._ink = Style(), EMPTY
        self._range_start: int | None = None
        self._range_marks: set[str] = set()
        self._laid: list[tuple[ListColumn, int]] = []
        self._gap = WIDE_GAP
        self.notice = Notice("")
        self.sort_key, self.sort_down = "", True

    # -- what the owner does -------------------------------------------------------------------------------

    @property
    def glyphs(self) -> Glyphs:
        return getattr(self.app, "glyphs", UNICODE)

    @property
    def current(self) -> T | None:
        """The item under the cursor, None in an empty list."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    @property
    def current_key(self) -> str | None:
        item = self.current
        return None if item is None else self._key(item)

    def marked_items(self) -> list[T]:
        """The marked items in list order; the one under the cursor where none is marked."""
        if self.marks:
            return [item for item in self.items if self._key(item) in self.marks]
        return [] if self.current is None else [self.current]

    def set_items(self, items: Sequence[T], *, notice: Notice | None = None) -> None:
        """Show these items; the cursor stays on its item where that is still there."""
        if notice is not None:
            self.notice = notice
        before = self.current_key
        at_end = self._follow and (not self.items or self.cursor >= len(self.items) - 1)
        self.items = items
        index = min(self.cursor, max(0, len(items) - 1))
        if at_end:
            index = max(0, len(items) - 1)
        elif self._live and index == 0:
            pass  # whoever stands at the top of a moving list wants to see its top
        elif before is not None and not (index < len(items) and self._key(items[index]) == before):
            index = next((i for i, item in enumerate(items) if self._key(item) == before), index)
        self._resize_virtual()
        moved = index != self.cursor
        self.set_reactive(RowList.cursor, index)
        if moved or at_end:
            # How much room there is to scroll may be known after the next layout only.
            self._scroll_to_cursor()
            self.call_after_refresh(self._scroll_to_cursor)
        self.refresh()
        if self.current_key != before or moved:
            self.post_message(self.Highlighted(self))

    def set_columns(self, columns: Sequence[ListColumn]) -> None:
        """Show other columns from now on."""
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self._resize_virtual()
            self.refresh()

    def set_notice(self, notice: Notice) -> None:
        """What stands in the list while it is empty."""
        self.notice = notice
        if not self.items:
            self.refresh()

    def go_to(self, key: str) -> bool:
        """Put the cursor on the item of this key; False where there is none."""
        for index, item in enumerate(self.items):
            if self._key(item) == key:
                self.cursor = index
                return True
        return False

    def clear_marks(self) -> None:
        if self.marks:
            self.marks.clear()
            self.refresh()
            self.post_message(self.Marked(self))

    def toggle_mark(self) -> None:
        """Mark or unmark the item under the cursor and step down."""
        key = self.current_key
        if key is None or not self._markable:
            return
        self.marks ^= {key}
        self._range_start = None
        self.refresh()
        self.post_message(self.Marked(self))
        self.action_move(1)

    # -- movement ------------------------------------------------------------------------------------------

    @property
    def _page_rows(self) -> int:
        return max(1, self.size.height - self._header)

    def action_move(self, step: int) -> None:
        self._range_start = None
        self._move_to(self.cursor + step)

    def action_page(self, step: int) -> None:
        self._range_start = None
        self._move_to(self.cursor + step * max(1, self._page_rows - 1))

    def action_edge(self, step: int) -> None:
        self._range_start = None
        self._move_to(0 if step < 0 else len(self.items) - 1)

    def action_extend(self, step: int) -> None:
        """Mark the range from where extending began."""
        if not self._markable:
            return self.action_move(step)
        if self._range_start is None:
            self._range_start, self._range_marks = self.cursor, set(self.marks)
        self._move_to(self.cursor + step)
        self._mark_range(self._range_start, self.cursor)
        return None

    def _mark_range(self, first: int, last: int) -> None:
        low, high = sorted((first, last))
        self.marks = self._range_marks | {self._key(item) for item in self.items[low : high + 1]}
        self.refresh()
        self.post_message(self.Marked(self))

    def _move_to(self, index: int) -> None:
        self.cursor = min(max(0, index), max(0, len(self.items) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        top = self.scroll_offset.y
        self._scroll_to_cursor()
        if self.scroll_offset.y == top and not self._follow:
            for index in (old, new):
                self.refresh(Region(0, index - top + self._header, self.size.width, 1))
        else:
            self.refresh()
        if old != new:
            self.post_message(self.Highlighted(self))
        if new >= len(self.items) - NEAR_END_ROWS:
            self.post_message(self.NearEnd(self))

    def _scroll_to_cursor(self) -> None:
        top, rows = self.scroll_offset.y, self._page_rows
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + rows:
            self.scroll_to(y=self.cursor - rows + 1, animate=False, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value + self._page_rows >= len(self.items) - NEAR_END_ROWS and new_value > old_value:
            self.post_message(self.NearEnd(self))

    # -- mouse -----------------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        line = event.get_content_offset(self)
        if line is None:
            return
        index = line.y - self._header + self.scroll_offset.y
        if line.y < self._header or not 0 <= index < len(self.items):
            return
        event.stop()
        pressed = self._column_at(line.x)
        if self._markable and event.shift:
            if self._range_start is None:
                self._range_start, self._range_marks = self.cursor, set(self.marks)
            self.cursor = index
            self._mark_range(self._range_start, index)
        elif self._markable and event.ctrl:
            self.cursor = index
            self.toggle_mark()
        else:
            self._range_start = None
            was_here = self.cursor == index
            self.cursor = index
            if event.chain >= 2 or (was_here and pressed not in self.press_columns):
                self.post_message(self.Opened(self))
            if pressed in self.press_columns:
                self.post_message(self.CellPressed(self, pressed))

    press_columns: frozenset[str] = frozenset()
    """Columns whose cells act like buttons."""

    def _column_at(self, x: int) -> str:
        at = self._lead_cells
        for column, width in self._laid:
            if at <= x < at + width + 1:
                return column.key
            at += width + self._gap
        return ""

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        if shown:  # it may come after the view was scrolled, and would stand at the top
            self.vertical_scrollbar.position = self.scroll_offset.y

    # -- painting ----------------------------------------------------------------------------------------------

    @property
    def _lead_cells(self) -> int:
        return 2 if self._markable else 1

    def on_resize(self) -> None:
        self._resize_virtual()
        self._scroll_to_cursor()

    def _resize_virtual(self) -> None:
        width = max(1, self.size.width)
        self._gap = NARROW_GAP if width < NARROW else WIDE_GAP
        self._laid = lay_out(self.columns, width - self._lead_cells - 1, self._gap)
        self.virtual_size = Size(width, len(self.items) + self._header if self.items else 1)

    def render_lines(self, crop: Region) -> list[Strip]:
        # Looking up the widget's own style costs more than painting a line: once for all of them.
        self._base, self._ink = self.rich_style, tones(self.app)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base, ink = self._base, self._ink
        if not self.items:
            return strip_of(self._notice_line(y, width), ink, base)
        if self._header and y == 0:
            return strip_of(self._header_line(width), ink, base)
        index = y - self._header + self.scroll_offset.y
        if not 0 <= index < len(self.items):
            return Strip.blank(width, base)
        item = self.items[index]
        key = self._key(item)
        here, marked = index == self.cursor, key in self.marks
        over: Style | None = None
        if here:
            over = ink.cursor if self.has_focus else ink.cursor_idle
        elif marked:
            over = ink.marked
        return strip_of(self._row_line(item, width, here, marked), ink, base, over)

    def _row_line(self, item: T, width: int, here: bool, marked: bool) -> list[Run]:
        glyphs = self.glyphs
        runs: list[Run] = [(glyphs.mark if here else " ", "accent" if self.has_focus else "faint")]
        if self._markable:
            runs.append((glyphs.running if glyphs.unicode and marked else "*" if marked else " ", "accent"))
        faded = self._dim is not None and self._dim(item)
        for number, (column, size) in enumerate(self._laid):
            if number:
                runs.append((" " * self._gap, ""))
            cell = fit(
                self._cells(item, column.key, size), size, right=column.right, ellipsis=glyphs.ellipsis
            )
            runs.extend((text, "faint") for text, _ in cell) if faded else runs.extend(cell)
        return fit(runs, width, ellipsis=" ")

    def _header_line(self, width: int) -> list[Run]:
        runs: list[Run] = [(" " * self._lead_cells, "")]
        for number, (column, size) in enumerate(self._laid):
            if number:
                runs.append((" " * self._gap, ""))
            title = column.title
            if column.key == self.sort_key:
                title += self.glyphs.down if self.sort_down else self.glyphs.up
            runs.extend(fit((title, "head"), size, right=column.right, ellipsis=self.glyphs.ellipsis))
        return fit(runs, width, ellipsis=" ")

    def _notice_line(self, y: int, width: int) -> list[Run]:
        notice = self.notice
        room = max(1, width - 4)
        lines = [
            (line, "strong" if notice.tone == "muted" else notice.tone) for line in wrap(notice.title, room)
        ]
        if notice.detail:
            lines += [("", ""), *((line, "muted") for line in wrap(notice.detail, room))]
        top = max(0, (self.size.height - len(lines)) // 2 - 1)
        if not notice.title or not top <= y < top + len(lines):
            return [(" " * width, "")]
        text, tone = lines[y - top]
        pad = max(0, (width - len(text)) // 2)
        return fit([(" " * pad, ""), (text, tone)], width)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
