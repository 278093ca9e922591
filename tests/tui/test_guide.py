"""The guided way: each step says what it is, the next one is one key away, and none has to be taken."""

from __future__ import annotations

from typing import Any

import pytest

from app import guide
from app.guide import GuideFacts
from app.ui_state import UiState
from tests.tui.fake_service import FakeService, request

AT_HAND = GuideFacts(configured=True, connected=True, tables=49)


def marks(facts: GuideFacts) -> dict[str, str]:
    return dict(zip(guide.NAMES, guide.standing(facts).marks, strict=True))


def test_the_steps_come_in_the_order_of_the_work() -> None:
    assert guide.NAMES == ("connect", "discover", "choose", "preview", "run", "verify", "report")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(GuideFacts(), "connect", id="nothing is known"),
        pytest.param(GuideFacts(configured=True, connected=True), "discover", id="connected"),
        pytest.param(AT_HAND, "discover", id="a schema that nobody has looked at"),
        pytest.param(GuideFacts(True, True, tables=49, taken=frozenset({"discover"})), "choose", id="looked at"),
        pytest.param(GuideFacts(True, True, tables=49, job="running", job_active=True), "run", id="running"),
        pytest.param(GuideFacts(True, True, tables=49, job="failed"), "preview", id="a job that failed"),
        pytest.param(GuideFacts(True, True, tables=49, job="partial"), "verify", id="a job that ended"),
        pytest.param(
            GuideFacts(True, True, tables=49, job="completed", verified=False), "report", id="verified"
        ),
    ],
)  # fmt: skip
def test_the_next_step_follows_the_last_one_that_is_done(facts: GuideFacts, expected: str) -> None:
    found = guide.standing(facts).next
    assert found is not None
    assert found.name == expected


def test_a_step_that_was_gone_past_is_skipped_and_never_asked_for_again() -> None:
    found = marks(GuideFacts(True, True, tables=49, job="completed", taken=frozenset({"discover"})))
    assert found["preview"] == "skipped"
    assert found["verify"] == "next"


def test_a_verification_under_way_is_marked_and_asks_for_nothing() -> None:
    facts = GuideFacts(True, True, tables=49, job="completed", verifying=True)
    assert marks(facts)["verify"] == "busy"
    assert guide.hint(guide.standing(facts), facts, "verify") == ""
    assert guide.hint(guide.standing(facts), facts, "run") == "verify"


def test_a_source_that_does_not_answer_is_marked_as_the_problem() -> None:
    assert marks(GuideFacts(configured=True, connect_problem=True))["connect"] == "problem"


def test_every_step_explains_itself_within_80_columns() -> None:
    for facts in (
        GuideFacts(),
        AT_HAND,
        GuideFacts(job_active=True, job="running"),
        GuideFacts(verified=True),
    ):
        for step in guide.STEPS:
            text = guide.says(step, facts)
            assert text.endswith((".", "?"))
            assert len(text) <= 62, text


async def test_the_next_key_leads_from_connect_to_the_report(opened: Any) -> None:
    service = FakeService()
    service.past.clear()
    async with opened("connect", size=(80, 24), service=service) as d:
        await d.schema_loaded()
        await d.until(lambda: d.sees("✓ connect", "● discover", "> discover"))
        await d.press(">")
        await d.until(lambda: d.screen.scope == "schema" and d.sees("✓ discover", "> choose"))
        await d.press(">")
        await d.until(lambda: d.screen.scope == "plan" and d.sees("● choose", "> preview a row"))
        await d.press(">")
        await d.until(lambda: d.sees("Source row", "Document"))
        await d.press("escape")
        await d.until(lambda: d.sees("✓ preview", "> run"))
        await d.press(">")
        await d.until(lambda: d.sees("Start a job"))
        await d.press("down", "enter")
        await d.until(lambda: d.screen.scope == "run")
        d.service.step(400)
        await d.until(lambda: d.sees("✓ run", "> verify"))
        await d.press(">")
        await d.until(lambda: d.screen.scope == "verify" and d.bridge.verification.value is not None)
        await d.until(lambda: d.sees("✓ verify", "> save the report"))
        await d.press(">")
        await d.until(lambda: d.sees("Save the report"))


async def test_the_guide_steps_back_and_its_steps_answer_the_mouse(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.press("<")
        await d.until(lambda: d.screen.scope == "schema")
        await d.pilot.click(offset=(d.text().splitlines()[1].index("choose"), 1))
        await d.until(lambda: d.screen.scope == "plan")


async def test_the_guide_can_be_put_away_and_stays_away(opened: Any, tmp_path: Any) -> None:
    path = tmp_path / "screens.json"
    async with opened("plan", ui_state=UiState(path)) as d:
        assert d.sees("○ verify") or d.sees("● verify")
        await d.press("ctrl+g")
        await d.until(lambda: "verify →" not in d.text() and "discover →" not in d.text())
    async with opened("schema", ui_state=UiState(path)) as d:
        await d.schema_loaded()
        assert "discover →" not in d.text()


async def test_a_running_job_is_the_step_whoever_started_it(opened: Any) -> None:
    async with opened("schema") as d:
        await d.schema_loaded()
        await d.bridge.start_job(request())
        d.service.step(30)
        await d.until(lambda: d.sees("> watch the job"))
        await d.press(">")
        await d.until(lambda: d.screen.scope == "run")


async def test_choosing_anew_after_a_job_puts_the_way_before_the_user_again(opened: Any) -> None:
    async with opened("plan") as d:
        await d.schema_loaded()
        await d.until(lambda: d.sees("> verify"))
        await d.press("space")
        await d.until(lambda: d.sees("● choose", "> preview a row", "○ verify"))
        await d.bridge.start_job(request())
        d.service.step(400)
        await d.until(lambda: d.bridge.view is not None and d.bridge.view.finished)
        await d.until(lambda: d.sees("✓ run", "> verify"))


@pytest.mark.parametrize(
    ("screen", "sees"),
    [("schema", "346 rows"), ("checkpoints", "vendors"), ("search", "vendors"), ("failures", "vendors")],
)
async def test_those_who_know_open_a_screen_directly_on_a_table(opened: Any, screen: str, sees: str) -> None:
    async with opened(screen, table="vendors") as d:
        await d.until(lambda: d.screen.scope == screen and d.sees(sees))
