"""The generated sample: deterministic, consistent, bounded; every kind of dirt can be left out."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import errors
from ingestion.sandbox import sample
from ingestion.sandbox.sample import facts
from ingestion.sandbox.sample.manifest import ManifestLine
from ingestion.sandbox.sample.world import World

SMALL = 0.02


def _table(made: sample.Sample, name: str) -> list[list[str]]:
    text = "".join(piece.text for piece in made.pieces(name))
    return [line.split("\t") for line in text.splitlines()]


def _digest(made: sample.Sample) -> dict[str, str]:
    return {
        name: hashlib.sha256("".join(p.text for p in made.pieces(name)).encode()).hexdigest()
        for name in facts.tables()
    }


def _planted(made: sample.Sample) -> list[ManifestLine]:
    return [line for name in facts.tables() for piece in made.pieces(name) for line in piece.planted]


def test_scale_1_has_the_real_databases_size() -> None:
    made = sample.Sample(scale=1.0)
    assert sum(made.rows.values()) == 48_389
    assert len(made.rows) == 49


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("photos", 7631 * 4),
        ("projects", 62),
        ("vendors", 692),
        ("api_credentials", 1),
        ("webhook_triggers", 5),
    ],
)
def test_scale_multiplies_rows_and_a_few_tables_by_its_root(table: str, rows: int) -> None:
    assert sample.Sample(scale=4).rows[table] == rows


def test_empty_tables_stay_empty_unless_asked() -> None:
    empty = {name for name, table in facts.tables().items() if table.base_rows == 0}
    assert {sample.Sample().rows[name] for name in empty} == {0}
    filled = sample.Sample(scale=SMALL, empty_rows=3)
    assert {len(_table(filled, name)) for name in empty} == {3}


def test_equal_seed_and_scale_give_equal_bytes_in_any_process() -> None:
    code = (
        "import hashlib; from ingestion.sandbox import sample; from ingestion.sandbox.sample import facts\n"
        f"made = sample.Sample(scale={SMALL}, seed=3)\n"
        "print(hashlib.sha256(''.join(p.text for n in facts.tables() for p in made.pieces(n)).encode())"
        ".hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Pacific/Kiritimati"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    made = sample.Sample(scale=SMALL, seed=3)
    text = "".join(piece.text for name in facts.tables() for piece in made.pieces(name))
    assert done.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_another_seed_gives_other_data() -> None:
    one, other = _digest(sample.Sample(scale=SMALL, seed=1)), _digest(sample.Sample(scale=SMALL, seed=2))
    same = {name for name in one if one[name] == other[name]}
    assert not same & {"photos", "drawings", "projects", "rfis"}


def test_the_clock_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> float:
        raise AssertionError("the clock was read")

    before = _digest(sample.Sample(scale=SMALL))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", refuse)
        patch.setattr(time, "time_ns", refuse)
        assert _digest(sample.Sample(scale=SMALL)) == before


def test_a_huge_sample_is_streamed_in_small_pieces() -> None:
    made = sample.Sample(scale=1_000)
    assert sum(made.rows.values()) > 40_000_000
    pieces = list(itertools.islice(made.pieces("photos"), 3))
    assert all(piece.rows < 600 and len(piece.text) < 2_000_000 for piece in pieces)


def test_without_dirt_nothing_is_planted_and_every_id_is_unique() -> None:
    made = sample.Sample(scale=SMALL, dirt=sample.DirtOptions.of(False))
    assert _planted(made) == []
    for name in facts.tables():
        ids = [cells[0] for cells in _table(made, name)]
        assert len(set(ids)) == len(ids) == made.rows[name]
        assert "\\N" not in ids


def test_kinds_that_are_left_out_are_not_planted() -> None:
    left_out = {"control_characters", "null_id", "orphan_reference", "map_nested", "file_missing"}
    dirt = sample.DirtOptions().without(*left_out)
    kinds = {line.kind for line in _planted(sample.Sample(scale=0.1, dirt=dirt))}
    assert not kinds & left_out
    assert len(kinds) > 20


def test_a_file_in_trouble_is_listed_as_a_file_of_its_own(lines: list[ManifestLine]) -> None:
    found = sample.predicted_files(lines)
    assert set(found) == {"expired_url", "http_404"}
    saved = [line for line in lines if line.kind == "file_expired_url" and line.expect == "indexed"]
    assert {(line.table, line.column) for line in saved} == {("photos", "url")}


def test_an_unknown_kind_of_dirt_is_refused_by_name() -> None:
    with pytest.raises(errors.SettingsError, match="no_such_kind"):
        sample.DirtOptions(frozenset({"no_such_kind"}))


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e9])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    with pytest.raises(errors.SettingsError, match="scale"):
        sample.Sample(scale=scale)


@pytest.fixture(scope="module")
def lines() -> list[ManifestLine]:
    """The manifest at scale 1."""
    return _planted(sample.Sample())


def test_at_scale_1_every_kind_is_planted_and_listed_once_per_cell(lines: list[ManifestLine]) -> None:
    assert {line.kind for line in lines} == sample.ALL_KINDS
    of_rows = Counter(
        (line.table, line.id, line.column) for line in lines if line.id and not line.kind.endswith("_copy")
    )
    by_kind = {(line.table, line.id, line.column): line.kind for line in lines}
    many = {by_kind[cell] for cell, count in of_rows.items() if count > 1}
    # A list of attachments may hold several troublesome files.
    assert all(kind.startswith(("file_", "map_")) for kind in many)


def test_a_row_is_owed_one_verdict_and_one_warning_at_most(lines: list[ManifestLine]) -> None:
    verdicts: Counter[tuple[str, str | None]] = Counter()
    kinds: dict[tuple[str, str | None], set[str]] = {}
    for line in lines:
        if line.kind.startswith("file_") or line.id is None:
            continue
        row = (line.table, line.id)
        kinds.setdefault(row, set()).add(line.kind)
        if line.expect == "warned" or line.expect.startswith("skipped"):
            verdicts[row] += 1
    assert set(verdicts.values()) == {1}
    copied = [found for found in kinds.values() if found & {"identical_copy", "differing_copy"}]
    assert copied
    assert all(len(found) == 1 for found in copied)


def test_predictions_count_rows_and_leave_files_aside() -> None:
    def line(id: str | None, kind: str, expect: str) -> ManifestLine:
        return ManifestLine("photos", id, "x", kind, expect)

    found = sample.predicted(
        [
            line("1", "differing_copy", "failed:duplicate_key"),
            line("1", "differing_copy", "failed:duplicate_key"),
            line(None, "null_id", "failed:null_key"),
            line("2", "identical_copy", "indexed"),
            line("2", "identical_copy", "skipped:identical_copy"),
            line("3", "control_characters", "warned"),
            line("3", "file_missing", "failed:http_404"),
        ]
    )
    assert found == {
        "photos": sample.Predicted({"duplicate_key": 2, "null_key": 1}, {"identical_copy": 1}, 1)
    }


def test_the_largest_project_holds_a_third_and_six_hold_nothing() -> None:
    made = sample.Sample(dirt=sample.DirtOptions.of(False))
    projects = Counter(cells[1] for cells in _table(made, "photos"))
    assert 0.30 < projects.most_common(1)[0][1] / made.rows["photos"] < 0.37
    assert len(projects) == made.rows["projects"] - 6


def test_every_reference_meets_a_row_of_the_same_project() -> None:
    made = sample.Sample(scale=0.1, dirt=sample.DirtOptions.of(False))
    tables = {
        name: [dict(zip([c.name for c in table.columns], cells, strict=True)) for cells in _table(made, name)]
        for name, table in facts.tables().items()
    }
    rows = {name: {row["id"]: row for row in found} for name, found in tables.items()}
    for name, target in sample.references().items():
        table, _, column = name.partition(".")
        for row in tables[table]:
            if row[column] == "\\N":
                continue
            met = rows[target].get(row[column])
            assert met is not None, f"{name} {row[column]} is in no row of {target}"
            if "project_id" in row and "project_id" in met:
                assert row["project_id"] == met["project_id"], name
    for revision in tables["drawing_revisions"]:
        drawing = rows["drawings"][revision["drawing_id"]]
        assert revision["drawing_area_id"] == drawing["drawing_area_id"]


@given(
    rows=st.integers(1, 5_000),
    projects=st.integers(1, 40),
    seed=st.integers(0, 5),
)
def test_a_wheel_gives_each_row_one_project_and_finds_it_again(rows: int, projects: int, seed: int) -> None:
    counts = dict.fromkeys(facts.tables(), rows) | {"projects": projects}
    world = World(seed, 1.0, counts)
    wheel = world.wheel("drawings")
    found = Counter(wheel.rank(row) for row in range(rows))
    assert [wheel.count(rank) for rank in range(world.working)] == [found[r] for r in range(world.working)]
    for row in {0, rows // 2, rows - 1}:
        assert wheel.row(wheel.rank(row), wheel.ordinal(row)) == row


@given(row=st.integers(0, 10**7), table=st.sampled_from(["photos", "projects", "timesheets", "vendors"]))
def test_an_absent_id_is_no_rows_id(row: int, table: str) -> None:
    world = World(1, 1.0, {name: max(1, t.base_rows) for name, t in facts.tables().items()})
    absent = world.absent_id(table, row)
    assert absent not in {world.id(table, near) for near in (row - 1, row, row + 1) if near >= 0}
    assert world.id(table, row) < world.id(table, row + 1)


def test_secrets_are_recognisable_and_follow_the_seed() -> None:
    secrets = sample.planted_secrets(5)
    assert len(set(secrets)) == len(secrets) > 10
    assert all(secret.startswith(sample.SECRET_PREFIX) for secret in secrets)
    assert not set(secrets) & set(sample.planted_secrets(6))
    text = "".join(piece.text for piece in sample.Sample(seed=5).pieces("api_credentials"))
    assert secrets[0] in text
    assert secrets[1] in text


def test_the_data_file_is_small_and_names_every_table() -> None:
    path = Path(facts.__file__).with_name("schema.json")
    assert path.stat().st_size < 500_000
    assert len(json.loads(path.read_text())["tables"]) == 49
