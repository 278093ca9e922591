"""Run: the board, commands, the log, leaving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingestion import errors, events
from tests.tui.fake_service import FakeService, request


async def test_the_board_shows_state_counts_rate_and_time_left(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(40)
        await d.until(lambda: d.sees("● running", "○ waiting", "▲ partial", "520/s", "19s left"))
        assert d.sees("5,000 / 7,631", "24,585 indexed", "25 failed", "started by block ranges")


async def test_stop_asks_then_the_job_can_be_resumed(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        job = await d.bridge.start_job(request())
        d.service.step(5)
        await d.until(lambda: d.bridge.job_active)
        await d.press("x", "x", "enter")
        assert ("stop", job) not in d.service.calls
        await d.press("x", "y")
        await d.until(lambda: ("stop", job) in d.service.calls)
        d.service.step(1)
        await d.until(lambda: d.sees("cancelled"))
        d.service.runs[job].commands.clear()
        await d.press("c")
        await d.until(lambda: d.bridge.job_active)


async def test_a_job_started_elsewhere_is_found(opened: Any) -> None:
    service = FakeService()
    job = await service.start_job(request())
    service.step(10)
    async with opened("schema", service=service) as d:
        await d.until(lambda: d.bridge.job_id == job and d.bridge.job_active)
        await d.press("4")
        assert d.sees(job)


async def test_a_state_that_cannot_be_read_is_said_and_tried_again(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(5)
        await d.until(lambda: d.bridge.job_active)
        d.service.broken["run_view"] = errors.StateError("the state file is busy")
        await d.until(lambda: d.bridge.poll_error != "")
        assert d.sees("the state file is busy")
        d.service.broken.clear()
        await d.until(lambda: d.bridge.poll_error == "")


async def test_leaving_can_stop_the_job_and_waits_for_its_checkpoint(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        job = await d.bridge.start_job(request())
        d.service.step(5)
        await d.until(lambda: d.bridge.job_active)
        await d.press("q", "down", "down", "enter")
        await d.until(lambda: ("stop", job) in d.service.calls)
        assert not d.app._exit
        d.service.step(1)
        await d.until(lambda: d.app._exit)


async def test_the_report_is_saved_as_markdown(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("jobs") as d:
        await d.settle()
        await d.press("w", "enter", "enter")
        await d.until(lambda: list(tmp_path.glob("job-*.md")) != [])
        assert (
            "| photos (partial) | 7,631 | 7,628 | 3 | 0 | 0 |" in next(tmp_path.glob("job-*.md")).read_text()
        )


async def test_a_job_is_paused_goes_on_skips_a_table_and_its_end_is_announced(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        job = await d.bridge.start_job(request())
        d.service.step(5)
        await d.until(lambda: d.bridge.job_active)
        await d.press("p")
        await d.until(lambda: d.sees("‖ paused", "Go on"))
        await d.press("p")
        await d.until(lambda: ("resume", job) in d.service.calls and d.sees("running"))
        name = d.screen.query_one("#board").current.table
        await d.press("s", "y")
        await d.until(lambda: ("skip", job, name) in d.service.calls)
        d.service.step(500)
        await d.until(lambda: not d.bridge.job_active)
        await d.until(lambda: d.sees(f"Job {job} partial."))


async def test_the_log_filters_by_level(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(120)
        await d.until(lambda: any(line.level == "error" for line in d.bridge.log))
        await d.press("l", "l")
        lines = d.screen.query_one("#lines")
        await d.until(lambda: {line.level for line in lines.items} == {"error"})


async def test_leaving_while_a_job_runs_asks_stays_by_default_and_can_let_it_go_on(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        job = await d.bridge.start_job(request())
        d.service.step(5)
        await d.until(lambda: d.bridge.job_active)
        await d.press("q")
        assert d.sees("A job is running")
        await d.press("q", "enter")
        assert d.screen.scope == "run"
        assert not d.app._exit
        await d.press("q", "down", "enter")
        await d.until(lambda: d.app._exit)
        assert ("stop", job) not in d.service.calls


async def test_the_log_is_narrowed_by_words(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(60)
        await d.until(lambda: d.sees("photos"))
        await d.press("L", *"photos refused", "enter")
        lines = d.screen.query_one("#lines")
        await d.until(lambda: {line.table for line in lines.items} == {"photos"})
        assert all("refused" in line.text for line in lines.items)
        await d.press("L", "escape")
        await d.until(lambda: len({line.table for line in lines.items}) > 5)


async def test_backing_off_and_how_vespa_answers_are_shown_at_80_columns(opened: Any) -> None:
    async with opened("run", size=(80, 24)) as d:
        await d.schema_loaded()
        job = await d.bridge.start_job(request())
        d.service.step(5)
        run = d.service.runs[job]
        d.service._emit(run, events.LoadMeasured(job_id=job, requests=9, limit=24, latency_p50_s=0.0042,
                                                 latency_p95_s=0.1))  # fmt: skip
        await d.until(lambda: d.sees("Vespa answers in 4.2 ms", "slowest 5 % 100 ms", "9 of 24"))
        d.service._emit(run, events.Backoff(job_id=job, service="vespa", reason="429", wait_s=2.0))
        await d.until(lambda: d.sees("backing off: vespa asks us to wait 2.0s: 429"))


async def test_the_terminals_title_follows_the_job(opened: Any) -> None:
    async with opened("run") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(40)
        await d.until(lambda: d.app.told_title == "● 51% procore-ingest")
        d.service.step(500)
        await d.until(lambda: d.app.told_title == "▲ procore-ingest partial")
