"""Failures: clusters, retry, canary, dismissal, pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tui.fake_service import FakeService, made_failures, request


async def test_marked_failures_are_retried(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures"))
        await d.settle()
        await d.press("enter", "space", "space", "t")
        await d.until(lambda: d.sees("2 tried: 2 mended, 0 failed again.", "148 open failures"))


async def test_a_cluster_is_retried_after_a_question(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures"))
        await d.settle()
        await d.press("c")
        assert d.sees("Retry 71 failures with the cause: Signed URL expired?")
        await d.press("y")
        await d.until(lambda: d.sees("79 open failures"))


async def test_a_canary_tries_three_then_asks_for_the_rest(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures"))
        await d.settle()
        await d.press("n")
        await d.until(lambda: d.sees("All 3 canaries were mended", "the other 68"))
        await d.press("n")
        await d.until(lambda: d.sees("147 open failures"))


async def test_many_failures_come_by_pages(opened: Any) -> None:
    service = FakeService(failures=made_failures(1800))
    async with opened("failures", service=service) as d:
        await d.until(lambda: d.sees("1,500 open failures"))
        await d.settle()
        await d.press("enter", "G")
        await d.until(lambda: len(d.screen._items) > 200)
        assert d.screen._total == 710


async def test_no_failures_is_good_news(opened: Any) -> None:
    async with opened("failures", service=FakeService(failures=[])) as d:
        await d.until(lambda: d.sees("No open records and files", "No job has read anything yet"))
        await d.bridge.start_job(request())
        d.service.step(400)
        await d.press("r")
        await d.until(lambda: d.sees("Everything that was read is in the index."))


async def test_clusters_carry_advice_and_lead_to_row_document_and_error_side_by_side(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures", "Signed URL expired", "Key held by differing rows"))
        await d.until(lambda: d.sees("Sync the source again for fresh URLs"))
        await d.press("down")
        await d.until(lambda: d.sees("not a long: infinity", "✗ taken_at"))


async def test_a_link_opens_one_table_and_all_that_the_filter_shows_is_retried(opened: Any) -> None:
    async with opened("failures", table="rfis") as d:
        await d.until(lambda: d.sees("7 open failures"))
        await d.settle()
        await d.press("A", "y")
        await d.until(lambda: d.sees("No open records and files"))


async def test_dismissing_needs_a_note_and_dismissed_ones_stay_to_be_seen(opened: Any) -> None:
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures"))
        await d.settle()
        await d.press("d", "enter")
        assert d.sees("A note is needed.")
        await d.press(*"known", "enter")
        await d.until(lambda: d.sees("149 open failures"))
        await d.press("o", "o")
        await d.until(lambda: d.sees("1 dismissed failures"))


async def test_kinds_change_by_key_and_what_is_shown_is_exported(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("failures") as d:
        await d.until(lambda: d.sees("150 open failures"))
        for expected in ("50 open records", "100 open files", "30 open warnings"):
            await d.press("m")
            await d.until(lambda text=expected: d.sees(text))
        await d.press("e", "enter", "enter")
        await d.until(lambda: (tmp_path / "failures.jsonl").exists())
        assert (tmp_path / "failures.jsonl").read_text().count("2 characters") == 30
