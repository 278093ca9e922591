"""Every action is declared once, implemented, and reachable by key, by palette and by help."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from app import actions
from app.actions import ACTIONS, Danger, Need

SCOPES = [*actions.SCREEN_NAMES, "verify"]


def screen_class(scope: str) -> Any:
    return getattr(import_module(f"app.screens.{scope}"), f"{scope.capitalize()}Screen")


def test_ids_are_unique_and_every_scope_is_a_screen() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert {action.scope for action in ACTIONS} == {*SCOPES, "app"}


def test_every_action_is_implemented_by_its_screen() -> None:
    from app.application import IngestApp

    for action in ACTIONS:
        if action.id.startswith("app.go_"):
            assert action.verb[3:] in actions.SCREEN_NAMES
            continue
        owner = IngestApp if action.scope == "app" else screen_class(action.scope)
        assert callable(getattr(owner, f"do_{action.verb}", None)), action.id


def test_no_screen_implements_an_action_that_is_not_declared() -> None:
    for scope in SCOPES:
        own = {name[3:] for name in vars(screen_class(scope)) if name.startswith("do_")}
        assert own == {action.verb for action in actions.of_scope(scope)}, scope


def test_no_two_actions_of_a_screen_share_a_key() -> None:
    for scope in (*SCOPES, "app"):
        keys = [key for action in actions.of_scope(scope) for key in action.keys]
        assert len(keys) == len(set(keys)), scope


def test_no_action_takes_a_key_that_moves_in_lists() -> None:
    from app.widgets.row_list import RowList

    taken = {key for binding in RowList.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    for action in ACTIONS:
        assert not taken & set(action.keys), action.id


def test_every_key_is_bound_to_its_action() -> None:
    from app.application import IngestApp

    for action in ACTIONS:
        owner = IngestApp if action.scope == "app" else screen_class(action.scope)
        bound = {b.key: b.action for b in owner.BINDINGS}
        for key in action.keys:
            assert bound[key] == f"perform('{action.id}')"


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.danger is not Danger.NONE], ids=lambda a: a.id)
def test_a_dangerous_action_has_a_question(action: actions.Action) -> None:
    assert action.question


def test_a_missing_need_is_explained_in_words() -> None:
    action = actions.BY_ID["run.pause"]
    assert action.disabled_reason(()) == Need.ACTIVE_JOB.value
    assert action.disabled_reason({Need.ACTIVE_JOB}) is None


def test_help_and_labels_are_written_for_people() -> None:
    for action in ACTIONS:
        assert action.help.endswith("."), action.id
        assert 2 <= len(action.label) <= 14, action.id


async def test_help_lists_every_action(opened: Any) -> None:
    async with opened("help") as d:
        shown = {(row.key, row.text) for row in d.screen.query_one("#keys").items}
        for action in ACTIONS:
            assert (actions.keys_text(action, all_keys=True), action.help) in shown


async def test_the_palette_offers_every_action_and_every_table(opened: Any) -> None:
    from app.application import ActionCommands

    async with opened("schema") as d:
        await d.schema_loaded()
        offered = ActionCommands(d.screen)._commands()
        helps = {help_text for _, help_text, _ in offered}
        assert {action.help for action in ACTIONS} <= helps
        assert "Table photos" in {title for title, _, _ in offered}


async def test_the_footer_always_shows_help_and_the_most_wanted_keys_at_80_columns(opened: Any) -> None:
    async with opened("connect", size=(80, 24)) as d:
        for scope in SCOPES:
            d.app.open_verify() if scope == "verify" else d.app.go(scope)
            await d.pause()
            if scope == "search":
                await d.press("escape")
            footer = d.text().splitlines()[-1]
            assert footer.rstrip().endswith("? Help"), scope
            facts = d.screen.facts()
            able = [a for a in actions.of_scope(scope) if a.rank and a.disabled_reason(facts) is None]
            for action in sorted(able, key=lambda a: a.rank)[:3]:
                assert d.screen.label_of(action) in footer
