"""Schema: tree, filter, relations, evidence, samples, export."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.ui_state import UiState
from app.widgets.field_list import FieldList
from ingestion import errors
from ingestion.schema_discovery import SchemaMap
from tests.tui.fake_schema import schema_map
from tests.tui.fake_service import FakeService


async def test_a_relation_is_followed_with_enter_and_left_with_backspace_where_it_was(opened: Any) -> None:
    async with opened("schema", table="rfis") as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab", "down", "down", "enter")
        await d.until(lambda: d.screen._shown.name == "company_users" and d.sees("rfis → company_users"))
        followed = d.screen._history[-1].link
        await d.press("right_square_bracket", "backspace")
        await d.until(lambda: d.screen._shown.name == "rfis")
        assert d.screen._tabs.chosen == "relations"
        assert d.screen._relations.current_key == followed
        await d.press("backspace")
        await d.until(lambda: d.sees("There is nothing to go back to."))


async def test_evidence_shows_share_pairs_orphans_and_alternatives_and_a_verdict_is_stored(
    opened: Any,
) -> None:
    async with opened("schema", table="rfis", size=(120, 50)) as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab", "down", "i")
        await d.until(lambda: d.sees("Mill Street Tower   (12 rows)", "Harbour [/red] 9"))
        assert d.sees("99% of sampled values", "99 % of 500 sampled values", "inferred, 97% sure")
        assert d.sees("also considered", "vendors.id (31%, 28% match)", "no such row   (2 rows)")
        await d.press("x")
        await d.until(lambda: ("decide_relation", "assignee_id", False) in d.service.calls)
        assert ("discover",) in d.service.calls


async def test_an_alternative_is_accepted_in_place_of_the_relation(opened: Any) -> None:
    async with opened("schema", table="rfis") as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab", "down", "i")
        await d.until(lambda: d.sees("also considered"))
        listing = d.screen.query_one(FieldList)
        listing.cursor = next(n for n, f in enumerate(listing.fields) if f.name == "also considered")
        chosen: list[Any] = []
        decide = d.service.decide_relation
        d.service.decide_relation = lambda r, accepted: (chosen.append(r.target_table), decide(r, accepted))[
            1
        ]
        await d.press("a")
        await d.until(lambda: chosen == ["vendors"])


async def test_a_rejected_relation_stays_to_be_seen_and_the_verdict_can_be_withdrawn(opened: Any) -> None:
    schema = schema_map()
    rejected = next(r for r in schema.relationships if r.source_column == "assignee_id")
    schema.relationships.remove(rejected)
    schema.rejected.append(rejected)
    async with opened("schema", table="rfis", service=FakeService(schema=schema)) as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("right_square_bracket", "tab")
        await d.until(lambda: d.sees("rejected by you"))
        d.screen._relations.go_to("rejected:assignee_id:company_users.id")
        await d.press("i")
        await d.until(lambda: d.sees("Withdraw", "Sampled pairs"))
        await d.press("w")
        await d.until(lambda: ("withdraw_verdict", "assignee_id") in d.service.calls)


async def test_a_column_opens_with_all_that_is_known_of_it(opened: Any) -> None:
    async with opened("schema", table="photos") as d:
        await d.until(lambda: d.sees("7,631 rows"))
        await d.press("tab", "down", "down", "down", "down", "enter")
        await d.until(lambda: d.sees("photos.s3_key", "97% of 500 values parse", "Statistics", "about 17"))
        await d.press("escape")
        d.app.open_table("api_credentials")
        await d.until(lambda: d.screen._shown.name == "api_credentials")
        d.screen.query_one("#columns").cursor = 2
        await d.press("enter")
        await d.until(lambda: d.sees("masked as it is read: named like a token", "never looked at"))
        assert ("statistics", "api_credentials") not in d.service.calls


async def test_statistics_of_a_table_are_read_when_asked_for(opened: Any) -> None:
    async with opened("schema", table="rfis", size=(140, 40)) as d:
        await d.until(lambda: d.sees("308 rows"))
        assert "25% null" not in d.text()
        await d.press("s")
        await d.until(lambda: d.sees("25% null", "17 distinct"))


async def test_what_changed_since_the_last_discovery_is_told(opened: Any) -> None:
    schema = schema_map()
    schema.drift, schema.drift_since = (
        ["table rooms is new", "photos.url was dropped"],
        "2026-01-30T08:00:00Z",
    )
    async with opened("schema", service=FakeService(schema=schema)) as d:
        await d.until(lambda: d.sees("2 changes: d"))
        await d.press("d")
        await d.until(
            lambda: d.sees("Changes since 2026-01-30", "table rooms is new", "photos.url was dropped")
        )


async def test_a_sample_value_is_read_in_full(opened: Any) -> None:
    async with opened("schema", table="rfis") as d:
        await d.until(lambda: d.sees("308 rows"))
        await d.press("n", "tab")
        await d.until(lambda: d.sees("row 1 of 3"))
        samples = d.screen.query_one("#samples", FieldList)
        samples.cursor = next(n for n, f in enumerate(samples.fields) if f.name == "attachments")
        await d.press("enter")
        await d.until(lambda: d.sees('"1001": "8089/1/rfis/7/detail.pdf"'))


async def test_columns_are_found_by_a_dot_before_their_name(opened: Any) -> None:
    async with opened("schema") as d:
        await d.schema_loaded()
        await d.press("slash", *".emailad")
        await d.until(lambda: d.sees("company_users .email_address", "Tables 1 of 49"))


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


async def test_a_column_is_masked_in_the_plan_and_shown_again(opened: Any) -> None:
    async with opened("schema", table="company_users", size=(140, 40)) as d:
        await d.until(lambda: d.sees("590 rows"))
        await d.press("tab", "down", "down", "m")
        await d.until(lambda: d.sees("masked by the plan"))
        assert d.bridge.draft.plan.mask == ("company_users.email_address",)
        await d.press("m")
        assert d.bridge.draft.plan.mask == ()
        d.app.open_table("api_credentials")
        await d.until(lambda: d.screen._shown.name == "api_credentials")
        d.screen.query_one("#columns").cursor = 2
        await d.press("m")
        await d.until(lambda: d.sees("Secrets are masked already"))


async def test_the_next_start_comes_back_to_the_table_and_its_tab(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "screens.json"
    async with opened("schema", ui_state=UiState(path)) as d:
        await d.schema_loaded()
        d.app.open_table("rfis")
        await d.press("right_square_bracket", "3")
        await d.pause()
    async with opened("schema", ui_state=UiState(path)) as d:
        await d.until(lambda: d.screen._shown is not None and d.screen._shown.name == "rfis")
        assert d.screen._tabs.chosen == "relations"
    async with opened("schema", ui_state=UiState(path), table="vendors") as d:
        await d.until(lambda: d.screen._shown is not None and d.screen._shown.name == "vendors")
