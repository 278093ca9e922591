"""What the screens look like, colours included, kept as SVG pictures beside this file.

A change that is meant is drawn anew with `UPDATE_SNAPSHOTS=1 python -m pytest tests/tui/test_snapshots.py` and
then looked at. The pictures were drawn by the versions named in `snapshots/VERSIONS`; with others, which may
draw the same screen with other marks, the words are compared and not the colours.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app import themes
from app.ui_state import UiState
from tests.tui.driving import Driver
from tests.tui.fake_service import request

FOLDER = Path(__file__).parent / "snapshots"
VERSIONS = f"rich {version('rich')}, textual {version('textual')}\n"
ALL = ("connect", "schema", "plan", "checkpoints", "jobs", "failures", "search", "help", "verify", "run")
SOME = ("schema", "failures", "run")


def ready(d: Driver, name: str) -> Callable[[], bool]:
    """What tells that a screen has got everything that it asked for."""
    return {
        "connect": lambda: d.bridge.source.value is not None and d.bridge.vespa.value is not None,
        "schema": lambda: d.sees("7,631 rows"),
        "plan": lambda: d.sees("≈11,908", "Without", "starts"),
        "checkpoints": lambda: d.sees("Checkpoints 48"),
        "jobs": lambda: d.sees("7,628", "48,369 read"),
        "failures": lambda: d.text().count("infinity") == 3,
        "search": lambda: d.sees("Mill St", "detail.pdf"),
        "help": lambda: d.sees("Actions"),
        "verify": lambda: d.sees("different"),
        "run": lambda: d.sees("51%", "completed: 0 indexed"),
    }[name]


async def show(d: Driver, name: str) -> None:
    """The screen in a state that says something."""
    if name == "verify":
        d.app.go("jobs")
        d.app.open_verify()
    else:
        d.app.go(name)
    await d.pause()
    if name == "schema":
        d.app.open_table("photos")
    elif name == "failures":
        await d.settle()
        await d.press("down", "enter", "space")
    elif name == "search":
        await d.press(*"slab", "enter")
    elif name == "run":
        await d.bridge.start_job(request())
        d.service.step(40)
    await d.until(ready(d, name))
    await d.settle()
    if name == "verify":
        return
    await d.until(lambda: not d.app._notifications)


def words(svg: str) -> list[str]:
    """The picture's texts, without what is only colour and place."""
    return [html.unescape(text).strip() for text in re.findall(r"<text [^>]*>([^<]*)</text>", svg)]


@pytest.mark.parametrize(
    ("look", "size", "screens"),
    [
        ("dark-80x24", (80, 24), ALL),
        ("light-80x24", (80, 24), SOME),
        ("plain-80x24", (80, 24), SOME),
        ("dark-140x40", (140, 40), SOME),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_screen_looks_as_it_did(
    opened: Any, monkeypatch: pytest.MonkeyPatch, look: str, size: tuple[int, int], screens: tuple[str, ...]
) -> None:
    if look.startswith("plain"):
        monkeypatch.setenv("NO_COLOR", "1")
    state = UiState()
    state.set("theme", themes.LIGHT if look.startswith("light") else themes.DARK)
    drawn: dict[str, str] = {}
    async with opened("connect", size=size, ui_state=state) as d:
        await d.until(lambda: d.bridge.view is not None and d.bridge.view.finished)
        await d.schema_loaded()
        for name in screens:
            await show(d, name)
            drawn[name] = await d.picture()
            if name == "verify":
                d.app.pop_screen()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "VERSIONS").write_text(VERSIONS, encoding="utf-8")
        for name, svg in drawn.items():
            (FOLDER / f"{name}-{look}.svg").write_text(svg, encoding="utf-8")
    same_versions = (FOLDER / "VERSIONS").read_text(encoding="utf-8") == VERSIONS
    for name, svg in drawn.items():
        kept = (FOLDER / f"{name}-{look}.svg").read_text(encoding="utf-8")
        assert words(svg) == words(kept), name
        assert not same_versions or svg == kept, f"{name}: the words are the same, colours or places are not"
