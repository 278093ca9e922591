"""Plan: choosing, consequences, plan files, starting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


async def test_tables_are_left_out_by_key_range_glob_and_mouse(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.press("space")
        assert "_prisma_migrations" not in d.bridge.draft.included
        await d.press("shift+down", "shift+down", "space")
        assert not {"api_credentials", "audit_records"} & d.bridge.draft.included
        await d.press("minus", *"budget_*", "enter")
        assert "budget_*" in d.bridge.draft.plan.exclude
        await d.pilot.click("#tables", offset=(4, 8))
        await d.pause()
        assert "commitment_change_order_items" not in d.bridge.draft.included
        await d.press("a")
        assert len(d.bridge.draft.included) == 49


async def test_a_pattern_says_what_it_would_match_and_refuses_nothing(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.press("plus", *"photo*")
        assert d.sees("1 table: photos")
        await d.press("x", "enter")
        assert d.sees("No table matches.")


async def test_leaving_a_table_out_shows_the_references_that_dangle(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        d.bridge.edit_plan(d.bridge.draft.toggle(["projects"]))
        await d.until(lambda: d.sees("projects is left out", "references"))


async def test_the_plan_is_saved_as_a_file_that_loads_again(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion import plan

    monkeypatch.chdir(tmp_path)
    async with opened("plan") as d:
        await d.schema_loaded()
        d.bridge.edit_plan(d.bridge.draft.exclude_pattern("*_events").options(batch_size=500))
        await d.press("w", "enter")
        await d.until(lambda: (tmp_path / "plan.toml").exists())
        written = plan.read(tmp_path / "plan.toml")
        assert written.exclude == ("*_events",)
        assert written.batch_size == 500
        await d.press("a", "l", "enter")
        await d.until(lambda: d.bridge.draft.plan.exclude == ("*_events",))


async def test_starting_asks_and_the_default_starts_nothing(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.press("s", "s", "enter")
        assert not d.service.runs
        await d.press("s", "down", "enter")
        await d.until(lambda: d.screen.scope == "run")
        assert len(d.service.runs) == 1


async def test_the_preview_shows_row_and_document_side_by_side(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.press("down", "v")
        await d.until(lambda: d.sees("Source row", "Document", "doc_id", "[masked]"))
