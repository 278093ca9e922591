"""Contents already on disk are always found again; for nearly all others the state is not even asked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, cast

from ingestion.files.twins import Twins
from ingestion.state.types import FileRow


class Counted:
    """What a state answers of checksums, and how often it was asked."""

    def __init__(self, known: list[FileRow]) -> None:
        self.known = known
        self.asked = 0

    async def checksums(self) -> AsyncIterator[list[str]]:
        yield [row.checksum for row in self.known]

    async def file_of_checksum(self, checksum: str, but: str) -> FileRow | None:
        self.asked += 1
        return next((r for r in self.known if r.checksum == checksum and r.file_id != but), None)


def row(number: int) -> FileRow:
    checksum = hashlib.sha256(b"%d" % number).hexdigest()
    return FileRow(file_id=f"f{number}", status="downloaded", checksum=checksum)


async def test_contents_of_earlier_jobs_and_of_this_one_are_found() -> None:
    state = Counted([row(number) for number in range(1000)])
    twins = Twins(cast(Any, state))
    assert [await twins.of(one.checksum) for one in state.known] == state.known
    assert await twins.of(row(3).checksum, "f3") is None
    state.known.append(row(1000))
    twins.note([row(1000)])
    assert await twins.of(row(1000).checksum) == row(1000)


async def test_of_new_contents_the_state_is_hardly_ever_asked() -> None:
    state = Counted([row(number) for number in range(20_000)])
    twins = Twins(cast(Any, state))
    assert {await twins.of(row(number).checksum) for number in range(20_000, 40_000)} == {None}
    assert state.asked < 20
