"""Which files are on their way to disk just now, how far each is, and how many bytes have come in all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ingestion.files.transfer import PartialFile


@dataclass(frozen=True, slots=True)
class Arriving:
    """One file under way; `expected_bytes` is what the store promised, None if it did not say."""

    filename: str
    size_bytes: int
    expected_bytes: int | None


class Arrivals:
    """Asked, never told: a download costs nothing more for being watched."""

    def __init__(self) -> None:
        self._parts: dict[PartialFile, tuple[str, int]] = {}
        self._ended_bytes = 0

    @contextmanager
    def noted(self, filename: str, part: PartialFile) -> Iterator[None]:
        """The file is under way while the block runs."""
        self._parts[part] = filename, part.size
        try:
            yield
        finally:
            _, before = self._parts.pop(part)
            self._ended_bytes += max(0, part.size - before)

    @property
    def size_bytes(self) -> int:
        """All bytes that have arrived so far, those of unfinished files included."""
        return self._ended_bytes + sum(
            max(0, part.size - before) for part, (_, before) in self._parts.items()
        )

    def under_way(self) -> list[Arriving]:
        """The files on their way, the one with most to come first."""
        files = [Arriving(name, part.size, part.expected_bytes) for part, (name, _) in self._parts.items()]
        return sorted(files, key=lambda one: one.size_bytes - (one.expected_bytes or 0))
