"""What holds on every screen: sizes, glyphs, themes, help, palette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app import actions, formatting, themes
from app.ui_state import UiState
from tests.tui.fake_service import FakeService, request


async def test_every_screen_opens_by_its_number_at_80_columns_in_pure_ascii(opened: Any) -> None:
    async with opened("connect", size=(80, 24), glyphs=formatting.ASCII) as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(30)
        for number, (name, label, _) in enumerate(actions.SCREENS, start=1):
            await d.press("escape", str(number))
            await d.settle()
            assert d.screen.scope == name
            assert f"{number} {label[:2]}" in d.text()
            assert d.text().isascii(), [c for c in d.text() if not c.isascii()]


async def test_a_very_large_terminal_is_filled(opened: Any) -> None:
    async with opened("failures", size=(300, 100)) as d:
        await d.until(lambda: d.sees("150 open failures", "Checkpoints"))
        assert len(d.text().splitlines()) == 100
        assert "? Help" in d.text().splitlines()[-1]


async def test_the_theme_changes_by_key_and_is_kept(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "screens.json"
    async with opened("plan", ui_state=UiState(path)) as d:
        await d.press("ctrl+t")
        assert d.app.theme == themes.LIGHT
    async with opened("plan", ui_state=UiState(path)) as d:
        assert d.app.theme == themes.LIGHT


async def test_disabled_actions_say_why_and_help_and_palette_work_over_every_screen(opened: Any) -> None:
    async with opened("run", service=FakeService(configured=False)) as d:
        await d.press("p")
        await d.until(lambda: d.sees("This job is not running."))
        await d.press("question_mark")
        assert d.sees("Run: keys", "Not now: This job is not running.")
        await d.press("escape")
        assert d.screen.scope == "run"
        d.app.perform_anywhere("failures.kind")
        await d.until(lambda: d.screen.scope == "failures" and d.screen._kind == 1)
        await d.press("colon")
        await d.until(lambda: d.sees("Failures: Retry  (t)"))


async def test_the_bars_answer_the_mouse(opened: Any) -> None:
    async with opened("schema") as d:
        await d.schema_loaded()
        top = d.text().splitlines()[0]
        await d.pilot.click(offset=(top.index("Plan"), 0))
        await d.until(lambda: d.screen.scope == "plan")
        footer = d.text().splitlines()[-1]
        await d.pilot.click(offset=(footer.index("None"), 35))
        await d.until(lambda: not d.bridge.draft.included)
