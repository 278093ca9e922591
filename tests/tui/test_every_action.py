"""Every action, by its key on its screen, does something that can be seen or was asked of the core."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app import actions
from app.actions import Action
from tests.tui.driving import Driver
from tests.tui.fake_service import FakeService, request

ELSEWHERE = frozenset({"app.quit_asked", "run.detach", "app.snapshot"})
"""Those that end the application or write into the working folder: tests of their own."""
SCOPES = (*actions.SCREEN_NAMES, "verify")


def seen(d: Driver) -> tuple[Any, ...]:
    """All that an action may change: what is painted, where the focus is, what was asked of the core."""
    return (d.text(), d.screen.focused, len(d.app.screen_stack), d.app.current_mode, len(d.service.calls),
            d.app.clipboard, d.app.theme, len(d.app._notifications))  # fmt: skip


async def prepared(d: Driver, scope: str) -> None:
    """The screen with everything that its actions need."""
    await d.schema_loaded()
    if d.screen.scope == "verify":
        d.app.pop_screen()
    if scope == "verify":
        d.app.go("jobs")
        d.app.open_verify()
        await d.until(lambda: d.bridge.verification.value is not None)
    else:
        d.app.go(scope)
    await d.settle()
    if scope == "run":
        await d.bridge.start_job(request())
        d.service.step(20)
        await d.until(lambda: d.bridge.job_active and d.screen.query_one("#board").current is not None)
    elif scope == "schema":
        d.app.open_table("rfis")
        await d.until(lambda: d.sees("308 rows"))
        d.app.open_table("photos")
        await d.until(lambda: d.sees("7,631 rows"))
    elif scope == "search":
        await d.press("slash", *"slab", "enter")
        await d.until(lambda: d.sees("detail.pdf"))
        if d.screen._history == []:
            await d.press("enter", "enter")
            await d.settle()


async def leave_dialogs(d: Driver) -> None:
    for _ in range(4):
        if hasattr(d.app.screen, "scope"):
            break
        await d.press("escape")
    await d.settle()


async def shows_nothing(d: Driver, action: Action, scope: str) -> str:
    """Press the action's key on its screen; what went wrong, empty where it did something."""
    if d.screen.scope != scope:
        await prepared(d, scope)
    focused = d.screen.focused
    if focused is None or type(focused).__name__ == "FilterLine":
        await d.press("escape")
    if action.id == "failures.back":
        await d.press("o", "o")  # the status of open ones again
        await d.settle()
        await d.press("enter")
    before = seen(d)
    await d.press(action.keys[0])
    for _ in range(40):
        if seen(d) != before:
            return ""
        await asyncio.sleep(0.01)
        await d.pause()
    return f"{action.id} ({action.keys[0]})"


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_action_of_the_screen_answers_its_key(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    monkeypatch.chdir(tmp_path)
    silent: Sequence[str] = []
    service = FakeService()
    async with opened("connect", service=service) as d:
        await prepared(d, scope)
        for action in actions.of_scope(scope):
            if action.id in ELSEWHERE:
                continue
            silent = [*silent, *filter(None, [await shows_nothing(d, action, scope)])]
            await leave_dialogs(d)
    assert silent == []


async def test_every_action_of_the_application_answers_its_key(opened: Any) -> None:
    silent: Sequence[str] = []
    async with opened("plan") as d:
        await prepared(d, "plan")
        for action in actions.of_scope("app"):
            if action.id in ELSEWHERE:
                continue
            if not action.id.startswith("app.go_"):
                await prepared(d, "plan")
            before = seen(d)
            away = d.app.current_mode == action.verb.removeprefix("go_")
            await d.press(action.keys[0])
            for _ in range(40):
                if seen(d) != before or away:
                    break
                await asyncio.sleep(0.01)
                await d.pause()
            else:
                silent = [*silent, action.id]
            await leave_dialogs(d)
    assert silent == []
