"""Driving the application in tests: press keys, wait for conditions with a deadline, read what is painted."""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from textual import events
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input

from app.application import IngestApp
from app.bridge import Bridge

DEADLINE_S = 20.0
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
        """Press keys one after the other; each is dealt with before the next.

        Textual's own `press` waits for an idle processor, 40 ms a key; here the message queues tell.
        """
        driver = self.app._driver
        assert driver is not None
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
            event = events.Key(name, _character(name))
            event.set_sender(self.app)
            driver.send_message(event)
            await self.pause()
        await self.pause()

    async def pause(self) -> None:
        """Until every widget has dealt with what it was sent, and no dialog is about to open or close."""
        quiet = 0
        for _ in range(50):
            before = self._shape()
            await self.pilot._wait_for_screen()
            for _ in range(5):
                await asyncio.sleep(0)
            quiet = quiet + 1 if self._shape() == before else 0
            if quiet >= 2:
                break
        self.app.screen._on_timer_update()

    def _shape(self) -> tuple[object, ...]:
        """What changes while dialogs open or close and workers begin."""
        screen = self.app.screen
        asking = sum(not w.is_finished for w in self.app.workers if not w.group.startswith("load-"))
        return id(screen), screen.focused, len(screen._nodes), asking, len(self.app.screen_stack)

    async def until(self, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
        """Wait for the condition; fails after the deadline."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not so after {seconds:g} s:\n{self.text()}")
            await asyncio.sleep(0.02)
        await self.pause()

    async def settle(self) -> None:
        """Until no worker of the screen runs."""
        end = time.monotonic() + DEADLINE_S
        await self.pause()
        while any(not worker.is_finished for worker in self.app.workers if worker.group.startswith("load-")):
            if time.monotonic() > end:
                raise AssertionError("still loading")
            await asyncio.sleep(0.005)
        await self.pause()

    async def schema_loaded(self) -> None:
        await self.until(lambda: self.bridge.schema.value is not None and not self.bridge.schema.loading, 30)

    def find(self, selector: str, kind: type[W]) -> W:
        return self.app.screen.query_one(selector, kind)

    def text(self) -> str:
        """What stands on the screen, line by line."""
        width, height = self.app.size
        lines = []
        for strip in self.app.screen._compositor.render_strips():
            lines.append("".join(segment.text for segment in strip)[:width].rstrip())
        return "\n".join(lines[:height])

    async def picture(self) -> str:
        """The screen as an SVG that is the same whenever the screen is: laid out, no blinking, no random names."""
        before = ""
        for _ in range(20):
            for line in self.app.screen.query(Input):
                line.cursor_blink = False
                line._cursor_visible = True
            drawn = portable(self.app.export_screenshot(title="procore-ingest", simplify=True))
            if drawn == before and not self.app.screen._layout_required:
                break
            before = drawn
            await asyncio.sleep(0.06)  # scroll bars come with the layout after next
            await self.pause()
        return before

    def sees(self, *texts: str) -> bool:
        shown = self.text()
        return all(text in shown for text in texts)


_LEAD = re.compile(r'x="([0-9.]+)"([^>]*)>((?:&#160;)+)')
CELL = 12.2
"""Width of a character in the exported picture."""


def portable(svg: str) -> str:
    """The picture without blanks at the start of texts, which some renderers drop, and without random names."""
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return _LEAD.sub(lambda m: f'x="{float(m[1]) + CELL * m[3].count("&"):g}"{m[2]}>', svg)


def _character(key: str) -> str | None:
    """What a terminal would send with this key, None for those that are no character."""
    try:
        return unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(key, key)))
    except KeyError:
        return key if len(key) == 1 else None


@asynccontextmanager
async def drive(app: IngestApp, service: Any, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Driver]:
    """The application running without a terminal, toasts included."""
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = Driver(app, service, pilot)
        await driver.pause()
        yield driver
        await app.bridge.aclose()
