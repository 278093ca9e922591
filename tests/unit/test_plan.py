"""The plan file and its globs."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors, plan

NAMES = ["projects", "rfis", "photos", "webhook_hooks", "webhook_triggers", "Odd [x]", "other.rfis"]
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        plan.Plan,
        database=TEXT,
        include=st.lists(TEXT, max_size=3).map(tuple),
        exclude=st.lists(TEXT, max_size=3).map(tuple),
        download_files=st.booleans(),
        batch_size=st.none() | st.integers(1, 10**6),
    )
)
def test_a_plan_written_is_the_plan_read(tmp_path_factory: pytest.TempPathFactory, made: plan.Plan) -> None:
    path = tmp_path_factory.mktemp("plan") / "p.toml"
    plan.write(made, path)
    assert plan.read(path) == made


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("version = 2\n", "version 2"),
        ("include = ['*']\n", "version None"),
        ("version = 1\nincluded = ['*']\n", "included"),
        ("version = 1\nbatch_size = 'x'\n", "batch_size"),
        ("version = 1\nworkers = 0\n", "workers"),
        ("version = ", "not TOML"),
    ],
)
def test_a_wrong_plan_file_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(errors.SettingsError, match=named):
        plan.read(path)


@pytest.mark.parametrize(
    ("include", "exclude", "chosen"),
    [
        (["*"], [], NAMES),
        (["webhook_*"], [], ["webhook_hooks", "webhook_triggers"]),
        (["*"], ["web*", "photos", "*.*", "Odd*"], ["projects", "rfis"]),
        (["Odd [x]"], [], ["Odd [x]"]),
        (["rfis", "projects"], [], ["projects", "rfis"]),
    ],
)
def test_globs_choose_in_the_order_of_the_tables(
    include: list[str], exclude: list[str], chosen: list[str]
) -> None:
    assert plan.select(NAMES, include, exclude) == chosen


def test_a_pattern_without_a_match_names_the_nearest() -> None:
    with pytest.raises(errors.SchemaError, match="foto") as caught:
        plan.select(NAMES, ["fotos"])
    assert "photos" in caught.value.hint


def test_exclude_is_checked_as_include_is() -> None:
    with pytest.raises(errors.SchemaError, match="Photos"):
        plan.select(NAMES, ["*"], ["Photos"])


@given(st.lists(st.text(string.ascii_lowercase + "_", min_size=1, max_size=8), unique=True, max_size=20))
def test_a_table_is_always_found_by_its_own_name(names: list[str]) -> None:
    for name in names:
        assert plan.select(names, [name]) == [name]
