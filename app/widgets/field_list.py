"""A record as lines, one field after the other: name, value wrapped to the width, long values cut.

Wide rows stay readable at any width. The field under the cursor can be copied; a flagged field is the one
that went wrong and carries a glyph besides its colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from app.formatting import UNICODE, Glyphs, count, safe
from app.themes import tones
from app.widgets.ink import Run, fit, strip_of, wrap
from app.widgets.row_list import Notice

MAX_VALUE_LINES = 12
"""A value takes at most this many lines; the rest is counted, not shown."""
MAX_VALUE_CHARS = 6_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `value` None is NULL. A `heading` has a name only; `depth` indents.

    What is `flagged` went wrong, what is `matched` is why a search found the record.
    """

    name: str
    value: str | None = None
    note: str = ""
    tone: str = ""
    flagged: bool = False
    matched: bool = False
    heading: bool = False
    depth: int = 0


def fields_of_row(
    row: Mapping[str, str | None],
    *,
    types: Mapping[str, str] | None = None,
    flagged: Iterable[str] = (),
) -> list[Field]:
    """A source row as fields; `types` are shown beside the names."""
    marked = set(flagged)
    return [
        Field(name, value, note=(types or {}).get(name, ""), flagged=name in marked)
        for name, value in row.items()
    ]


def fields_of_document(
    document: Mapping[str, Any], *, flagged: Iterable[str] = (), matched: Iterable[str] = ()
) -> list[Field]:
    """A document as fields: maps and lists of maps become headings with indented members.

    `flagged` members went wrong; `matched` ones are why it was found, and carry a mark of their own.
    """
    marked, found = set(flagged), set(matched)
    out: list[Field] = []
    for name, value in document.items():
        _document_field(out, name, value, 0, marked)
    return (
        [replace(f, matched=True) if f.name in found and not f.heading else f for f in out] if found else out
    )


def _document_field(out: list[Field], name: str, value: Any, depth: int, marked: set[str]) -> None:
    if isinstance(value, Mapping) and value and depth < 3:
        out.append(Field(name, heading=True, note=str(len(value)), depth=depth))
        for member, inner in value.items():
            _document_field(out, str(member), inner, depth + 1, marked)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping) and depth < 3:
        out.append(Field(name, heading=True, note=str(len(value)), depth=depth))
        for number, inner in enumerate(value[:200]):
            text = ", ".join(f"{k}: {v}" for k, v in inner.items())
            out.append(Field(str(number + 1), text, depth=depth + 1))
    elif isinstance(value, bool):
        out.append(Field(name, "true" if value else "false", depth=depth, flagged=name in marked))
    else:
        out.append(
            Field(name, None if value is None else str(value), depth=depth, flagged=name in marked)
        )  # fmt: skip


