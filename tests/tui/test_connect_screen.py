"""Connect: addresses, rights, the sandbox, refusals."""

from __future__ import annotations

from typing import Any

from ingestion import errors
from tests.tui.fake_service import FakeService


async def test_a_first_start_opens_connect_and_says_the_next_step(opened: Any) -> None:
    async with opened(service=FakeService(configured=False)) as d:
        assert d.screen.scope == "connect"
        assert d.sees("No database yet", "b brings up the sandbox")
        assert not d.service.calls


async def test_typed_addresses_are_used_and_forgotten(opened: Any) -> None:
    async with opened("connect", service=FakeService(configured=False)) as d:
        await d.press("e", *"postgresql://u:secret@h/db", "enter")
        await d.until(lambda: d.bridge.source.value is not None)
        assert d.service.calls[0] == ("reconnect", "postgresql://u:secret@h/db", "", "")
        assert "secret" not in d.text()
        assert d.find("#database", actions_input()).value == ""


def actions_input() -> Any:
    from textual.widgets import Input

    return Input


async def test_connect_says_what_the_role_may_do(opened: Any) -> None:
    async with opened("connect") as d:
        await d.until(lambda: d.sees("read-only", "the role cannot write", "encrypted", "48,339"))


async def test_a_refused_connection_is_explained_with_the_next_step(opened: Any) -> None:
    service = FakeService()
    service.broken["source_info"] = errors.SourceUnavailable(
        "db.example refuses the password", hint="Set PGPASSWORD."
    )
    async with opened("connect", service=service) as d:
        await d.until(lambda: d.sees("db.example refuses the password", "Set PGPASSWORD."))


async def test_the_sandbox_is_asked_for_and_the_key_that_asked_does_not_confirm(opened: Any) -> None:
    async with opened("connect", service=FakeService(configured=False)) as d:
        await d.press("b")
        assert d.sees("Are you sure?")
        await d.press("b", "enter")
        assert not any(call[0] == "start_sandbox" for call in d.service.calls)
        await d.press("b", "y")
        await d.until(lambda: d.bridge.source.value is not None)
        assert any(call[0] == "start_sandbox" for call in d.service.calls)
