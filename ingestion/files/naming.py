"""Which file has which name on disk: no file ever takes the place of another one.

A name belongs to whoever claimed it in this process, else to the file that the state knows there. Names count as
equal where some file system says so: without regard to case and to how accents are composed.
"""

from __future__ import annotations

import os
import unicodedata
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingestion.files import paths

MOST_REMEMBERED: Final = 20_000
"""Names, and other things, that are kept in mind; about 10 MB."""
_MARKS: Final = (0, 8, 32)
"""Digits of a file's id in its name: none, then those that tell two apart, then all of them."""

FindOwner = Callable[[Path], Awaitable[str]]
"""The id of the file that lies at a path, whoever fetched it; "" where nobody knows."""


@dataclass(frozen=True, slots=True)
class Name:
    """Where a file goes. `beside`: where it goes instead if `path` turns out to hold other content, of which nobody
    can tell whose it is."""

    path: Path
    beside: Path | None = None


class Names:
    """The names below one folder."""

    def __init__(self, folder: Path, find_owner: FindOwner | None) -> None:
        self._folder = folder
        self._find_owner = find_owner
        self._claims: OrderedDict[str, str] = OrderedDict()

    def claim(self, path: Path, file_id: str) -> None:
        """Reserve a path for a file, so that no other takes its name."""
        remember(self._claims, _same(path), file_id)

    async def of(self, table: str, record: str, name: str, file_id: str) -> Name:
        """Where a file of a record is to lie, reserved for it."""
        candidates = [paths.file_path(self._folder, table, record, name, file_id, mark) for mark in _MARKS]
        for path, beside in zip(candidates, (*candidates[1:], None), strict=True):
            owner = self._claims.get(_same(path))
            known = owner is not None or not os.path.lexists(path)
            if not known and self._find_owner is not None:
                owner, known = await self._find_owner(path), True
            if not owner or owner == file_id:
                self.claim(path, file_id)
                return Name(path, None if known else beside)
        return Name(candidates[-1])


def remember(memory: OrderedDict[str, Any], name: str, value: Any) -> None:
    """Keep in mind, and forget what was not thought of for longest."""
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > MOST_REMEMBERED:
        memory.popitem(last=False)


def _same(path: Path) -> str:
    """Equal for names that one file system or another takes for one."""
    text = str(path)
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
