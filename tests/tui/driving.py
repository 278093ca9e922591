"""Driving the application in tests: press keys, wait for conditions with a deadline, read what is painted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from textual.pilot import Pilot
from textual.widget import Widget

from app.application import IngestApp
from app.bridge import Bridge

DEADLINE_S = 5.0
W = TypeVar("W", bound=Widget)


class Driver:
    """A pilot with the questions that our tests ask."""

    def __init__(self, app: IngestApp, service: Any, pilot: Pilot[int]) -> None:
        self.app, self.service, self.pilot = app, service, pilot

    @property
    def bridge(self) -> Bridge:
        return self.app.bridge

    @property
    def screen(self) -> Any:
        return self.app.screen

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def pause(self) -> None:
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
        """Wait for the condition; fails after the deadline."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not so after {seconds:g} s:\n{self.text()}")
            await asyncio.sleep(0.01)
            await self.pilot.pause()
        await self.pilot.pause()

    async def settle(self) -> None:
        """Until no worker of the screen runs."""
        end = time.monotonic() + DEADLINE_S
        await self.pilot.pause()
        while any(not worker.is_finished for worker in self.app.workers if worker.group.startswith("load-")):
            if time.monotonic() > end:
                raise AssertionError("still loading")
            await asyncio.sleep(0.01)
        await self.pilot.pause()

    async def schema_loaded(self) -> None:
        await self.until(lambda: self.bridge.schema.value is not None and not self.bridge.schema.loading)

    def find(self, selector: str, kind: type[W]) -> W:
        return self.app.screen.query_one(selector, kind)

    def text(self) -> str:
        """What stands on the screen, line by line."""
        width, height = self.app.size
        lines = []
        for strip in self.app.screen._compositor.render_strips():
            lines.append("".join(segment.text for segment in strip)[:width].rstrip())
        return "\n".join(lines[:height])

    def sees(self, *texts: str) -> bool:
        shown = self.text()
        return all(text in shown for text in texts)


@asynccontextmanager
async def drive(app: IngestApp, service: Any, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Driver]:
    """The application running without a terminal, toasts included."""
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        driver = Driver(app, service, pilot)
        yield driver
        await app.bridge.aclose()
