"""Work beside other work: items made ahead of a consumer, several things at a time, the end of one awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

T = TypeVar("T")
M = TypeVar("M")


async def made_ahead(
    items: AsyncGenerator[T, None], make: Callable[[T], Coroutine[Any, Any, M]], name: str = "reader"
) -> AsyncGenerator[M, None]:
    """What `make` makes of each item, in their order: of two of them in advance, at the same time.

    The source runs, and is closed, wholly in a task of its own, so that it may hold a transaction. Its error is
    raised here after the items before it. Close this generator where a loop may end early: what it began then
    ends first.
    """
    queue: asyncio.Queue[asyncio.Task[M] | None] = asyncio.Queue(maxsize=1)
    making: set[asyncio.Task[M]] = set()

    async def fill() -> None:
        try:
            async with aclosing(items) as source:
                async for item in source:
                    task = asyncio.create_task(make(item), name=f"{name}: make")
                    making.add(task)
                    await queue.put(task)
        finally:
            # The consumer may be waiting; a full queue means that it is not, and it looks at the filler then.
            if not queue.full():
                queue.put_nowait(None)

    filler = asyncio.create_task(fill(), name=name)
    try:
        while not (filler.done() and queue.empty()):
            task = await queue.get()
            if task is None:
                break
            yield await task
            making.discard(task)
        await filler
    finally:
        for one in (filler, *making):
            one.cancel()
        await asyncio.gather(filler, *making, return_exceptions=True)


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run all at the same time; the first error cancels the others and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__


async def finished_first(work: Coroutine[Any, Any, T], grace_s: float) -> T:
    """The result of `work`. When the caller is cancelled it may end within `grace_s`, else it is cancelled too.

    The cancellation is raised in either case, after the end of `work`.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(TimeoutError, Exception):
            await asyncio.wait_for(task, grace_s)
        raise
