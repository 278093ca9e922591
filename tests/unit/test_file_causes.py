"""Every way in which a file can fail has its advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ingestion
from ingestion import failures

CORE = Path(ingestion.__file__).parent
SOURCES = [CORE / "file_downloader.py", *(CORE / "files").glob("*.py")]
SLUGS = {m for path in SOURCES for m in re.findall(r'cause="(\w+)"', path.read_text())} - {
    "unchanged",
    "cancelled",
}


def test_the_slugs_are_found() -> None:
    assert {"expired_url", "private_address", "too_large", "wrong_content"} <= SLUGS


@pytest.mark.parametrize("cause", sorted(SLUGS))
def test_every_cause_of_a_file_has_a_title_and_advice(cause: str) -> None:
    assert cause in failures.CAUSES
