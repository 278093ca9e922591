"""Which masks are in force: none is lost by a flag that was forgotten, and none is misspelt in silence."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion import errors
from ingestion.connections import Connections
from ingestion.plan import Plan
from ingestion.reports import JobKind, JobRequest
from ingestion.schema_discovery import Column, SchemaMap, Table
from ingestion.settings import Settings
from ingestion.transform import masks
from ingestion.transform.sensitivity import MaskPolicy

SCHEMA = SchemaMap(
    "2026-01-31T08:05:00Z",
    "d",
    [Table("users", 1, [Column("name", "text", True), Column("meta", "jsonb", True)])],
)
FULL, INCREMENTAL = JobRequest(JobKind.FULL), JobRequest(JobKind.INCREMENTAL)


def connections(folder: Path, **settings: object) -> Connections:
    made = Settings(database_url="postgresql://u@h/d", state_dir=str(folder), **settings)  # type: ignore[arg-type]
    return Connections(made, logging.getLogger("quiet"))


async def policy(here: Connections, request: JobRequest) -> MaskPolicy:
    try:
        return await masks.of_job(here, SCHEMA, request)
    finally:
        await here.close()


async def test_a_full_sync_decides_and_later_ones_only_add(tmp_path: Path) -> None:
    planned = replace(FULL, plan=Plan(mask=("users.name",)))
    assert await policy(connections(tmp_path, mask_personal=True), planned) == MaskPolicy(
        ("users.name",), (), True
    )
    assert await policy(connections(tmp_path), INCREMENTAL) == MaskPolicy(("users.name",), (), True)
    more = await policy(connections(tmp_path, mask=("users.me*",)), INCREMENTAL)
    assert more == MaskPolicy(("users.name", "users.me*"), (), True)
    here = connections(tmp_path)
    assert await masks.in_force(here) == more
    await here.close()
    assert await policy(connections(tmp_path), replace(FULL, resume="job")) == more
    # A full sync of some tables leaves documents of the others as they were masked.
    assert await policy(connections(tmp_path), replace(FULL, plan=Plan(include=("users",)))) == more
    assert await policy(connections(tmp_path), replace(FULL, plan=Plan(exclude=("x",)))) == more
    assert await policy(connections(tmp_path), FULL) == MaskPolicy()


@pytest.mark.parametrize("glob", ["users.nam", "user.name", "*.nme", "users", "people.*", "users.nme.key"])
async def test_a_mask_that_matches_no_column_is_refused(glob: str, tmp_path: Path) -> None:
    for request in (replace(FULL, plan=Plan(mask=(glob,))), replace(FULL, plan=Plan(unmask=(glob,)))):
        with pytest.raises(errors.SchemaError, match="matches the mask") as caught:
            await policy(connections(tmp_path), request)
        assert caught.value.hint


@pytest.mark.parametrize("glob", ["users.name", "*.name", "us*", "users.meta.email", "*.meta.*"])
async def test_globs_and_keys_inside_json_are_taken(glob: str, tmp_path: Path) -> None:
    assert (await policy(connections(tmp_path, mask=(glob,)), FULL)).mask == (glob,)
