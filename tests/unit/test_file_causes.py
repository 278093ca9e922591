"""Every way in which a file can fail has its advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ingestion
from app import completion
from app.parser import build_parser
from ingestion import failures
from ingestion.settings import FIELDS

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


ADVICE = {f"cause {name}": cause.advice for name, cause in failures.CAUSES.items()} | {
    path.name: "\n".join(re.findall(r'hint=f?"([^"]+)"', path.read_text())) for path in SOURCES
}


@pytest.mark.parametrize("where", sorted(ADVICE))
def test_advice_names_only_flags_and_settings_that_exist(where: str) -> None:
    words = completion._words(build_parser(pytest.fail))
    flags = set(re.findall(r"--[a-z][a-z-]+", str(words)))
    variables = {name for field in FIELDS for name in field.env}
    assert set(re.findall(r"--[a-z][a-z-]+", ADVICE[where])) <= flags
    assert set(re.findall(r"\b(?:PROCORE|AWS|VESPA)_[A-Z0-9_]+", ADVICE[where])) <= variables