class FieldList(ScrollView, can_focus=True):
    """See the module."""

    DEFAULT_CSS = """
    FieldList {
        background: $surface;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "edge(-1)", show=False),
        Binding("end,G", "edge(1)", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    def __init__(
        self,
        *,
        name_width: int = 0,
        numbered: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._wanted_name_width = name_width
        self.fields: Sequence[Field] = ()
        self.notice = Notice("")
        self._lines: list[tuple[int, list[Run]]] = []
        self._first_lines: list[int] = []

    @property
    def glyphs(self) -> Glyphs:
        return getattr(self.app, "glyphs", UNICODE)

    @property
    def current(self) -> Field | None:
        return self.fields[self.cursor] if 0 <= self.cursor < len(self.fields) else None

    @property
    def line_count(self) -> int:
        """Lines that the fields take at the present width."""
        return len(self._lines)

    def set_fields(
        self, fields: Sequence[Field], *, notice: Notice | None = None, keep: bool = False
    ) -> None:
        """Show these fields from the top, or with the cursor kept; a flagged one is brought into view."""
        if notice is not None:
            self.notice = notice
        self.fields = fields
        if not keep:
            flagged = next((i for i, f in enumerate(fields) if f.flagged), 0)
            self.set_reactive(FieldList.cursor, flagged)
        self._rebuild()
        if not keep:
            self.scroll_to(y=0, animate=False, force=True)
            # The room to scroll is known after the next layout only.
            self.call_after_refresh(self._scroll_to_cursor)

    def set_notice(self, notice: Notice) -> None:
        self.set_fields((), notice=notice)

    # -- movement ------------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        self.cursor = min(max(0, self.cursor + step), max(0, len(self.fields) - 1))

    def action_page(self, step: int) -> None:
        target = self.scroll_offset.y + step * max(1, self.size.height - 1)
        target = min(max(0, target), max(0, len(self._lines) - 1))
        if self._lines:
            edge = 0 if step < 0 and target == 0 else self._lines[target][0]
            self.cursor = len(self.fields) - 1 if step > 0 and target >= len(self._lines) - 1 else edge
            self.scroll_to(y=target, animate=False, force=True)

    def action_edge(self, step: int) -> None:
        self.cursor = 0 if step < 0 else max(0, len(self.fields) - 1)

    def watch_cursor(self) -> None:
        self._scroll_to_cursor()
        self.refresh()

    def _scroll_to_cursor(self) -> None:
        if not self._first_lines or self.cursor >= len(self._first_lines):
            return
        first = self._first_lines[self.cursor]
        last = self._first_lines[self.cursor + 1] if self.cursor + 1 < len(self.fields) else len(self._lines)
        top, rows = self.scroll_offset.y, max(1, self.size.height)
        if first < top:
            self.scroll_to(y=first, animate=False, force=True)
        elif last > top + rows:
            self.scroll_to(y=min(first, last - rows), animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is not None and 0 <= at.y + self.scroll_offset.y < len(self._lines):
            self.cursor = self._lines[at.y + self.scroll_offset.y][0]

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        if shown:  # it may come after the view was scrolled, and would stand at the top
            self.vertical_scrollbar.position = self.scroll_offset.y

    # -- painting --------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._rebuild()
        self._scroll_to_cursor()

    def _rebuild(self) -> None:
        width = max(12, self.size.width)
        longest = max((len(f.name) + 2 * f.depth for f in self.fields if not f.heading), default=0)
        name_width = self._wanted_name_width or min(max(8, longest), max(10, width * 2 // 5), 34)
        self._lines, self._first_lines = [], []
        for index, field in enumerate(self.fields):
            self._first_lines.append(len(self._lines))
            self._lines.extend((index, line) for line in self._field_lines(field, name_width, width))
        self.virtual_size = Size(width, max(1, len(self._lines)))
        self.refresh()

    def _field_lines(self, field: Field, name_width: int, width: int) -> list[list[Run]]:
        glyphs = self.glyphs
        mark = (glyphs.bad + " ", "bad") if field.flagged else ("  ", "")
        if field.matched:
            mark = (glyphs.arrow + " ", "accent")
        name = "  " * field.depth + safe(field.name, glyphs=glyphs)
        if field.heading:
            note = (f"  {safe(field.note, glyphs=glyphs)}", "faint")
            return [fit([mark, (name, "head"), note], width, ellipsis=glyphs.ellipsis)]
        room = max(6, width - name_width - 5)
        if field.value is None:
            values, tone = ["NULL"], "faint"
        elif field.value == "":
            values, tone = ["(empty)"], "faint"
        else:
            cut = field.value[:MAX_VALUE_CHARS]
            values, tone = wrap(safe(cut, glyphs=glyphs), room), field.tone
            if len(values) > MAX_VALUE_LINES or len(cut) < len(field.value):
                values = values[:MAX_VALUE_LINES]
                values.append(f"{glyphs.ellipsis} {count(len(field.value))} characters in all")
        if field.flagged:
            tone = "bad"
        elif field.value == "[masked]":
            tone = "faint"
        lines = []
        for number, value in enumerate(values):
            head = fit((name, "muted"), name_width, ellipsis=glyphs.ellipsis) if not number else []
            lead = [mark, *head] if not number else [("  ", ""), (" " * name_width, "")]
            lines.append(fit([*lead, ("  ", ""), (value, tone)], width, ellipsis=glyphs.ellipsis))
        return lines

    def render_line(self, y: int) -> Strip:
        width, base, ink = self.size.width, self.rich_style, tones(self.app)
        if not self.fields:
            return strip_of(self._notice_line(y, width), ink, base)
        at = y + self.scroll_offset.y
        if at >= len(self._lines):
            return Strip.blank(width, base)
        index, runs = self._lines[at]
        over = None
        if self.fields[index].flagged:
            over = ink.flagged
        elif index == self.cursor and self.has_focus:
            over = ink.cursor
        return strip_of(fit(runs, width, ellipsis=" "), ink, base, over)

    def _notice_line(self, y: int, width: int) -> list[Run]:
        room = max(1, width - 4)
        lines = [(line, "strong" if self.notice.tone == "muted" else self.notice.tone)
                 for line in wrap(self.notice.title, room)]  # fmt: skip
        if self.notice.detail:
            lines += [("", ""), *((line, "muted") for line in wrap(self.notice.detail, room))]
        top = max(0, (self.size.height - len(lines)) // 2)
        if not self.notice.title or not top <= y < top + len(lines):
            return [(" " * width, "")]
        text, tone = lines[y - top]
        return fit([(" " * max(0, (width - len(text)) // 2), ""), (text, tone)], width)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
