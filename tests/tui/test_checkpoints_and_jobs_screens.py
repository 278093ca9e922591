"""Checkpoints and jobs: clearing, resuming, links."""

from __future__ import annotations

from typing import Any

from tests.tui.fake_service import request


async def test_checkpoints_cannot_be_cleared_while_a_job_runs(opened: Any) -> None:
    async with opened("checkpoints") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(3)
        await d.until(lambda: d.bridge.job_active)
        await d.press("x")
        await d.until(lambda: d.sees("A job is running already"))


async def test_a_checkpoint_opens_its_table(opened: Any) -> None:
    async with opened("checkpoints") as d:
        await d.schema_loaded()
        await d.settle()
        await d.press("down", "enter")
        await d.until(lambda: d.screen.scope == "schema" and d.screen._shown.name == "audit_records")


async def test_an_interrupted_job_is_resumed_from_the_list(opened: Any) -> None:
    async with opened("jobs") as d:
        await d.schema_loaded()
        await d.settle()
        await d.press("c")
        await d.until(lambda: d.sees("Only a job that was stopped"))
        await d.press("down", "c")
        await d.until(lambda: d.screen.scope == "run" and d.bridge.job_active)


async def test_clearing_checkpoints_needs_words_typed_and_cannot_be_hit_twice(opened: Any) -> None:
    async with opened("checkpoints") as d:
        await d.settle()
        await d.press("x", "x", "enter", "enter")
        assert not d.service.cleared
        await d.press("escape", "x", *"api_credentials", "enter")
        await d.until(lambda: d.service.cleared == {"api_credentials"})
        await d.press("X", *"clear all", "enter")
        await d.until(lambda: len(d.service.cleared) == 49)
        await d.until(lambda: d.sees("No checkpoints yet"))


async def test_the_history_of_a_table_leads_to_its_jobs(opened: Any) -> None:
    async with opened("checkpoints") as d:
        await d.schema_loaded()
        await d.settle()
        d.screen.query_one("#checkpoints").go_to("photos")
        await d.press("h")
        await d.until(lambda: d.sees("photos: what the latest jobs did", "2026-01-31 06:03Z", "7,628"))
        await d.press("enter")
        await d.until(lambda: d.screen.scope == "run")
