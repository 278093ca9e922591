"""Fixtures of the screens' tests: the double, and the application driven without a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

# The helpers beside this file are imported as `tests.tui.…`, also when pytest was started by its own script.
if str(Path(__file__).parents[2]) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ["TEXTUAL_ANIMATIONS"] = "none"

Open = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def opened() -> Open:
    """`async with opened("plan") as d:` the application on the double, on this screen."""
    from app import formatting
    from app.application import IngestApp
    from tests.tui.driving import Driver, drive
    from tests.tui.fake_service import FakeService

    @asynccontextmanager
    async def open_(
        screen: str | None = None,
        *,
        size: tuple[int, int] = (120, 36),
        service: FakeService | None = None,
        glyphs: formatting.Glyphs = formatting.UNICODE,
        **more: Any,
    ) -> AsyncIterator[Driver]:
        used = service or FakeService()
        app = IngestApp(used, screen=screen, glyphs=glyphs, clock=used.clock, **more)
        async with drive(app, used, size) as driver:
            yield driver

    return open_
