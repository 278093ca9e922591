"""Connect: saved connections, tests, rights, the sandbox, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from app.connection_book import ConnectionBook, SavedConnection
from ingestion import errors
from tests.tui.fake_service import FakeService


async def test_a_first_start_opens_connect_and_says_the_next_step(opened: Any) -> None:
    async with opened(service=FakeService(configured=False)) as d:
        assert d.screen.scope == "connect"
        assert d.sees("No database yet", "b brings up the sandbox", "a adds a connection")
        assert not d.service.calls


async def test_typed_addresses_are_used_once_and_forgotten(opened: Any, tmp_path: Path) -> None:
    book = ConnectionBook(tmp_path / "connections.toml")
    async with opened("connect", service=FakeService(configured=False), connections=book) as d:
        await d.press("e", *"postgresql://u:secret@h/db", "enter")
        await d.until(lambda: d.bridge.source.value is not None)
        assert d.service.calls[0] == (
            "reconnect", "postgresql://u:secret@h/db", "http://localhost:8080", "procore",
        )  # fmt: skip
        assert "secret" not in d.text()
        assert d.sees("not saved")
    assert not (tmp_path / "connections.toml").exists()


async def test_what_is_typed_is_hidden_while_it_may_hold_a_password(opened: Any) -> None:
    async with opened("connect", service=FakeService(configured=False)) as d:
        await d.press("a", *"postgresql://u:sec")
        field = d.screen.query_one("#database", Input)
        assert field.password
        assert "sec" not in d.text()
        await d.press(*"ret@h:5432/db")
        assert field.password
        field.value = "postgresql://u@h:5432/db"
        await d.until(lambda: not field.password and d.sees("postgresql://u@h:5432/db"))


async def test_a_connection_is_added_picked_and_deleted_without_its_password(
    opened: Any, tmp_path: Path
) -> None:
    path = tmp_path / "connections.toml"
    async with opened("connect", connections=ConnectionBook(path)) as d:
        await d.press("a", *"postgresql://u:secret@h/db", "tab", "tab", "tab", *"staging")
        assert d.sees("used now and not saved")
        await d.press("enter")
        await d.until(lambda: d.bridge.connection == "saved:staging" and d.bridge.source.value is not None)
        assert "secret" not in path.read_text()
        assert ConnectionBook(path).entries() == (SavedConnection("staging", "postgresql://u@h/db"),)
        await d.press("g", "enter")
        await d.until(lambda: d.bridge.connection == "given")
        assert ("reconnect_to_start",) in d.service.calls
        await d.press("down", "enter")
        await d.until(lambda: d.bridge.connection == "saved:staging")
        await d.press("x", "y")
        await d.until(lambda: not ConnectionBook(path).entries())
        assert "secret" not in d.text()


async def test_a_reference_to_a_variable_that_is_not_set_is_named(opened: Any) -> None:
    book = ConnectionBook()
    book.save(SavedConnection("prod", "$NO_SUCH_VARIABLE"))
    async with opened("connect", service=FakeService(configured=False), connections=book) as d:
        await d.press("g", "enter")
        await d.until(lambda: d.sees("NO_SUCH_VARIABLE is not set"))
        assert not d.service.calls


async def test_services_of_postgresqls_service_file_are_offered(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").write_text("[warehouse]\nhost=h\npassword=secret\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    async with opened("connect", service=FakeService(configured=False)) as d:
        assert d.sees("warehouse", "service=warehouse")
        await d.press("g", "enter")
        await d.until(lambda: d.bridge.source.value is not None)
        assert d.service.calls[0][:2] == ("reconnect", "service=warehouse")


async def test_both_sides_are_tested_before_they_are_used(opened: Any) -> None:
    service = FakeService(configured=False)
    async with opened("connect", service=service) as d:
        await d.press("a", *"service=warehouse")
        await d.pilot.click("#test-source")
        await d.until(lambda: d.sees("procore answers: PostgreSQL 18.1, as reader, 48 tables to read"))
        service.broken["probe_vespa"] = errors.VespaUnavailable("nothing answers", hint="Start Vespa.")
        await d.pilot.click("#test-vespa")
        await d.until(lambda: d.sees("nothing answers", "Start Vespa."))
        assert not any(call[0] == "reconnect" for call in service.calls)


async def test_connect_says_what_the_role_may_do(opened: Any) -> None:
    async with opened("connect") as d:
        await d.until(
            lambda: d.sees(
                "read-only", "the role cannot write", "read 48 of 49 tables", "encrypted", "48,339"
            )
        )


async def test_each_side_is_tested_alone_by_key_and_by_mouse(opened: Any) -> None:
    async with opened("connect") as d:
        await d.until(lambda: d.sees("connected to procore", "complete"))
        asked = d.service.calls.count(("vespa_info",))
        await d.press("d")
        await d.until(lambda: d.service.calls.count(("source_info",)) >= 2)
        lines = d.text().splitlines()
        row = next(n for n, line in enumerate(lines) if " d Test" in line)
        await d.pilot.click(offset=(lines[row].index("v Test"), row))
        await d.until(lambda: d.service.calls.count(("vespa_info",)) == asked + 1)


async def test_a_refused_connection_is_explained_with_the_next_step(opened: Any) -> None:
    service = FakeService()
    service.broken["source_info"] = errors.SourceUnavailable(
        "db.example refuses the password", hint="Set PGPASSWORD."
    )
    async with opened("connect", service=service) as d:
        await d.until(lambda: d.sees("db.example refuses the password", "Set PGPASSWORD."))
        assert d.sees("✗ connect", "One side is not ready")


async def test_the_sandbox_is_one_key_away_where_nothing_is_left_for_it(opened: Any) -> None:
    async with opened("connect", service=FakeService(configured=False)) as d:
        await d.press("b")
        await d.until(lambda: d.bridge.source.value is not None)
        assert d.bridge.connection == "sandbox"


async def test_leaving_a_connection_for_the_sandbox_is_asked_and_the_key_that_asked_does_not_confirm(
    opened: Any,
) -> None:
    async with opened("connect") as d:
        await d.press("b")
        assert d.sees("Are you sure?")
        await d.press("b", "enter")
        assert not any(call[0] == "start_sandbox" for call in d.service.calls)
        await d.press("b", "y")
        await d.until(lambda: any(call[0] == "start_sandbox" for call in d.service.calls))


async def test_the_last_job_of_another_source_is_found_when_it_comes_into_use(opened: Any) -> None:
    async with opened("connect") as d:
        await d.until(lambda: d.bridge.view is not None)
        await d.press("a", *"service=warehouse", "enter")
        await d.until(lambda: d.bridge.connection == "typed" and d.bridge.view is not None)
