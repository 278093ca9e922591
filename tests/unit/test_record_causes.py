"""Every way in which a record or a cell can fail has its title and its advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ingestion
from ingestion import failures

CORE = Path(ingestion.__file__).parent


def _slugs(pattern: str, *paths: Path) -> set[str]:
    return {slug for path in paths for slug in re.findall(pattern, path.read_text())}


SLUGS = {
    *_slugs(r'"(?:read|transform|index)", "(\w+)"', CORE / "sync" / "row_failures.py"),
    *_slugs(r'cause="(\w+)"', CORE / "sync" / "building.py"),
    *_slugs(r', "(\w+)", (?:message|f?")', CORE / "sync" / "row_failures.py"),
    *_slugs(r'"(vespa_\w+)"', CORE / "sync" / "row_failures.py"),
    *_slugs(r'column,\s+"(\w+)"', CORE / "transform" / "documents.py"),
} - {"warning", "read", "transform"}


def test_the_slugs_are_found() -> None:
    assert {"null_key", "duplicate_key", "unreadable_row", "transform_error", "vespa_refused"} <= SLUGS
    assert {"identical_copy", "unreadable_cell", "cell_cut", "replaced_code_points"} <= SLUGS


@pytest.mark.parametrize("cause", sorted(SLUGS))
def test_every_cause_has_a_title_and_a_sentence_of_advice(cause: str) -> None:
    known = failures.CAUSES[cause]
    assert known.title
    assert known.advice.endswith(".")
