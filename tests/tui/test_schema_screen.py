"""Schema: tree, filter, relations, evidence, samples, export."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ingestion import errors
from ingestion.schema_discovery import SchemaMap
from tests.tui.fake_schema import schema_map
from tests.tui.fake_service import FakeService


async def test_a_relation_is_followed_with_enter_and_left_with_backspace(opened: Any) -> None:
    async with opened("schema", table="rfis") as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab", "enter")
        await d.until(lambda: d.screen._shown.name == "projects")
        await d.press("backspace")
        await d.until(lambda: d.screen._shown.name == "rfis")


async def test_evidence_is_shown_and_a_verdict_is_stored(opened: Any) -> None:
    async with opened("schema", table="rfis") as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab", "down", "i")
        assert d.sees("99 % of 500 sampled values", "also considered", "vendors.id (31%)")
        await d.press("x")
        await d.until(lambda: ("decide_relation", "assignee_id", False) in d.service.calls)


async def test_a_failed_discovery_says_what_and_what_next(opened: Any) -> None:
    service = FakeService(discovered=False)
    service.broken["discover"] = errors.SchemaError("no right on schema public", hint="Grant USAGE.")
    async with opened("schema", service=service) as d:
        await d.until(lambda: d.sees("no right on schema public", "Grant USAGE.", "Press r to try again"))
        service.broken.clear()
        await d.press("r")
        await d.until(lambda: d.sees("Tables 49"))


async def test_discovery_shows_its_progress(opened: Any) -> None:
    service = FakeService(discovered=False)
    service.hold["discover"] = asyncio.Event()
    async with opened("schema", service=service) as d:
        await d.until(lambda: d.sees("Reading the schema", "columns of 12 of 49"))
        service.hold["discover"].set()
        await d.schema_loaded()


async def test_a_database_without_tables_says_the_next_step(opened: Any) -> None:
    empty = SchemaMap("2026-01-31T08:05:00Z", "procore")
    async with opened("schema", service=FakeService(schema=empty)) as d:
        await d.until(lambda: d.sees("This database has no tables"))
        for screen in ("plan", "search"):
            d.app.go(screen)
            await d.settle()


async def test_thousands_of_tables_scroll(opened: Any) -> None:
    async with opened("schema", service=FakeService(schema=schema_map(2000))) as d:
        await d.schema_loaded()
        await d.press("G")
        await d.until(lambda: d.sees("archive.t_01999") or d.sees("open_rfis"))


async def test_the_schema_is_exported(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("schema") as d:
        await d.schema_loaded()
        await d.press("e", "down", "enter", "enter")
        await d.until(lambda: (tmp_path / "schema.md").exists())


async def test_counts_and_the_chosen_table_are_shown_and_the_filter_is_fuzzy(opened: Any) -> None:
    async with opened("schema", table="photos") as d:
        await d.until(lambda: d.sees("Tables 49", "7,631 rows", "s3_key", "4 keys are held"))
        await d.press("slash", *"cmtitm")
        await d.until(lambda: "commitment_contract_items" in d.text())
        assert "photos" not in d.text()
        await d.press("escape")
        await d.until(lambda: d.sees("Tables 49"))


async def test_samples_step_row_by_row_with_markup_left_alone_and_secrets_masked(opened: Any) -> None:
    async with opened("schema", table="photos") as d:
        await d.until(lambda: d.sees("7,631 rows"))
        await d.press("n")
        await d.until(lambda: d.sees("row 1 of 3", "[/red]"))
        await d.press("n")
        assert d.sees("row 2 of 3")
        d.app.open_table("api_credentials")
        await d.until(lambda: d.sees("[masked]"))
        d.app.open_table("_prisma_migrations")
        await d.until(lambda: d.sees("cannot be read", "permission denied"))
