"""Plan: choosing, consequences, plan files, starting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.ui_state import UiState
from ingestion import errors
from tests.tui.fake_schema import schema_map
from tests.tui.fake_service import FakeService


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


async def test_leaving_a_table_out_shows_what_is_lost_and_the_references_that_dangle(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        d.bridge.edit_plan(d.bridge.draft.toggle(["projects"]))
        await d.until(
            lambda: d.sees(
                "1 table left out", "31 rows", "projects: 46 references will dangle", "(7,631 rows)"
            )
        )


async def test_the_consequences_of_a_table_are_told_before_it_is_left_out(opened: Any) -> None:
    async with opened("plan", table="vendors") as d:
        await d.until(lambda: d.sees("every table is taken", "Without vendors", "company_users.vendor_id"))
        d.screen._list.go_to("photos")
        await d.until(lambda: d.sees("Without photos", "no reference would dangle"))
        d.bridge.edit_plan(d.bridge.draft.toggle(["vendors"]))
        d.screen._list.go_to("vendors")
        await d.until(lambda: d.sees("taking it adds 346 rows and mends 1"))


async def test_rows_bytes_files_and_time_are_estimated(opened: Any) -> None:
    async with opened("plan") as d:
        await d.until(lambda: d.sees("49 of 49", "48,369", "25.8 MiB", "≈1m 21s", "≈11,908"))
        d.bridge.edit_plan(d.bridge.draft.toggle(["photos"]))
        await d.until(lambda: d.sees("48 of 49", "40,738", "≈462"))
        assert d.service.calls.count(("files_per_row",)) == 1


async def test_a_table_that_cannot_be_read_is_told_before_it_fails(opened: Any) -> None:
    async with opened("plan") as d:
        await d.until(lambda: d.sees("_prisma_migrations cannot be read"))


async def test_an_estimate_that_fails_says_why(opened: Any) -> None:
    service = FakeService()
    service.broken["estimate"] = errors.StateError("the state is busy", hint="Try again.")
    service.broken["files_per_row"] = errors.SourceUnavailable("gone", hint="")
    async with opened("plan", service=service) as d:
        await d.until(lambda: d.sees("the state is busy", "Try again."))


async def test_the_selection_is_there_again_at_the_next_start(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "screens.json"
    async with opened("plan", ui_state=UiState(path)) as d:
        await d.schema_loaded()
        d.bridge.edit_plan(d.bridge.draft.exclude_pattern("*_events"))
        await d.pause()
    assert "db.example" not in path.read_text()
    async with opened("plan", ui_state=UiState(path)) as d:
        await d.schema_loaded()
        assert d.bridge.draft.plan.exclude == ("*_events",)
        await d.until(lambda: d.sees("44 of 49"))


async def test_a_dry_run_tries_the_first_rows_of_every_table_and_writes_nothing(opened: Any) -> None:
    async with opened("plan", size=(140, 40)) as d:
        await d.schema_loaded()
        d.bridge.edit_plan(d.bridge.draft.set_included(["photos", "rfis", "inspections"]))
        await d.press("s", "down", "down", "down", "enter")
        await d.until(lambda: d.sees("3 of 3 tables, 6 rows: 6 documents, 2 warned, 0 refused"))
        assert d.sees("description: holds characters")
        assert d.screen.query_one("#tables").items[-1].estimate.table == "inspections"
        await d.press("enter")
        await d.until(lambda: d.sees("Source row", "Document"))
        assert not d.service.runs
        await d.press("escape", "escape")
        d.service.broken["previews"] = errors.SchemaError("permission denied", hint="")
        await d.press("d")
        await d.until(lambda: d.sees("3 of 3 tables", "3 unreadable", "permission denied"))


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


async def test_the_preview_shows_any_row_beside_its_document(opened: Any) -> None:
    async with opened("plan", size=(140, 40)) as d:
        await d.schema_loaded()
        d.screen._list.go_to("photos")
        await d.press("v")
        await d.until(
            lambda: d.sees(
                "row 1 of 3", "Source row", "Document", "doc_id", "▲", "description: holds characters"
            )
        )
        await d.press("n")
        assert d.sees("row 2 of 3", "562949953421313")
        await d.press("p", "p")
        assert d.sees("row 3 of 3")
        await d.press("o", *"777", "enter")
        await d.until(lambda: ("previews", "photos", "id", "777") in d.service.calls)
        await d.press("o", *"nonsense=1", "enter")
        await d.until(lambda: ("previews", "photos", "id", "nonsense=1") in d.service.calls)
        await d.press("o", *"filename=a b", "enter")
        await d.until(lambda: ("previews", "photos", "filename", "a b") in d.service.calls)


async def test_a_row_of_a_table_without_a_key_is_found_by_a_column(opened: Any) -> None:
    schema = schema_map()
    table = schema.table("vendors")
    table.key_columns, table.key_basis = [], "row_hash"
    async with opened("plan", service=FakeService(schema=schema), table="vendors") as d:
        await d.schema_loaded()
        await d.press("v")
        await d.until(lambda: d.sees("row 1 of 3"))
        await d.press("o", *"777", "enter")
        await d.until(lambda: d.sees("Write column=value."))
        await d.press("escape", "escape")


async def test_an_empty_table_is_previewed_as_empty(opened: Any) -> None:
    async with opened("plan", table="inspections") as d:
        await d.schema_loaded()
        await d.press("v")
        await d.until(lambda: d.sees("This table is empty"))


async def test_a_link_to_a_table_puts_the_cursor_there_or_says_that_there_is_none(opened: Any) -> None:
    async with opened("plan", table="vendors") as d:
        await d.until(lambda: d.screen._list.current_key == "vendors")
    async with opened("plan", table="nothing") as d:
        await d.until(lambda: d.sees("There is no table nothing."))
