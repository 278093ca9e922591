"""What holds on every screen: sizes, glyphs, themes, help, palette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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


async def test_orders_kinds_levels_and_filters_are_kept_between_starts(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "screens.json"
    async with opened("run", ui_state=UiState(path)) as d:
        await d.press("o", "e", "l")
        await d.press("5", "o", "7", "m", "o")
        await d.press("8", "escape", "o", *"31", "enter")
        await d.until(lambda: d.screen._project == 31)
    assert path.stat().st_mode & 0o777 == 0o600
    async with opened("run", ui_state=UiState(path)) as d:
        screen = d.screen
        assert (screen._sort, screen._problems, screen._level) == ("name", True, 1)
        await d.press("5")
        assert d.screen._sort == "freshness"
        await d.press("7")
        assert (d.screen._kind, d.screen._status) == (1, 1)
        await d.press("8")
        assert d.screen._project == 31


async def test_zoom_gives_one_panel_the_screen_follows_the_focus_and_goes_back(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures", "Source row"))
        await d.settle()
        await d.press("z")
        assert d.sees("150 open failures")
        assert "Source row" not in d.text()
        await d.press("enter")
        assert d.sees("Key or file")
        assert "150 open failures" not in d.text()
        assert d.screen.query_one("#items").size.width > 100
        await d.press("z")
        assert d.sees("150 open failures", "Source row", "Key or file")


async def test_an_ascii_terminal_without_colour_shows_typed_numbers_and_where_the_cursor_is(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened("plan", size=(80, 24), glyphs=formatting.ASCII) as d:
        await d.schema_loaded()
        assert d.text().isascii()
        await d.press("o", *"512")
        assert d.sees("512", "default")
        await d.press("escape", "1", "a", *"service=x")
        assert d.sees("service=x")


async def test_where_a_hint_leaves_the_guide_little_room_the_steps_ahead_keep_their_names(
    opened: Any,
) -> None:
    async with opened("plan", size=(80, 24)) as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(400)
        await d.press("4")
        await d.until(lambda: d.sees("> verify"))
        guide = d.text().splitlines()[1]
        assert "● verify" in guide
        assert "○ report" in guide
        assert "…" not in guide
