"""Which contents are on disk already, asked of memory first: nearly every new file's content is new.

A Bloom filter over the checksums of the state: where it says no, nothing was fetched that is equal; where it says
perhaps, the state is asked. A checksum is as good as random, so its own bits serve as the filter's hashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ingestion.state.types import FileRow

if TYPE_CHECKING:
    from ingestion.state.store import StateStore

FILTER_BITS: Final = 2**23
"""1 MiB; with a million contents in it one question in forty goes to the state for nothing."""
_PROBES: Final = 4
_DIGITS: Final = 8
"""Hexadecimal digits of a checksum for each probe."""


class Twins:
    """Files with equal content, of one state; for as long as no other process writes to it."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._bits = bytearray(FILTER_BITS // 8)
        self._loading = asyncio.Lock()
        self._loaded = False

    async def of(self, checksum: str, but: str = "") -> FileRow | None:
        """A downloaded file with this content, other than `but`. Raises StateError."""
        if not self._loaded:
            await self._load()
        return await self._state.file_of_checksum(checksum, but) if self._may_have(checksum) else None

    def note(self, rows: Iterable[FileRow]) -> None:
        """These files are about to be stored."""
        for row in rows:
            if row.checksum:
                self._add(row.checksum)

    async def _load(self) -> None:
        async with self._loading:
            if not self._loaded:
                async for page in self._state.checksums():
                    for checksum in page:
                        self._add(checksum)
                self._loaded = True

    def _add(self, checksum: str) -> None:
        for bit in _bits_of(checksum):
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def _may_have(self, checksum: str) -> bool:
        return all(self._bits[bit >> 3] >> (bit & 7) & 1 for bit in _bits_of(checksum))


def _bits_of(checksum: str) -> list[int]:
    return [
        int(checksum[start : start + _DIGITS], 16) % FILTER_BITS
        for start in range(0, _PROBES * _DIGITS, _DIGITS)
    ]
