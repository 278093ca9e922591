"""The plan being edited: whatever is pressed, the plan means exactly what is ticked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.log_lines import LogLine, join
from app.plan_draft import PlanDraft
from ingestion import plan
from ingestion.plan import Plan

NAMES = ("budget_items", "budget_views", "photos", "projects", "sync_events", "webhook_events")
EDIT = st.one_of(
    st.tuples(st.just("toggle"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)),
    st.tuples(st.just("include"), st.sampled_from(["budget_*", "*_events", "photos", "*"])),
    st.tuples(st.just("exclude"), st.sampled_from(["budget_*", "*_events", "photos", "*"])),
    st.tuples(st.sampled_from(["all", "none", "invert"]), st.none()),
)


@given(st.lists(EDIT, max_size=8))
def test_the_plan_takes_exactly_what_is_ticked_after_any_edits(edits: list[tuple[str, object]]) -> None:
    draft = PlanDraft(Plan(), NAMES)
    wanted = set(NAMES)
    for kind, what in edits:
        if kind == "toggle":
            chosen = set(what)  # type: ignore[call-overload]
            wanted = wanted - chosen if chosen <= wanted else wanted | chosen
            draft = draft.toggle(chosen)
        elif kind in {"include", "exclude"}:
            hits = set(plan.select(NAMES, [str(what)]))
            wanted = wanted | hits if kind == "include" else wanted - hits
            edit = draft.include_pattern if kind == "include" else draft.exclude_pattern
            draft = edit(str(what))
        else:
            wanted = {"all": set(NAMES), "none": set(), "invert": set(NAMES) - wanted}[kind]
            draft = {"all": draft.take_all, "none": draft.take_none, "invert": draft.invert}[kind]()
        assert draft.included == wanted
        if wanted:
            assert set(plan.select(NAMES, draft.plan.include, draft.plan.exclude)) == wanted


def test_a_pattern_stays_in_the_plan_so_that_it_takes_tomorrows_tables_too() -> None:
    draft = PlanDraft(Plan(), NAMES).exclude_pattern("*_events").toggle(["photos"])
    assert draft.plan.include == ("*",)
    assert draft.plan.exclude == ("*_events", "photos")
    assert "new_events" not in draft.with_names((*NAMES, "new_events")).included


def test_names_that_are_gone_leave_the_plan() -> None:
    draft = PlanDraft(Plan(), NAMES).toggle(["photos"])
    assert draft.with_names(("projects",)).plan.exclude == ()


def test_equal_failures_share_a_line_of_the_log() -> None:
    log: list[LogLine] = []
    for seq in range(1, 1001):
        join(log, LogLine(seq, 10.0 + seq / 100, "error", "photos", f"{seq}: expired", "expired_url"))
        if seq == 500:
            join(log, LogLine(5000, 15.0, "info", "rfis", "completed"))
    assert [line.table for line in log] == ["photos", "rfis"]
    assert log[0].shown == "1,000 times expired_url; the last one: 1000: expired"


def test_a_mask_means_exactly_its_column() -> None:
    draft = PlanDraft(Plan(), NAMES).toggle_mask("odd[1]*.name")
    assert draft.masks("odd[1]*.name")
    assert not draft.masks("odd1x.name")
    assert draft.toggle_mask("odd[1]*.name").plan.mask == ()
