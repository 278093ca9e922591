"""Items made ahead of a consumer keep their order, end with it, and never outnumber what is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from ingestion.sync.pipeline import made_ahead


class Source:
    """Numbers, one for each time that the consumer's side asks; says how far it came and when it was closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.given, self.closed = 0, False
        self._count, self._error = count, error

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                self.given += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


async def settled() -> None:
    """Until every task that can go on has gone as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_is_made_later_but_sooner_done_waits_for_its_turn() -> None:
    first_done = asyncio.Event()

    async def make(number: int) -> int:
        if number == 0:
            await first_done.wait()
        elif number == 1:
            first_done.set()
        return number * 10

    assert [made async for made in made_ahead(Source(5).items(), make)] == [0, 10, 20, 30, 40]


async def test_two_are_made_in_advance_and_no_more() -> None:
    source, under_way = Source(9), set[int]()

    async def make(number: int) -> int:
        under_way.add(number)
        await settled()
        return number

    async with aclosing(made_ahead(source.items(), make)) as made:
        async for number in made:
            await settled()
            assert under_way == set(range(min(number + 3, 9)))


@pytest.mark.parametrize("at", ["source", "making"])
async def test_an_error_comes_after_what_stood_before_it(at: str) -> None:
    source = Source(3, ValueError("bad") if at == "source" else None)
    seen: list[int] = []

    async def make(number: int) -> int:
        if at == "making" and number == 2:
            raise ValueError("bad")
        return number

    async def take() -> None:
        async for made in made_ahead(source.items(), make):
            seen.append(made)

    with pytest.raises(ValueError, match="bad"):
        await take()
    assert seen == ([0, 1, 2] if at == "source" else [0, 1])
    assert source.closed


async def test_whoever_leaves_early_leaves_nothing_behind() -> None:
    source, ended = Source(9), list[int]()

    async def make(number: int) -> int:
        try:
            if number:
                await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    async with aclosing(made_ahead(source.items(), make)) as made:
        async for _ in made:
            await settled()
            break
    assert source.closed
    assert sorted(ended) == [0, 1, 2]
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
