"""Work beside other work: items made ahead of a consumer, several things at a time, the end of one awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


async def ahead(items: AsyncGenerator[T, None], depth: int, name: str = "reader") -> AsyncGenerator[T, None]:
    """The same items, of which up to `depth` are made in advance by a task of their own.

    The source runs, and is closed, wholly in that task, so that it may hold a transaction. Its error is raised
    here after the items before it. Close this generator where a loop may end early: the task then ends first.
    """
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=depth)

    async def fill() -> None:
        async with aclosing(items) as source:
            async for item in source:
                await queue.put(item)

    async def run() -> None:
        try:
            await fill()
        finally:
            # The consumer may be waiting; a full queue means that it is not, and it looks at the task then.
            if not queue.full():
                queue.put_nowait(_END)

    task = asyncio.create_task(run(), name=name)
    try:
        while True:
            if task.done() and queue.empty():
                break
            item = await queue.get()
            if item is _END:
                break
            yield item
        await task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
