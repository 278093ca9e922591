"""Verify: differences and repair."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.tui.fake_service import FakeService


async def test_verify_lists_differences_and_mends_them_only_when_told(opened: Any) -> None:
    async with opened("jobs") as d:
        await d.schema_loaded()
        await d.press("v")
        await d.until(lambda: d.sees("✗ different", "photos", "562949953421999"))
        await d.press("m", "enter")
        assert ("verify", ["photos"], False, True) not in d.service.calls
        await d.press("m", "y")
        await d.until(lambda: d.sees("✓ equal", "2 records repaired"))
        await d.press("escape")
        assert d.screen.scope == "jobs"


async def test_a_verification_goes_on_when_its_screen_closes(opened: Any) -> None:
    service = FakeService()
    service.hold["verify"] = asyncio.Event()
    async with opened("jobs", service=service) as d:
        await d.schema_loaded()
        await d.press("v")
        await d.until(lambda: d.sees("comparing"))
        await d.press("escape")
        service.hold["verify"].set()
        await d.until(lambda: d.bridge.verification.value is not None)
