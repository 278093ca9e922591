"""Search: queries, relations, filters, copying."""

from __future__ import annotations

from typing import Any


async def test_search_filters_by_table_and_project(opened: Any) -> None:
    async with opened("search") as d:
        await d.schema_loaded()
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Mill St"))
        d.screen._table = "rfis"
        await d.press("o", *"31", "enter")
        await d.until(lambda: ("search", "slab", "rfis", 31, 0) in d.service.calls)
        await d.press("x")
        await d.until(lambda: ("search", "slab", None, None, 0) in d.service.calls)


async def test_nothing_found_says_the_next_step(opened: Any) -> None:
    async with opened("search") as d:
        await d.press(*"nothing", "enter")
        await d.until(lambda: d.sees("Nothing matches", "Other words may"))


async def test_a_query_opens_the_best_record_whose_id_is_copied_also_into_a_file(opened: Any) -> None:
    from app.clipboard import clipboard_file

    async with opened("search") as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Results", "rfis:0", "Mill St", "detail.pdf"))
        await d.press("y")
        assert d.app.clipboard == "rfis:0"
        assert clipboard_file().read_text() == "rfis:0"
        assert clipboard_file().stat().st_mode & 0o777 == 0o600


async def test_relations_are_followed_and_left_and_one_into_nothing_says_so(opened: Any) -> None:
    async with opened("search") as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("Mill St"))
        await d.press("enter", "enter")
        await d.until(lambda: d.screen._doc_id == "projects:562949953521312")
        await d.press("backspace")
        await d.until(lambda: d.screen._doc_id == "rfis:0")
        await d.until(lambda: d.sees("not in the index"))
        await d.press("down", "enter")
        await d.until(lambda: d.sees("The index has no such record."))


async def test_a_record_says_which_of_its_fields_matched(opened: Any) -> None:
    async with opened("search", size=(160, 40)) as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("matches in subject"))
        assert [f.name for f in d.screen.query_one("#record").fields if f.matched] == ["subject"]


def test_what_matched_is_found_by_the_beginning_of_words_in_any_case() -> None:
    from app.screens.search_parts import matched_in

    fields = {
        "metadata": {"a": "Slabs on grade", "b": "unslabbed", "c": "[/slab]"},
        "metadata_long": {"d": "x"},
    }
    assert matched_in(fields, "slab (") == ["a", "c"]
    assert matched_in(fields, "  ") == []


async def test_relations_that_cannot_be_looked_up_say_why(opened: Any) -> None:
    from ingestion import errors
    from tests.tui.fake_service import FakeService

    service = FakeService()
    service.broken["related"] = errors.IndexError(
        "no document summary 'links'", hint="Deploy, then try again."
    )
    async with opened("search", service=service) as d:
        await d.press(*"slab", "enter")
        await d.until(lambda: d.sees("no document summary 'links'", "Deploy, then try again."))
        assert not d.sees("Looking for relations")
