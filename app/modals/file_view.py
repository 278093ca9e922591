"""Fetched files of a record, one at a time: the picture where the terminal can, its facts, a PDF's text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content

from app import formatting, pictures
from app.bridge import advice, explain
from app.clipboard import copy
from app.modals.dialog import Dialog
from app.widgets.field_list import Field, FieldList
from app.widgets.row_list import Notice

_SHOWN = ("filename", "file_type", "content_type", "size", "width", "height", "pages", "taken_at", "status",
          "error", "s3_key", "url", "checksum")  # fmt: skip
_PICTURES = frozenset({"jpg", "jpeg", "png", "gif", "webp", "tif", "tiff", "bmp"})


def fields_of_file(document: Mapping[str, Any], path: Path | None) -> list[Field]:
    """What the index says of a file, where it lies on disk, and its text."""
    out = []
    for name in _SHOWN:
        value = document.get(name)
        if value in (None, ""):
            continue
        if name == "size" and isinstance(value, int):
            value = formatting.size(value)
        elif name == "taken_at" and isinstance(value, int):
            value = formatting.moment(value / 1000)
        tone = "bad" if name == "error" or (name == "status" and value == "failed") else ""
        out.append(Field(name.replace("_", " "), str(value), tone=tone))
    if path is not None:
        out.append(Field("on disk", str(path)))
    text = str(document.get("extracted_text") or "").strip()
    if text:
        out.append(Field("text", heading=True, note=f"{len(text):,} characters"))
        out += [Field("", line) for line in text.splitlines() if line.strip()]
    return out


class FileView(Dialog[None]):
    """See the module. `files` are documents of the index; `at` is the one to begin with."""

    footing = "n next, p previous, y copies its path, esc closes"

    DEFAULT_CSS = """
    FileView > .frame { width: 96%; max-width: 180; height: 92%; padding: 0 1; }
    FileView #place { height: 2fr; align: center middle; overflow: hidden; }
    FileView #place.-none { height: 0; }
    FileView #picture { width: auto; height: 100%; }
    FileView FieldList { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", show=False),
        Binding("p,left", "step(-1)", show=False),
        Binding("y", "copy", show=False),
        Binding("q,enter", "leave", show=False),
    ]

    def __init__(self, files: Sequence[Mapping[str, Any]], at: int = 0) -> None:
        super().__init__()
        self._files, self._at = files, at
        self._path: Path | None = None

    def compose_inside(self) -> ComposeResult:
        yield Vertical(id="place", classes="-none")
        yield FieldList(name_width=13, id="facts")

    def on_mount(self) -> None:
        self.query_one("#facts").focus()
        self._show()

    def action_step(self, by: int) -> None:
        self._at = (self._at + by) % len(self._files)
        self._show()

    def action_copy(self) -> None:
        if self._path is not None:
            self.notify(copy(self.app, str(self._path)), markup=False)
        else:
            self.notify("This file was not fetched.", severity="warning", markup=False)

    @work(group="file", exclusive=True, exit_on_error=False)
    async def _show(self) -> None:
        document = self._files[self._at]
        name = formatting.one_line(str(document.get("filename") or document.get("doc_id") or "a file"))
        number = f"   {self._at + 1} of {len(self._files)}" if len(self._files) > 1 else ""
        self.query_one(".frame").border_title = Content(f"{name}{number}")
        facts = self.query_one("#facts", FieldList)
        place = self.query_one("#place")
        await place.remove_children()
        place.add_class("-none")
        service = cast("Any", self.app).bridge.service
        file_id = str(document.get("file_id") or document.get("doc_id") or "")
        try:
            self._path = (await service.fetched_files([file_id])).get(file_id)
        except Exception as error:
            facts.set_notice(Notice(formatting.redacted(explain(error)), advice(error), "bad"))
            return
        fields = fields_of_file(document, self._path)
        if self._path is None and document.get("status") == "downloaded":
            fields.append(Field("on disk", "it is no longer there", tone="warn"))
        facts.set_fields(fields)
        kind = str(document.get("file_type") or "").lower()
        if self._path is None or kind not in _PICTURES:
            return
        glyphs = cast("Any", self.app).glyphs
        against = pictures.reason_against(plain=self.app.no_color, unicode=glyphs.unicode)
        try:
            if against:
                raise pictures.NoPicture(against)
            picture = await pictures.opened(self._path)
            drawn = pictures.widget(picture, pictures.way_of(os.environ))
        except pictures.NoPicture as why:
            facts.set_fields([Field("picture", str(why), tone="warn"), *fields])
            return
        place.remove_class("-none")
        await place.mount(drawn)
